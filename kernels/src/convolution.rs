//! Convolution and transposed convolution as operations of the CPU device, fused with a preceding ReLU, the bias and
//! the residual.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::conv::{
    Input, gather_product, gather_product_gradients, scatter_product, scatter_product_gradients,
};
use super::extension::{Optional, optional, optional_parts};
use super::gradients::{MapGradients, Wanted};
use super::precision::Precision;
use super::slices::{Values, tensor};
use super::window::{Geometry, Window};
use super::winograd::Winograd;

/// Parameters of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct ConvKind {
    /// Kernel size, stride and padding.
    pub window: Window,
    /// Whether it is transposed.
    pub transposed: bool,
    /// Whether ReLU is applied to the input first.
    pub relu: bool,
    /// Of the GEMMs.
    pub precision: Precision,
}

/// Convolution of channels-last images, plus `bias`, plus `residual`.
///
/// # Shapes
/// - x: `[batch, height, width, c_in]`
/// - weight: `[kernel, kernel, c_in, c_out]`, transposed `[c_in, kernel, kernel, c_out]`
/// - bias: `[c_out]`
/// - output, residual: `[batch, (height + 2 * padding - kernel) / stride + 1, (width + …) / stride + 1, c_out]`,
///   transposed `[batch, (height - 1) * stride + kernel - 2 * padding, (width - 1) * …, c_out]`
pub fn convolution(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<4>>,
    kind: ConvKind,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (bias, residual) = (optional(bias), optional(residual));
    Tensor::from_dispatch(Dispatch::vqgen_convolution(x, weight, bias, residual, kind))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait ConvolutionOps: Backend {
    /// See [`convolution`].
    fn vqgen_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        #[extension_type] residual: Optional<Self>,
        kind: ConvKind,
    ) -> FloatTensor<Self>;
}

impl ConvolutionOps for Flex {
    fn vqgen_convolution(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        residual: Optional<Self>,
        kind: ConvKind,
    ) -> FlexTensor {
        let convolution = Convolution::new(x, weight, kind);
        convolution.forward(bias.values().as_ref(), residual.values().as_ref())
    }
}

impl<C: CheckpointStrategy> ConvolutionOps for Autodiff<Flex, C> {
    fn vqgen_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        residual: Optional<Self>,
        kind: ConvKind,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = optional_parts::<C>(bias);
        let (residual, residual_node) = optional_parts::<C>(residual);
        let convolution = Convolution::new(x, weight, kind);
        let out = convolution.forward(bias.as_ref(), residual.as_ref());
        match ConvolutionBackward
            .prepare::<C>([x_node, weight_node, bias_node, residual_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => step.finish(convolution, out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

/// A convolution, plain or transposed, with its operands.
#[derive(Debug, Clone)]
struct Convolution {
    x: Values,
    weight: Values,
    kind: ConvKind,
}

impl Convolution {
    fn new(x: FlexTensor, weight: FlexTensor, kind: ConvKind) -> Self {
        Self { x: Values::of(x), weight: Values::of(weight), kind }
    }

    /// Geometry of the patches over the larger image, and the channels of the smaller one.
    fn geometry(&self) -> (Geometry, usize) {
        let window = self.kind.window;
        let [_, rows, columns, channels] = self.x.dims();
        if self.kind.transposed {
            let [c_in, _, _, c_out] = self.weight.dims();
            assert_eq!(channels, c_in, "channels of a transposed convolution");
            let (height, width) = (window.pixels(rows), window.pixels(columns));
            return (Geometry { window, height, width, channels: c_out, rows, columns }, c_in);
        }
        let [_, _, c_in, c_out] = self.weight.dims();
        assert_eq!(channels, c_in, "channels of a convolution");
        let (height, width) = (rows, columns);
        let (rows, columns) = (window.patches(height), window.patches(width));
        (Geometry { window, height, width, channels, rows, columns }, c_out)
    }

    fn input(&self) -> Input<'_> {
        Input { values: self.x.slice(), relu: self.kind.relu }
    }

    fn forward(&self, bias: Option<&Values>, residual: Option<&Values>) -> FlexTensor {
        let (geometry, small) = self.geometry();
        let [batch, _, _, _] = self.x.dims();
        let (x, weight) = (self.input(), self.weight.slice());
        let (bias, residual) = (bias.map(Values::slice), residual.map(Values::slice));
        let ConvKind { transposed, precision, .. } = self.kind;
        let product = if transposed { scatter_product } else { gather_product };
        let out = match Winograd::new(geometry, small, transposed, precision) {
            Some(winograd) => winograd.forward(x, weight, bias, residual),
            None => product(x, weight, bias, residual, small, &geometry, precision),
        };
        let shape = if transposed {
            [batch, geometry.height, geometry.width, geometry.channels]
        } else {
            [batch, geometry.rows, geometry.columns, small]
        };
        tensor(out, shape)
    }

    /// Given `gradient` w.r.t. the output, which is also that w.r.t. the residual.
    fn gradients(&self, gradient: &Values, wanted: Wanted) -> MapGradients {
        if wanted.is_nothing() {
            return MapGradients::default();
        }
        let (geometry, small) = self.geometry();
        let (x, weight, gradient) = (self.input(), self.weight.slice(), gradient.slice());
        let ConvKind { transposed, precision, .. } = self.kind;
        if let Some(winograd) = Winograd::new(geometry, small, transposed, precision) {
            return winograd.gradients(x, weight, gradient, wanted);
        }
        let gradients =
            if transposed { scatter_product_gradients } else { gather_product_gradients };
        gradients(x, weight, gradient, small, &geometry, precision, wanted)
    }
}

#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<Flex, 4> for ConvolutionBackward {
    type State = Convolution;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, weight_parent, bias_parent, residual_parent] = ops.parents;
        let convolution = ops.state;
        let wanted = Wanted::by([&x_parent, &weight_parent, &bias_parent]);
        let parents =
            [x_parent, weight_parent, bias_parent].map(|parent| parent.map(|parent| parent.id));
        let shapes: [[usize; 4]; 2] = [convolution.x.dims(), convolution.weight.dims()];
        let gradients = convolution.gradients(&gradient, wanted);
        gradients.register(grads, parents, shapes[0], shapes[1]);
        if let Some(parent) = residual_parent {
            grads.register::<Flex>(parent.id, gradient.into_tensor());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::tests::check_what_is_wanted;
    use crate::random::normals;

    #[test]
    fn only_the_gradients_that_are_wanted_are_computed() {
        let random = |item, shape: [usize; 4]| tensor(normals(item, shape.iter().product()), shape);
        // 1x1, by patches, and Winograd with all tiles together and in parts.
        for (batch, kernel, stride, padding, c_in, c_out) in [
            (19, 1, 1, 0, 5, 7),
            (19, 3, 1, 1, 5, 7),
            (19, 3, 1, 1, 16, 17),
            (19, 4, 2, 1, 16, 17),
            (40, 3, 1, 1, 16, 17),
        ] {
            let window = Window { kernel, stride, padding };
            for (transposed, relu) in [(false, false), (false, true), (true, true)] {
                for precision in [Some(Precision::F32), Precision::bf16()].into_iter().flatten() {
                    let kind = ConvKind { window, transposed, relu, precision };
                    let weight = if transposed {
                        [c_in, kernel, kernel, c_out]
                    } else {
                        [kernel, kernel, c_in, c_out]
                    };
                    let (x, weight) = (random(0, [batch, 6, 4, c_in]), random(1, weight));
                    let convolution = Convolution::new(x, weight, kind);
                    let shape = Values::of(convolution.forward(None, None)).dims();
                    let gradient = Values::of(random(2, shape));
                    check_what_is_wanted(|wanted| convolution.gradients(&gradient, wanted));
                }
            }
        }
    }
}
