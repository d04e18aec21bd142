//! Embedding: tokens to vectors by table lookup.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

/// Row `tokens[i]` of the table for each i; every token must be below `vocabulary`. On a GPU the backward pass
/// accumulates token by token; for small tables, a matmul with a one-hot matrix is the alternative.
///
/// # Shapes
/// - weight: `[vocabulary, width]`
/// - tokens: `[rows]`
/// - output: `[rows, width]`
pub fn embedding(weight: Tensor<2>, tokens: Tensor<1, Int>) -> Tensor<2> {
    weight.select(0, tokens)
}

/// The table of an [`embedding`]; in files it has the same layout as in memory.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocabulary, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// # Shapes
    /// - tokens: `[rows]`
    /// - output: `[rows, width]`
    pub fn forward(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        embedding(self.weight.val(), tokens)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn it_looks_up_rows_and_its_gradient_counts_them() {
        let device = Device::flex().autodiff();
        let table = Tensor::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let layer = Embedding { weight: Param::from_tensor(table) };
        let rows = layer.forward(Tensor::from_ints([2, 0, 2], &device));
        let expected = TensorData::from([[5.0f32, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        rows.to_data().assert_eq(&expected, true);
        let grad = layer.weight.val().grad(&rows.sum().backward()).unwrap().into_data();
        grad.assert_eq(&TensorData::from([[1.0f32, 1.0], [0.0, 0.0], [2.0, 2.0]]), true);
    }
}
