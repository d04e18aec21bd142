//! Layer norm, and the norm by the root mean square (Zhang and Sennrich 2019), which is the same without a mean and a
//! bias, in one pass over the rows forward and one backward. A row keeps its mean and 1 / standard deviation.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::extension::{Optional, optional, optional_parts};
use super::fresh::in_blocks_with;
use super::gradients::{MapGradients, Wanted};
use super::math::{sum, sum_pairs};
use super::slices::{Values, tensor};
use super::wide::vectorised;

/// Rows of a task, whose gain and bias gradients are summed before the sums of tasks are: it fixes the order of
/// summation.
const ROWS: usize = 64;

/// Normalises each row to mean 0 and variance 1, multiplies by `gain` and adds `bias`. The variance is the biased one,
/// to which `epsilon` is added.
///
/// # Shapes
/// - x, output: `[rows, width]`
/// - gain, bias: `[width]`
pub fn layer_norm(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    norm(x, gain, Some(bias), epsilon)
}

/// Divides each row by its root mean square and multiplies by `gain`; `epsilon` is added to the mean square.
///
/// # Shapes
/// - x, output: `[rows, width]`
/// - gain: `[width]`
pub fn rms_norm(x: Tensor<2>, gain: Tensor<1>, epsilon: f64) -> Tensor<2> {
    norm(x, gain, None, epsilon)
}

fn norm(x: Tensor<2>, gain: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f64) -> Tensor<2> {
    let (x, gain, bias) = (x.into_dispatch(), gain.into_dispatch(), optional(bias));
    Tensor::from_dispatch(Dispatch::vqgen_row_norm(x, gain, bias, epsilon as f32))
}

/// The operation as the backend sees it.
#[backend_extension(Flex, Autodiff)]
pub(super) trait RowNormOps: Backend {
    /// See [`layer_norm`], and without a bias [`rms_norm`].
    fn vqgen_row_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

impl RowNormOps for Flex {
    fn vqgen_row_norm(
        x: FlexTensor,
        gain: FlexTensor,
        bias: Optional<Self>,
        epsilon: f32,
    ) -> FlexTensor {
        let bias = bias.values();
        let (out, _) = forward(Values::of(x), Values::of(gain), bias.as_ref(), epsilon);
        out
    }
}

impl<C: CheckpointStrategy> RowNormOps for Autodiff<Flex, C> {
    fn vqgen_row_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: Optional<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let (bias, bias_node) = optional_parts::<C>(bias);
        let (out, saved) = forward(Values::of(x), Values::of(gain), bias.as_ref(), epsilon);
        let nodes = [x_node, gain_node, bias_node];
        match RowNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(saved, out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

/// Saved for the backward pass.
#[derive(Debug, Clone)]
struct Saved {
    x: Values,
    gain: Values,
    rows: Vec<Row>,
    /// Whether the mean was subtracted.
    is_centred: bool,
}

/// Statistics of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    mean: f32,
    /// 1 / standard deviation.
    scale: f32,
}

fn forward(x: Values, gain: Values, bias: Option<&Values>, epsilon: f32) -> (FlexTensor, Saved) {
    let [n_rows, width] = x.dims();
    assert_eq!(gain.dims(), [width], "gain of rows of {width}");
    let bias = bias.map(Values::slice);
    assert_eq!(bias.map_or(width, <[f32]>::len), width, "bias of rows of {width}");
    let (out, rows) = in_blocks_with(n_rows * width, ROWS * width, |index, out| {
        let mut rows = vec![Row::default(); out.len() / width];
        let x = &x.slice()[index * ROWS * width..][..out.len()];
        normalise(x, gain.slice(), bias, epsilon, out, &mut rows);
        rows
    });
    let (rows, is_centred) = (rows.concat(), bias.is_some());
    (tensor(out, [n_rows, width]), Saved { x, gain, rows, is_centred })
}

#[derive(Debug)]
struct RowNormBackward;

impl Backward<Flex, 3> for RowNormBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, gain_parent, bias_parent] = ops.parents;
        let saved = ops.state;
        let [n_rows, width] = saved.x.dims();
        let wanted = Wanted::by([&x_parent, &gain_parent, &bias_parent]);
        let parents =
            [x_parent, gain_parent, bias_parent].map(|parent| parent.map(|parent| parent.id));
        let gradients = saved.gradients(gradient.slice(), wanted);
        gradients.register(grads, parents, [n_rows, width], [width]);
    }
}

impl Saved {
    /// Gradients w.r.t. `x`, the gain (as `weight`) and the bias, given `gradient` w.r.t. the output.
    fn gradients(&self, gradient: &[f32], wanted: Wanted) -> MapGradients {
        let &Self { ref x, ref gain, ref rows, is_centred } = self;
        let [n_rows, width] = x.dims();
        let block_len = ROWS * width;
        let wants_sums = wanted.weight || wanted.bias;
        // Of each task, the gain gradient followed by the bias gradient.
        let of_block = |index: usize, by_x: &mut [f32]| {
            let mut sums = vec![0.0; if wants_sums { 2 * width } else { 0 }];
            let part = index * block_len..gradient.len().min((index + 1) * block_len);
            let (x, gradient) = (&x.slice()[part.clone()], &gradient[part]);
            let rows = &rows[index * ROWS..];
            gradients(x, rows, is_centred, gain.slice(), gradient, by_x, &mut sums);
            sums
        };
        let (input, sums) = if wanted.input {
            let (input, sums) = in_blocks_with(n_rows * width, block_len, of_block);
            (Some(input), sums)
        } else {
            let blocks = (0..n_rows.div_ceil(ROWS)).into_par_iter();
            (None, blocks.map(|index| of_block(index, &mut [])).collect())
        };
        let mut by_gain = vec![0.0; 2 * width];
        for sums in sums {
            by_gain.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let by_bias = by_gain.split_off(width);
        MapGradients {
            input,
            weight: wanted.weight.then_some(by_gain),
            bias: wanted.bias.then_some(by_bias),
        }
    }
}

vectorised! {
    /// Without a bias no mean is subtracted.
    pub(super) fn normalise(
        x: &[f32],
        gain: &[f32],
        bias: Option<&[f32]>,
        epsilon: f32,
        out: &mut [f32],
        rows: &mut [Row],
    ) {
        let width = gain.len();
        let pairs = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for ((x, out), row) in pairs.zip(rows) {
            // Equal lengths spelled out, so that the indices below need no bounds checks.
            let (x, out) = (&x[..width], &mut out[..width]);
            let mean = if bias.is_some() { sum(x, |x| x) / width as f32 } else { 0.0 };
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            match bias {
                Some(bias) => {
                    let bias = &bias[..width];
                    for i in 0..width {
                        out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
                    }
                }
                None => {
                    for i in 0..width {
                        out[i] = x[i] * scale * gain[i];
                    }
                }
            }
            *row = Row { mean, scale };
        }
    }
}

vectorised! {
    /// `sums` holds the gain gradient followed by the bias gradient, and starts at 0. It and `by_x` are empty where not
    /// wanted.
    fn gradients(
        x: &[f32],
        rows: &[Row],
        is_centred: bool,
        gain: &[f32],
        gradient: &[f32],
        by_x: &mut [f32],
        sums: &mut [f32],
    ) {
        let width = gain.len();
        let (by_gain, by_bias) = sums.split_at_mut(sums.len() / 2);
        let mut all_by_x = by_x.chunks_exact_mut(width);
        let inputs = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((x, gradient), &Row { mean, scale }) in inputs.zip(rows) {
            // Equal lengths spelled out, so that the indices below need no bounds checks.
            let (x, gradient) = (&x[..width], &gradient[..width]);
            if !by_gain.is_empty() {
                let (by_gain, by_bias) = (&mut by_gain[..width], &mut by_bias[..width]);
                for i in 0..width {
                    by_gain[i] += gradient[i] * (x[i] - mean) * scale;
                    by_bias[i] += gradient[i];
                }
            }
            let Some(by_x) = all_by_x.next() else { continue };
            let by_x = &mut by_x[..width];
            // The gradient w.r.t. the normalised row, stored in the buffer of that w.r.t. the row.
            for i in 0..width {
                by_x[i] = gradient[i] * gain[i];
            }
            let slope = if is_centred { sum(by_x, |slope| slope) / width as f32 } else { 0.0 };
            let along = sum_pairs(by_x, x, |slope, x| slope * (x - mean)) / width as f32;
            let along = along * scale * scale;
            for i in 0..width {
                by_x[i] = scale * (by_x[i] - slope - (x[i] - mean) * along);
            }
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
        let random =
            |item, shape: [usize; 2]| Values::of(tensor(normals(item, shape[0] * shape[1]), shape));
        for rows in [1, 64, 150] {
            let [gain, bias] = [1, 2].map(|item| Values::of(tensor(normals(item, 19), [19])));
            let (_, saved) = forward(random(0, [rows, 19]), gain, Some(&bias), 1e-5);
            let gradient = random(3, [rows, 19]);
            check_what_is_wanted(|wanted| saved.gradients(gradient.slice(), wanted));
        }
    }
}
