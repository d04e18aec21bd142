//! Causal multi-head attention (Vaswani et al. 2017) over rows of queries, keys and values side by side: over whole
//! sequences in training, and over one new position and a KV cache in sampling.

use burn::tensor::{Device, Tensor, TensorData, activation};
use vqgen_kernels as kernels;

use super::norm::unit_root_mean_square;
use super::precision::in_use;
use crate::ops::{Dropout, HeadMap, RotaryTables, dropout};

/// The causal mask: 0 where a query may attend, -infinity where it may not. Made once per forward pass and shared by
/// the layers.
#[derive(Debug, Clone)]
pub struct CausalMask {
    prefix: usize,
    /// `[1, 1, sequence, sequence]`, added to the scores: an addition costs nothing in the backward pass.
    mask: Tensor<4>,
}

impl CausalMask {
    /// Each position attends to itself and those before it.
    pub fn new(sequence: usize, device: &Device) -> Self {
        Self::with_prefix(0, sequence, device)
    }

    /// As [`Self::new`], and the first `prefix` positions attend to each other.
    pub fn with_prefix(prefix: usize, sequence: usize, device: &Device) -> Self {
        let entry = |index: usize| {
            let (query, key) = (index / sequence, index % sequence);
            if key <= query || key < prefix { 0.0 } else { f32::NEG_INFINITY }
        };
        let mask: Vec<f32> = (0..sequence * sequence).map(entry).collect();
        let data = TensorData::new(mask, [1, 1, sequence, sequence]);
        Self { prefix, mask: Tensor::from_data(data, device) }
    }

    /// Sequence length it is for.
    pub fn sequence(&self) -> usize {
        let [_, _, sequence, _] = self.mask.dims();
        sequence
    }
}

/// How attention treats queries and keys, the same in every layer.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// Number of heads.
    pub n: usize,
    /// Whether queries and keys are divided by their root mean square ("QK-norm").
    pub normalise: bool,
    /// Rotary embeddings, applied after that.
    pub rotary: Option<&'a RotaryTables>,
}

impl Heads<'_> {
    /// For the CPU device.
    pub(crate) fn map(&self) -> HeadMap {
        HeadMap { normalise: self.normalise, rotary: self.rotary.map(RotaryTables::to_rows) }
    }

    /// # Shapes
    /// - x, output: `[batch, sequence, heads, head_dim]`
    fn of_queries(&self, x: Tensor<4>, position: usize) -> Tensor<4> {
        let x = self.normalised(x);
        self.rotary.map_or(x.clone(), |tables| tables.turn_queries(x, position))
    }

    /// As [`Self::of_queries`].
    fn of_keys(&self, x: Tensor<4>, position: usize) -> Tensor<4> {
        let x = self.normalised(x);
        self.rotary.map_or(x.clone(), |tables| tables.turn_keys(x, position))
    }

    fn normalised(&self, x: Tensor<4>) -> Tensor<4> {
        if self.normalise { unit_root_mean_square(x, f64::from(kernels::HEAD_EPSILON)) } else { x }
    }
}

/// `softmax(q · kᵀ / sqrt(head_dim)) · v` within each head, over the positions that `mask` allows. Dropout acts on
/// the attention weights; the CPU device computes its mask differently from the other devices.
///
/// # Shapes
/// - qkv: `[batch * sequence, 3 * width]`: queries, keys, values, each head by head
/// - output: `[batch * sequence, width]`
pub fn causal_attention(
    qkv: Tensor<2>,
    heads: Heads,
    mask: &CausalMask,
    dropped: Option<Dropout>,
) -> Tensor<2> {
    if kernels::runs_here(&qkv) {
        let dropped = dropped.and_then(Dropout::weight_mask);
        let shape = [mask.prefix, mask.sequence()];
        return kernels::causal_attention(qkv, shape, heads.n, heads.map(), dropped, in_use());
    }
    plain_causal_attention(qkv, heads, mask, |weights| match dropped {
        Some(dropped) => dropout(weights, dropped),
        None => weights,
    })
}

/// What [`causal_attention`] computes, in Burn's own operations; `thin` is its dropout.
fn plain_causal_attention(
    qkv: Tensor<2>,
    heads: Heads,
    mask: &CausalMask,
    thin: impl FnOnce(Tensor<4>) -> Tensor<4>,
) -> Tensor<2> {
    let sequence = mask.sequence();
    let [rows, three_widths] = qkv.dims();
    let [query, key, value] = split(qkv, sequence, heads.n);
    let (query, key) = (heads.of_queries(query, 0), heads.of_keys(key, 0));
    let [query, key, value] = [query, key, value].map(|x| x.swap_dims(1, 2)); // [batch, heads, sequence, head_dim]
    let [_, _, _, head_dim] = query.dims();
    let scores = query.matmul(key.transpose()).mul_scalar(scale(head_dim)) + mask.mask.clone();
    // The softmax, with its division after the product with the values: the result has `head_dim` columns, the weights
    // `sequence`.
    let weights = (scores.clone() - scores.detach().max_dim(3)).exp();
    let sum = weights.clone().sum_dim(3);
    let output = thin(weights).matmul(value) / sum;
    output.swap_dims(1, 2).reshape([rows, three_widths / 3])
}

/// The KV cache of a layer, allocated for all positions at once and written in place.
#[derive(Debug, Clone)]
pub struct KeyValues {
    /// `[batch, heads, positions, head_dim]`.
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KeyValues {
    /// Capacity for `positions` keys and values per head.
    pub fn new(
        batch: usize,
        heads: usize,
        positions: usize,
        head_dim: usize,
        device: &Device,
    ) -> Self {
        let empty = || Tensor::zeros([batch, heads, positions, head_dim], device);
        Self { keys: empty(), values: empty() }
    }

    /// Writes the keys and values of the `sequence` positions from `position` on. Takes and returns the buffers:
    /// writing needs no copy only while they are not shared.
    ///
    /// # Shapes
    /// - qkv: `[batch * sequence, 3 * width]`
    pub fn append(self, qkv: Tensor<2>, position: usize, sequence: usize, heads: Heads) -> Self {
        let [batch, n_heads, _, head_dim] = self.keys.dims();
        let [_, key, value] = split(qkv, sequence, n_heads);
        let key = heads.of_keys(key, position);
        let place = [0..batch, 0..n_heads, position..position + sequence, 0..head_dim];
        Self {
            keys: self.keys.slice_assign(place.clone(), key.swap_dims(1, 2)),
            values: self.values.slice_assign(place, value.swap_dims(1, 2)),
        }
    }
}

/// [`causal_attention`] of the single position whose keys and values were appended last.
///
/// # Shapes
/// - qkv: `[batch, 3 * width]`
/// - output: `[batch, width]`
pub fn cached_attention(
    qkv: Tensor<2>,
    cache: &KeyValues,
    position: usize,
    heads: Heads,
) -> Tensor<2> {
    let [batch, n_heads, _, head_dim] = cache.keys.dims();
    let [query, _, _] = split(qkv, 1, n_heads);
    let query = heads.of_queries(query, position).swap_dims(1, 2); // [batch, heads, 1, head_dim]
    let seen = [0..batch, 0..n_heads, 0..position + 1, 0..head_dim];
    let keys = cache.keys.clone().slice(seen.clone()).transpose(); // [batch, heads, head_dim, seen]
    let scores = query.matmul(keys).mul_scalar(scale(head_dim));
    let output = activation::softmax(scores, 3).matmul(cache.values.clone().slice(seen));
    output.reshape([batch, n_heads * head_dim])
}

fn scale(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}

/// Queries, keys and values, each `[batch, sequence, heads, head_dim]`: views without copies.
fn split(qkv: Tensor<2>, sequence: usize, heads: usize) -> [Tensor<4>; 3] {
    let [rows, three_widths] = qkv.dims();
    let width = three_widths / 3;
    [0, 1, 2].map(|part| {
        qkv.clone().slice([0..rows, part * width..(part + 1) * width]).reshape([
            rows / sequence,
            sequence,
            heads,
            width / heads,
        ])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
