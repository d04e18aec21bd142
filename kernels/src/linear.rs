//! Linear layers in blocks of rows, with a fused epilogue (bias, GELU, dropout, residual) while a block is in the
//! cache.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::activation::{gelu, gelu_and_slope, squared_relu, squared_relu_and_slope};
use super::dropout::Mask;
use super::extension::{Optional, optional, optional_parts};
use super::fresh::{Pieces, set_from, set_in_blocks, set_in_blocks_with, set_pair_in_blocks};
use super::gradients::{MapGradients, Wanted};
use super::precision::Precision;
use super::product::{Left, Matrix, PART_STEP, Right, product_in, sum_of_products};
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::sums::{add, sum_of};
use super::wide::wide;

/// Fewest rows for which these kernels are meant: with fewer, a GEMM has too few row blocks to occupy the cores.
pub const LINEAR_ROWS: usize = 64;

/// Most rows of a block: its results stay in the L2 cache until the epilogue is done.
const MOST_ROWS: usize = 128;

/// Rows whose contribution to the weight gradient is one GEMM.
const PART_ROWS: usize = 256;

/// Rows whose gradients are computed at once: they stay in the L2 cache while in use (32 and 64 take the same time).
const FEW_ROWS: usize = 64;

const _: () = assert!(FEW_ROWS.is_multiple_of(PART_STEP));

/// The epilogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// GELU.
    Gelu,
    /// The square of ReLU (So et al. 2021, "Primer").
    SquaredRelu,
    /// Dropout, if any, then adds the residual.
    Add(Option<Mask>),
}

/// `x · weight + bias`, then the epilogue `after`; `residual` is for [`After::Add`].
///
/// # Shapes
/// - x: `[rows, width_in]`
/// - weight: `[width_in, width_out]`
/// - bias: `[width_out]`
/// - output, residual: `[rows, width_out]`
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<2>>,
    after: After,
    precision: Precision,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (bias, residual) = (optional(bias), optional(residual));
    Tensor::from_dispatch(Dispatch::vqgen_linear(x, weight, bias, residual, after, precision))
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
        precision: Precision,
    ) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn vqgen_linear(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        residual: Optional<Self>,
        after: After,
        precision: Precision,
    ) -> FlexTensor {
        let map = LinearMap::new(x, weight, after, precision);
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
        precision: Precision,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = optional_parts::<C>(bias);
        let (residual, residual_node) = optional_parts::<C>(residual);
        let mut map = LinearMap::new(x, weight, after, precision);
        match LinearBackward
            .prepare::<C>([x_node, weight_node, bias_node, residual_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => {
                let bias = bias.as_ref();
                let out = match after {
                    After::Gelu => map.forward_keeping_slopes(bias, gelu_and_slope),
                    After::SquaredRelu => map.forward_keeping_slopes(bias, squared_relu_and_slope),
                    _ => map.forward(bias, residual.as_ref()),
                };
                step.finish(map, out)
            }
            OpsKind::UnTracked(step) => step.finish(map.forward(bias.as_ref(), residual.as_ref())),
        }
    }
}

/// The layer with its operands.
#[derive(Debug, Clone)]
struct LinearMap {
    x: Values,
    weight: Values,
    after: After,
    precision: Precision,
    /// Derivatives of the activation, for the backward pass.
    slopes: Option<Values>,
}

impl LinearMap {
    fn new(x: FlexTensor, weight: FlexTensor, after: After, precision: Precision) -> Self {
        Self { x: Values::of(x), weight: Values::of(weight), after, precision, slopes: None }
    }

    /// Rows, input width and output width.
    fn sizes(&self) -> [usize; 3] {
        let ([rows, width_in], [weight_in, width_out]) = (self.x.dims(), self.weight.dims());
        assert_eq!(width_in, weight_in, "width of a linear map's input");
        [rows, width_in, width_out]
    }

    fn x(&self) -> Matrix<'_> {
        let [rows, width_in, _] = self.sizes();
        Matrix::new(self.x.slice(), rows, width_in)
    }

    fn weight(&self) -> Matrix<'_> {
        let [_, width_in, width_out] = self.sizes();
        Matrix::new(self.weight.slice(), width_in, width_out)
    }

    /// Rows of a block.
    fn block_rows(&self) -> usize {
        let [rows, _, _] = self.sizes();
        rows.div_ceil(8).clamp(LINEAR_ROWS / 4, MOST_ROWS)
    }

    /// The product plus the bias, for the rows of a block.
    fn product<'a>(
        &self,
        block: usize,
        weight: &Right,
        bias: Option<&[f32]>,
        out: &'a mut [MaybeUninit<f32>],
    ) -> &'a mut [f32] {
        let [_, _, width_out] = self.sizes();
        let first = block * self.block_rows();
        let rows = first..first + out.len() / width_out;
        let out = product_in(out, &Left::new(self.x().rows_at(rows), self.precision), weight);
        if let Some(bias) = bias {
            wide!({
                for row in out.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
                }
            });
        }
        out
    }

    fn forward(&self, bias: Option<&Values>, residual: Option<&Values>) -> FlexTensor {
        let [rows, _, width] = self.sizes();
        let bias = bias.map(Values::slice);
        let block_len = self.block_rows() * width;
        let weight = Right::shared(self.weight(), self.precision);
        let out = set_in_blocks(rows * width, block_len, |index, out| {
            let out = self.product(index, &weight, bias, out);
            match (self.after, residual) {
                (After::Gelu, _) => wide!(out.iter_mut().for_each(|value| *value = gelu(*value))),
                (After::SquaredRelu, _) => {
                    wide!(out.iter_mut().for_each(|x| *x = squared_relu(*x)))
                }
                (After::Add(mask), Some(residual)) => {
                    let from = index * block_len;
                    add_masked(out, &residual.slice()[from..], mask, from);
                }
                _ => {}
            }
            out
        });
        tensor(out, [rows, width])
    }

    /// The forward pass with an activation, keeping its derivatives.
    fn forward_keeping_slopes(
        &mut self,
        bias: Option<&Values>,
        activation: impl Fn(f32) -> (f32, f32) + Copy + Sync,
    ) -> FlexTensor {
        let [rows, _, width] = self.sizes();
        let bias = bias.map(Values::slice);
        let weight = Right::shared(self.weight(), self.precision);
        let block_len = self.block_rows() * width;
        let (out, slopes) = set_pair_in_blocks(rows * width, block_len, |index, out, slopes| {
            let out = self.product(index, &weight, bias, out);
            let slopes = wide!(set_from(slopes, out, activation));
            (out, slopes)
        });
        self.slopes = Some(Values::of(tensor(slopes, [rows, width])));
        tensor(out, [rows, width])
    }

    /// Given `gradient` w.r.t. the output, which is also that w.r.t. the residual.
    fn gradients(&self, gradient: &Values, wanted: Wanted) -> MapGradients {
        if wanted.is_nothing() {
            return MapGradients::default();
        }
        let [rows, width_in, width_out] = self.sizes();
        // Where there is an input gradient, its blocks are the parts.
        let by_input = wanted.input && width_in > 0;
        let weight = || Right::shared(self.weight().transposed(), self.precision);
        let weight = by_input.then(weight);
        let part_of = |part: usize| part * PART_ROWS..rows.min((part + 1) * PART_ROWS);
        let (input, parts) = match &weight {
            Some(weight) => {
                set_in_blocks_with(rows * width_in, PART_ROWS * width_in, |part, input| {
                    let mut pieces = Pieces::of(input);
                    let found =
                        self.part_gradients(gradient, part_of(part), wanted, |by_product| {
                            let len = by_product.rows() * width_in;
                            let by_product = Left::new(by_product, self.precision);
                            pieces.set_next(len, |piece| product_in(piece, &by_product, weight));
                        });
                    (pieces.finish(), found)
                })
            }
            None => {
                let parts = (0..rows.div_ceil(PART_ROWS)).into_par_iter();
                let found = |part| self.part_gradients(gradient, part_of(part), wanted, |_| {});
                (Vec::new(), parts.map(found).collect())
            }
        };
        let (operands, biases): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let operands: Vec<_> = operands.into_iter().flatten().collect();
        MapGradients {
            input: wanted.input.then_some(input),
            weight: wanted.weight.then(|| sum_of_products([width_in, width_out], &operands)),
            bias: wanted.bias.then(|| sum_of(biases, width_out)),
        }
    }

    /// The operands whose product is the contribution of `rows` to the weight gradient, and their contribution to the
    /// bias gradient, empty where not wanted. `each` gets the gradients w.r.t. the product, a few rows at a time.
    fn part_gradients(
        &self,
        gradient: &Values,
        rows: Range<usize>,
        wanted: Wanted,
        mut each: impl FnMut(Matrix),
    ) -> (Option<(Left<'_>, Right)>, Vec<f32>) {
        let [_, _, width_out] = self.sizes();
        let mut biases = vec![0.0; if wanted.bias { width_out } else { 0 }];
        let mut each_few = |add: &mut dyn FnMut(Matrix)| {
            for first in rows.clone().step_by(FEW_ROWS) {
                let few = FEW_ROWS.min(rows.end - first);
                let (from, len) = (first * width_out, few * width_out);
                self.with_product_gradient(gradient.slice(), from, len, |values| {
                    let by_product = Matrix::new(values, few, width_out);
                    if wanted.bias {
                        by_product.sum_rows(&mut biases);
                    }
                    add(by_product);
                    each(by_product);
                });
            }
        };
        if !wanted.weight {
            each_few(&mut |_| {});
            return (None, biases);
        }
        let x = Left::new(self.x().rows_at(rows.clone()).transposed(), self.precision);
        let by_product = Right::from_parts([rows.len(), width_out], self.precision, each_few);
        (Some((x, by_product)), biases)
    }

    /// Calls `work` with the gradient w.r.t. the product, computed from that w.r.t. the output.
    fn with_product_gradient(
        &self,
        gradient: &[f32],
        from: usize,
        len: usize,
        work: impl FnOnce(&[f32]),
    ) {
        let gradient = &gradient[from..from + len];
        match (self.after, &self.slopes) {
            (After::Gelu | After::SquaredRelu, Some(slopes)) => with_scratch(len, |scratch| {
                let operands = gradient.iter().zip(&slopes.slice()[from..]);
                let places = scratch.iter_mut().zip(operands);
                wide!(places.for_each(|(out, (&gradient, &slope))| *out = gradient * slope));
                work(scratch);
            }),
            (After::Add(Some(mask)), _) => with_scratch(len, |scratch| {
                let places = scratch.iter_mut().zip(gradient).enumerate();
                wide!(places.for_each(|(at, (out, &g))| *out = g * mask.factor(from + at)));
                work(scratch);
            }),
            _ => work(gradient),
        }
    }
}

/// `out = out · mask + residual`, where `out` starts at index `from` of the output.
fn add_masked(out: &mut [f32], residual: &[f32], mask: Option<Mask>, from: usize) {
    match mask {
        Some(mask) => {
            let places = out.iter_mut().zip(residual).enumerate();
            wide!({
                places.for_each(|(at, (out, &add))| *out = add + *out * mask.factor(from + at));
            });
        }
        None => add(out, residual),
    }
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
        let wanted = Wanted::by([&x_parent, &weight_parent, &bias_parent]);
        let parents =
            [x_parent, weight_parent, bias_parent].map(|parent| parent.map(|parent| parent.id));
        let gradients = map.gradients(&gradient, wanted);
        gradients.register(grads, parents, [rows, width_in], [width_in, width_out]);
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
        let random = |item, shape: [usize; 2]| tensor(normals(item, shape[0] * shape[1]), shape);
        let precisions = [Some(Precision::F32), Precision::bf16()];
        for (rows, precision) in [7, 300, 600].into_iter().zip(precisions.into_iter().cycle()) {
            let Some(precision) = precision else { continue };
            for after in [After::Nothing, After::Gelu, After::Add(Some(Mask::new(0.5, 3)))] {
                let [x, weight] = [random(0, [rows, 17]), random(1, [17, 33])];
                let mut map = LinearMap::new(x, weight, after, precision);
                if after == After::Gelu {
                    map.forward_keeping_slopes(None, gelu_and_slope);
                }
                let gradient = Values::of(random(2, [rows, 33]));
                check_what_is_wanted(|wanted| map.gradients(&gradient, wanted));
            }
        }
    }
}
