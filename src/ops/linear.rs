//! A matrix product with an optional bias: the one place where activations meet a weight matrix.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, module};

/// `x · weight + bias`.
///
/// # Shapes
/// - x: `[rows, width_in]`
/// - weight: `[width_in, width_out]`
/// - bias: `[width_out]`
/// - output: `[rows, width_out]`
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    module::linear(x, weight, bias)
}

/// The weights of a [`linear`]. The struct's name tells the checkpoint code which layout the weight has.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[width_in, width_out]`; files hold the transpose.
    pub weight: Param<Tensor<2>>,
    /// `[width_out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer of the given weights; how they are drawn is the model's business.
    ///
    /// # Shapes
    /// - weight: `[width_in, width_out]`
    /// - bias: `[width_out]`
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight: Param::from_tensor(weight), bias: bias.map(Param::from_tensor) }
    }

    /// # Shapes
    /// - x: `[rows, width_in]`
    /// - output: `[rows, width_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.as_ref().map(|bias| bias.val()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn it_multiplies_by_the_matrix_and_adds_the_bias() {
        let device = Device::flex();
        let weight = Tensor::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        let bias = Tensor::from_floats([0.5, 0.0, -0.5], &device);
        let y =
            Linear::new(weight, Some(bias)).forward(Tensor::from_floats([[1.0, -1.0]], &device));
        y.into_data()
            .assert_approx_eq::<f32>(&TensorData::from([[-2.5, -3.0, -3.5]]), Tolerance::default());
    }

    #[test]
    fn the_gradients_are_those_of_a_product() {
        let device = Device::flex().autodiff();
        let x =
            Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device).require_grad();
        let layer = Linear::new(
            Tensor::from_floats([[1.0, -1.0], [2.0, 0.5]], &device),
            Some(Tensor::zeros([2], &device)),
        );
        let grads = layer.forward(x.clone()).sum().backward();
        let tolerance = Tolerance::default();
        let expect = |actual: TensorData, expected: TensorData| {
            actual.assert_approx_eq::<f32>(&expected, tolerance);
        };
        let sums = TensorData::from([[0.0, 2.5], [0.0, 2.5], [0.0, 2.5]]);
        expect(x.grad(&grads).unwrap().into_data(), sums);
        let weight = layer.weight.val().grad(&grads).unwrap();
        expect(weight.into_data(), TensorData::from([[9.0, 9.0], [12.0, 12.0]]));
        let bias = layer.bias.unwrap().val().grad(&grads).unwrap();
        expect(bias.into_data(), TensorData::from([3.0, 3.0]));
    }
}
