//! Elementwise activation functions, for any rank.

use burn::tensor::{Tensor, activation};
use vqgen_kernels::{self as kernels, Activation};

/// `x · Φ(x)` with the exact normal distribution function (`erf`), PyTorch's default, not the tanh formula.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::runs_here(&x) {
        return kernels::activation(x, Activation::Gelu);
    }
    activation::gelu(x)
}

/// `x · sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::runs_here(&x) {
        return kernels::activation(x, Activation::Silu);
    }
    activation::silu(x)
}

/// `max(x, 0)`.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::runs_here(&x) {
        return kernels::activation(x, Activation::Relu);
    }
    activation::relu(x)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    type Function = fn(Tensor<1>) -> Tensor<1>;
    const CASES: [(Function, [f32; 4]); 3] = [
        // x·Φ(x) with Φ(1) = 0.841345, Φ(2) = 0.977250.
        (gelu, [-0.158655, 0.0, 0.841345, 1.9545]),
        // x / (1 + e^-x) with e^-1 = 0.367879, e^-2 = 0.135335.
        (silu, [-0.268941, 0.0, 0.731059, 1.761594]),
        (relu, [0.0, 0.0, 1.0, 2.0]),
    ];

    #[test]
    fn values_match_their_definitions() {
        let device = Device::flex();
        for (function, expected) in CASES {
            let x = Tensor::from_floats([-1.0, 0.0, 1.0, 2.0], &device);
            function(x)
                .into_data()
                .assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(2e-6));
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let device = Device::flex().autodiff();
        let points = [-1.7f32, -0.3, 0.4, 2.1];
        let step = 1e-2;
        for (function, _) in CASES {
            let x = Tensor::from_floats(points, &device).require_grad();
            let grads = function(x.clone()).sum().backward();
            let moved = |by: f32| function(Tensor::from_floats(points.map(|p| p + by), &device));
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            x.grad(&grads)
                .unwrap()
                .into_data()
                .assert_approx_eq::<f32>(&slope.into_data(), Tolerance::absolute(1e-3));
        }
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_gradient() {
        let device = Device::flex().autodiff();
        let pairs: [(Function, Function); 3] =
            [(gelu, activation::gelu), (silu, activation::silu), (relu, activation::relu)];
        // Two blocks and a partial one; the values range over -8 to 8, more than once.
        let values: Vec<f32> = (0..40_001).map(|i| (i * 37 % 16_001) as f32 * 1e-3 - 8.0).collect();
        for (kernel, plain) in pairs {
            let passes = |function: Function| {
                let x = Tensor::<1>::from_floats(values.as_slice(), &device).require_grad();
                let y = function(x.clone());
                // Gradients that differ between elements.
                let grads = (y.clone() * x.clone().detach()).sum().backward();
                [y.into_data(), x.grad(&grads).unwrap().into_data()]
            };
            for (actual, wanted) in passes(kernel).iter().zip(passes(plain)) {
                actual.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-6, 2e-6));
            }
        }
    }

    #[test]
    fn an_input_that_is_used_again_keeps_its_values() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([-1.0, 2.0], &device);
        let y = relu(x.clone());
        y.into_data().assert_eq(&TensorData::from([0.0f32, 2.0]), true);
        x.into_data().assert_eq(&TensorData::from([-1.0f32, 2.0]), true);
    }

    #[test]
    fn what_is_not_a_number_stays_visible() {
        let x = || Tensor::<1>::from_floats([f32::NAN], &Device::flex());
        for (function, _) in CASES {
            assert!(function(x()).into_scalar::<f32>().is_nan());
        }
    }
}
