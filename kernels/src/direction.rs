//! The weighted squared distance between the directions of two vectors, as an operation of the CPU device: of the
//! channels of two feature maps at each pixel, in one pass each way.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::elementwise::BLOCK;
use super::fresh::in_blocks;
use super::math::sum_pairs;
use super::slices::{Values, tensor};
use super::wide::vectorised;

/// Added to a squared norm, for all-zero vectors.
pub const DIRECTION_EPSILON: f32 = 1e-10;

/// The mean over the rows of `sum(weight * (x / |x| - y / |y|)^2)`, with gradients w.r.t. `x` and `y`, and none w.r.t.
/// `weight`.
///
/// # Shapes
/// - x, y: `[rows, channels]`
/// - weight: `[channels]`
/// - output: `[1]`
pub fn direction_distance(x: Tensor<2>, y: Tensor<2>, weight: Tensor<1>) -> Tensor<1> {
    let (x, y, weight) = (x.into_dispatch(), y.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_direction_distance(x, y, weight))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait DirectionOps: Backend {
    /// See [`direction_distance`].
    fn vqgen_direction_distance(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl DirectionOps for Flex {
    fn vqgen_direction_distance(x: FlexTensor, y: FlexTensor, weight: FlexTensor) -> FlexTensor {
        Operands::new(x, y, weight).mean()
    }
}

impl<C: CheckpointStrategy> DirectionOps for Autodiff<Flex, C> {
    fn vqgen_direction_distance(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (y, y_node)) = (x.into_parts(), y.into_parts());
        let operands = Operands::new(x, y, weight.into_parts().0);
        let mean = operands.mean();
        match DirectionBackward.prepare::<C>([x_node, y_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(operands, mean),
            OpsKind::UnTracked(step) => step.finish(mean),
        }
    }
}

#[derive(Debug, Clone)]
struct Operands {
    x: Values,
    y: Values,
    weight: Values,
}

impl Operands {
    fn new(x: FlexTensor, y: FlexTensor, weight: FlexTensor) -> Self {
        let (x, y, weight) = (Values::of(x), Values::of(y), Values::of(weight));
        let [_, channels] = x.dims();
        assert_eq!(x.dims::<2>(), y.dims(), "two sets of vectors");
        assert_eq!([channels], weight.dims(), "weights of the channels");
        Self { x, y, weight }
    }

    /// Values of as many whole rows as make up a task.
    fn block(&self) -> usize {
        let [_, channels] = self.x.dims();
        channels * (BLOCK / channels).max(1)
    }

    fn mean(&self) -> FlexTensor {
        let [rows, _] = self.x.dims();
        let (x, y) = (self.x.slice(), self.y.slice());
        let parts = x.par_chunks(self.block()).zip(y.par_chunks(self.block()));
        let parts: Vec<f64> = parts.map(|(x, y)| distances(x, y, self.weight.slice())).collect();
        let mean = parts.into_iter().sum::<f64>() / rows as f64;
        tensor(vec![mean as f32], [1])
    }

    /// The gradient w.r.t. `x`, times `factor`.
    fn gradient(&self, factor: f32) -> FlexTensor {
        let [rows, channels] = self.x.dims();
        let (x, y, weight) = (self.x.slice(), self.y.slice(), self.weight.slice());
        let out = in_blocks(x.len(), self.block(), |index, out| {
            let at = index * self.block()..index * self.block() + out.len();
            slopes(&x[at.clone()], &y[at], weight, factor, out);
        });
        tensor(out, [rows, channels])
    }

    fn swapped(self) -> Self {
        Self { x: self.y, y: self.x, weight: self.weight }
    }
}

#[inline(always)]
fn inverse_norm(row: &[f32]) -> f32 {
    1.0 / (sum_pairs(row, row, |a, b| a * b) + DIRECTION_EPSILON).sqrt()
}

vectorised! {
    /// The sum over the rows.
    fn distances(x: &[f32], y: &[f32], weight: &[f32]) -> f64 {
        let mut sum = 0.0;
        for (x, y) in x.chunks_exact(weight.len()).zip(y.chunks_exact(weight.len())) {
            let (of_x, of_y) = (inverse_norm(x), inverse_norm(y));
            let mut row = 0.0;
            for ((x, y), weight) in x.iter().zip(y).zip(weight) {
                let difference = x * of_x - y * of_y;
                row += weight * difference * difference;
            }
            sum += f64::from(row);
        }
        sum
    }
}

vectorised! {
    /// The gradient w.r.t. `x` of `factor` times that sum: with u = x / |x|, that w.r.t. u minus its part along u, / |x|.
    fn slopes(x: &[f32], y: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
        let rows = x.chunks_exact(weight.len()).zip(y.chunks_exact(weight.len()));
        for ((x, y), out) in rows.zip(out.chunks_exact_mut(weight.len())) {
            let (of_x, of_y) = (inverse_norm(x), inverse_norm(y));
            for ((out, (x, y)), weight) in out.iter_mut().zip(x.iter().zip(y)).zip(weight) {
                *out = 2.0 * weight * (x * of_x - y * of_y);
            }
            let along = sum_pairs(x, out, |x, by_u| x * by_u) * of_x;
            let scale = factor * of_x;
            for (out, x) in out.iter_mut().zip(x) {
                *out = (*out - along * (x * of_x)) * scale;
            }
        }
    }
}

#[derive(Debug)]
struct DirectionBackward;

impl Backward<Flex, 2> for DirectionBackward {
    type State = Operands;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, y_parent] = ops.parents;
        let operands = ops.state;
        let [rows, _] = operands.x.dims();
        let factor = gradient.slice()[0] / rows as f32;
        if let Some(parent) = x_parent {
            grads.register::<Flex>(parent.id, operands.gradient(factor));
        }
        if let Some(parent) = y_parent {
            grads.register::<Flex>(parent.id, operands.swapped().gradient(factor));
        }
    }
}
