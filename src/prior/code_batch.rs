//! The codes of a batch in training: those to predict, those that the model sees, and the order in which it does.

use burn::tensor::{Int, Tensor};

/// The codes of some sequences, and what the model sees of them.
#[derive(Debug, Clone)]
pub struct CodeBatch {
    /// The codes to predict, `[batch, n_codes]`, in their order.
    pub targets: Tensor<2, Int>,
    /// What the model sees of them, `[batch, n_codes]`: the same, but for noise, and of a masked prior with
    /// [`PriorConfig::mask_token`](super::PriorConfig::mask_token) for those that it learns.
    pub seen: Tensor<2, Int>,
    /// Where each of them is in the raster, `[batch, n_codes]`; `None` for raster order. Only for priors with
    /// [`PriorConfig::target_positions`](super::PriorConfig::target_positions).
    pub order: Option<Tensor<2, Int>>,
}

impl CodeBatch {
    /// Codes in raster order, all seen as they are.
    ///
    /// # Shapes
    /// - codes: `[batch, n_codes]`
    pub fn of(codes: Tensor<2, Int>) -> Self {
        Self { seen: codes.clone(), targets: codes, order: None }
    }

    /// The same in `order`.
    ///
    /// # Shapes
    /// - order: `[batch, n_codes]`
    pub fn in_order(self, order: Tensor<2, Int>) -> Self {
        Self {
            targets: self.targets.gather(1, order.clone()),
            seen: self.seen.gather(1, order.clone()),
            order: Some(order),
        }
    }
}
