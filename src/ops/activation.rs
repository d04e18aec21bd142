//! Activation functions, element by element, for any rank.

use burn::tensor::{Tensor, activation};

/// `x · Φ(x)` with the exact normal distribution function (`erf`), PyTorch's default, not the tanh formula.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// `x · sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// `max(x, 0)`.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::relu(x)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    type Activation = fn(Tensor<1>) -> Tensor<1>;
    const CASES: [(Activation, [f32; 4]); 3] = [
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
}
