//! Cross entropy of a categorical distribution given by logits, in nats.

use burn::tensor::{Int, Tensor};
use vqgen_kernels as kernels;

/// `-log p(target)` of each row, in nats. Every target must be below `classes`.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - targets, output: `[rows]`
pub fn token_losses(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    if kernels::runs_here(&logits) {
        return kernels::token_losses(logits, targets);
    }
    plain_token_losses(logits, targets)
}

/// What [`token_losses`] computes, in Burn's own operations.
fn plain_token_losses(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    // Written out instead of calling log_softmax: only one entry per row of log-probabilities is needed, and this way
    // neither pass stores the others.
    let shifted = logits.clone() - logits.detach().max_dim(1);
    let target = shifted.clone().gather(1, targets.reshape([rows, 1])); // [rows, 1]
    let normaliser = shifted.exp().sum_dim(1).log(); // [rows, 1]
    (normaliser - target).reshape([rows])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, IntDType, TensorData, Tolerance};

    use crate::rng::{Purpose, stream};

    #[test]
    fn hand_worked_losses_and_their_mean() {
        let device = Device::flex();
        // Row 1: softmax of (0, ln 3) is (1/4, 3/4). Row 2: a uniform distribution with large logits.
        let logits = || Tensor::<2>::from_floats([[0.0, 1.0986123], [1000.0, 1000.0]], &device);
        let targets = || Tensor::<1, Int>::from_ints([0, 1], &device);
        let [quarter, half] = [4f32.ln(), 2f32.ln()];
        token_losses(logits(), targets())
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from([quarter, half]), Tolerance::default());
        let mean: f32 = token_losses(logits(), targets()).mean().into_scalar();
        assert!((mean - (quarter + half) / 2.0).abs() < 1e-6, "mean {mean}");
    }

    #[test]
    fn its_gradient_is_the_softmax_minus_the_target() {
        let device = Device::flex().autodiff();
        let logits =
            Tensor::<2>::from_floats([[0.0, 1.0986123], [2.0, 2.0]], &device).require_grad();
        let loss = token_losses(logits.clone(), Tensor::from_ints([0, 1], &device)).mean();
        let grad = logits.grad(&loss.backward()).unwrap().into_data();
        let expected = TensorData::from([[-0.375, 0.375], [0.25, -0.25]]);
        grad.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }

    type Losses = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

    /// Losses of random logits, some of them far apart, and the gradient w.r.t. the logits, weighted by random factors.
    fn passes(losses: Losses, rows: usize, classes: usize, int: IntDType) -> [TensorData; 2] {
        let device = Device::flex().autodiff();
        let mut rng = stream(3, Purpose::Weights, 0, 0);
        let mut random =
            |len: usize, size: f32| -> Vec<f32> { (0..len).map(|_| size * rng.normal()).collect() };
        let logits = TensorData::new(random(rows * classes, 20.0), [rows, classes]);
        let logits = Tensor::<2>::from_data(logits, &device).require_grad();
        let targets: Vec<i32> = (0..rows).map(|row| (row * 7 % classes) as i32).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), &device);
        let y = losses(logits.clone(), targets.cast(int));
        let factors = Tensor::<1>::from_data(TensorData::new(random(rows, 1.0), [rows]), &device);
        let gradients = (y.clone() * factors).sum().backward();
        [y.into_data(), logits.grad(&gradients).unwrap().into_data()]
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition_in_value_and_gradient() {
        for (rows, classes) in [(1, 1), (5, 2), (33, 17), (70, 64), (3, 515)] {
            for int in [IntDType::I64, IntDType::I32] {
                let actual = passes(token_losses, rows, classes, int);
                let wanted = passes(plain_token_losses, rows, classes, int);
                for (actual, wanted) in actual.iter().zip(&wanted) {
                    actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(1e-5, 1e-5));
                }
            }
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| passes(token_losses, 150, 37, IntDType::I64))
        };
        assert_eq!(run(1), run(3));
    }
}
