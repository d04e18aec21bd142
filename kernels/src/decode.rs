//! Autoregressive decoding, one position at a time: on slices, since allocating tensors would cost more than the
//! arithmetic, and with weights packed once.
//!
//! A row of a result depends bitwise on that row alone, whatever the number of rows and threads.

mod head_cache;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::activation::{gelu, squared_relu};
use super::head_map::Side;
use super::layer_norm::{Row, normalise};
use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, Right, multiply_columns};
use super::wide::wide;

pub use head_cache::HeadCache;

/// Rows of a task where rows are split.
const ROWS: usize = 8;

/// A linear map with its weights packed.
#[derive(Debug)]
pub struct PackedLinear {
    weight: Right,
    bias: Option<Vec<f32>>,
    width_in: usize,
    width_out: usize,
    precision: Precision,
}

/// Which threads compute an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The calling thread.
    Alone,
    /// All threads of the pool.
    All,
}

impl Share {
    /// How many tasks to split into where any number would do.
    fn tasks(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::All => rayon::current_num_threads(),
        }
    }
}

/// What follows a [`PackedLinear`] (its epilogue).
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Nothing,
    /// GELU.
    Gelu,
    /// The square of ReLU.
    SquaredRelu,
    /// Adds a residual, `[rows, width_out]`.
    Add(&'a [f32]),
}

impl PackedLinear {
    /// Packs the weights for products of this precision.
    ///
    /// # Shapes
    /// - weight: `[width_in, width_out]`
    /// - bias: `[width_out]`
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, precision: Precision) -> Self {
        let [width_in, width_out] = weight.dims();
        let weight = values(weight);
        let weight = Right::shared(Matrix::new(&weight, width_in, width_out), precision);
        Self { weight, bias: bias.map(values), width_in, width_out, precision }
    }

    /// Sets `out` to the linear map of `x`, followed by `then`.
    ///
    /// # Shapes
    /// - x: `[rows, width_in]`
    /// - out: `[rows, width_out]`
    pub fn apply(&self, x: &[f32], out: &mut [f32], then: Then, share: Share) {
        let rows = x.len() / self.width_in;
        let x = Left::new(Matrix::new(x, rows, self.width_in), self.precision);
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
                    Then::SquaredRelu => {
                        wide!(values.iter_mut().for_each(|value| *value = squared_relu(*value)))
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

/// The parameters of a layer norm, or of a norm by the root mean square.
#[derive(Debug)]
pub struct RowNorm {
    gain: Vec<f32>,
    /// `None` for the latter.
    bias: Option<Vec<f32>>,
    epsilon: f32,
}

impl RowNorm {
    /// Copies the parameters; `epsilon` is added to the variance, or without a bias to the mean square.
    ///
    /// # Shapes
    /// - gain, bias: `[width]`
    pub fn new(gain: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f64) -> Self {
        Self { gain: values(gain), bias: bias.map(values), epsilon: epsilon as f32 }
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
        normalise(x, &self.gain, self.bias.as_deref(), self.epsilon, out, &mut rows);
    }
}

/// Cosines and sines of the rotary embedding at each position, `[positions, head_dim]` each. In either half of a head,
/// of `m` dimensions, `i` and `i + m/2` form a pair.
#[derive(Debug)]
pub struct RotaryRows {
    query: [Vec<f32>; 2],
    key: [Vec<f32>; 2],
}

impl RotaryRows {
    /// Copies the cosines and sines of the queries and those of the keys.
    pub fn new(query: [Tensor<2>; 2], key: [Tensor<2>; 2]) -> Self {
        Self { query: query.map(values), key: key.map(values) }
    }

    /// Cosines and sines at a position.
    #[inline(always)]
    pub(super) fn at(&self, side: Side, position: usize, head_dim: usize) -> [&[f32]; 2] {
        let [cos, sin] = match side {
            Side::Query => &self.query,
            Side::Key => &self.key,
        };
        [cos, sin].map(|table| &table[position * head_dim..][..head_dim])
    }
}

/// The values of a tensor on the CPU device, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_else(|_| unreachable!("an f32 tensor"))
}
