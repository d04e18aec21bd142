//! The KV cache, and attention of the next position over it.

use rayon::prelude::*;

use super::Share;
use crate::head_map::{HeadMap, Side};
use crate::math::{exp, max, sum};
use crate::scratch::with_scratch;
use crate::wide::vectorised;

/// Positions of a group, and what the head dimension is rounded up to a multiple of: whole vectors of any instruction
/// set.
const LANES: usize = 16;

/// Keys and values of one layer, at all positions of some sequences.
#[derive(Debug)]
pub struct HeadCache {
    heads: usize,
    head_dim: usize,
    /// Capacity, in whole groups.
    positions: usize,
    /// `[sequence][group of LANES positions][head][head_dim][LANES]`: the scores of a group are summed side by side,
    /// and the filled part is contiguous, which suits the hardware prefetcher.
    keys: Vec<f32>,
    /// `[sequence][position][head][head_dim, rounded up to whole LANES]`: contiguous for the same reason.
    values: Vec<f32>,
}

impl HeadCache {
    /// Capacity for `positions` of each of `sequences`.
    pub fn new(sequences: usize, positions: usize, heads: usize, head_dim: usize) -> Self {
        let positions = positions.next_multiple_of(LANES);
        let empty = |dims: usize| vec![0.0; sequences * heads * dims * positions];
        let values = empty(head_dim.next_multiple_of(LANES));
        Self { heads, head_dim, positions, keys: empty(head_dim), values }
    }

    /// Appends the keys and values at `position` and sets `out` to the attention of its queries over the positions so
    /// far.
    ///
    /// # Shapes
    /// - qkv: `[sequences, 3 * heads * head_dim]`; its queries are overwritten
    /// - out: `[sequences, heads * head_dim]`
    pub fn attend(
        &mut self,
        qkv: &mut [f32],
        position: usize,
        map: &HeadMap,
        out: &mut [f32],
        share: Share,
    ) {
        let sizes = [self.heads, self.head_dim];
        self.for_each(qkv, 1, out, share, |keys, values, qkv, out| {
            attend_sequence(sizes, keys, values, qkv, position, map, out);
        });
    }

    /// Sets the keys and values of the first `n` positions, and `out` to the attention of their queries, each over all
    /// `n`: a prefix that sees itself whole.
    ///
    /// # Shapes
    /// - qkv: `[sequences, n, 3 * heads * head_dim]`; its queries and keys are overwritten
    /// - out: `[sequences, n, heads * head_dim]`
    pub fn attend_prefix(
        &mut self,
        qkv: &mut [f32],
        n: usize,
        map: &HeadMap,
        out: &mut [f32],
        share: Share,
    ) {
        let sizes = [self.heads, self.head_dim];
        self.for_each(qkv, n, out, share, |keys, values, qkv, out| {
            prefix_of_sequence(sizes, keys, values, qkv, map, out);
        });
    }

    /// Calls `attend` with the keys, the values, the `n` rows of `qkv` and those of `out` of each sequence.
    fn for_each(
        &mut self,
        qkv: &mut [f32],
        n: usize,
        out: &mut [f32],
        share: Share,
        attend: impl Fn(&mut [f32], &mut [f32], &mut [f32], &mut [f32]) + Sync,
    ) {
        let Self { heads, head_dim, positions, .. } = *self;
        let width = heads * head_dim;
        let keys_len = width * positions;
        let values_len = heads * head_dim.next_multiple_of(LANES) * positions;
        if share == Share::All {
            let caches = self.keys.par_chunks_mut(keys_len);
            let caches = caches.zip(self.values.par_chunks_mut(values_len));
            let rows = qkv.par_chunks_mut(n * 3 * width).zip(out.par_chunks_mut(n * width));
            let all = caches.zip(rows);
            return all.for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
        }
        let caches = self.keys.chunks_mut(keys_len).zip(self.values.chunks_mut(values_len));
        let rows = qkv.chunks_mut(n * 3 * width).zip(out.chunks_mut(n * width));
        caches.zip(rows).for_each(|((keys, values), (qkv, out))| attend(keys, values, qkv, out));
    }
}

/// [`HeadCache::attend`] for one sequence.
fn attend_sequence(
    [heads, head_dim]: [usize; 2],
    keys: &mut [f32],
    values: &mut [f32],
    qkv: &mut [f32],
    position: usize,
    map: &HeadMap,
    out: &mut [f32],
) {
    let width = heads * head_dim;
    map_row(qkv, [heads, head_dim], position, map);
    let (queries, rest) = qkv.split_at(width);
    let (new_keys, new_values) = rest.split_at(width);
    set_values(values, new_values, [heads, head_dim], position);
    attend_over([heads, head_dim], keys, values, queries, new_keys, position, out);
    // After the keys of this group were read: their lines are then in the cache.
    set_keys(keys, new_keys, position);
}

/// [`HeadCache::attend_prefix`] for one sequence.
fn prefix_of_sequence(
    [heads, head_dim]: [usize; 2],
    keys: &mut [f32],
    values: &mut [f32],
    qkv: &mut [f32],
    map: &HeadMap,
    out: &mut [f32],
) {
    let width = heads * head_dim;
    let mut last = 0;
    for (position, row) in qkv.chunks_exact_mut(3 * width).enumerate() {
        map_row(row, [heads, head_dim], position, map);
        set_values(values, &row[2 * width..], [heads, head_dim], position);
        set_keys(keys, &row[width..2 * width], position);
        last = position;
    }
    let last_keys = &qkv[last * 3 * width..][width..2 * width];
    for (row, out) in qkv.chunks_exact(3 * width).zip(out.chunks_exact_mut(width)) {
        attend_over([heads, head_dim], keys, values, &row[..width], last_keys, last, out);
    }
}

/// Maps the queries and keys of a row.
fn map_row(qkv: &mut [f32], [heads, head_dim]: [usize; 2], position: usize, map: &HeadMap) {
    if map.is_identity() {
        return;
    }
    let (queries, rest) = qkv.split_at_mut(heads * head_dim);
    for head in queries.chunks_exact_mut(head_dim) {
        map.apply(head, Side::Query, position);
    }
    for head in rest[..heads * head_dim].chunks_exact_mut(head_dim) {
        map.apply(head, Side::Key, position);
    }
}

/// Writes a row of values to the cache.
fn set_values(values: &mut [f32], new: &[f32], [heads, head_dim]: [usize; 2], position: usize) {
    let padded = head_dim.next_multiple_of(LANES);
    let row = &mut values[position * heads * padded..][..heads * padded];
    for (to, new) in row.chunks_exact_mut(padded).zip(new.chunks_exact(head_dim)) {
        to[..head_dim].copy_from_slice(new);
    }
}

/// Writes a row of keys to the cache.
fn set_keys(keys: &mut [f32], new: &[f32], position: usize) {
    let (group, lane) = (position / LANES, position % LANES);
    let places = keys[group * new.len() * LANES + lane..].iter_mut().step_by(LANES);
    places.zip(new).for_each(|(place, key)| *place = *key);
}

/// Sets `out` to the attention of `queries` over the positions up to `last`, whose own keys are `last_keys`; its values
/// are in the cache.
fn attend_over(
    [heads, head_dim]: [usize; 2],
    keys: &[f32],
    values: &[f32],
    queries: &[f32],
    last_keys: &[f32],
    last: usize,
    out: &mut [f32],
) {
    let (width, row_len) = (heads * head_dim, heads * head_dim.next_multiple_of(LANES));
    let earlier = &keys[..last.div_ceil(LANES) * width * LANES];
    let seen = Seen { heads, position: last, queries, new_keys: last_keys, earlier, values };
    let scores_len = heads * (last / LANES + 1) * LANES;
    with_scratch(scores_len + row_len, |scratch| {
        let (scores, sums) = scratch.split_at_mut(scores_len);
        attend(seen, scores, sums, out);
    });
}

/// Operands of the attention of one position.
#[derive(Clone, Copy)]
struct Seen<'a> {
    heads: usize,
    position: usize,
    /// `[head][head_dim]`.
    queries: &'a [f32],
    /// `[head][head_dim]`, at the position itself.
    new_keys: &'a [f32],
    /// Groups of keys before it, as in [`HeadCache::keys`]. The last group may end in unset lanes.
    earlier: &'a [f32],
    /// As in [`HeadCache::values`], including those at the position.
    values: &'a [f32],
}

vectorised! {
    /// Sets `out`, `[head][head_dim]`, to the attention. `scores` holds whole groups of each head, `sums` the values of
    /// one position.
    fn attend<V>(has; seen: Seen, scores: &mut [f32], sums: &mut [f32], out: &mut [f32]) {
        let Seen { heads, position, queries, new_keys, earlier, values } = seen;
        let (head_dim, row_len) = (queries.len() / heads, sums.len());
        let scale = 1.0 / (head_dim as f32).sqrt();
        let scores_len = scores.len() / heads;
        for (group, keys) in earlier.chunks_exact(queries.len() * LANES).enumerate() {
            let heads = keys.chunks_exact(head_dim * LANES).zip(queries.chunks_exact(head_dim));
            for ((keys, query), scores) in heads.zip(scores.chunks_exact_mut(scores_len)) {
                let scores = &mut scores[group * LANES..][..LANES];
                for (part, scores) in scores.chunks_exact_mut(V::LEN).enumerate() {
                    let mut sum = V::all(has, 0.0);
                    for (query, keys) in query.iter().zip(keys.chunks_exact(LANES)) {
                        let keys = V::load(has, &keys[part * V::LEN..]);
                        sum = sum + V::all(has, *query) * keys;
                    }
                    (sum * V::all(has, scale)).store(scores);
                }
            }
        }
        let all = queries.chunks_exact(head_dim).zip(new_keys.chunks_exact(head_dim));
        for ((query, key), scores) in all.zip(scores.chunks_exact_mut(scores_len)) {
            // In the order of the lanes.
            let dot = query.iter().zip(key).fold(0.0, |sum, (query, key)| sum + query * key);
            scores[position] = dot * scale;
            let weights = &mut scores[..position + 1];
            let most = max(weights);
            for weight in weights.iter_mut() {
                *weight = exp(*weight - most);
            }
        }
        sums.fill(0.0);
        let padded = row_len / heads;
        for (position, row) in values.chunks_exact(row_len).take(position + 1).enumerate() {
            let heads = sums.chunks_exact_mut(padded).zip(row.chunks_exact(padded));
            for ((sums, values), scores) in heads.zip(scores.chunks_exact(scores_len)) {
                let weight = V::all(has, scores[position]);
                for (sum, values) in sums.chunks_exact_mut(V::LEN).zip(values.chunks_exact(V::LEN)) {
                    (V::load(has, sum) + weight * V::load(has, values)).store(sum);
                }
            }
        }
        let heads = out.chunks_exact_mut(head_dim).zip(sums.chunks_exact(padded));
        for ((out, sums), scores) in heads.zip(scores.chunks_exact(scores_len)) {
            let inverse = 1.0 / sum(&scores[..position + 1], |weight| weight);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum * inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normals;

    /// Attention of the last position by its definition, in f64.
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
    fn a_prefix_sees_itself_whole_and_the_positions_after_it_see_it() {
        let (heads, head_dim) = (2, 24);
        let width = heads * head_dim;
        for n in [1, 2, 16, 17, 33] {
            let mut cache = HeadCache::new(2, n + 1, heads, head_dim);
            let mut qkv = normals(n as u64, 2 * n * 3 * width);
            let rows: Vec<Vec<f32>> = qkv.chunks(3 * width).map(<[f32]>::to_vec).collect();
            let mut out = vec![9.0; 2 * n * width];
            let share = if n % 2 == 0 { Share::All } else { Share::Alone };
            cache.attend_prefix(&mut qkv, n, &HeadMap::default(), &mut out, share);
            let mut next = normals(99, 6 * width);
            let next_rows: Vec<Vec<f32>> = next.chunks(3 * width).map(<[f32]>::to_vec).collect();
            let mut next_out = vec![9.0; 2 * width];
            cache.attend(&mut next, n, &HeadMap::default(), &mut next_out, share);
            for sequence in 0..2 {
                let rows = &rows[sequence * n..][..n];
                for query in 0..=n {
                    // Attention has no order: the query's own row goes last, as `wanted` has it.
                    let (mut seen, out) = match rows.get(query) {
                        Some(_) => (rows.to_vec(), &out[(sequence * n + query) * width..]),
                        None => {
                            let all = [rows, &next_rows[sequence..=sequence]].concat();
                            (all, &next_out[sequence * width..])
                        }
                    };
                    let own = seen.remove(query);
                    seen.push(own);
                    for head in 0..heads {
                        let wanted = wanted(&seen, head, head_dim, width);
                        for (out, wanted) in out[head * head_dim..].iter().zip(wanted) {
                            let difference = (f64::from(*out) - wanted).abs();
                            assert!(difference < 1e-5, "{n}, {query}: {out}, not {wanted}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn attention_is_as_defined_for_any_head_size_and_number_of_positions() {
        const POSITIONS: usize = 90;
        let heads = 2;
        for head_dim in [4, 16, 24, 40, 64, 72, 144] {
            let width = heads * head_dim;
            let mut cache = HeadCache::new(2, POSITIONS, heads, head_dim);
            let mut seen = [Vec::new(), Vec::new()];
            for position in 0..POSITIONS {
                let mut qkv = normals((head_dim * POSITIONS + position) as u64, 6 * width);
                for (seen, row) in seen.iter_mut().zip(qkv.chunks(3 * width)) {
                    seen.push(row.to_vec());
                }
                let mut out = vec![9.0; 2 * width];
                let share = if position % 2 == 0 { Share::All } else { Share::Alone };
                cache.attend(&mut qkv, position, &HeadMap::default(), &mut out, share);
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
