//! Cross entropy in two passes over the logits forward and one backward, where the composition takes a dozen and stores
//! an intermediate for each. A row keeps its maximum and the sum of its exponentials, from which the backward pass
//! recomputes the probabilities.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use super::fresh::in_blocks;
use super::math::{exp, max, sum};
use super::slices::{Values, indices, tensor};
use super::wide::vectorised;

/// Rows of a task.
const ROWS: usize = 32;

/// `-log p(target)` of each row, in nats. Every target must be below `classes`.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - targets, output: `[rows]`
pub fn token_losses(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_token_losses(logits, targets))
}

/// The operation as the backend sees it.
#[backend_extension(Flex, Autodiff)]
pub(super) trait CrossEntropyOps: Backend {
    /// See [`token_losses`].
    fn vqgen_token_losses(logits: FloatTensor<Self>, targets: IntTensor<Self>)
    -> FloatTensor<Self>;
}

impl CrossEntropyOps for Flex {
    fn vqgen_token_losses(logits: FlexTensor, targets: FlexTensor) -> FlexTensor {
        let (losses, _) = forward(Values::of(logits), &targets);
        losses
    }
}

impl<C: CheckpointStrategy> CrossEntropyOps for Autodiff<Flex, C> {
    fn vqgen_token_losses(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let (losses, saved) = forward(Values::of(logits), &targets);
        match CrossEntropyBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(saved, losses),
            OpsKind::UnTracked(step) => step.finish(losses),
        }
    }
}

/// Saved for the backward pass.
#[derive(Debug, Clone)]
struct Saved {
    logits: Values,
    targets: Vec<usize>,
    rows: Vec<Row>,
}

/// Normalisation of a row of logits.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    max: f32,
    /// Sum of e^(logit - max).
    sum: f32,
}

fn forward(logits: Values, targets: &FlexTensor) -> (FlexTensor, Saved) {
    let [n_rows, classes] = logits.dims();
    let targets = indices(targets);
    assert_eq!(targets.len(), n_rows, "targets of {n_rows} rows of logits");
    for (row, &target) in targets.iter().enumerate() {
        assert!(target < classes, "target {target} of row {row} among {classes} classes");
    }
    let mut rows = vec![Row::default(); n_rows];
    let mut losses = vec![0.0; n_rows];
    if classes > 0 {
        let logits = logits.slice().par_chunks(ROWS * classes);
        let rows = rows.par_chunks_mut(ROWS).zip(losses.par_chunks_mut(ROWS));
        let tasks = logits.zip(targets.par_chunks(ROWS)).zip(rows);
        tasks.for_each(|((logits, targets), (rows, losses))| {
            for (index, logits) in logits.chunks_exact(classes).enumerate() {
                let row = row_sums(logits);
                rows[index] = row;
                losses[index] = row.sum.ln() - (logits[targets[index]] - row.max);
            }
        });
    }
    (tensor(losses, [n_rows]), Saved { logits, targets, rows })
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 1> for CrossEntropyBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let ([Some(parent)], Saved { logits, targets, rows }) = (ops.parents, ops.state) else {
            return;
        };
        let [n_rows, classes] = logits.dims();
        let out = in_blocks(n_rows * classes, ROWS * classes, |task, out| {
            let logits = &logits.slice()[task * ROWS * classes..];
            let outs = out.chunks_exact_mut(classes);
            for (index, (out, logits)) in outs.zip(logits.chunks_exact(classes)).enumerate() {
                let index = task * ROWS + index;
                let scale = gradient.slice()[index];
                scaled_probabilities(logits, rows[index], scale, out);
                out[targets[index]] -= scale;
            }
        });
        grads.register::<Flex>(parent.id, tensor(out, [n_rows, classes]));
    }
}

vectorised! {
    fn row_sums(logits: &[f32]) -> Row {
        let max = max(logits);
        Row { max, sum: sum(logits, |logit| exp(logit - max)) }
    }
}

vectorised! {
    fn scaled_probabilities(logits: &[f32], row: Row, scale: f32, out: &mut [f32]) {
        let scale = scale / row.sum;
        for (out, logit) in out.iter_mut().zip(logits) {
            *out = exp(logit - row.max) * scale;
        }
    }
}
