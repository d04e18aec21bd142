//! Causal attention, with a prefix that sees itself whole, parallel over images and heads. Only queries, keys and values are kept for the backward pass,
//! which recomputes the attention weights.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::attention_head::Head;
use super::fetch::fetch;
use super::fresh::set_in_blocks;
use super::head_map::{HeadMap, Side};
use super::precision::Precision;
use super::product::{Matrix, MatrixMut};
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::weight_mask::WeightMask;
use super::wide::vectorised;

/// `softmax(q · kᵀ / sqrt(head_dim)) · v` within each head, over the positions up to the query's own, and over all of the
/// first `prefix`. `map` is applied to queries and keys, `mask` drops attention weights.
///
/// # Shapes
/// - qkv: `[batch * sequence, 3 * width]`: queries, keys, values, each head by head
/// - output: `[batch * sequence, width]`
pub fn causal_attention(
    qkv: Tensor<2>,
    [prefix, sequence]: [usize; 2],
    heads: usize,
    map: HeadMap,
    mask: Option<WeightMask>,
    precision: Precision,
) -> Tensor<2> {
    assert!(prefix <= sequence, "a prefix of {prefix} in a sequence of {sequence}");
    let attention = Attention { prefix, sequence, heads, map, mask, precision };
    Tensor::from_dispatch(Dispatch::vqgen_causal_attention(qkv.into_dispatch(), attention))
}

/// The operation as the backend sees it.
#[backend_extension(Flex, Autodiff)]
pub(super) trait AttentionOps: Backend {
    /// See [`causal_attention`].
    fn vqgen_causal_attention(qkv: FloatTensor<Self>, attention: Attention) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn vqgen_causal_attention(qkv: FlexTensor, attention: Attention) -> FlexTensor {
        attention.forward(&Values::of(qkv))
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn vqgen_causal_attention(qkv: FloatTensor<Self>, attention: Attention) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let qkv = Values::of(qkv);
        let out = attention.forward(&qkv);
        match AttentionBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((qkv, attention), out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = (Values, Attention);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let ([Some(parent)], (qkv, attention)) = (ops.parents, ops.state) else { return };
        grads.register::<Flex>(parent.id, attention.backward(&qkv, &gradient));
    }
}

/// Shape, map of queries and keys, mask and precision.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    prefix: usize,
    sequence: usize,
    heads: usize,
    map: HeadMap,
    mask: Option<WeightMask>,
    precision: Precision,
}

impl Attention {
    fn forward(&self, qkv: &Values) -> FlexTensor {
        let [rows, width] = self.dims(qkv);
        let &Self { sequence, heads, .. } = self;
        let out = set_in_blocks(rows * width, sequence * width, |image, values| {
            let values_of_image = of_image(qkv, image, sequence);
            let qkv = fetched(qkv, image, sequence);
            // SAFETY: each head sets every row of its columns, by GEMMs that do not accumulate, and the heads cover all
            // columns.
            #[allow(unsafe_code)]
            unsafe {
                let mut out = MatrixMut::unset(values, sequence, width);
                for index in 0..heads {
                    let columns = self.columns(index, width);
                    let [q, k, v] = columns.clone().map(|columns| qkv.columns_at(columns));
                    let out = out.part(0..sequence, columns[0].clone());
                    let head = self.head(image, index, width);
                    self.with_mapped(values_of_image, [q, k], &columns, |[q, k]| {
                        head.forward([q, k, v], out);
                    });
                }
                values.assume_init_mut()
            }
        });
        tensor(out, [rows, width])
    }

    /// The gradient w.r.t. `qkv`, given that w.r.t. the output.
    fn backward(&self, qkv: &Values, gradient: &Values) -> FlexTensor {
        let [rows, width] = self.dims(qkv);
        let &Self { sequence, heads, .. } = self;
        let out = set_in_blocks(rows * 3 * width, sequence * 3 * width, |image, values| {
            let values_of_image = of_image(qkv, image, sequence);
            let qkv = fetched(qkv, image, sequence);
            let gradient = fetched(gradient, image, sequence);
            // SAFETY: each head sets every row of its columns in the three parts, beginning with the block that sees
            // all keys and does not accumulate, and the heads cover all columns.
            #[allow(unsafe_code)]
            unsafe {
                let mut out = MatrixMut::unset(values, sequence, 3 * width);
                for index in 0..heads {
                    let columns = self.columns(index, width);
                    let [q, k, v] = columns.clone().map(|columns| qkv.columns_at(columns));
                    let by_out = gradient.columns_at(columns[0].clone());
                    let head = self.head(image, index, width);
                    self.with_mapped(values_of_image, [q, k], &columns, |[q, k]| {
                        head.backward([q, k, v, by_out], &mut out, columns.clone());
                    });
                    self.map_back(values_of_image, &mut out, &columns);
                }
                values.assume_init_mut()
            }
        });
        tensor(out, [rows, 3 * width])
    }

    /// Calls `work` with the mapped queries and keys of a head, given those before the map, their columns, and the rows
    /// of the image.
    fn with_mapped(
        &self,
        qkv: &[f32],
        parts: [Matrix; 2],
        [queries, keys, _]: &[Range<usize>; 3],
        work: impl FnOnce([Matrix; 2]),
    ) {
        if self.map.is_identity() {
            return work(parts);
        }
        let (sequence, head_dim) = (self.sequence, queries.len());
        with_scratch(2 * sequence * head_dim, |mapped| {
            let sides = [(Side::Query, queries), (Side::Key, keys)];
            let halves = mapped.chunks_exact_mut(sequence * head_dim);
            for (mapped, (side, columns)) in halves.zip(sides) {
                map_rows(qkv, columns.clone(), &self.map, side, mapped, sequence);
            }
            let (q, k) = mapped.split_at(sequence * head_dim);
            work([q, k].map(|mapped| Matrix::new(mapped, sequence, head_dim)));
        });
    }

    /// Turns the gradients w.r.t. a head's mapped queries and keys into those w.r.t. the queries and keys.
    fn map_back(&self, qkv: &[f32], by: &mut MatrixMut, columns: &[Range<usize>; 3]) {
        if self.map.is_identity() {
            return;
        }
        let row_len = qkv.len() / self.sequence;
        for (position, row) in qkv.chunks_exact(row_len).enumerate() {
            for (side, columns) in [Side::Query, Side::Key].into_iter().zip(columns) {
                let by = by.row(position, columns.start, columns.len());
                gradient_of_row(&row[columns.clone()], by, &self.map, side, position);
            }
        }
    }

    /// Rows and width of the output.
    fn dims(&self, qkv: &Values) -> [usize; 2] {
        let [rows, three_widths] = qkv.dims();
        assert_eq!(three_widths % (3 * self.heads), 0, "{three_widths} columns for {self:?}");
        assert_eq!(rows % self.sequence, 0, "{rows} rows for {self:?}");
        [rows, three_widths / 3]
    }

    /// Columns of the queries, keys and values of a head. Its output has the columns of its queries.
    fn columns(&self, index: usize, width: usize) -> [Range<usize>; 3] {
        let head_dim = width / self.heads;
        [0, width, 2 * width].map(|part| {
            let first = part + index * head_dim;
            first..first + head_dim
        })
    }

    fn head(&self, image: usize, index: usize, width: usize) -> Head {
        Head {
            prefix: self.prefix,
            sequence: self.sequence,
            head_dim: width / self.heads,
            mask: self.mask,
            precision: self.precision,
            first_row: (image * self.heads + index) * self.sequence,
        }
    }
}

vectorised! {
    /// Sets `mapped`, `[sequence, head_dim]`, to the map of these columns of `qkv`.
    fn map_rows(
        qkv: &[f32],
        columns: Range<usize>,
        map: &HeadMap,
        side: Side,
        mapped: &mut [f32],
        sequence: usize,
    ) {
        let rows = qkv.chunks_exact(qkv.len() / sequence);
        for ((position, row), mapped) in rows.enumerate().zip(mapped.chunks_exact_mut(columns.len())) {
            mapped.copy_from_slice(&row[columns.clone()]);
            map.apply(mapped, side, position);
        }
    }
}

vectorised! {
    fn gradient_of_row(head: &[f32], by: &mut [f32], map: &HeadMap, side: Side, position: usize) {
        map.gradient(head, by, side, position);
    }
}

/// The rows of an image.
fn of_image(values: &Values, image: usize, sequence: usize) -> &[f32] {
    let [_, columns] = values.dims();
    &values.slice()[image * sequence * columns..][..sequence * columns]
}

/// The rows of an image, prefetched: the heads read a few values of each.
fn fetched(values: &Values, image: usize, sequence: usize) -> Matrix<'_> {
    let [_, columns] = values.dims();
    let values = of_image(values, image, sequence);
    fetch(values);
    Matrix::new(values, sequence, columns)
}
