//! Keys and values of the positions so far, and the attention of the next one over them.

use rayon::prelude::*;

use super::{RotaryRows, Share, turn};
use crate::ops::cpu::math::{exp, max, sum};
use crate::ops::cpu::scratch::with_scratch;
use crate::ops::cpu::wide::vectorised;

/// Positions, or dimensions of a head, in a vector.
const LANES: usize = 16;

/// Vectors that are summed side by side, so that a sum does not wait for itself.
const ABREAST: usize = 4;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    /// Attention of the last position, as it is defined, in f64.
    fn wanted(qkv: &[Vec<f32>], head: usize, head_dim: usize, width: usize) -> Vec<f64> {
        let part = |row: &[f32], which: usize| -> Vec<f64> {
            row[which * width + head * head_dim..][..head_dim].iter().map(|&v| v.into()).collect()
        };
        let query = part(&qkv[qkv.len() - 1], 0);
        let score = |row: &Vec<f32>| {
            let dot: f64 = query.iter().zip(part(row, 1)).map(|(q, k)| q * k).sum();
            (dot / (head_dim as f64).sqrt()).exp()
        };
        let weights: Vec<f64> = qkv.iter().map(score).collect();
        let total: f64 = weights.iter().sum();
        let mut out = vec![0.0; head_dim];
        for (row, weight) in qkv.iter().zip(weights) {
            for (out, value) in out.iter_mut().zip(part(row, 2)) {
                *out += weight / total * value;
            }
        }
        out
    }

    #[test]
    fn attention_is_as_defined_for_any_head_size_and_number_of_positions() {
        const POSITIONS: usize = 90;
        let heads = 2;
        for head_dim in [4, 16, 24, 40, 64, 72, 144] {
            let width = heads * head_dim;
            let mut cache = HeadCache::new(2, POSITIONS, heads, head_dim);
            let mut rng = stream(3, Purpose::Weights, 0, head_dim as u64);
            let mut seen = [Vec::new(), Vec::new()];
            for position in 0..POSITIONS {
                let mut qkv: Vec<f32> = (0..6 * width).map(|_| rng.normal()).collect();
                for (seen, row) in seen.iter_mut().zip(qkv.chunks(3 * width)) {
                    seen.push(row.to_vec());
                }
                let mut out = vec![9.0; 2 * width];
                let share = if position % 2 == 0 { Share::All } else { Share::Alone };
                cache.attend(&mut qkv, position, None, &mut out, share);
                for (index, out) in out.chunks(head_dim).enumerate() {
                    let wanted = wanted(&seen[index / heads], index % heads, head_dim, width);
                    for (out, wanted) in out.iter().zip(wanted) {
                        let difference = (f64::from(*out) - wanted).abs();
                        assert!(difference < 1e-5, "{head_dim}, {position}: {out}, not {wanted}");
                    }
                }
            }
        }
    }
}
