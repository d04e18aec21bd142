//! One head of causal attention over one sequence: a block of queries against the keys up to its end, so
//! that the weights at hand stay in the cache and no table of all of them exists.

use super::math::{exp, max, sum, sum_pairs};
use super::product::{Matrix, matmul};
use super::scratch::with_scratch;
use super::weight_mask::{RowMask, WeightMask};
use super::wide::vectorised;

/// Queries to take at once: their weights over a few hundred keys stay in the second-level cache.
const QUERIES: usize = 64;

/// A head of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: usize,
    pub(super) head_dim: usize,
    pub(super) mask: Option<WeightMask>,
    /// Number of its first query among all heads of all images: the key of its mask.
    pub(super) first_row: usize,
}

/// Where a head lies in a matrix of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    row_len: usize,
    start: usize,
}

impl Columns {
    /// From column `start` of rows of `row_len`.
    pub(super) fn new(row_len: usize, start: usize) -> Self {
        Self { row_len, start }
    }
}

impl Head {
    /// Values of queries, keys, values or outputs.
    pub(super) fn len(&self) -> usize {
        self.sequence * self.head_dim
    }

    /// Copies `columns` of `rows` to `[sequence, head_dim]`.
    pub(super) fn gather(&self, rows: &[f32], columns: Columns, to: &mut [f32]) {
        let rows = rows.chunks_exact(columns.row_len);
        for (row, to) in rows.zip(to.chunks_exact_mut(self.head_dim)) {
            to.copy_from_slice(&row[columns.start..columns.start + self.head_dim]);
        }
    }

    /// Copies `[sequence, head_dim]` to `columns` of `rows`.
    pub(super) fn scatter(&self, from: &[f32], rows: &mut [f32], columns: Columns) {
        let rows = rows.chunks_exact_mut(columns.row_len);
        for (row, from) in rows.zip(from.chunks_exact(self.head_dim)) {
            row[columns.start..columns.start + self.head_dim].copy_from_slice(from);
        }
    }

    /// Attention. All are `[sequence, head_dim]`.
    pub(super) fn forward(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        with_scratch(self.weights_len(), |weights| {
            for block in self.blocks() {
                let weights = &mut weights[..block.n * block.keys];
                matmul(weights, block.of(q), block.seen(k).transposed(), false);
                softmax(weights, block, self.scale());
                if let Some(mask) = self.mask {
                    drop_weights(weights, block, mask);
                }
                let weights = Matrix::new(weights, block.n, block.keys);
                matmul(block.of_mut(out), weights, block.seen(v), false);
            }
        });
    }

    /// Gradients by queries, keys and values for the one by the output. All are `[sequence, head_dim]`.
    pub(super) fn backward(&self, [q, k, v, by_out]: [&[f32]; 4], by: [&mut [f32]; 3]) {
        let [by_q, by_k, by_v] = by;
        with_scratch(2 * self.weights_len(), |buffer| {
            let (weights, by_scores) = buffer.split_at_mut(self.weights_len());
            // From the last block on, which sees all keys and so sets every sum that the others add to.
            let mut accumulate = false;
            for block in self.blocks().rev() {
                let weights = &mut weights[..block.n * block.keys];
                let by_scores = &mut by_scores[..block.n * block.keys];
                matmul(weights, block.of(q), block.seen(k).transposed(), false);
                softmax(weights, block, self.scale());
                matmul(by_scores, block.of(by_out), block.seen(v).transposed(), false);
                softmax_gradient(weights, by_scores, block, self.mask, self.scale());
                let weights = Matrix::new(weights, block.n, block.keys);
                let by_scores = Matrix::new(by_scores, block.n, block.keys);
                matmul(by_v, weights.transposed(), block.of(by_out), accumulate);
                matmul(by_k, by_scores.transposed(), block.of(q), accumulate);
                matmul(block.of_mut(by_q), by_scores, block.seen(k), false);
                accumulate = true;
            }
        });
    }

    fn weights_len(&self) -> usize {
        QUERIES.min(self.sequence) * self.sequence
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn blocks(&self) -> impl DoubleEndedIterator<Item = Block> + use<> {
        let Self { sequence, head_dim, first_row, .. } = *self;
        (0..sequence.div_ceil(QUERIES)).map(move |index| {
            let first = index * QUERIES;
            let keys = (first + QUERIES).min(sequence);
            Block { first, n: keys - first, keys, head_dim, row: first_row + first }
        })
    }
}

/// Neighbouring queries and the keys that the last of them sees.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// The first query.
    first: usize,
    /// How many queries.
    n: usize,
    keys: usize,
    head_dim: usize,
    /// Number of the first query among all.
    row: usize,
}

impl Block {
    /// Its rows of `[sequence, head_dim]`.
    fn of<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&values[self.first * self.head_dim..], self.n, self.head_dim)
    }

    fn of_mut<'a>(&self, values: &'a mut [f32]) -> &'a mut [f32] {
        &mut values[self.first * self.head_dim..self.keys * self.head_dim]
    }

    /// The rows of `[sequence, head_dim]` up to its end.
    fn seen<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::new(values, self.keys, self.head_dim)
    }
}

// Rows are taken whole, with the keys that a query does not see: their weights come out as 0, and vectors
// end where rows do. Stopping at the last key seen leaves up to a vector of keys to scalar code in each row.

vectorised! {
    /// Scores to weights: over the keys up to the query's own, and 0 after it.
    fn softmax(scores: &mut [f32], block: Block, scale: f32) {
        for (query, row) in scores.chunks_exact_mut(block.keys).enumerate() {
            row[block.first + query + 1..].fill(f32::NEG_INFINITY);
            let max = max(row);
            for score in row.iter_mut() {
                *score = exp((*score - max) * scale);
            }
            let inverse = 1.0 / sum(row, |weight| weight);
            for weight in row.iter_mut() {
                *weight *= inverse;
            }
        }
    }
}

vectorised! {
    fn drop_weights(weights: &mut [f32], block: Block, mask: WeightMask) {
        for (query, row) in weights.chunks_exact_mut(block.keys).enumerate() {
            drop_row(row, mask.row(block.row + query));
        }
    }
}

vectorised! {
    /// Turns the gradient by the weights after dropout into the one by the scores before scaling, and the
    /// weights into those after dropout.
    fn softmax_gradient(
        weights: &mut [f32],
        gradient: &mut [f32],
        block: Block,
        mask: Option<WeightMask>,
        scale: f32,
    ) {
        let rows = weights.chunks_exact_mut(block.keys).zip(gradient.chunks_exact_mut(block.keys));
        for (query, (weights, gradient)) in rows.enumerate() {
            let mask = mask.map(|mask| mask.row(block.row + query));
            if let Some(mask) = mask {
                drop_row(gradient, mask);
            }
            let mean = sum_pairs(weights, gradient, |weight, slope| weight * slope);
            for (gradient, weight) in gradient.iter_mut().zip(weights.iter()) {
                *gradient = (*gradient - mean) * weight * scale;
            }
            if let Some(mask) = mask {
                drop_row(weights, mask);
            }
        }
    }
}

#[inline(always)]
fn drop_row(row: &mut [f32], mask: RowMask) {
    for (key, value) in row.iter_mut().enumerate() {
        *value *= mask.factor(key as u32);
    }
}
