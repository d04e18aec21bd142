//! The distance between the directions of feature vectors, the core of LPIPS (Zhang et al. 2018).

use burn::tensor::Tensor;
use vqgen_kernels::{self as kernels, DIRECTION_EPSILON};

/// The mean over the rows of `sum(weight * (x / |x| - y / |y|)^2)`, with gradients w.r.t. `x` and `y`, and none w.r.t.
/// `weight`.
///
/// # Shapes
/// - `x`, `y`: `[rows, channels]`
/// - `weight`: `[channels]`
/// - output: `[1]`
pub fn direction_distance(x: Tensor<2>, y: Tensor<2>, weight: Tensor<1>) -> Tensor<1> {
    if kernels::runs_here(&x) {
        return kernels::direction_distance(x, y, weight);
    }
    plain_direction_distance(x, y, weight)
}

/// What [`direction_distance`] computes, in Burn's own operations.
fn plain_direction_distance(x: Tensor<2>, y: Tensor<2>, weight: Tensor<1>) -> Tensor<1> {
    let direction = |rows: Tensor<2>| {
        let norm = rows.clone().square().sum_dim(1).add_scalar(DIRECTION_EPSILON).sqrt();
        rows / norm
    };
    let weighted = (direction(x) - direction(y)).square() * weight.detach().unsqueeze::<2>();
    weighted.sum_dim(1).mean()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn only_directions_and_weights_count() {
        let device = Device::flex();
        let x = Tensor::from_floats([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0]], &device);
        let y = Tensor::from_floats([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]], &device);
        let weight = Tensor::from_floats([1.0, 0.25], &device);
        // 0; (0.25 * 2^2); (0.5 + 0.25 * 0.5); a vector without a direction counts as 0.
        let distance: f32 = direction_distance(x, y, weight).into_scalar();
        assert!((distance - (1.0 + 0.625) / 3.0).abs() < 1e-6, "{distance}");
    }

    type Distance = fn(Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<1>;

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition_in_value_and_both_gradients() {
        let device = Device::flex().autodiff();
        let random = |item, shape: [usize; 2]| {
            let mut rng = stream(7, Purpose::Weights, 0, item);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), &device).require_grad()
        };
        for shape in [[1, 1], [7, 24], [3001, 17]] {
            let passes = |distance: Distance| {
                let (x, y) = (random(0, shape), random(1, shape));
                let weight = random(2, [1, shape[1]]).reshape([shape[1]]).abs();
                let value = distance(x.clone(), y.clone(), weight);
                let gradients = value.clone().mul_scalar(100.0).backward();
                [
                    value.into_data(),
                    x.grad(&gradients).unwrap().into_data(),
                    y.grad(&gradients).unwrap().into_data(),
                ]
            };
            for (actual, wanted) in
                passes(direction_distance).iter().zip(passes(plain_direction_distance))
            {
                actual.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-4, 1e-6));
            }
        }
    }
}
