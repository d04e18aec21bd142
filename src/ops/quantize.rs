//! The operations of a tokenizer's loss: mean squared, absolute and Huber error, and the estimators of the gradient
//! across a quantizer.

use burn::tensor::Tensor;
use vqgen_kernels as kernels;

/// The mean of `(x - y)^2`, with gradients w.r.t. both.
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_squared_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::mean_squared_error(x, y);
    }
    plain_mean_squared_error(x, y)
}

/// What [`mean_squared_error`] computes, in Burn's own operations.
fn plain_mean_squared_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    (x - y).square().mean()
}

/// The mean of `|x - y|`, with gradients w.r.t. both; the slope at 0 is 0.
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_absolute_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::mean_absolute_error(x, y);
    }
    plain_mean_absolute_error(x, y)
}

/// What [`mean_absolute_error`] computes, in Burn's own operations.
fn plain_mean_absolute_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    (x - y).abs().mean()
}

/// The mean of `(x - y)^2` up to a difference of `delta` and of the tangent beyond, with gradients w.r.t. both: twice the
/// loss of Huber (1964), so that small errors count as in [`mean_squared_error`].
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_huber_error<const D: usize>(x: Tensor<D>, y: Tensor<D>, delta: f64) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::mean_huber_error(x, y, delta as f32);
    }
    plain_mean_huber_error(x, y, delta)
}

/// What [`mean_huber_error`] computes, in Burn's own operations.
fn plain_mean_huber_error<const D: usize>(x: Tensor<D>, y: Tensor<D>, delta: f64) -> Tensor<1> {
    let difference = (x - y).abs();
    let bounded = difference.clone().clamp_max(delta);
    (bounded.clone() * (difference.mul_scalar(2.0) - bounded)).mean()
}

/// The values of `vectors`, with the gradient passed unchanged to `latents` (van den Oord et al. 2017).
///
/// # Shapes
/// - `latents`, `vectors`, output: any, the same for all
pub fn straight_through<const D: usize>(latents: Tensor<D>, vectors: Tensor<D>) -> Tensor<D> {
    if kernels::runs_here(&latents) {
        return kernels::straight_through(latents, vectors);
    }
    plain_straight_through(latents, vectors)
}

/// What [`straight_through`] computes, in Burn's own operations: `z + (e - z)` equals `e` up to rounding.
fn plain_straight_through<const D: usize>(latents: Tensor<D>, vectors: Tensor<D>) -> Tensor<D> {
    latents.clone() + (vectors - latents).detach()
}

/// `value`, known to depend on `x` with this `gradient`; neither has one of its own.
///
/// # Shapes
/// - `x`, `gradient`: any, the same for both
/// - `value`, output: `[1]`
pub fn with_gradient<const D: usize>(
    x: Tensor<D>,
    value: Tensor<1>,
    gradient: Tensor<D>,
) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::with_gradient(x, value, gradient);
    }
    plain_with_gradient(x, value, gradient)
}

/// What [`with_gradient`] computes, in Burn's own operations.
fn plain_with_gradient<const D: usize>(
    x: Tensor<D>,
    value: Tensor<1>,
    gradient: Tensor<D>,
) -> Tensor<1> {
    let nothing = x.clone() - x.detach();
    (nothing * gradient.detach()).sum() + value.detach()
}

/// Lower bound of a norm that divides, in [`rotation`].
const NORM_FLOOR: f64 = 1e-6;

/// The values of `vectors`; the gradient reaches `latents` as if each had been rotated and scaled onto its vector, by a
/// constant map (Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick", section 4.2).
///
/// # Shapes
/// - `latents`, `vectors`, output: `[n, dim]`
pub fn rotation(latents: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
    if kernels::runs_here(&latents) {
        return kernels::rotation(latents, vectors);
    }
    plain_rotation(latents, vectors)
}

/// What [`rotation`] computes, in Burn's own operations. The value equals `vectors` up to rounding.
fn plain_rotation(latents: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
    let norm = |rows: &Tensor<2>| rows.clone().square().sum_dim(1).sqrt(); // [n, 1]
    let (from, to) = (latents.clone().detach(), vectors.detach());
    let (from_norm, to_norm) = (norm(&from), norm(&to));
    let u = from / from_norm.clone().clamp_min(NORM_FLOOR);
    let v = to / to_norm.clone().clamp_min(NORM_FLOOR);
    let w = u.clone() + v.clone();
    let w = w.clone() / norm(&w).clamp_min(NORM_FLOOR);
    let along = |direction: &Tensor<2>| (latents.clone() * direction.clone()).sum_dim(1); // [n, 1]
    let reflected = latents.clone() - w.clone() * along(&w).mul_scalar(2.0);
    let rotated = reflected + v * along(&u).mul_scalar(2.0);
    rotated * (to_norm / from_norm.clamp_min(NORM_FLOOR))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    fn random(item: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
        let mut rng = stream(9, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), device).require_grad()
    }

    #[test]
    fn the_mean_squared_error_is_right_by_hand() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 5.0]], &device).require_grad();
        let y = Tensor::<2>::from_floats([[0.0, 2.0], [5.0, 4.0]], &device).require_grad();
        let error = mean_squared_error(x.clone(), y.clone());
        error.clone().into_data().assert_eq(&TensorData::from([1.5f32]), true); // (1 + 0 + 4 + 1) / 4
        let gradients = error.backward();
        let by_x = TensorData::from([[0.5f32, 0.0], [-1.0, 0.5]]);
        x.grad(&gradients).unwrap().into_data().assert_eq(&by_x, true);
        let by_y = TensorData::from([[-0.5f32, 0.0], [1.0, -0.5]]);
        y.grad(&gradients).unwrap().into_data().assert_eq(&by_y, true);
    }

    #[test]
    fn the_mean_absolute_error_is_right_by_hand() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 5.0]], &device).require_grad();
        let y = Tensor::<2>::from_floats([[0.0, 2.0], [5.0, 4.0]], &device).require_grad();
        let error = mean_absolute_error(x.clone(), y.clone());
        error.clone().into_data().assert_eq(&TensorData::from([1.0f32]), true); // (1 + 0 + 2 + 1) / 4
        let gradients = error.backward();
        let by_x = TensorData::from([[0.25f32, 0.0], [-0.25, 0.25]]);
        x.grad(&gradients).unwrap().into_data().assert_eq(&by_x, true);
        let by_y = TensorData::from([[-0.25f32, 0.0], [0.25, -0.25]]);
        y.grad(&gradients).unwrap().into_data().assert_eq(&by_y, true);
    }

    #[test]
    fn the_huber_error_is_right_by_hand() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 5.0]], &device).require_grad();
        let y = Tensor::<2>::from_floats([[0.5, 2.0], [5.0, 4.0]], &device).require_grad();
        let error = mean_huber_error(x.clone(), y.clone(), 1.0);
        // (.25 + 0 + (2 * 2 - 1) + 1) / 4
        error.clone().into_data().assert_eq(&TensorData::from([1.0625f32]), true);
        let gradients = error.backward();
        let by_x = TensorData::from([[0.25f32, 0.0], [-0.5, 0.5]]);
        x.grad(&gradients).unwrap().into_data().assert_eq(&by_x, true);
        let by_y = TensorData::from([[-0.25f32, 0.0], [0.5, -0.5]]);
        y.grad(&gradients).unwrap().into_data().assert_eq(&by_y, true);
        let not_a_number = x.mul_scalar(f32::NAN);
        assert!(mean_huber_error(not_a_number, y, 1.0).into_scalar::<f32>().is_nan());
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
        type Operation = fn(Tensor<2>, Tensor<2>) -> Tensor<1>;
        let cases: [(Operation, Operation); 4] = [
            (mean_squared_error, plain_mean_squared_error),
            (mean_absolute_error, plain_mean_absolute_error),
            (|x, y| mean_huber_error(x, y, 0.7), |x, y| plain_mean_huber_error(x, y, 0.7)),
            (
                |x, y| straight_through(x, y).square().sum(),
                |x, y| plain_straight_through(x, y).square().sum(),
            ),
        ];
        let device = Device::flex().autodiff();
        for (kernel, plain) in cases {
            for shape in [[1, 1], [3, 7], [129, 300]] {
                let found = [kernel, plain].map(|operation| {
                    let (x, y) = (random(0, shape, &device), random(1, shape, &device));
                    let value = operation(x.clone(), y.clone());
                    let gradients = value.clone().mul_scalar(3.0).backward();
                    let by_y = y.grad(&gradients).map(Tensor::into_data);
                    (value.into_data(), x.grad(&gradients).unwrap().into_data(), by_y)
                });
                let [(value, by_x, by_y), (wanted, wanted_by_x, wanted_by_y)] = found;
                let tolerance = Tolerance::rel_abs(1e-5, 1e-6);
                value.assert_approx_eq::<f32>(&wanted, tolerance);
                by_x.assert_approx_eq::<f32>(&wanted_by_x, tolerance);
                if let (Some(by_y), Some(wanted)) = (by_y, wanted_by_y) {
                    by_y.assert_approx_eq::<f32>(&wanted, tolerance);
                }
            }
        }
    }

    #[test]
    fn a_known_gradient_is_passed_on_times_that_of_the_value() {
        let device = Device::flex().autodiff();
        for operation in [with_gradient::<2>, plain_with_gradient] {
            let x = random(0, [3, 7], &device);
            let gradient = random(1, [3, 7], &device).detach();
            let value = Tensor::from_floats([4.5], &device);
            let known = operation(x.clone(), value, gradient.clone());
            assert_eq!(known.clone().into_scalar::<f32>(), 4.5);
            let gradients = known.mul_scalar(-2.0).backward();
            let found = x.grad(&gradients).unwrap().into_data();
            found.assert_eq(&gradient.mul_scalar(-2.0).into_data(), true);
        }
    }

    #[test]
    fn the_rotation_kernel_agrees_with_the_composition() {
        let device = Device::flex().autodiff();
        // Not in one dimension, where opposite numbers make it a division of rounding errors.
        for shape in [[5, 2], [3, 7], [129, 300]] {
            let found = [rotation, plain_rotation].map(|operation| {
                let (x, y) = (random(0, shape, &device), random(1, shape, &device));
                let turned = operation(x.clone(), y.clone());
                let gradients = (turned.clone() * random(2, shape, &device)).sum().backward();
                assert!(y.grad(&gradients).is_none());
                [turned.into_data(), x.grad(&gradients).unwrap().into_data()]
            });
            let [kernel, plain] = found;
            for (actual, wanted) in kernel.into_iter().zip(plain) {
                actual.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-4, 1e-4));
            }
        }
    }

    #[test]
    fn a_rotation_by_a_right_angle_turns_the_gradient_back_and_scales_it() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[2.0, 0.0]], &device).require_grad();
        let y = Tensor::<2>::from_floats([[0.0, 3.0]], &device);
        let turned = rotation(x.clone(), y);
        turned.clone().into_data().assert_eq(&TensorData::from([[0.0f32, 3.0]]), true);
        // The map takes (1, 0) to (0, 1.5) and (0, 1) to (-1.5, 0).
        let factors = Tensor::from_floats([[10.0, 1.0]], &device);
        let gradients = (turned * factors).sum().backward();
        let found = x.grad(&gradients).unwrap().into_data();
        let near = Tolerance::absolute(1e-5);
        found.assert_approx_eq::<f32>(&TensorData::from([[1.5f32, -15.0]]), near);
    }

    #[test]
    fn a_rotation_of_nothing_or_to_the_opposite_has_a_finite_gradient() {
        let device = Device::flex().autodiff();
        for operation in [rotation, plain_rotation] {
            let x = [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 2.0]];
            let y = [[0.0, 1.0], [-2.0, 0.0], [0.0, 0.0], [0.0, 0.0]];
            let x = Tensor::<2>::from_floats(x, &device).require_grad();
            let turned = operation(x.clone(), Tensor::from_floats(y, &device));
            let gradients = turned.sum().backward();
            let found: Vec<f32> = x.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
            assert!(found.iter().all(|value| value.is_finite()), "{found:?}");
        }
    }
}
