//! The likelihood of code sequences under a prior.

use burn::tensor::Tensor;

use crate::prior::Gpt;

/// Adds up the nats of the codes of `batches` (`[batch]` class tokens and `[batch, n_codes]` codes each) and
/// returns their mean per code; 0 without any.
pub fn nats_per_code(
    gpt: &Gpt,
    batches: impl Iterator<Item = (Tensor<1, burn::tensor::Int>, Tensor<2, burn::tensor::Int>)>,
) -> f64 {
    let (mut nats, mut n) = (0.0, 0usize);
    for (classes, codes) in batches {
        let losses = gpt.code_losses(classes, codes, None).into_data_as::<f32>(); // sync
        nats += losses.iter::<f32>().map(f64::from).sum::<f64>();
        n += losses.iter::<f32>().count();
    }
    if n == 0 { 0.0 } else { nats / n as f64 }
}
