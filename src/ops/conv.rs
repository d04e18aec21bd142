//! Two-dimensional convolution and transposed convolution over channels-last images, and the layers that own their
//! weights. Weights are stored in matrix layout, so that a GEMM takes them as they are.

use burn::module::{Module, Param};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, activation, module};
use vqgen_kernels::{self as kernels, ConvKind, Window};

use super::init::WeightInit;
use super::precision::in_use;

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
    convolution(x, weight, bias, [stride, padding], false, Around::default())
}

/// Operations fused with a convolution on the CPU.
#[derive(Debug, Default)]
struct Around {
    /// Whether [`super::relu`] is applied to the input first.
    relu: bool,
    /// A residual added to the output, of its shape.
    residual: Option<Tensor<4>>,
}

/// Either convolution with its fused operations.
fn convolution(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    [stride, padding]: [usize; 2],
    transposed: bool,
    around: Around,
) -> Tensor<4> {
    if !kernels::runs_here(&x) {
        return composition(x, weight, bias, [stride, padding], transposed, around);
    }
    let [_, kernel, _, _] = weight.dims(); // the second axis in either layout
    let window = Window { kernel, stride, padding };
    let kind = ConvKind { window, transposed, relu: around.relu, precision: in_use() };
    kernels::convolution(x, weight, bias, around.residual, kind)
}

/// What [`convolution`] computes, in Burn's own operations.
fn composition(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    [stride, padding]: [usize; 2],
    transposed: bool,
    around: Around,
) -> Tensor<4> {
    let x = if around.relu { activation::relu(x) } else { x };
    let plain = if transposed { plain_conv_transpose2d } else { plain_conv2d };
    let y = plain(x, weight, bias, stride, padding);
    around.residual.map_or(y.clone(), |residual| residual + y)
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

/// Transposed convolution, the input gradient of [`conv2d`].
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
    convolution(x, weight, bias, [stride, padding], true, Around::default())
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

/// The hyperparameters of a convolution layer.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride between outputs (or, transposed, between inputs).
    pub stride: usize,
    /// Zero padding on each side of the input.
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

/// The bound of a uniform distribution of variance 1 / fan-in, as sonnet initialises its convolutions (with a truncated
/// normal): an output then has the variance of the inputs. Biases start at 0.
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

    /// Channels in and out.
    pub fn channels(&self) -> [usize; 2] {
        let [_, _, c_in, c_out] = self.weight.lazy_shape().dims();
        [c_in, c_out]
    }

    /// Height or width of the output for one of the input.
    pub fn output_size(&self, size: usize) -> usize {
        let [kernel, _, _, _] = self.weight.lazy_shape().dims();
        (size + 2 * self.padding - kernel) / self.stride + 1
    }

    /// See [`conv2d`].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_around(x, Around::default())
    }

    /// [`Self::forward`] after [`super::relu`], fused on the CPU.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_around(x, Around { relu: true, residual: None })
    }

    /// [`Self::forward`] plus `residual`, fused on the CPU.
    ///
    /// # Shapes
    /// - `residual`: as the output
    pub fn forward_onto(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.forward_around(x, Around { relu: false, residual: Some(residual) })
    }

    /// [`Self::forward_relu`] plus `residual`, fused on the CPU.
    ///
    /// # Shapes
    /// - `residual`: as the output
    pub fn forward_relu_onto(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.forward_around(x, Around { relu: true, residual: Some(residual) })
    }

    fn forward_around(&self, x: Tensor<4>, around: Around) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        convolution(x, self.weight.val(), bias, [self.stride, self.padding], false, around)
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

    /// Channels in and out.
    pub fn channels(&self) -> [usize; 2] {
        let [c_in, _, _, c_out] = self.weight.lazy_shape().dims();
        [c_in, c_out]
    }

    /// Height or width of the output for one of the input.
    pub fn output_size(&self, size: usize) -> usize {
        let [_, kernel, _, _] = self.weight.lazy_shape().dims();
        (size - 1) * self.stride + kernel - 2 * self.padding
    }

    /// [`conv_transpose2d`] after [`super::relu`], fused on the CPU.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_around(x, Around { relu: true, residual: None })
    }

    fn forward_around(&self, x: Tensor<4>, around: Around) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        convolution(x, self.weight.val(), bias, [self.stride, self.padding], true, around)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
