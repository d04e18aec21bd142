//! Convolutions with fewer multiplications, by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2015).
//!
//! F(2x2, 3x3): 2x2 outputs of a 3x3 kernel come from a tile of 4x4 pixels. Tile, kernel and outputs are each
//! transformed along rows and then along columns. In the transform domain a tile has 16 positions ("places"), so 16
//! multiplications replace the 36 of a direct convolution (four outputs of nine taps), and the sum over channels makes
//! each position a GEMM: tiles by input channels, times input channels by output channels. Gradients are the adjoints
//! of the same three transforms around the same GEMMs, and a transposed convolution is the input gradient of a
//! convolution.
//!
//! A 4x4 kernel of stride 2 is a 2x2 kernel of stride 1 over the four phases of the pixels (row and column even or odd)
//! as channels: 9 positions instead of 16.

mod gradient;
mod kernel;
mod transform;

use std::ops::Range;

use rayon::prelude::*;

use self::kernel::kernels;
use super::conv::{Input, PARTS, add_to_rows};
use super::fresh::in_blocks;
use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, Right, is_fast, multiply};
use super::scratch::with_scratch;
use super::window::{Geometry, Window};

/// Tiles that are transformed and multiplied at once: the matrix of a position stays in the L2 cache, and the weights
/// are read once for all tiles. Between 24 and 144 a training step took the same time.
const TILES: usize = 64;

/// Fewest channels on either side for which the saved multiplications outweigh the transforms: a vector of AVX-512.
const FEWEST_CHANNELS: usize = 16;

/// Padding of each position's matrix, by a cache line. Without it, strides are multiples of 4 KiB where a tile has many
/// channels, and the positions fall into the same few cache sets: 1 to 5 % of a training step.
const APART: usize = 16;

/// Outputs along an edge of a tile.
const OUT_EDGE: usize = 2;

/// A convolution between a large image and a small one, from the former to the latter or, transposed, back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winograd {
    geometry: Geometry,
    /// Channels of the small image.
    small: usize,
    transposed: bool,
    precision: Precision,
}

/// Rows of tiles, numbered across the images of a batch.
type TileRows = Range<usize>;

/// One of the two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The one whose pixels the kernel covers.
    Large,
    /// The one with a value per position of the kernel.
    Small,
}

impl Winograd {
    /// `None` where im2col is the better choice: another window, few channels, less than a tile, or GEMMs that take
    /// less time than the transforms would.
    pub(super) fn new(
        geometry: Geometry,
        small: usize,
        transposed: bool,
        precision: Precision,
    ) -> Option<Self> {
        let Window { kernel, stride, .. } = geometry.window;
        let fits = kernel % stride == 0 && matches!(kernel / stride, 2 | 3);
        let is_wide = geometry.channels.min(small) >= FEWEST_CHANNELS;
        let is_large = geometry.rows.min(geometry.columns) >= OUT_EDGE;
        let is_worth_it = fits && is_wide && is_large && !is_fast(precision);
        is_worth_it.then_some(Self { geometry, small, transposed, precision })
    }

    /// The sides of the input and of the output.
    fn sides(&self) -> [Side; 2] {
        if self.transposed { [Side::Small, Side::Large] } else { [Side::Large, Side::Small] }
    }

    /// Taps of the kernel along an axis within one phase.
    fn taps(&self) -> usize {
        self.geometry.window.kernel / self.geometry.window.stride
    }

    /// Phases of the large image.
    fn phases(&self) -> usize {
        self.geometry.window.stride * self.geometry.window.stride
    }

    /// Positions of a transformed tile.
    fn places(&self) -> usize {
        let edge = OUT_EDGE + self.taps() - 1;
        edge * edge
    }

    /// Channels of an image.
    fn channels(&self, side: Side) -> usize {
        match side {
            Side::Large => self.geometry.channels,
            Side::Small => self.small,
        }
    }

    /// Channels of a transformed tile: for the large image, one set per phase.
    fn place_channels(&self, side: Side) -> usize {
        match side {
            Side::Large => self.phases() * self.geometry.channels,
            Side::Small => self.small,
        }
    }

    /// Values of an image.
    fn len(&self, side: Side) -> usize {
        match side {
            Side::Large => self.geometry.image_len(),
            Side::Small => self.geometry.n_patches() * self.small,
        }
    }

    /// Rows and columns of tiles of an image; the last ones may reach beyond its outputs.
    fn tiles(&self) -> [usize; 2] {
        [self.geometry.rows, self.geometry.columns].map(|pixels| pixels.div_ceil(OUT_EDGE))
    }

    /// The tiles of `images` images, some rows of tiles at a time.
    fn blocks(&self, images: usize) -> impl Iterator<Item = TileRows> + use<> {
        let [rows, columns] = self.tiles();
        let (all, at_once) = (images * rows, (TILES / columns).max(1));
        (0..all).step_by(at_once).map(move |first| first..all.min(first + at_once))
    }

    /// Calls `work` with the transformed tiles of `rows` on either side, `[places, tiles, channels]`.
    fn with_places(&self, rows: &TileRows, work: impl FnOnce([&mut Places; 2])) {
        let [x_side, y_side] = self.sides();
        let [of_x, of_y] = self.sides().map(|side| self.places_len(side, rows));
        with_scratch(of_x + of_y, |buffer| {
            let (of_x, of_y) = buffer.split_at_mut(of_x);
            let of_x = &mut self.places_in(of_x, x_side, rows);
            work([of_x, &mut self.places_in(of_y, y_side, rows)]);
        });
    }

    /// Length of the transformed tiles of `rows` on a side.
    fn places_len(&self, side: Side, rows: &TileRows) -> usize {
        let [_, columns] = self.tiles();
        self.places() * (rows.len() * columns * self.place_channels(side) + APART)
    }

    /// The transformed tiles of `rows` on a side, in a buffer of [`Self::places_len`].
    fn places_in<'a>(&self, values: &'a mut [f32], side: Side, rows: &TileRows) -> Places<'a> {
        let stride = values.len() / self.places();
        let [_, columns] = self.tiles();
        let channels = self.place_channels(side);
        Places { values, tiles: rows.len() * columns, channels, stride }
    }

    /// Images that a task processes: several small ones together, but in no fewer tasks than the parts of a sum.
    fn images_at_once(&self, batch: usize) -> usize {
        let [rows, columns] = self.tiles();
        (TILES / (rows * columns)).clamp(1, batch.div_ceil(PARTS).max(1))
    }

    /// The convolution plus `bias`, plus `residual`.
    ///
    /// # Shapes
    /// - `x`: `[batch, height, width, channels]` of `geometry`, transposed `[batch, rows, columns, small]`
    /// - `weight`: `[kernel, kernel, channels, small]`, transposed `[small, kernel, kernel, channels]`
    /// - output, `residual`: as `x`, for the other side
    pub(super) fn forward(
        &self,
        x: Input,
        weight: &[f32],
        bias: Option<&[f32]>,
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        let [x_side, y_side] = self.sides();
        let [x_len, y_len] = self.sides().map(|side| self.len(side));
        let batch = x.values.len() / x_len;
        let weights = self.weights(weight, false);
        let images = self.images_at_once(batch);
        in_blocks(batch * y_len, images * y_len, |index, out| {
            let (first, n) = (index * images, out.len() / y_len);
            if let Some(residual) = residual {
                out.copy_from_slice(&residual[first * y_len..][..out.len()]);
            }
            if let Some(bias) = bias {
                add_to_rows(out, bias);
            }
            let x = x.of_images(first..first + n, x_len);
            for rows in self.blocks(n) {
                self.with_places(&rows, |[of_x, of_y]| {
                    self.set_places(x_side, of_x, x, &rows);
                    for (place, weight) in weights.iter().enumerate() {
                        let of_place = Left::new(of_x.of(place), self.precision);
                        multiply(of_y.to(place), &of_place, weight, false);
                    }
                    self.add_places(y_side, of_y, out, &rows);
                });
            }
        })
    }

    /// The transformed kernel of each position, `[channels in, channels out]` or transposed.
    fn weights(&self, weight: &[f32], transposed: bool) -> Vec<Right> {
        let [rows, columns] = self.matrix();
        let kernels = kernels(weight, self);
        let kernels = Matrix::new(&kernels, rows, self.places() * columns);
        let of_place = |place: usize| {
            let kernels = kernels.columns_at(place * columns..(place + 1) * columns);
            let kernels = if transposed { kernels.transposed() } else { kernels };
            Right::new(kernels, self.precision)
        };
        (0..self.places()).into_par_iter().map(of_place).collect()
    }
}

/// Transformed tiles, a matrix `[tiles, channels]` for each position.
struct Places<'a> {
    values: &'a mut [f32],
    tiles: usize,
    channels: usize,
    /// Between positions.
    stride: usize,
}

impl Places<'_> {
    fn of(&self, place: usize) -> Matrix<'_> {
        Matrix::new(&self.values[place * self.stride..], self.tiles, self.channels)
    }

    fn to(&mut self, place: usize) -> MatrixMut<'_> {
        let values = &mut self.values[place * self.stride..(place + 1) * self.stride];
        MatrixMut::new(values, self.tiles, self.channels)
    }
}
