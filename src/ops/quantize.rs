//! The two operations of a tokenizer's loss: mean squared error and the straight-through estimator.

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
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
        type Operation = fn(Tensor<2>, Tensor<2>) -> Tensor<1>;
        let cases: [(Operation, Operation); 2] = [
            (mean_squared_error, plain_mean_squared_error),
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
}
