//! Cross entropy of a categorical distribution given by logits, in nats.

use burn::tensor::{Int, Tensor};

/// The mean of [`token_losses`].
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - targets: `[rows]`
/// - output: `[1]`
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    token_losses(logits, targets).mean()
}

/// `-log p(target)` of each row, in nats. Every target must be below `classes`.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - targets, output: `[rows]`
pub fn token_losses(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    // Written out rather than taken from log_softmax: only one entry of a row of log-probabilities is
    // needed, and this way neither pass stores the others.
    let shifted = logits.clone() - logits.detach().max_dim(1);
    let target = shifted.clone().gather(1, targets.reshape([rows, 1])); // [rows, 1]
    let normaliser = shifted.exp().sum_dim(1).log(); // [rows, 1]
    (normaliser - target).reshape([rows])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn hand_worked_losses_and_their_mean() {
        let device = Device::flex();
        // Row 1: softmax of (0, ln 3) is (1/4, 3/4). Row 2: a uniform distribution, far from zero.
        let logits = || Tensor::<2>::from_floats([[0.0, 1.0986123], [1000.0, 1000.0]], &device);
        let targets = || Tensor::<1, Int>::from_ints([0, 1], &device);
        let [quarter, half] = [4f32.ln(), 2f32.ln()];
        token_losses(logits(), targets())
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from([quarter, half]), Tolerance::default());
        let mean: f32 = cross_entropy(logits(), targets()).into_scalar();
        assert!((mean - (quarter + half) / 2.0).abs() < 1e-6, "mean {mean}");
    }

    #[test]
    fn its_gradient_is_the_softmax_minus_the_target() {
        let device = Device::flex().autodiff();
        let logits =
            Tensor::<2>::from_floats([[0.0, 1.0986123], [2.0, 2.0]], &device).require_grad();
        let loss = cross_entropy(logits.clone(), Tensor::from_ints([0, 1], &device));
        let grad = logits.grad(&loss.backward()).unwrap().into_data();
        let expected = TensorData::from([[-0.375, 0.375], [0.25, -0.25]]);
        grad.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }
}
