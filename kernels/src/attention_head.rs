//! One head of causal attention over one sequence, a block of queries at a time against the keys up to the block's end:
//! the weights of a block stay in the cache, and the full attention matrix is never stored.

use std::ops::Range;

use super::math::{LANES, exp, max, sum, sum_pairs};
use super::precision::Precision;
use super::product::{self, Matrix, MatrixMut};
use super::scratch::with_scratch;
use super::weight_mask::{RowMask, WeightMask};
use super::wide::vectorised;

/// Queries of a block: their weights over a few hundred keys stay in the L2 cache.
const QUERIES: usize = 64;

/// A head of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Positions that see each other, at the start.
    pub(super) prefix: usize,
    pub(super) sequence: usize,
    pub(super) head_dim: usize,
    pub(super) mask: Option<WeightMask>,
    /// Of the GEMMs.
    pub(super) precision: Precision,
    /// Row of its first query among all heads of all images: keys the dropout mask.
    pub(super) first_row: usize,
}

impl Head {
    /// Sets `out` to the attention. All are `[sequence, head_dim]`.
    pub(super) fn forward(&self, [q, k, v]: [Matrix; 3], mut out: MatrixMut) {
        with_scratch(self.weights_len(), |weights| {
            for block in self.blocks() {
                let weights = &mut weights[..block.n * block.keys];
                self.matmul(
                    block.matrix_mut(weights),
                    block.of(q),
                    block.seen(k).transposed(),
                    false,
                );
                softmax(weights, block, self.scale());
                if let Some(mask) = self.mask {
                    drop_weights(weights, block, mask);
                }
                let weights = Matrix::new(weights, block.n, block.keys);
                let out = out.part(block.queries(), 0..self.head_dim);
                self.matmul(out, weights, block.seen(v), false);
            }
        });
    }

    /// Writes the gradients w.r.t. queries, keys and values to three ranges of columns of `by`, `[sequence, _]`, given
    /// the gradient w.r.t. the output. The others are `[sequence, head_dim]`.
    pub(super) fn backward(
        &self,
        [q, k, v, by_out]: [Matrix; 4],
        by: &mut MatrixMut,
        [by_q, by_k, by_v]: [Range<usize>; 3],
    ) {
        with_scratch(2 * self.weights_len(), |buffer| {
            let (weights, by_scores) = buffer.split_at_mut(self.weights_len());
            // Starts with the last block, which sees all keys and so initialises every sum that the others accumulate
            // onto.
            let mut accumulate = false;
            for block in self.blocks().rev() {
                let weights = &mut weights[..block.n * block.keys];
                let by_scores = &mut by_scores[..block.n * block.keys];
                self.matmul(
                    block.matrix_mut(weights),
                    block.of(q),
                    block.seen(k).transposed(),
                    false,
                );
                softmax(weights, block, self.scale());
                let by_weights = block.matrix_mut(by_scores);
                self.matmul(by_weights, block.of(by_out), block.seen(v).transposed(), false);
                softmax_gradient(weights, by_scores, block, self.mask, self.scale());
                let weights = Matrix::new(weights, block.n, block.keys).transposed();
                let by_scores = Matrix::new(by_scores, block.n, block.keys);
                let by_values = by.part(0..block.keys, by_v.clone());
                self.matmul(by_values, weights, block.of(by_out), accumulate);
                let by_keys = by.part(0..block.keys, by_k.clone());
                self.matmul(by_keys, by_scores.transposed(), block.of(q), accumulate);
                let by_queries = by.part(block.queries(), by_q.clone());
                self.matmul(by_queries, by_scores, block.seen(k), false);
                accumulate = true;
            }
        });
    }

    /// `out = a b`, or `out += a b` with `accumulate`.
    fn matmul(&self, out: MatrixMut, a: Matrix, b: Matrix, accumulate: bool) {
        product::matmul(out, a, b, accumulate, self.precision);
    }

    fn weights_len(&self) -> usize {
        QUERIES.min(self.sequence) * self.sequence
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn blocks(&self) -> impl DoubleEndedIterator<Item = Block> + use<> {
        let Self { prefix, sequence, first_row, .. } = *self;
        (0..sequence.div_ceil(QUERIES)).map(move |index| {
            let first = index * QUERIES;
            let end = (first + QUERIES).min(sequence);
            Block { prefix, first, n: end - first, keys: end.max(prefix), row: first_row + first }
        })
    }
}

/// Neighbouring queries and the keys that the last of them sees.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// As in [`Head::prefix`].
    prefix: usize,
    /// The first query.
    first: usize,
    /// Number of queries.
    n: usize,
    keys: usize,
    /// Row of the first query among all.
    row: usize,
}

impl Block {
    fn queries(&self) -> Range<usize> {
        self.first..self.first + self.n
    }

    /// Its rows of `[sequence, head_dim]`.
    fn of<'a>(&self, values: Matrix<'a>) -> Matrix<'a> {
        values.rows_at(self.queries())
    }

    /// The rows of `[sequence, head_dim]` that its last query sees.
    fn seen<'a>(&self, values: Matrix<'a>) -> Matrix<'a> {
        values.rows_at(0..self.keys)
    }

    /// `[queries, keys]`.
    fn matrix_mut<'a>(&self, weights: &'a mut [f32]) -> MatrixMut<'a> {
        MatrixMut::new(weights, self.n, self.keys)
    }
}

/// How many keys a query sees, up to its own or the prefix's end, and how many are computed: rounded up to whole vectors. Stopping at the
/// last visible key would leave up to a vector of keys to scalar code in each row.
#[inline(always)]
fn extents(block: Block, query: usize) -> [usize; 2] {
    let seen = (block.first + query + 1).max(block.prefix);
    [seen, seen.next_multiple_of(LANES).min(block.keys)]
}

vectorised! {
    /// Scores to weights: softmax over the keys that the query sees, 0 after them.
    fn softmax(scores: &mut [f32], block: Block, scale: f32) {
        for (query, row) in scores.chunks_exact_mut(block.keys).enumerate() {
            let [seen, computed] = extents(block, query);
            let (row, unseen) = row.split_at_mut(computed);
            clear(unseen);
            let (vectors, rest) = row.as_chunks_mut::<LANES>();
            match vectors.last_mut() {
                Some(last) if rest.is_empty() => keep_first(last, LANES + seen - computed),
                _ => row[seen..].fill(f32::NEG_INFINITY),
            }
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

/// Sets the scores of a vector after the first `kept` to negative infinity. A mask, since a branch on `kept` would be
/// unpredictable.
#[inline(always)]
fn keep_first(scores: &mut [f32; LANES], kept: usize) {
    const KEPT: [u32; 2 * LANES] = {
        let mut masks = [0; 2 * LANES];
        let mut lane = 0;
        while lane < LANES {
            masks[lane] = u32::MAX;
            lane += 1;
        }
        masks
    };
    let masks = &KEPT[LANES - kept..][..LANES];
    for (score, mask) in scores.iter_mut().zip(masks) {
        let unseen = !mask & f32::NEG_INFINITY.to_bits();
        *score = f32::from_bits(score.to_bits() & mask | unseen);
    }
}

/// Sets values to 0 vector by vector: too few of them to be worth a call to memset.
#[inline(always)]
fn clear(values: &mut [f32]) {
    let (vectors, rest) = values.as_chunks_mut::<LANES>();
    for vector in vectors {
        *vector = [0.0; LANES];
    }
    rest.fill(0.0);
}

vectorised! {
    fn drop_weights(weights: &mut [f32], block: Block, mask: WeightMask) {
        for (query, row) in weights.chunks_exact_mut(block.keys).enumerate() {
            let [_, computed] = extents(block, query);
            drop_row(&mut row[..computed], mask.row(block.row + query));
        }
    }
}

vectorised! {
    /// Turns the gradient w.r.t. the weights after dropout into that w.r.t. the scores before scaling, and the weights
    /// into those after dropout.
    fn softmax_gradient(
        weights: &mut [f32],
        gradient: &mut [f32],
        block: Block,
        mask: Option<WeightMask>,
        scale: f32,
    ) {
        let rows = weights.chunks_exact_mut(block.keys).zip(gradient.chunks_exact_mut(block.keys));
        for (query, (weights, gradient)) in rows.enumerate() {
            let [_, computed] = extents(block, query);
            let weights = &mut weights[..computed];
            let (gradient, unseen) = gradient.split_at_mut(computed);
            clear(unseen);
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
