//! The seam: which operations the CPU device has kernels for, and how their backward passes enter Burn's
//! graph.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, backend_extension,
};
use burn::tensor::Tensor;

use super::conv::{
    ConvGradients, gather_product, gather_product_gradients, scatter_product,
    scatter_product_gradients,
};
use super::slices::{Values, tensor};
use super::window::{Geometry, Window};

/// Whether `x` lives where these kernels run: on the CPU device, in f32.
pub(in crate::ops) fn runs_here<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == burn::tensor::DType::F32 && crate::ops::runs_on_host(&x.device())
}

/// An operand that may be absent.
#[derive(ExtensionType)]
pub(super) enum Optional<B: Backend> {
    /// It is there.
    Some(FloatTensor<B>),
    /// It is not.
    None,
}

pub(super) fn optional<const D: usize>(tensor: Option<Tensor<D>>) -> Optional<Dispatch> {
    tensor.map_or(Optional::None, |tensor| Optional::Some(tensor.into_dispatch()))
}

/// See [`crate::ops::conv::conv2d`].
pub(in crate::ops) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: Window,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_conv2d(x, weight, optional(bias), window))
}

/// See [`crate::ops::conv::conv_transpose2d`].
pub(in crate::ops) fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: Window,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_conv_transpose2d(x, weight, optional(bias), window))
}

/// The operations. Names carry the crate's, since they join Burn's own on the backend.
#[backend_extension(Flex, Autodiff)]
pub(super) trait CpuOps: Backend {
    /// See [`crate::ops::conv::conv2d`].
    fn vqgen_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        window: Window,
    ) -> FloatTensor<Self>;

    /// See [`crate::ops::conv::conv_transpose2d`].
    fn vqgen_conv_transpose2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        window: Window,
    ) -> FloatTensor<Self>;
}

impl CpuOps for Flex {
    fn vqgen_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        window: Window,
    ) -> FlexTensor {
        Convolution::new(x, weight, false, window).forward(bias.values().as_ref())
    }

    fn vqgen_conv_transpose2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        window: Window,
    ) -> FlexTensor {
        Convolution::new(x, weight, true, window).forward(bias.values().as_ref())
    }
}

impl<C: CheckpointStrategy> CpuOps for Autodiff<Flex, C> {
    fn vqgen_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        window: Window,
    ) -> FloatTensor<Self> {
        tracked::<C>(x, weight, bias, false, window)
    }

    fn vqgen_conv_transpose2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        window: Window,
    ) -> FloatTensor<Self> {
        tracked::<C>(x, weight, bias, true, window)
    }
}

impl Optional<Flex> {
    /// Its values, if it is there.
    pub(super) fn values(self) -> Option<Values> {
        match self {
            Self::Some(tensor) => Some(Values::of(tensor)),
            Self::None => None,
        }
    }
}

/// The values and the node of an operand that may be absent.
pub(super) fn optional_parts<C: CheckpointStrategy>(
    tensor: Optional<Autodiff<Flex, C>>,
) -> (Option<Values>, NodeGuard) {
    match tensor {
        Optional::Some(tensor) => {
            let (tensor, node) = tensor.into_parts();
            (Some(Values::of(tensor)), node)
        }
        Optional::None => (None, untracked::<C>()),
    }
}

fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: Optional<Autodiff<Flex, C>>,
    transposed: bool,
    window: Window,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (bias, bias_node) = optional_parts::<C>(bias);
    let convolution = Convolution::new(x, weight, transposed, window);
    let out = convolution.forward(bias.as_ref());
    match ConvolutionBackward
        .prepare::<C>([x_node, weight_node, bias_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(step) => step.finish(convolution, out),
        OpsKind::UnTracked(step) => step.finish(out),
    }
}

/// The node of an operand that is not there.
fn untracked<C: CheckpointStrategy>() -> NodeGuard {
    <Autodiff<Flex, C> as AutodiffBackend>::from_inner(tensor(vec![0.0], [1])).node()
}

/// A convolution in either direction with its operands.
#[derive(Debug, Clone)]
struct Convolution {
    x: Values,
    weight: Values,
    transposed: bool,
    window: Window,
}

impl Convolution {
    fn new(x: FlexTensor, weight: FlexTensor, transposed: bool, window: Window) -> Self {
        Self { x: Values::of(x), weight: Values::of(weight), transposed, window }
    }

    /// The patches over the larger image, and the channels of the smaller one.
    fn geometry(&self) -> (Geometry, usize) {
        let window = self.window;
        let [_, rows, columns, channels] = self.x.dims();
        if self.transposed {
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

    fn forward(&self, bias: Option<&Values>) -> FlexTensor {
        let (geometry, small) = self.geometry();
        let [batch, _, _, _] = self.x.dims();
        let (x, weight) = (self.x.slice(), self.weight.slice());
        let bias = bias.map(Values::slice);
        if self.transposed {
            let out = scatter_product(x, weight, bias, small, &geometry);
            tensor(out, [batch, geometry.height, geometry.width, geometry.channels])
        } else {
            let out = gather_product(x, weight, bias, small, &geometry);
            tensor(out, [batch, geometry.rows, geometry.columns, small])
        }
    }

    fn gradients(&self, gradient: &Values, wants_input: bool) -> ConvGradients {
        let (geometry, small) = self.geometry();
        let (x, weight, gradient) = (self.x.slice(), self.weight.slice(), gradient.slice());
        if self.transposed {
            scatter_product_gradients(x, weight, gradient, small, &geometry, wants_input)
        } else {
            gather_product_gradients(x, weight, gradient, small, &geometry, wants_input)
        }
    }
}

#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<Flex, 3> for ConvolutionBackward {
    type State = Convolution;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, weight_parent, bias_parent] = ops.parents;
        let convolution = ops.state;
        let ConvGradients { input, weight, bias } =
            convolution.gradients(&gradient, x_parent.is_some());
        if let (Some(parent), Some(input)) = (x_parent, input) {
            let shape: [usize; 4] = convolution.x.dims();
            grads.register::<Flex>(parent.id, tensor(input, shape));
        }
        if let Some(parent) = weight_parent {
            let shape: [usize; 4] = convolution.weight.dims();
            grads.register::<Flex>(parent.id, tensor(weight, shape));
        }
        if let Some(parent) = bias_parent {
            let size = bias.len();
            grads.register::<Flex>(parent.id, tensor(bias, [size]));
        }
    }
}
