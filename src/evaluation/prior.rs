//! The likelihood of code sequences under a prior.

use burn::tensor::{Int, Tensor};

use crate::error::Result;
use crate::prior::{Conditions, Prior};

/// Sums the nats of the codes of `batches` (`[batch]` conditions and `[batch, n_codes]` codes each) and returns their
/// mean per code; 0 without any.
///
/// # Errors
/// The first error of a batch.
pub(crate) fn nats_per_code(
    prior: &Prior,
    batches: impl Iterator<Item = Result<(Conditions, Tensor<2, Int>)>>,
) -> Result<f64> {
    let (mut nats, mut n) = (0.0, 0usize);
    for batch in batches {
        let (conditions, codes) = batch?;
        let losses = prior.score(&conditions, codes).into_data_as::<f32>(); // sync
        nats += losses.iter::<f32>().map(f64::from).sum::<f64>();
        n += losses.iter::<f32>().count();
    }
    Ok(if n == 0 { 0.0 } else { nats / n as f64 })
}
