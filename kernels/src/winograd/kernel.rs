//! Kernel transforms and their adjoints: between the layouts of weights, `[kernel, kernel, channels, small]` and
//! transposed `[small, kernel, kernel, channels]`, and a matrix of input by output channels for each position.

#![allow(clippy::needless_range_loop)] // rows and columns index squares on either side of a transform

use super::Winograd;
use super::transform::{Axis, Square, Strides, both, load_square, store_square, three, two};
use crate::fresh::in_blocks;
use crate::vector::Vector;
use crate::wide::vectorised;
use crate::window::Window;

/// Values that are contiguous both in the weights and in a row of a position's matrix.
struct Line {
    /// Offset of the first taps in the weights.
    from: usize,
    /// Column of the matrix.
    column: usize,
    len: usize,
}

impl Winograd {
    /// Rows and columns of a position's matrix: input and output channels, those of the large image once per phase.
    pub(super) fn matrix(&self) -> [usize; 2] {
        self.sides().map(|side| self.place_channels(side))
    }

    /// Distance in the weights from one tap of the kernel to the next.
    fn tap_len(&self) -> usize {
        let large = self.geometry.channels;
        if self.transposed { large } else { large * self.small }
    }

    /// Distances in the weights between two taps of a phase.
    fn tap_strides(&self) -> Strides {
        let Window { kernel, stride, .. } = self.geometry.window;
        [stride * kernel * self.tap_len(), stride * self.tap_len()]
    }

    /// Source of a row of the matrices.
    fn lines(&self, row: usize) -> Vec<Line> {
        let Window { kernel, stride, .. } = self.geometry.window;
        let large = self.geometry.channels;
        // Offset of the first tap of a phase.
        let corner = |phase: usize| (phase / stride * kernel + phase % stride) * self.tap_len();
        if self.transposed {
            // `[small, kernel, kernel, large]`
            let of_phase = |phase| {
                let from = row * kernel * kernel * large + corner(phase);
                Line { from, column: phase * large, len: large }
            };
            return (0..self.phases()).map(of_phase).collect();
        }
        // `[kernel, kernel, large, small]`
        let from = corner(row / large) + row % large * self.small;
        vec![Line { from, column: 0, len: self.small }]
    }
}

/// Transformed kernels, `[channels in, places, channels out]`.
pub(super) fn kernels(weight: &[f32], winograd: &Winograd) -> Vec<f32> {
    let [rows, columns] = winograd.matrix();
    let strides = winograd.tap_strides();
    in_blocks(rows * winograd.places() * columns, winograd.places() * columns, |row, places| {
        for Line { from, column, len } in winograd.lines(row) {
            let (weight, places) = (&weight[from..], &mut places[column..]);
            match winograd.taps() {
                2 => to_places_of_two(weight, strides, places, columns, len),
                _ => to_places_of_three(weight, strides, places, columns, len),
            }
        }
    })
}

/// Kernel gradients from those of the transformed kernels, a matrix of input by output channels for each position.
pub(super) fn kernel_gradients(by_places: &[Vec<f32>], winograd: &Winograd) -> Vec<f32> {
    let [rows, columns] = winograd.matrix();
    let Window { kernel, .. } = winograd.geometry.window;
    let strides = winograd.tap_strides();
    let mut out = vec![0.0; kernel * kernel * winograd.geometry.channels * winograd.small];
    for row in 0..rows {
        for Line { from, column, len } in winograd.lines(row) {
            let (out, at) = (&mut out[from..], row * columns + column);
            match winograd.taps() {
                2 => of_places_of_two(by_places, at, out, strides, len),
                _ => of_places_of_three(by_places, at, out, strides, len),
            }
        }
    }
    out
}

/// Transforms a line of taps into each position, `stride` apart.
#[inline(always)]
fn to_places<V: Vector, A: Axis<TAPS, PLACE_EDGE>, const TAPS: usize, const PLACE_EDGE: usize>(
    has: V::Has,
    weight: &[f32],
    strides: Strides,
    places: &mut [f32],
    stride: usize,
    len: usize,
) {
    for at in (0..len).step_by(V::LEN) {
        let n = V::LEN.min(len - at);
        let square = both::<A, V, _, _>(load_square(has, weight, strides, at, n));
        store_square(square, places, [PLACE_EDGE * stride, stride], at, n);
    }
}

/// Transforms a line of each position back into the taps.
#[inline(always)]
fn of_places<V: Vector, A: Axis<PLACE_EDGE, TAPS>, const PLACE_EDGE: usize, const TAPS: usize>(
    has: V::Has,
    by_places: &[Vec<f32>],
    first: usize,
    out: &mut [f32],
    strides: Strides,
    len: usize,
) {
    for at in (0..len).step_by(V::LEN) {
        let n = V::LEN.min(len - at);
        let mut square: Square<V, PLACE_EDGE> = [[V::all(has, 0.0); PLACE_EDGE]; PLACE_EDGE];
        for row in 0..PLACE_EDGE {
            for column in 0..PLACE_EDGE {
                let from = first + at;
                square[row][column] =
                    V::load(has, &by_places[row * PLACE_EDGE + column][from..from + n]);
            }
        }
        store_square(both::<A, V, _, _>(square), out, strides, at, n);
    }
}

/// Defines both directions for a filter.
macro_rules! lines {
    ($filter:ident: $to_places:ident $of_places:ident) => {
        vectorised! {
            fn $to_places<V>(has; weight: &[f32], strides: Strides, places: &mut [f32], stride: usize, len: usize) {
                to_places::<V, $filter::Taps, _, _>(has, weight, strides, places, stride, len);
            }
        }
        vectorised! {
            fn $of_places<V>(has; by_places: &[Vec<f32>], first: usize, out: &mut [f32], strides: Strides, len: usize) {
                of_places::<V, $filter::TapGradients, _, _>(has, by_places, first, out, strides, len);
            }
        }
    };
}
lines!(two: to_places_of_two of_places_of_two);
lines!(three: to_places_of_three of_places_of_three);
