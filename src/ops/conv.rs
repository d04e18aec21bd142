//! Two-dimensional convolution and transposed convolution over channels-last images, and the layers that own
//! their weights. Weights are kept in matrix layout, so that a kernel can multiply them as they are.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use super::cpu::{self, Window};
use super::init::WeightInit;

/// Convolution.
///
/// # Shapes
/// - `x`: `[batch, height, width, c_in]`
/// - `weight`: `[kernel, kernel, c_in, c_out]`
/// - `bias`: `[c_out]`
/// - output: `[batch, (height + 2 * padding - kernel) / stride + 1, (width + …) / stride + 1, c_out]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    if cpu::runs_here(&x) {
        let [kernel, _, _, _] = weight.dims();
        return cpu::conv2d(x, weight, bias, Window { kernel, stride, padding });
    }
    plain_conv2d(x, weight, bias, stride, padding)
}

/// What [`conv2d`] computes, in Burn's own operations.
fn plain_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let x = x.permute([0, 3, 1, 2]); // [batch, c_in, height, width]
    let weight = weight.permute([3, 2, 0, 1]); // [c_out, c_in, kernel, kernel]
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    module::conv2d(x, weight, bias, options).permute([0, 2, 3, 1])
}

/// Transposed convolution, the gradient of [`conv2d`] by its input.
///
/// # Shapes
/// - `x`: `[batch, height, width, c_in]`
/// - `weight`: `[c_in, kernel, kernel, c_out]`
/// - `bias`: `[c_out]`
/// - output: `[batch, (height - 1) * stride - 2 * padding + kernel, (width - 1) * …, c_out]`
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    if cpu::runs_here(&x) {
        let [_, kernel, _, _] = weight.dims();
        return cpu::conv_transpose2d(x, weight, bias, Window { kernel, stride, padding });
    }
    plain_conv_transpose2d(x, weight, bias, stride, padding)
}

/// What [`conv_transpose2d`] computes, in Burn's own operations.
fn plain_conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let x = x.permute([0, 3, 1, 2]); // [batch, c_in, height, width]
    let weight = weight.permute([0, 3, 1, 2]); // [c_in, c_out, kernel, kernel]
    let options = ConvTransposeOptions::new([stride; 2], [padding; 2], [0; 2], [1; 2], 1);
    module::conv_transpose2d(x, weight, bias, options).permute([0, 2, 3, 1])
}

/// A convolution layer. Its weight is `[kernel, kernel, c_in, c_out]` here and `[c_out, c_in, kernel,
/// kernel]` in files.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[kernel, kernel, c_in, c_out]`.
    pub weight: Param<Tensor<4>>,
    /// `[c_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

/// The shape of a convolution layer.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Channels in.
    pub c_in: usize,
    /// Channels out.
    pub c_out: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step between outputs (or, transposed, between inputs).
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvShape {
    /// Stride 1, a bias, and the padding that keeps height and width for an odd kernel.
    pub fn same(c_in: usize, c_out: usize, kernel: usize) -> Self {
        Self { c_in, c_out, kernel, stride: 1, padding: kernel / 2, bias: true }
    }

    /// The same without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// Another stride and padding.
    pub fn strided(self, stride: usize, padding: usize) -> Self {
        Self { stride, padding, ..self }
    }
}

/// A uniform distribution of variance 1 / fan-in, as sonnet's convolutions start with (there it is a truncated
/// normal one): an output then has the variance of the inputs. Biases start at 0.
fn unit_variance_bound(fan_in: usize) -> f32 {
    (3.0 / fan_in.max(1) as f32).sqrt()
}

impl Conv2d {
    /// Weights that keep the variance of their inputs; biases 0.
    pub fn new(shape: ConvShape, init: &mut WeightInit) -> Self {
        let ConvShape { c_in, c_out, kernel, stride, padding, bias } = shape;
        let bound = unit_variance_bound(c_in * kernel * kernel);
        Self {
            weight: init.uniform([kernel, kernel, c_in, c_out], bound),
            bias: bias.then(|| init.constant([c_out], 0.0)),
            stride,
            padding,
        }
    }

    /// See [`conv2d`].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(x, self.weight.val(), bias, self.stride, self.padding)
    }
}

/// A transposed convolution layer. Its weight is `[c_in, kernel, kernel, c_out]` here and `[c_in, c_out,
/// kernel, kernel]` in files.
#[derive(Module, Debug)]
pub struct ConvTranspose2d {
    /// `[c_in, kernel, kernel, c_out]`.
    pub weight: Param<Tensor<4>>,
    /// `[c_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl ConvTranspose2d {
    /// Weights that keep the variance of their inputs; biases 0.
    pub fn new(shape: ConvShape, init: &mut WeightInit) -> Self {
        let ConvShape { c_in, c_out, kernel, stride, padding, bias } = shape;
        let bound = unit_variance_bound(c_in * kernel * kernel);
        Self {
            weight: init.uniform([c_in, kernel, kernel, c_out], bound),
            bias: bias.then(|| init.constant([c_out], 0.0)),
            stride,
            padding,
        }
    }

    /// See [`conv_transpose2d`].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv_transpose2d(x, self.weight.val(), bias, self.stride, self.padding)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn a_convolution_of_ones_counts_the_pixels_under_the_kernel() {
        let device = Device::flex();
        let x = Tensor::<4>::ones([1, 3, 3, 2], &device);
        let weight = Tensor::<4>::ones([3, 3, 2, 1], &device);
        let y = conv2d(x, weight, Some(Tensor::from_floats([0.5], &device)), 1, 1);
        let counts = [8.5, 12.5, 8.5, 12.5, 18.5, 12.5, 8.5, 12.5, 8.5f32];
        y.into_data().assert_eq(&TensorData::new(counts.to_vec(), [1, 3, 3, 1]), true);
    }

    #[test]
    fn a_transposed_convolution_spreads_each_pixel_by_its_kernel() {
        let device = Device::flex();
        let x = Tensor::<4>::from_floats([[[[2.0], [3.0]]]], &device); // [1, 1, 2, 1]
        let kernel: Vec<f32> = (1..=4).map(|v| v as f32).collect();
        let weight = Tensor::<4>::from_data(TensorData::new(kernel, [1, 2, 2, 1]), &device);
        let y = conv_transpose2d(x, weight, None, 2, 0); // [1, 2, 4, 1]
        let wanted = vec![2.0, 4.0, 3.0, 6.0, 6.0, 8.0, 9.0, 12.0f32];
        y.into_data().assert_eq(&TensorData::new(wanted, [1, 2, 4, 1]), true);
    }

    fn random<const D: usize>(item: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut rng = stream(7, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    type Convolution = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>;

    /// Value and every gradient of `convolution`, weighted by random factors.
    fn passes(
        convolution: Convolution,
        x: [usize; 4],
        weight: [usize; 4],
        bias: Option<usize>,
        stride: usize,
        padding: usize,
    ) -> Vec<TensorData> {
        let device = Device::flex().autodiff();
        let x = random(0, x, &device).require_grad();
        let weight = random(1, weight, &device).require_grad();
        let bias = bias.map(|size| random(2, [size], &device).require_grad());
        let y = convolution(x.clone(), weight.clone(), bias.clone(), stride, padding);
        let factors = random(3, y.dims(), &device);
        let gradients = (y.clone() * factors).sum().backward();
        let mut found = vec![
            y.into_data(),
            x.grad(&gradients).unwrap().into_data(),
            weight.grad(&gradients).unwrap().into_data(),
        ];
        found.extend(bias.map(|bias| bias.grad(&gradients).unwrap().into_data()));
        found
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
        let cases: [(Convolution, Convolution, bool); 2] =
            [(conv2d, plain_conv2d, false), (conv_transpose2d, plain_conv_transpose2d, true)];
        for (kernel, plain, transposed) in cases {
            for (batch, height, width, c_in, c_out, size, stride, padding) in [
                (3, 8, 8, 4, 6, 3, 1, 1),
                (2, 8, 6, 3, 5, 4, 2, 1),
                (1, 5, 7, 2, 3, 1, 1, 0),
                (33, 4, 4, 1, 2, 3, 1, 1),
                (2, 7, 5, 3, 2, 7, 2, 3),
                (2, 6, 6, 2, 4, 1, 2, 0),
            ] {
                let x = [batch, height, width, c_in];
                let weight =
                    if transposed { [c_in, size, size, c_out] } else { [size, size, c_in, c_out] };
                for bias in [None, Some(c_out)] {
                    let actual = passes(kernel, x, weight, bias, stride, padding);
                    let wanted = passes(plain, x, weight, bias, stride, padding);
                    for (actual, wanted) in actual.iter().zip(&wanted) {
                        actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(1e-4, 1e-4));
                    }
                }
            }
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| passes(conv2d, [40, 6, 6, 5], [3, 3, 5, 7], Some(7), 1, 1))
        };
        assert_eq!(run(1), run(3));
    }
}
