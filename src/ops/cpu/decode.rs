//! Decoding one position at a time: slices instead of tensors, whose making would cost more than the work, and weights
//! packed once.
//!
//! A row of a result depends on that row alone, to the last bit, whatever the number of rows and threads.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::activation::gelu;
use super::layer_norm::{Row, normalise};
use super::math::{exp, max, sum};
use super::product::{Left, Matrix, MatrixMut, Right, multiply_columns};
use super::scratch::with_scratch;
use super::wide::{vectorised, wide};
use crate::ops::{LayerNorm, Linear, RotaryTables};

/// As in [`crate::ops::LayerNorm`].
const EPSILON: f32 = crate::ops::norm::EPSILON as f32;

/// Rows that a thread takes at once where rows are split.
const ROWS: usize = 8;

/// Positions, or dimensions of a head, in a vector.
const LANES: usize = 16;

/// Vectors that are summed side by side, so that a sum does not wait for itself.
const ABREAST: usize = 4;

/// A linear map with its weights packed.
#[derive(Debug)]
pub struct PackedLinear {
    weight: Right,
    bias: Option<Vec<f32>>,
    width_in: usize,
    width_out: usize,
}

/// Who does the work of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The thread that asks.
    Alone,
    /// All threads.
    All,
}

impl Share {
    /// Into how many tasks to split what can be split anyhow.
    fn tasks(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::All => rayon::current_num_threads(),
        }
    }
}

/// What follows a [`PackedLinear`].
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Nothing,
    /// [`crate::ops::gelu`].
    Gelu,
    /// The sum with a residual, `[rows, width_out]`.
    Add(&'a [f32]),
}

impl PackedLinear {
    /// Packs the weights of a layer.
    pub fn new(layer: &Linear) -> Self {
        let bias = layer.bias.as_ref().map(|bias| values(bias.val()));
        Self { bias, ..Self::of(layer.weight.val()) }
    }

    /// Packs a weight matrix without a bias.
    ///
    /// # Shapes
    /// - weight: `[width_in, width_out]`
    pub fn of(weight: Tensor<2>) -> Self {
        let [width_in, width_out] = weight.dims();
        let weight = values(weight);
        let weight = Right::shared(Matrix::new(&weight, width_in, width_out));
        Self { weight, bias: None, width_in, width_out }
    }

    /// Sets `out` to the map of `x`, then `then`.
    ///
    /// # Shapes
    /// - x: `[rows, width_in]`
    /// - out: `[rows, width_out]`
    pub fn apply(&self, x: &[f32], out: &mut [f32], then: Then, share: Share) {
        let rows = x.len() / self.width_in;
        let x = Left::new(Matrix::new(x, rows, self.width_in));
        let out = MatrixMut::new(out, rows, self.width_out);
        multiply_columns(out, &x, &self.weight, share.tasks(), |first, part| {
            let columns = part.columns();
            for row in 0..rows {
                let values = part.row(row, 0, columns);
                if let Some(bias) = &self.bias {
                    add(values, &bias[first..]);
                }
                match then {
                    Then::Nothing => {}
                    Then::Gelu => {
                        wide!(values.iter_mut().for_each(|value| *value = gelu(*value)))
                    }
                    Then::Add(residual) => add(values, &residual[row * self.width_out + first..]),
                }
            }
        });
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    wide!(sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value));
}

/// The parameters of a [`LayerNorm`].
#[derive(Debug)]
pub struct RowNorm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

impl RowNorm {
    /// Copies them.
    pub fn new(norm: &LayerNorm) -> Self {
        Self { gain: values(norm.weight.val()), bias: values(norm.bias.val()) }
    }

    /// # Shapes
    /// - x, out: `[rows, width]`
    pub fn apply(&self, x: &[f32], out: &mut [f32], share: Share) {
        if share == Share::Alone {
            return self.normalise(x, out);
        }
        let len = ROWS * self.gain.len();
        x.par_chunks(len).zip(out.par_chunks_mut(len)).for_each(|(x, out)| {
            self.normalise(x, out);
        });
    }

    fn normalise(&self, x: &[f32], out: &mut [f32]) {
        let mut rows = vec![Row::default(); x.len() / self.gain.len()];
        normalise(x, &self.gain, &self.bias, EPSILON, out, &mut rows);
    }
}

/// The angles of a [`RotaryTables`], `[positions, head_dim]` each.
#[derive(Debug)]
pub struct RotaryRows {
    query: [Vec<f32>; 2],
    key: [Vec<f32>; 2],
}

impl RotaryRows {
    /// Copies them.
    pub fn new(tables: &RotaryTables) -> Self {
        let [query, key] = tables.angles().map(|table| table.map(values));
        Self { query, key }
    }
}

/// Turns one head at a position: what [`RotaryTables`] does with its product.
fn turn(head: &mut [f32], [cos, sin]: &[Vec<f32>; 2], position: usize) {
    let head_dim = head.len();
    let at = position * head_dim..(position + 1) * head_dim;
    let (cos, sin, pairs) = (&cos[at.clone()], &sin[at], head_dim / 4);
    for half in [0, head_dim / 2] {
        for i in half..half + pairs {
            let (a, b) = (head[i], head[i + pairs]);
            head[i] = a * cos[i] - b * sin[i];
            head[i + pairs] = b * cos[i + pairs] + a * sin[i + pairs];
        }
    }
}

/// Keys and values of a layer, of all positions of some sequences.
#[derive(Debug)]
pub struct HeadCache {
    heads: usize,
    head_dim: usize,
    /// Room for as many, whole groups of them.
    positions: usize,
    /// `[sequence][head][group of LANES positions][head_dim][LANES]`: scores are summed side by side, and only the
    /// groups that were reached are read.
    keys: Vec<f32>,
    /// `[sequence][head][position][head_dim, rounded up to whole LANES]`.
    values: Vec<f32>,
}

impl HeadCache {
    /// Room for `positions` of each of `sequences`.
    pub fn new(sequences: usize, positions: usize, heads: usize, head_dim: usize) -> Self {
        let positions = positions.next_multiple_of(LANES);
        let empty = |dims: usize| vec![0.0; sequences * heads * dims * positions];
        let values = empty(head_dim.next_multiple_of(LANES));
        Self { heads, head_dim, positions, keys: empty(head_dim), values }
    }

    /// Takes in the keys and values at `position` and sets `out` to the attention of its queries over the positions
    /// so far.
    ///
    /// # Shapes
    /// - qkv: `[sequences, 3 * heads * head_dim]`; its queries are overwritten
    /// - out: `[sequences, heads * head_dim]`
    pub fn attend(
        &mut self,
        qkv: &mut [f32],
        position: usize,
        rotary: Option<&RotaryRows>,
        out: &mut [f32],
        share: Share,
    ) {
        let Self { heads, head_dim, positions, .. } = *self;
        let width = heads * head_dim;
        let keys_len = width * positions;
        let values_len = heads * head_dim.next_multiple_of(LANES) * positions;
        let attend = |keys: &mut [f32], values: &mut [f32], qkv: &mut [f32], out: &mut [f32]| {
            attend_sequence([heads, head_dim], keys, values, qkv, position, rotary, out);
        };
        if share == Share::All {
            let caches = self.keys.par_chunks_mut(keys_len);
            let caches = caches.zip(self.values.par_chunks_mut(values_len));
            let rows = qkv.par_chunks_mut(3 * width).zip(out.par_chunks_mut(width));
            let all = caches.zip(rows);
            return all.for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
        }
        let caches = self.keys.chunks_mut(keys_len).zip(self.values.chunks_mut(values_len));
        let rows = qkv.chunks_mut(3 * width).zip(out.chunks_mut(width));
        caches.zip(rows).for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
    }
}

/// [`HeadCache::attend`] of one sequence.
fn attend_sequence(
    [heads, head_dim]: [usize; 2],
    keys: &mut [f32],
    values: &mut [f32],
    qkv: &mut [f32],
    position: usize,
    rotary: Option<&RotaryRows>,
    out: &mut [f32],
) {
    let (seen, (group, lane)) = (position + 1, (position / LANES, position % LANES));
    let (queries, rest) = qkv.split_at_mut(heads * head_dim);
    let (new_keys, new_values) = rest.split_at_mut(heads * head_dim);
    let (keys_len, values_len) = (keys.len() / heads, values.len() / heads);
    let (group_len, row_len) = (head_dim * LANES, head_dim.next_multiple_of(LANES));
    with_scratch(seen.next_multiple_of(LANES), |scores| {
        for head in 0..heads {
            let at = head * head_dim..(head + 1) * head_dim;
            let (query, key) = (&mut queries[at.clone()], &mut new_keys[at.clone()]);
            if let Some(rotary) = rotary {
                turn(query, &rotary.query, position);
                turn(key, &rotary.key, position);
            }
            let keys = &mut keys[head * keys_len..][..(group + 1) * group_len];
            let values = &mut values[head * values_len..][..seen * row_len];
            let places = keys[group * group_len..].iter_mut().skip(lane).step_by(LANES);
            places.zip(key).for_each(|(place, value)| *place = *value);
            values[position * row_len..][..head_dim].copy_from_slice(&new_values[at.clone()]);
            attend_head(query, keys, values, scores, seen, &mut out[at]);
        }
    });
}

vectorised! {
    /// Attention of one query over the first `seen` positions, all that `keys` and `values` hold but for what fills
    /// the last group of keys. `scores` has room for whole groups.
    fn attend_head(
        query: &[f32],
        keys: &[f32],
        values: &[f32],
        scores: &mut [f32],
        seen: usize,
        out: &mut [f32],
    ) {
        let (keys, _) = keys.as_chunks::<LANES>();
        let (groups, _) = scores.as_chunks_mut::<LANES>();
        for (keys, groups) in keys.chunks(ABREAST * query.len()).zip(groups.chunks_mut(ABREAST)) {
            match groups.len() {
                1 => score_groups::<1>(query, keys, groups),
                2 => score_groups::<2>(query, keys, groups),
                3 => score_groups::<3>(query, keys, groups),
                _ => score_groups::<ABREAST>(query, keys, groups),
            }
        }
        let scores = &mut scores[..seen];
        let most = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - most);
        }
        let inverse = 1.0 / sum(scores, |weight| weight);
        let (values, _) = values.as_chunks::<LANES>();
        let blocks = out.len().div_ceil(LANES);
        for (index, out) in out.chunks_mut(ABREAST * LANES).enumerate() {
            let values = &values[index * ABREAST..];
            match out.len().div_ceil(LANES) {
                1 => weigh_blocks::<1>(scores, values, blocks, inverse, out),
                2 => weigh_blocks::<2>(scores, values, blocks, inverse, out),
                3 => weigh_blocks::<3>(scores, values, blocks, inverse, out),
                _ => weigh_blocks::<ABREAST>(scores, values, blocks, inverse, out),
            }
        }
    }
}

/// The scores of `N` groups of positions, each the sum over the dimensions in their order.
#[inline(always)]
fn score_groups<const N: usize>(query: &[f32], keys: &[[f32; LANES]], groups: &mut [[f32; LANES]]) {
    let head_dim = query.len();
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut sums = [[0.0; LANES]; N];
    for (dim, query) in query.iter().enumerate() {
        for (group, sums) in sums.iter_mut().enumerate() {
            let keys = &keys[group * head_dim + dim];
            for lane in 0..LANES {
                sums[lane] += query * keys[lane];
            }
        }
    }
    for (group, sums) in groups.iter_mut().zip(sums) {
        for lane in 0..LANES {
            group[lane] = sums[lane] * scale;
        }
    }
}

/// `N` blocks of dimensions of the sum of the values by their weights, over the positions in their order. The rows of
/// values are `stride` blocks apart.
#[inline(always)]
fn weigh_blocks<const N: usize>(
    weights: &[f32],
    values: &[[f32; LANES]],
    stride: usize,
    factor: f32,
    out: &mut [f32],
) {
    let mut sums = [[0.0; LANES]; N];
    for (position, weight) in weights.iter().enumerate() {
        for (block, sums) in sums.iter_mut().enumerate() {
            let values = &values[position * stride + block];
            for lane in 0..LANES {
                sums[lane] += weight * values[lane];
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
        *out = sum * factor;
    }
}

/// The values of a tensor on the CPU device.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_else(|_| unreachable!("an f32 tensor"))
}
