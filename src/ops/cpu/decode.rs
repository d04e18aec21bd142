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

/// Positions whose scores are summed side by side: four vectors of AVX-512, so that a sum does not wait for itself.
const GROUP: usize = 64;

/// Dimensions of a head that are summed side by side.
const LANES: usize = 16;

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
    /// `[sequence][head][head_dim][positions]`: the scores of all positions are sums over runs of memory.
    keys: Vec<f32>,
    /// `[sequence][head][positions][head_dim]`.
    values: Vec<f32>,
}

impl HeadCache {
    /// Room for `positions` of each of `sequences`.
    pub fn new(sequences: usize, positions: usize, heads: usize, head_dim: usize) -> Self {
        let positions = positions.next_multiple_of(GROUP);
        let empty = || vec![0.0; sequences * heads * head_dim * positions];
        Self { heads, head_dim, positions, keys: empty(), values: empty() }
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
        let cache_len = width * positions;
        let attend = |keys: &mut [f32], values: &mut [f32], qkv: &mut [f32], out: &mut [f32]| {
            attend_sequence([heads, head_dim, positions], keys, values, qkv, position, rotary, out);
        };
        if share == Share::All {
            let caches = self.keys.par_chunks_mut(cache_len);
            let caches = caches.zip(self.values.par_chunks_mut(cache_len));
            let rows = qkv.par_chunks_mut(3 * width).zip(out.par_chunks_mut(width));
            let all = caches.zip(rows);
            return all.for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
        }
        let caches = self.keys.chunks_mut(cache_len).zip(self.values.chunks_mut(cache_len));
        let rows = qkv.chunks_mut(3 * width).zip(out.chunks_mut(width));
        caches.zip(rows).for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
    }
}

/// [`HeadCache::attend`] of one sequence.
fn attend_sequence(
    [heads, head_dim, positions]: [usize; 3],
    keys: &mut [f32],
    values: &mut [f32],
    qkv: &mut [f32],
    position: usize,
    rotary: Option<&RotaryRows>,
    out: &mut [f32],
) {
    let (seen, head_len) = (position + 1, head_dim * positions);
    let (queries, rest) = qkv.split_at_mut(heads * head_dim);
    let (new_keys, new_values) = rest.split_at_mut(heads * head_dim);
    for head in 0..heads {
        let at = head * head_dim..(head + 1) * head_dim;
        let (query, key) = (&mut queries[at.clone()], &mut new_keys[at.clone()]);
        if let Some(rotary) = rotary {
            turn(query, &rotary.query, position);
            turn(key, &rotary.key, position);
        }
        let keys = &mut keys[head * head_len..(head + 1) * head_len];
        let values = &mut values[head * head_len..(head + 1) * head_len];
        for (dim, value) in key.iter().enumerate() {
            keys[dim * positions + position] = *value;
        }
        values[position * head_dim..seen * head_dim].copy_from_slice(&new_values[at.clone()]);
        with_scratch(positions, |scores| {
            attend_head(query, keys, values, seen, scores, &mut out[at]);
        });
    }
}

vectorised! {
    /// Attention of one query over the first `seen` of `stride` positions. `scores` has room for `stride`.
    fn attend_head(
        query: &[f32],
        keys: &[f32],
        values: &[f32],
        seen: usize,
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let (stride, scale) = (scores.len(), 1.0 / (query.len() as f32).sqrt());
        let (groups, _) = scores.as_chunks_mut::<GROUP>();
        for (index, group) in groups.iter_mut().enumerate().take(seen.div_ceil(GROUP)) {
            let mut sums = [0.0; GROUP];
            for (query, keys) in query.iter().zip(keys.chunks_exact(stride)) {
                let keys = &keys[index * GROUP..][..GROUP];
                for lane in 0..GROUP {
                    sums[lane] += query * keys[lane];
                }
            }
            for lane in 0..GROUP {
                group[lane] = sums[lane] * scale;
            }
        }
        let scores = &mut scores[..seen];
        let most = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - most);
        }
        let inverse = 1.0 / sum(scores, |weight| weight);
        let head_dim = out.len();
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        let whole = blocks.len() * LANES;
        for (index, block) in blocks.iter_mut().enumerate() {
            let mut sums = [0.0; LANES];
            for (weight, values) in scores.iter().zip(values.chunks_exact(head_dim)) {
                let values = &values[index * LANES..][..LANES];
                for lane in 0..LANES {
                    sums[lane] += weight * values[lane];
                }
            }
            for lane in 0..LANES {
                block[lane] = sums[lane] * inverse;
            }
        }
        for (dim, out) in rest.iter_mut().enumerate() {
            let values = values.iter().skip(whole + dim).step_by(head_dim);
            let terms = scores.iter().zip(values).map(|(weight, value)| weight * value);
            *out = terms.sum::<f32>() * inverse;
        }
    }
}

/// The values of a tensor on the CPU device.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_else(|_| unreachable!("an f32 tensor"))
}
