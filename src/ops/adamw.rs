//! The arithmetic of AdamW (Loshchilov and Hutter 2019), of gradient clipping and of averaged weights, on flat
//! parameters. It knows no parameter's name and takes no gradient itself.

use burn::tensor::Tensor;
use vqgen_kernels as kernels;

pub use vqgen_kernels::{AdamWStep, Moving};

/// One AdamW update of a parameter; all tensors have the same size.
pub fn adamw_step(moving: Moving, gradient: Tensor<1>, step: AdamWStep) -> Moving {
    if kernels::runs_here(&moving.value) {
        return kernels::adamw(moving, gradient, step);
    }
    plain_adamw_step(moving, gradient, step)
}

/// What [`adamw_step`] computes, in Burn's own operations.
fn plain_adamw_step(moving: Moving, gradient: Tensor<1>, step: AdamWStep) -> Moving {
    let AdamWStep { beta1, beta2, .. } = step;
    let mean = moving.mean.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
    let square = moving.square.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
    let root = square.clone().sqrt().mul_scalar(1.0 / step.correction2.sqrt());
    let change = mean.clone() / root.add_scalar(step.epsilon);
    let change = change.mul_scalar(step.learning_rate / step.correction1);
    Moving { value: moving.value.mul_scalar(step.kept) - change, mean, square }
}

/// The sum of squares, `[1]`.
pub fn square_sum(x: Tensor<1>) -> Tensor<1> {
    if kernels::runs_here(&x) { kernels::square_sum(x) } else { x.square().sum() }
}

/// `x` times the single element of `factor`, without reading it back from the device.
///
/// # Shapes
/// - factor: `[1]`
pub fn scaled_by(x: Tensor<1>, factor: Tensor<1>) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::scaled_by(x, factor);
    }
    let size = x.dims();
    x * factor.expand(size)
}

/// `start * (1 - weight) + end * weight`.
///
/// # Shapes
/// - start, end: the same
pub fn lerp(start: Tensor<1>, end: Tensor<1>, weight: f64) -> Tensor<1> {
    if kernels::runs_here(&start) {
        return kernels::lerp(start, end, weight);
    }
    start.mul_scalar(1.0 - weight) + end.mul_scalar(weight)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    const STEP: AdamWStep = AdamWStep {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        learning_rate: 3e-2,
        kept: 0.997,
        correction1: 0.271,
        correction2: 0.142_625,
    };

    fn random(item: u64, size: usize) -> Tensor<1> {
        let mut rng = stream(7, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..size).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, [size]), &Device::flex())
    }

    fn start(size: usize) -> Moving {
        Moving { value: random(0, size), mean: random(1, size), square: random(2, size).square() }
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition_and_leaves_what_others_hold() {
        for size in [1, 31, 40_001] {
            let held = start(size);
            let before = held.value.clone().into_data();
            let wanted = plain_adamw_step(start(size), random(3, size), STEP);
            for moving in [held.clone(), start(size)] {
                let actual = adamw_step(moving, random(3, size), STEP);
                for (actual, wanted) in [
                    (actual.value, &wanted.value),
                    (actual.mean, &wanted.mean),
                    (actual.square, &wanted.square),
                ] {
                    let wanted = wanted.clone().into_data();
                    let near = Tolerance::rel_abs(1e-5, 1e-6);
                    actual.into_data().assert_approx_eq::<f32>(&wanted, near);
                }
            }
            held.value.into_data().assert_eq(&before, true);
        }
    }

    #[test]
    fn the_sum_of_squares_and_the_scaled_values_agree_with_the_compositions() {
        for size in [1, 31, 40_001] {
            let x = random(0, size);
            let wanted = x.clone().square().sum().into_data();
            let near = Tolerance::relative(1e-5);
            square_sum(x.clone()).into_data().assert_approx_eq::<f32>(&wanted, near);
            let half = Tensor::from_floats([0.5], &Device::flex());
            let wanted = x.clone().mul_scalar(0.5).into_data();
            scaled_by(x, half).into_data().assert_eq(&wanted, true);
        }
    }
}
