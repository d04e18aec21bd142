//! The linear layer, the one place where activations are multiplied by a weight matrix.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, module};
use vqgen_kernels::{self as kernels, After, PackedLinear};

use super::activation::{gelu, relu};
use super::dropout::{Dropout, dropout};
use super::precision::in_use;

/// `x · weight + bias`.
///
/// # Shapes
/// - x: `[rows, width_in]`
/// - weight: `[width_in, width_out]`
/// - bias: `[width_out]`
/// - output: `[rows, width_out]`
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if runs_on_cpu(&x) {
        return kernels::linear(x, weight, bias, None, After::Nothing, in_use());
    }
    module::linear(x, weight, bias)
}

/// [`gelu`] of [`linear`], fused on the CPU.
pub fn linear_gelu(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if runs_on_cpu(&x) {
        return kernels::linear(x, weight, bias, None, After::Gelu, in_use());
    }
    gelu(linear(x, weight, bias))
}

/// The square of ReLU of [`linear`], fused on the CPU.
pub fn linear_squared_relu(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if runs_on_cpu(&x) {
        return kernels::linear(x, weight, bias, None, After::SquaredRelu, in_use());
    }
    relu(linear(x, weight, bias)).square()
}

/// `residual` plus [`linear`], with optional dropout on the latter, fused on the CPU.
///
/// # Shapes
/// - residual: `[rows, width_out]`
pub fn linear_residual(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Tensor<2>,
    drop: Option<Dropout>,
) -> Tensor<2> {
    let drop = drop.filter(|drop| drop.probability > 0.0);
    if runs_on_cpu(&x) {
        let after = After::Add(drop.map(Dropout::mask));
        return kernels::linear(x, weight, bias, Some(residual), after, in_use());
    }
    let y = linear(x, weight, bias);
    residual + drop.map_or(y.clone(), |drop| dropout(y, drop))
}

/// Whether to use the CPU kernel, which splits work by rows: few rows are left to Burn, which splits by columns.
fn runs_on_cpu(x: &Tensor<2>) -> bool {
    let [rows, _] = x.dims();
    rows >= kernels::LINEAR_ROWS && kernels::runs_here(x)
}

/// A [`linear`] for decoding on the CPU device: its weights packed once, in the precision in use.
///
/// # Shapes
/// - weight: `[width_in, width_out]`
/// - bias: `[width_out]`
pub fn packed_linear(weight: Tensor<2>, bias: Option<Tensor<1>>) -> PackedLinear {
    PackedLinear::new(weight, bias, in_use())
}

/// The weights of a [`linear`]. The checkpoint code recognises the layout of the weight by the struct's name.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[width_in, width_out]`; files hold the transpose.
    pub weight: Param<Tensor<2>>,
    /// `[width_out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Width in and out.
    pub fn widths(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }

    /// # Shapes
    /// - x: `[rows, width_in]`
    /// - output: `[rows, width_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// See [`packed_linear`].
    pub fn packed(&self) -> PackedLinear {
        packed_linear(self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// See [`linear_gelu`].
    pub fn forward_gelu(&self, x: Tensor<2>) -> Tensor<2> {
        linear_gelu(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// See [`linear_squared_relu`].
    pub fn forward_squared_relu(&self, x: Tensor<2>) -> Tensor<2> {
        linear_squared_relu(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// See [`linear_residual`].
    pub fn forward_onto(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        drop: Option<Dropout>,
    ) -> Tensor<2> {
        let bias = self.bias.as_ref().map(Param::val);
        linear_residual(x, self.weight.val(), bias, residual, drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use burn::tensor::{Device, TensorData, Tolerance, activation};

    fn layer(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Linear {
        Linear { weight: Param::from_tensor(weight), bias: bias.map(Param::from_tensor) }
    }

    #[test]
    fn it_multiplies_by_the_matrix_and_adds_the_bias() {
        let device = Device::flex();
        let weight = Tensor::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        let bias = Tensor::from_floats([0.5, 0.0, -0.5], &device);
        let y = layer(weight, Some(bias)).forward(Tensor::from_floats([[1.0, -1.0]], &device));
        y.into_data()
            .assert_approx_eq::<f32>(&TensorData::from([[-2.5, -3.0, -3.5]]), Tolerance::default());
    }

    #[test]
    fn the_gradients_are_those_of_a_product() {
        let device = Device::flex().autodiff();
        let x =
            Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device).require_grad();
        let layer = layer(
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

    const DROP: Dropout = Dropout { probability: 0.3, seed: 5 };

    fn random<const D: usize>(item: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut rng = stream(7, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    type Map = fn(Tensor<2>, Tensor<2>, Option<Tensor<1>>, Tensor<2>) -> Tensor<2>;

    /// The operations of this file and their compositions of Burn's own operations (except for dropout).
    const MAPS: [(Map, Map); 5] = [
        (|x, w, b, _| linear(x, w, b), |x, w, b, _| module::linear(x, w, b)),
        (|x, w, b, _| linear_gelu(x, w, b), |x, w, b, _| activation::gelu(module::linear(x, w, b))),
        (
            |x, w, b, _| linear_squared_relu(x, w, b),
            |x, w, b, _| activation::relu(module::linear(x, w, b)).square(),
        ),
        (|x, w, b, r| linear_residual(x, w, b, r, None), |x, w, b, r| r + module::linear(x, w, b)),
        (
            |x, w, b, r| linear_residual(x, w, b, r, Some(DROP)),
            |x, w, b, r| r + dropout(module::linear(x, w, b), DROP),
        ),
    ];

    /// Value and every gradient of `map`, weighted by random factors.
    fn passes(map: Map, [rows, width_in, width_out]: [usize; 3], bias: bool) -> Vec<TensorData> {
        let device = Device::flex().autodiff();
        let x = random(0, [rows, width_in], &device).require_grad();
        let weight = random(1, [width_in, width_out], &device).require_grad();
        let bias = bias.then(|| random(2, [width_out], &device).require_grad());
        let residual = random(3, [rows, width_out], &device).require_grad();
        let y = map(x.clone(), weight.clone(), bias.clone(), residual.clone());
        let factors = random(4, y.dims(), &device);
        let gradients = (y.clone() * factors).sum().backward();
        let mut found = vec![y.into_data()];
        found.extend(
            [x, weight, residual].iter().filter_map(|t| t.grad(&gradients)).map(Tensor::into_data),
        );
        found.extend(bias.and_then(|bias| bias.grad(&gradients)).map(Tensor::into_data));
        found
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
        for sizes in [[64, 3, 5], [300, 17, 9], [257, 1, 33], [5000, 4, 3], [7, 5, 6]] {
            for (kernel, plain) in MAPS {
                for bias in [true, false] {
                    let (actual, wanted) =
                        (passes(kernel, sizes, bias), passes(plain, sizes, bias));
                    assert_eq!(actual.len(), wanted.len());
                    for (actual, wanted) in actual.iter().zip(&wanted) {
                        actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(1e-4, 1e-3));
                    }
                }
            }
        }
    }

    #[test]
    fn an_input_without_a_gradient_gets_none() {
        let device = Device::flex().autodiff();
        let x = random(0, [300, 4], &device);
        let weight = random(1, [4, 3], &device).require_grad();
        let gradients = linear(x.clone(), weight.clone(), None).sum().backward();
        assert!(x.grad(&gradients).is_none());
        let wanted = x.sum_dim(0).transpose().expand([4, 3]);
        let near = Tolerance::rel_abs(1e-4, 1e-4);
        let gradient = weight.grad(&gradients).unwrap().into_data();
        gradient.assert_approx_eq::<f32>(&wanted.into_data(), near);
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| MAPS.map(|(kernel, _)| passes(kernel, [700, 30, 41], true)))
        };
        assert_eq!(run(1), run(3));
    }
}
