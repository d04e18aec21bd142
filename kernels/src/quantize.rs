//! The operations of a tokenizer's losses, each in one pass: mean squared, absolute and Huber error, the
//! straight-through estimator, and a value whose gradient is known.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::elementwise::{BLOCK, map};
use super::fresh::in_blocks;
use super::math::sum_pairs;
use super::slices::{Values, tensor};
use super::wide::{vectorised, wide};

/// The mean of `(x - y)^2`, with gradients w.r.t. both.
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_squared_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    mean_error(x, y, ErrorKind::Squared)
}

/// The mean of `|x - y|`, with gradients w.r.t. both; the slope at 0 is 0.
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_absolute_error<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<1> {
    mean_error(x, y, ErrorKind::Absolute)
}

/// The mean of `(x - y)^2` up to a difference of `delta` and of the tangent beyond, with gradients w.r.t. both: twice the
/// loss of Huber (1964), so that small errors count as in [`mean_squared_error`].
///
/// # Shapes
/// - `x`, `y`: any, the same for both
/// - output: `[1]`
pub fn mean_huber_error<const D: usize>(x: Tensor<D>, y: Tensor<D>, delta: f32) -> Tensor<1> {
    mean_error(x, y, ErrorKind::Huber(delta))
}

fn mean_error<const D: usize>(x: Tensor<D>, y: Tensor<D>, kind: ErrorKind) -> Tensor<1> {
    let (x, y) = (x.into_dispatch(), y.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_mean_error(x, y, kind))
}

/// Which function of the difference a mean is taken of.
#[derive(Debug, Clone, Copy)]
pub(super) enum ErrorKind {
    /// Its square.
    Squared,
    /// Its magnitude.
    Absolute,
    /// Its square up to this magnitude, the tangent beyond.
    Huber(f32),
}

/// The values of `vectors`, with the gradient passed unchanged to `latents` (van den Oord et al. 2017).
///
/// # Shapes
/// - `latents`, `vectors`, output: any, the same for all
pub fn straight_through<const D: usize>(latents: Tensor<D>, vectors: Tensor<D>) -> Tensor<D> {
    let (latents, vectors) = (latents.into_dispatch(), vectors.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_straight_through(latents, vectors))
}

/// `value`, known to depend on `x` with this `gradient`.
///
/// # Shapes
/// - `x`, `gradient`: any, the same for both
/// - `value`, output: `[1]`
pub fn with_gradient<const D: usize>(
    x: Tensor<D>,
    value: Tensor<1>,
    gradient: Tensor<D>,
) -> Tensor<1> {
    let (x, gradient) = (x.into_dispatch(), gradient.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_with_gradient(x, value.into_dispatch(), gradient))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait QuantizeOps: Backend {
    /// See [`mean_squared_error`], [`mean_absolute_error`] and [`mean_huber_error`].
    fn vqgen_mean_error(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        kind: ErrorKind,
    ) -> FloatTensor<Self>;

    /// See [`straight_through`].
    fn vqgen_straight_through(
        latents: FloatTensor<Self>,
        vectors: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`with_gradient`].
    fn vqgen_with_gradient(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl QuantizeOps for Flex {
    fn vqgen_mean_error(x: FlexTensor, y: FlexTensor, kind: ErrorKind) -> FlexTensor {
        mean_of(&Values::of(x), &Values::of(y), kind)
    }

    fn vqgen_straight_through(_latents: FlexTensor, vectors: FlexTensor) -> FlexTensor {
        vectors
    }

    fn vqgen_with_gradient(_x: FlexTensor, value: FlexTensor, _gradient: FlexTensor) -> FlexTensor {
        value
    }
}

impl<C: CheckpointStrategy> QuantizeOps for Autodiff<Flex, C> {
    fn vqgen_mean_error(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        kind: ErrorKind,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (y, y_node)) = (x.into_parts(), y.into_parts());
        let (x, y) = (Values::of(x), Values::of(y));
        let out = mean_of(&x, &y, kind);
        match MeanBackward.prepare::<C>([x_node, y_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, y, kind), out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }

    fn vqgen_straight_through(
        latents: FloatTensor<Self>,
        vectors: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (_, latents_node) = latents.into_parts();
        let (vectors, _) = vectors.into_parts();
        match StraightThrough.prepare::<C>([latents_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((), vectors),
            OpsKind::UnTracked(step) => step.finish(vectors),
        }
    }

    fn vqgen_with_gradient(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (_, x_node) = x.into_parts();
        let ((value, _), (gradient, _)) = (value.into_parts(), gradient.into_parts());
        match KnownGradient.prepare::<C>([x_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(Values::of(gradient), value),
            OpsKind::UnTracked(step) => step.finish(value),
        }
    }
}

fn mean_of(x: &Values, y: &Values, kind: ErrorKind) -> FlexTensor {
    assert_eq!(x.shape(), y.shape(), "shapes of a mean error");
    let (x, y) = (x.slice(), y.slice());
    let parts = x.par_chunks(BLOCK).zip(y.par_chunks(BLOCK));
    let sum = |(x, y)| match kind {
        ErrorKind::Squared => squares(x, y),
        ErrorKind::Absolute => magnitudes(x, y),
        ErrorKind::Huber(delta) => huber(x, y, delta),
    };
    let parts: Vec<f32> = parts.map(sum).collect();
    // In order, so that the result does not depend on threads; in f64, so that it hardly depends on how many parts
    // there are.
    let total: f64 = parts.into_iter().map(f64::from).sum();
    tensor(vec![(total / x.len() as f64) as f32], [1])
}

vectorised! {
    fn squares(x: &[f32], y: &[f32]) -> f32 {
        sum_pairs(x, y, |x, y| (x - y) * (x - y))
    }
}

vectorised! {
    fn magnitudes(x: &[f32], y: &[f32]) -> f32 {
        sum_pairs(x, y, |x, y| (x - y).abs())
    }
}

vectorised! {
    fn huber(x: &[f32], y: &[f32], delta: f32) -> f32 {
        sum_pairs(x, y, |x, y| {
            let difference = (x - y).abs();
            // NaN propagates from the second factor.
            let bounded = if difference > delta { delta } else { difference };
            bounded * (2.0 * difference - bounded)
        })
    }
}

#[derive(Debug)]
struct MeanBackward;

impl Backward<Flex, 2> for MeanBackward {
    type State = (Values, Values, ErrorKind);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, y_parent] = ops.parents;
        let (x, y, kind) = ops.state;
        let factor = gradient.slice()[0] / x.slice().len() as f32;
        let factor = if matches!(kind, ErrorKind::Absolute) { factor } else { 2.0 * factor };
        for (parent, factor) in [(x_parent, factor), (y_parent, -factor)] {
            let Some(parent) = parent else { continue };
            let (shape, x, y) = (x.shape(), x.slice(), y.slice());
            let by = in_blocks(x.len(), BLOCK, |index, out| {
                let part = index * BLOCK..index * BLOCK + out.len();
                let operands = x[part.clone()].iter().zip(&y[part]);
                let places = out.iter_mut().zip(operands);
                match kind {
                    ErrorKind::Squared => {
                        wide!(places.for_each(|(out, (x, y))| *out = (x - y) * factor));
                    }
                    ErrorKind::Absolute => wide!(places.for_each(|(out, (x, y))| {
                        let difference = x - y;
                        // NaN propagates.
                        let slope = if difference == 0.0 { 0.0 } else { difference.signum() };
                        *out = slope * factor;
                    })),
                    ErrorKind::Huber(delta) => wide!(places.for_each(|(out, (x, y))| {
                        *out = (x - y).clamp(-delta, delta) * factor;
                    })),
                }
            });
            grads.register::<Flex>(parent.id, tensor(by, shape));
        }
    }
}

#[derive(Debug)]
struct StraightThrough;

impl Backward<Flex, 1> for StraightThrough {
    type State = ();

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<Flex>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}

#[derive(Debug)]
struct KnownGradient;

impl Backward<Flex, 1> for KnownGradient {
    type State = Values;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let factor = Values::of(grads.consume::<Flex>(&ops.node)).slice()[0];
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, map(ops.state, |value| value * factor));
        }
    }
}
