//! Causal attention over the images of a batch in parallel, head by head. The backward pass keeps only the
//! queries, keys and values and computes the weights again.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::attention_head::{Columns, Head};
use super::fresh::in_blocks;
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::weight_mask::WeightMask;
use crate::ops::Dropout;

/// See [`crate::ops::causal_attention`]; without rotary positions.
pub(in crate::ops) fn causal_attention(
    qkv: Tensor<2>,
    sequence: usize,
    heads: usize,
    dropped: Option<Dropout>,
) -> Tensor<2> {
    let mask = dropped.and_then(WeightMask::new);
    let attention = Attention { sequence, heads, mask };
    Tensor::from_dispatch(Dispatch::vqgen_causal_attention(qkv.into_dispatch(), attention))
}

/// The operation as the backend sees it.
#[backend_extension(Flex, Autodiff)]
pub(super) trait AttentionOps: Backend {
    /// See [`crate::ops::causal_attention`].
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

/// What there is to know besides the values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    sequence: usize,
    heads: usize,
    mask: Option<WeightMask>,
}

impl Attention {
    fn forward(&self, qkv: &Values) -> FlexTensor {
        let [rows, width] = self.dims(qkv);
        let Self { sequence, heads, .. } = *self;
        let qkv_len = sequence * 3 * width;
        let out = in_blocks(rows * width, sequence * width, |image, out| {
            let qkv = &qkv.slice()[image * qkv_len..][..qkv_len];
            for index in 0..heads {
                let head = self.head(image, index, width);
                let from = |part| Columns::new(3 * width, part * width + index * head.head_dim);
                with_scratch(4 * head.len(), |buffer| {
                    let [q, k, v, attended] = parts(buffer, head.len());
                    head.gather(qkv, from(0), q);
                    head.gather(qkv, from(1), k);
                    head.gather(qkv, from(2), v);
                    head.forward(q, k, v, attended);
                    head.scatter(attended, out, Columns::new(width, index * head.head_dim));
                });
            }
        });
        tensor(out, [rows, width])
    }

    /// The gradient by `qkv` for `gradient` by the output.
    fn backward(&self, qkv: &Values, gradient: &Values) -> FlexTensor {
        let [rows, width] = self.dims(qkv);
        let Self { sequence, heads, .. } = *self;
        let (qkv_len, out_len) = (sequence * 3 * width, sequence * width);
        let out = in_blocks(rows * 3 * width, qkv_len, |image, out| {
            let qkv = &qkv.slice()[image * qkv_len..][..qkv_len];
            let gradient = &gradient.slice()[image * out_len..][..out_len];
            for index in 0..heads {
                let head = self.head(image, index, width);
                let at = |part| Columns::new(3 * width, part * width + index * head.head_dim);
                with_scratch(7 * head.len(), |buffer| {
                    let [q, k, v, by_out, by_q, by_k, by_v] = parts(buffer, head.len());
                    head.gather(qkv, at(0), q);
                    head.gather(qkv, at(1), k);
                    head.gather(qkv, at(2), v);
                    head.gather(gradient, Columns::new(width, index * head.head_dim), by_out);
                    head.backward([q, k, v, by_out], [by_q, by_k, by_v]);
                    head.scatter(by_q, out, at(0));
                    head.scatter(by_k, out, at(1));
                    head.scatter(by_v, out, at(2));
                });
            }
        });
        tensor(out, [rows, 3 * width])
    }

    /// Rows and width of the output.
    fn dims(&self, qkv: &Values) -> [usize; 2] {
        let [rows, three_widths] = qkv.dims();
        assert_eq!(three_widths % (3 * self.heads), 0, "{three_widths} columns for {self:?}");
        assert_eq!(rows % self.sequence, 0, "{rows} rows for {self:?}");
        [rows, three_widths / 3]
    }

    fn head(&self, image: usize, index: usize, width: usize) -> Head {
        Head {
            sequence: self.sequence,
            head_dim: width / self.heads,
            mask: self.mask,
            first_row: (image * self.heads + index) * self.sequence,
        }
    }
}

/// The first `N` pieces of `len` values of a buffer.
fn parts<const N: usize>(buffer: &mut [f32], len: usize) -> [&mut [f32]; N] {
    let mut parts = buffer.chunks_exact_mut(len);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
