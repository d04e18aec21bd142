//! Rotary position embeddings (Su et al. 2021) in two dimensions, for codes in raster order.
//!
//! The first half of a head's dimensions rotates with the row, the second half with the column. Within a half of `m =
//! head_dim / 2` dimensions, `i` and `i + m/2` form a pair, rotated by `position · 100^(-i / (m/2))`. The base is 100,
//! not 10,000, because a grid has tens of rows, not thousands of positions (Heo et al. 2024).
//!
//! A query has the position of the code it predicts, a key that of the code it holds: position t of a sequence predicts
//! cell t and holds cell t - 1. So the code above the predicted one is always one row away, and the one to its left one
//! column, at the edges too; with one cell for both, the distances would wrap around at row ends. The tokens before the
//! codes hold none; all are at row -1, column -1, and so are queries that predict none.

use std::sync::{Arc, OnceLock};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use vqgen_kernels::RotaryRows;

const BASE: f64 = 100.0;

/// Rotates queries and keys by their positions in one grid.
#[derive(Module, Debug)]
pub struct RotaryTables {
    #[module(skip)]
    grid: Grid,
    /// Made when first used: they are large, and a model can be asked for its shapes before it is used.
    #[module(skip)]
    tables: Arc<OnceLock<Tables>>,
}

/// What the tables are made of.
#[derive(Debug, Clone)]
struct Grid {
    /// Tokens before the codes.
    prefix: usize,
    /// Cells that a position predicts ahead of the one that it holds: 1, or 0 where each predicts its own.
    ahead: usize,
    n_codes: usize,
    width: usize,
    head_dim: usize,
    /// Tracks no gradients.
    device: Device,
}

/// Cosines and sines of every position's angles, and the matrix that swaps the dimensions of a pair.
#[derive(Debug)]
struct Tables {
    query: Turn,
    key: Turn,
    /// `[head_dim, head_dim]`: x · swap holds -x[i + m/2] at i and x[i] at i + m/2.
    swap: Tensor<2>,
    rows: OnceLock<Arc<RotaryRows>>,
}

/// `[positions, head_dim]` each.
#[derive(Debug, Clone)]
struct Turn {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Tables {
    fn new(&Grid { prefix, ahead, n_codes, width, head_dim, ref device }: &Grid) -> Self {
        let cell = |code: usize| [(code / width) as f64, (code % width) as f64];
        let positions = prefix + n_codes - ahead;
        let after = |n: usize| {
            let before = std::iter::repeat_n([-1.0, -1.0], n);
            before.chain((0..n_codes).map(cell)).take(positions)
        };
        let (predicted, held) = (|| after(prefix - ahead), || after(prefix));
        let table = |cells: &mut dyn Iterator<Item = [f64; 2]>, function: fn(f64) -> f64| {
            let values: Vec<f32> = cells
                .flat_map(|cell| {
                    (0..head_dim).map(move |dim| function(angle(cell, dim, head_dim)) as f32)
                })
                .collect();
            Tensor::from_data(TensorData::new(values, [positions, head_dim]), device)
        };
        Self {
            query: Turn {
                cos: table(&mut predicted(), f64::cos),
                sin: table(&mut predicted(), f64::sin),
            },
            key: Turn { cos: table(&mut held(), f64::cos), sin: table(&mut held(), f64::sin) },
            swap: Tensor::from_data(TensorData::new(swap(head_dim), [head_dim, head_dim]), device),
            rows: OnceLock::new(),
        }
    }
}

impl RotaryTables {
    /// Tables for a grid of codes after one token; `head_dim` must be a multiple of 4.
    pub fn new(grid_height: usize, grid_width: usize, head_dim: usize, device: &Device) -> Self {
        Self::after(1, [grid_height, grid_width], head_dim, device)
    }

    /// As [`Self::new`], for a grid after `prefix` tokens, at least one.
    pub fn after(prefix: usize, grid: [usize; 2], head_dim: usize, device: &Device) -> Self {
        Self::of(prefix, 1, grid, head_dim, device)
    }

    /// As [`Self::after`], for positions that each predict the code that they hold: queries and keys of a position are at
    /// one cell.
    pub fn at(prefix: usize, grid: [usize; 2], head_dim: usize, device: &Device) -> Self {
        Self::of(prefix, 0, grid, head_dim, device)
    }

    fn of(
        prefix: usize,
        ahead: usize,
        [grid_height, grid_width]: [usize; 2],
        head_dim: usize,
        device: &Device,
    ) -> Self {
        assert!(prefix > 0, "a grid after no token");
        assert!(head_dim.is_multiple_of(4), "a head of {head_dim} dimensions cannot turn in two");
        let device = device.clone().without_autodiff();
        let n_codes = grid_height * grid_width;
        let grid = Grid { prefix, ahead, n_codes, width: grid_width, head_dim, device };
        Self { grid, tables: Arc::default() }
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| Tables::new(&self.grid))
    }

    /// Rotates queries at `position` and the positions after it.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, heads, head_dim]`
    pub fn turn_queries(&self, x: Tensor<4>, position: usize) -> Tensor<4> {
        self.turn(x, &self.tables().query, position)
    }

    /// Rotates keys at `position` and the positions after it.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, heads, head_dim]`
    pub fn turn_keys(&self, x: Tensor<4>, position: usize) -> Tensor<4> {
        self.turn(x, &self.tables().key, position)
    }

    /// For the CPU device: copies on the host, made once.
    pub(crate) fn to_rows(&self) -> Arc<RotaryRows> {
        let Tables { query, key, rows, .. } = self.tables();
        let rows = rows.get_or_init(|| {
            let [query, key] = [query, key].map(|turn| [turn.cos.clone(), turn.sin.clone()]);
            Arc::new(RotaryRows::new(query, key))
        });
        Arc::clone(rows)
    }

    fn turn(&self, x: Tensor<4>, turn: &Turn, position: usize) -> Tensor<4> {
        let [batch, sequence, heads, head_dim] = x.dims();
        let tracks = x.is_autodiff();
        let constant = |table: &Tensor<2>| {
            if tracks { Tensor::from_inner(table.clone()) } else { table.clone() }
        };
        let rows = |table: &Tensor<2>| {
            constant(table)
                .slice([position..position + sequence, 0..head_dim])
                .reshape([1, sequence, 1, head_dim])
        };
        // A matmul with a constant matrix: slicing and concatenating would add a copy in the backward pass.
        let swapped = x
            .clone()
            .reshape([batch * sequence * heads, head_dim])
            .matmul(constant(&self.tables().swap))
            .reshape([batch, sequence, heads, head_dim]);
        x * rows(&turn.cos) + swapped * rows(&turn.sin)
    }
}

fn angle([row, column]: [f64; 2], dim: usize, head_dim: usize) -> f64 {
    let half = head_dim / 2;
    let pairs = half / 2;
    let position = if dim < half { row } else { column };
    position * BASE.powf(-((dim % half % pairs) as f64) / pairs as f64)
}

fn swap(head_dim: usize) -> Vec<f32> {
    let pairs = head_dim / 4;
    let mut matrix = vec![0.0; head_dim * head_dim];
    for dim in 0..head_dim {
        let first = dim % (2 * pairs) < pairs;
        let (partner, sign) = if first { (dim + pairs, -1.0) } else { (dim - pairs, 1.0) };
        matrix[partner * head_dim + dim] = sign;
    }
    matrix
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn a_pair_turns_by_its_angle() {
        let device = Device::flex();
        // A 2x2 grid and a head of 4: one pair for the row, one for the column, both with frequency 1.
        let tables = RotaryTables::new(2, 2, 4, &device);
        let x = Tensor::<1>::from_floats([1.0, 0.0, 0.0, 2.0], &device).reshape([1, 1, 1, 4]);
        // Position 3 predicts row 1, column 1: (1, 0) rotates to (cos 1, sin 1), (0, 2) to (-2 sin 1, 2 cos 1).
        let expected =
            TensorData::new(vec![0.540302f32, 0.841471, -1.682942, 1.080605], [1, 1, 1, 4]);
        let tolerance = Tolerance::absolute(1e-5);
        tables.turn_queries(x.clone(), 3).into_data().assert_approx_eq::<f32>(&expected, tolerance);
        // As a key, position 3 holds code 2: row 1, column 0.
        let expected = TensorData::new(vec![0.540302f32, 0.841471, 0.0, 2.0], [1, 1, 1, 4]);
        tables.turn_keys(x, 3).into_data().assert_approx_eq::<f32>(&expected, tolerance);
    }

    #[test]
    fn more_tokens_before_the_grid_move_it_and_are_all_at_its_corner() {
        let device = Device::flex();
        let one = RotaryTables::new(2, 3, 8, &device);
        let four = RotaryTables::after(4, [2, 3], 8, &device);
        let x = Tensor::<4>::random([1, 6, 2, 8], Distribution::Default, &device);
        let same = |a: Tensor<4>, b: Tensor<4>| a.into_data().assert_eq(&b.into_data(), true);
        same(four.turn_queries(x.clone(), 3), one.turn_queries(x.clone(), 0));
        same(four.turn_keys(x.clone(), 3), one.turn_keys(x.clone(), 0));
        let first = x.slice([0..1, 0..1, 0..2, 0..8]);
        for position in 0..3 {
            let at_corner = one.turn_keys(first.clone(), 0);
            same(four.turn_queries(first.clone(), position), at_corner.clone());
            same(four.turn_keys(first.clone(), position), at_corner);
        }
    }

    #[test]
    fn where_each_position_predicts_its_own_code_queries_and_keys_turn_alike() {
        let device = Device::flex();
        let (ahead, own) =
            (RotaryTables::after(2, [2, 3], 8, &device), RotaryTables::at(2, [2, 3], 8, &device));
        let x = Tensor::<4>::random([1, 8, 2, 8], Distribution::Default, &device);
        let same = |a: Tensor<4>, b: Tensor<4>| a.into_data().assert_eq(&b.into_data(), true);
        same(own.turn_queries(x.clone(), 0), own.turn_keys(x.clone(), 0));
        let first = x.slice([0..1, 0..7, 0..2, 0..8]);
        same(own.turn_keys(first.clone(), 0), ahead.turn_keys(first, 0));
    }

    #[test]
    fn tables_are_made_at_the_first_turn_and_shared_by_copies() {
        let device = Device::flex().autodiff();
        // Tables of 2^42 numbers.
        assert!(RotaryTables::new(1 << 11, 1 << 11, 1 << 20, &device).tables.get().is_none());
        let tables = RotaryTables::new(2, 2, 4, &device);
        let x = Tensor::<4>::ones([1, 4, 1, 4], &device).require_grad();
        let tracked = tables.turn_queries(x.clone(), 0);
        // d/dx of the sum of a turned pair (x, y): cos + sin, cos - sin.
        let gradient = x.grad(&tracked.clone().sum().backward()).unwrap().into_data();
        let last = &gradient.try_to_vec::<f32>().unwrap()[12..];
        assert!((last[0] - 1.381773).abs() < 1e-5 && (last[1] + 0.301169).abs() < 1e-5, "{last:?}");
        // A copy that tracks no gradients turns by the same tables.
        let plain = tables.valid();
        assert!(plain.tables.get().is_some());
        let turned = plain.turn_queries(x.inner(), 0);
        turned.into_data().assert_eq(&tracked.inner().into_data(), true);
    }

    #[test]
    fn a_query_sees_the_code_above_it_at_the_same_angle_everywhere_in_the_grid() {
        let device = Device::flex();
        let (grid_width, head_dim) = (3, 8);
        let tables = RotaryTables::new(3, grid_width, head_dim, &device);
        let query = Tensor::<4>::random([1, 1, 1, head_dim], Distribution::Default, &device);
        let key = Tensor::<4>::random([1, 1, 1, head_dim], Distribution::Default, &device);
        let score = |predicts: usize, holds: usize| -> f32 {
            let query = tables.turn_queries(query.clone(), predicts);
            let key = tables.turn_keys(key.clone(), holds + 1);
            (query * key).sum().into_scalar()
        };
        let above = score(4, 4 - grid_width);
        for predicts in 3..9 {
            let other = score(predicts, predicts - grid_width);
            assert!((above - other).abs() < 1e-5, "code {predicts}: {other}, not {above}");
        }
        assert!((above - score(4, 3)).abs() > 1e-4, "left and above look alike");
    }
}
