//! Linear maps in blocks of rows, with what comes right after them done while a block is in the cache.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::activation::{gelu, gelu_slope};
use super::dropout::Mask;
use super::elementwise::BLOCK;
use super::extension::{Optional, optional, optional_parts};
use super::fresh::{in_blocks, in_blocks_with, pair_in_blocks};
use super::matmul::{Matrix, matmul};
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::wide::wide;

/// Fewest rows for which these kernels are meant: below, a product has too few blocks of rows for the cores.
pub(in crate::ops) const LINEAR_ROWS: usize = 64;

/// Most rows of a block. Each block packs the weights anew, and large blocks leave cores idle: at 2048 x 1024 x
/// 256, blocks of 64, 128, 256, 512 and 1024 rows took 7.6, 7.2, 6.8, 6.6 and 6.5 ms on two busy cores.
const MOST_ROWS: usize = 256;

/// Most parts of the rows for the sums over all rows, each of the size of the weights.
const PARTS: usize = 16;

/// What follows the map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::ops) enum After {
    /// Nothing.
    Nothing,
    /// The activation.
    Gelu,
    /// Dropout, if any, then the sum with the residual.
    Add(Option<Mask>),
}

/// `x · weight + bias`, then `after`; `residual` is for [`After::Add`].
pub(in crate::ops) fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<2>>,
    after: After,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (bias, residual) = (optional(bias), optional(residual));
    Tensor::from_dispatch(Dispatch::vqgen_linear(x, weight, bias, residual, after))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait LinearOps: Backend {
    /// See [`linear`].
    fn vqgen_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        #[extension_type] residual: Optional<Self>,
        after: After,
    ) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn vqgen_linear(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        residual: Optional<Self>,
        after: After,
    ) -> FlexTensor {
        let map = LinearMap::new(x, weight, after);
        map.forward(bias.values().as_ref(), residual.values().as_ref())
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn vqgen_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        residual: Optional<Self>,
        after: After,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = optional_parts::<C>(bias);
        let (residual, residual_node) = optional_parts::<C>(residual);
        let mut map = LinearMap::new(x, weight, after);
        match LinearBackward
            .prepare::<C>([x_node, weight_node, bias_node, residual_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => {
                let out = if after == After::Gelu {
                    map.forward_keeping_sums(bias.as_ref())
                } else {
                    map.forward(bias.as_ref(), residual.as_ref())
                };
                step.finish(map, out)
            }
            OpsKind::UnTracked(step) => step.finish(map.forward(bias.as_ref(), residual.as_ref())),
        }
    }
}

/// The map with its operands.
#[derive(Debug, Clone)]
struct LinearMap {
    x: Values,
    weight: Values,
    after: After,
    /// The input of the activation, for the backward pass.
    sums: Option<Values>,
}

/// Gradients by the operands.
struct LinearGradients {
    input: Option<Vec<f32>>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LinearMap {
    fn new(x: FlexTensor, weight: FlexTensor, after: After) -> Self {
        Self { x: Values::of(x), weight: Values::of(weight), after, sums: None }
    }

    /// Rows, columns in and columns out.
    fn sizes(&self) -> [usize; 3] {
        let ([rows, width_in], [weight_in, width_out]) = (self.x.dims(), self.weight.dims());
        assert_eq!(width_in, weight_in, "width of a linear map's input");
        [rows, width_in, width_out]
    }

    /// Rows of a block of the forward pass: a function of the number of rows alone.
    fn block_rows(&self) -> usize {
        let [rows, _, _] = self.sizes();
        rows.div_ceil(8).clamp(LINEAR_ROWS / 4, MOST_ROWS)
    }

    /// Sets `out`, the rows from `first` on, to the product plus the bias.
    fn product(&self, first: usize, bias: Option<&[f32]>, out: &mut [f32]) {
        let [_, width_in, width_out] = self.sizes();
        let rows = out.len() / width_out;
        if let Some(bias) = bias {
            out.chunks_exact_mut(width_out).for_each(|row| row.copy_from_slice(bias));
        }
        let x = Matrix::new(&self.x.slice()[first * width_in..], rows, width_in);
        let weight = Matrix::new(self.weight.slice(), width_in, width_out);
        matmul(out, x, weight, bias.is_some());
    }

    fn forward(&self, bias: Option<&Values>, residual: Option<&Values>) -> FlexTensor {
        let [rows, _, width] = self.sizes();
        let bias = bias.map(Values::slice);
        let block_rows = self.block_rows();
        let out = in_blocks(rows * width, block_rows * width, |index, out| {
            let first = index * block_rows;
            self.product(first, bias, out);
            match (self.after, residual) {
                (After::Gelu, _) => wide(|| out.iter_mut().for_each(|value| *value = gelu(*value))),
                (After::Add(mask), Some(residual)) => {
                    let from = first * width;
                    add_masked(out, &residual.slice()[from..], mask, from);
                }
                _ => {}
            }
        });
        tensor(out, [rows, width])
    }

    /// The forward pass of the activation, which keeps what the activation gets.
    fn forward_keeping_sums(&mut self, bias: Option<&Values>) -> FlexTensor {
        let [rows, _, width] = self.sizes();
        let bias = bias.map(Values::slice);
        let block_rows = self.block_rows();
        let work = |index, sums: &mut [f32], out: &mut [f32]| {
            self.product(index * block_rows, bias, sums);
            let sums: &[f32] = sums;
            wide(|| out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = gelu(sum)));
        };
        let (sums, out) = pair_in_blocks(rows * width, block_rows * width, work);
        self.sums = Some(Values::of(tensor(sums, [rows, width])));
        tensor(out, [rows, width])
    }

    fn gradients(&self, gradient: &Values, wants_input: bool) -> LinearGradients {
        let [rows, width_in, width_out] = self.sizes();
        let part_rows = rows.div_ceil(PARTS).max(MOST_ROWS);
        let (input, parts) = if wants_input {
            let part_len = part_rows * width_in;
            let (input, parts) = in_blocks_with(rows * width_in, part_len, |part, input| {
                self.part_gradients(gradient, part * part_rows, part_rows, Some(input))
            });
            (Some(input), parts)
        } else {
            let parts = (0..rows.div_ceil(part_rows)).into_par_iter();
            let parts =
                parts.map(|part| self.part_gradients(gradient, part * part_rows, part_rows, None));
            (None, parts.collect())
        };
        let (weights, biases): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        LinearGradients {
            input,
            weight: sum_of(weights, width_in * width_out),
            bias: sum_of(biases, width_out),
        }
    }

    /// Gradients by weight and bias that `part_rows` rows from `first` on contribute, and those of these rows of
    /// the input into `input`.
    fn part_gradients(
        &self,
        gradient: &Values,
        first: usize,
        part_rows: usize,
        mut input: Option<&mut [f32]>,
    ) -> (Vec<f32>, Vec<f32>) {
        let [rows, width_in, width_out] = self.sizes();
        let last = (first + part_rows).min(rows);
        let weight = Matrix::new(self.weight.slice(), width_in, width_out);
        let mut weights = vec![0.0; width_in * width_out];
        let mut biases = vec![0.0; width_out];
        for from in (first..last).step_by(MOST_ROWS) {
            let n = MOST_ROWS.min(last - from);
            let x = Matrix::new(&self.x.slice()[from * width_in..], n, width_in);
            self.with_product_gradient(gradient.slice(), from * width_out, n * width_out, |rows| {
                rows.chunks_exact(width_out).for_each(|row| add(&mut biases, row));
                let gradient = Matrix::new(rows, n, width_out);
                matmul(&mut weights, x.transposed(), gradient, from > first);
                if let Some(input) = input.as_deref_mut() {
                    let out = &mut input[(from - first) * width_in..];
                    matmul(out, gradient, weight.transposed(), false);
                }
            });
        }
        (weights, biases)
    }

    /// `work` on the gradient by the product, from that by the output.
    fn with_product_gradient(
        &self,
        gradient: &[f32],
        from: usize,
        len: usize,
        work: impl FnOnce(&[f32]),
    ) {
        let gradient = &gradient[from..from + len];
        match (self.after, &self.sums) {
            (After::Gelu, Some(sums)) => with_scratch(len, |scratch| {
                let operands = gradient.iter().zip(&sums.slice()[from..]);
                wide(|| {
                    let places = scratch.iter_mut().zip(operands);
                    places.for_each(|(out, (&gradient, &x))| *out = gradient * gelu_slope(x));
                });
                work(scratch);
            }),
            (After::Add(Some(mask)), _) => with_scratch(len, |scratch| {
                let places = scratch.iter_mut().zip(gradient).enumerate();
                wide(|| places.for_each(|(at, (out, &g))| *out = g * mask.factor(from + at)));
                work(scratch);
            }),
            _ => work(gradient),
        }
    }
}

/// `out = out · mask + residual`, where `out` starts at the place `from`.
fn add_masked(out: &mut [f32], residual: &[f32], mask: Option<Mask>, from: usize) {
    match mask {
        Some(mask) => {
            let places = out.iter_mut().zip(residual).enumerate();
            wide(|| {
                places.for_each(|(at, (out, &add))| *out = add + *out * mask.factor(from + at));
            });
        }
        None => add(out, residual),
    }
}

/// The sum of `parts`, added in order.
fn sum_of(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let Some(mut sum) = parts.next() else { return vec![0.0; len] };
    let rest: Vec<_> = parts.collect();
    sum.par_chunks_mut(BLOCK).enumerate().for_each(|(index, block)| {
        let from = index * BLOCK;
        rest.iter().for_each(|part| add(block, &part[from..from + block.len()]));
    });
    sum
}

fn add(sums: &mut [f32], values: &[f32]) {
    wide(|| sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value));
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 4> for LinearBackward {
    type State = LinearMap;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, weight_parent, bias_parent, residual_parent] = ops.parents;
        let map = ops.state;
        let [rows, width_in, width_out] = map.sizes();
        let LinearGradients { input, weight, bias } = map.gradients(&gradient, x_parent.is_some());
        if let (Some(parent), Some(input)) = (x_parent, input) {
            grads.register::<Flex>(parent.id, tensor(input, [rows, width_in]));
        }
        if let Some(parent) = weight_parent {
            grads.register::<Flex>(parent.id, tensor(weight, [width_in, width_out]));
        }
        if let Some(parent) = bias_parent {
            grads.register::<Flex>(parent.id, tensor(bias, [width_out]));
        }
        if let Some(parent) = residual_parent {
            grads.register::<Flex>(parent.id, gradient.into_tensor());
        }
    }
}
