//! Which tensors these kernels run on, and optional operands.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex};
use burn::tensor::{DType, Device, Tensor};

use super::slices::{Values, tensor};

/// Whether tensors of `device` live in host memory and are computed by threads of this process: reading one then costs
/// nothing, and a plain loop over a slice beats a chain of tensor operations.
pub fn runs_on_host(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether `x` lives where these kernels run: on the CPU device, in f32.
pub fn runs_here<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && runs_on_host(&x.device())
}

/// An operand that may be absent.
#[derive(ExtensionType)]
pub(super) enum Optional<B: Backend> {
    /// Present.
    Some(FloatTensor<B>),
    /// Absent.
    None,
}

pub(super) fn optional<const D: usize>(tensor: Option<Tensor<D>>) -> Optional<Dispatch> {
    tensor.map_or(Optional::None, |tensor| Optional::Some(tensor.into_dispatch()))
}

impl Optional<Flex> {
    /// Its values, if present.
    pub(super) fn values(self) -> Option<Values> {
        match self {
            Self::Some(tensor) => Some(Values::of(tensor)),
            Self::None => None,
        }
    }
}

/// The values and the autodiff node of an optional operand.
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

/// The autodiff node of an absent operand.
fn untracked<C: CheckpointStrategy>() -> NodeGuard {
    <Autodiff<Flex, C> as AutodiffBackend>::from_inner(tensor(vec![0.0], [1])).node()
}
