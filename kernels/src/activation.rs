//! Activations in one pass each way. The backward pass recomputes the intermediate values from the input: storing a
//! second tensor would cost more than the arithmetic.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::elementwise::{map, map_with};
use super::math::exp;
use super::normal::normal;
use super::slices::Values;

/// 1 / √(2π), the height of the normal density.
const DENSITY: f32 = 0.398_942_3;

/// Which activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)` with the exact normal distribution function.
    Gelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// `kind` of each value of `x`.
pub fn activation<const D: usize>(x: Tensor<D>, kind: Activation) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::vqgen_activation(x.into_dispatch(), kind))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait ActivationOps: Backend {
    /// See [`activation`].
    fn vqgen_activation(x: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self>;
}

impl ActivationOps for Flex {
    fn vqgen_activation(x: FlexTensor, kind: Activation) -> FlexTensor {
        forward(Values::of(x), kind)
    }
}

impl<C: CheckpointStrategy> ActivationOps for Autodiff<Flex, C> {
    fn vqgen_activation(x: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = Values::of(x);
        match ActivationBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let out = forward(x.clone(), kind);
                step.finish((x, kind), out)
            }
            OpsKind::UnTracked(step) => step.finish(forward(x, kind)),
        }
    }
}

fn forward(x: Values, kind: Activation) -> FlexTensor {
    match kind {
        Activation::Gelu => map(x, gelu),
        Activation::Silu => map(x, |x| x * sigmoid(x)),
        // Written so that NaN propagates.
        Activation::Relu => map(x, |x| if x <= 0.0 { 0.0 } else { x }),
    }
}

fn backward(gradient: Values, x: &Values, kind: Activation) -> FlexTensor {
    match kind {
        Activation::Gelu => map_with(gradient, x, |gradient, x| gradient * gelu_slope(x)),
        Activation::Silu => map_with(gradient, x, |gradient, x| gradient * silu_slope(x)),
        Activation::Relu => {
            map_with(gradient, x, |gradient, x| if x <= 0.0 { 0.0 } else { gradient })
        }
    }
}

/// x Φ(x).
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// Φ(x) + x φ(x).
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    gelu_and_slope(x).1
}

/// max(x, 0)².
#[inline(always)]
pub(super) fn squared_relu(x: f32) -> f32 {
    squared_relu_and_slope(x).0
}

/// [`squared_relu`] and its slope.
#[inline(always)]
pub(super) fn squared_relu_and_slope(x: f32) -> (f32, f32) {
    // Written so that NaN propagates.
    let positive = if x <= 0.0 { 0.0 } else { x };
    (positive * positive, 2.0 * positive)
}

/// [`gelu`] and its slope.
#[inline(always)]
pub(super) fn gelu_and_slope(x: f32) -> (f32, f32) {
    let (share, bell) = normal(x);
    (x * share, share + x * (bell * DENSITY))
}

/// The derivative of `x · sigmoid(x)`.
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let sigmoid = sigmoid(x);
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[derive(Debug)]
struct ActivationBackward;

impl Backward<Flex, 1> for ActivationBackward {
    type State = (Values, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [parent] = ops.parents;
        let (x, kind) = ops.state;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, backward(gradient, &x, kind));
        }
    }
}
