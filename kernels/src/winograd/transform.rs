//! The 1-D transforms of [`super`], and their application along both axes to all channels of a tile, a vector of
//! channels at a time.

#![allow(clippy::needless_range_loop)] // rows and columns index squares on either side of a transform

use super::{OUT_EDGE, Places, Side, TileRows, Winograd};
use crate::conv::Input;
use crate::vector::Vector;
use crate::wide::vectorised;

/// A square of vectors of neighbouring channels, or of their offsets.
pub(super) type Square<V, const EDGE: usize> = [[V; EDGE]; EDGE];

/// Distances between neighbours in a square, down and across.
pub(super) type Strides = [usize; 2];

/// A 1-D transform. A type instead of a closure: a closure that is called more than once may not be inlined into the
/// function with the target feature.
pub(super) trait Axis<const FROM: usize, const TO: usize> {
    fn of<V: Vector>(values: [V; FROM]) -> [V; TO];
}

/// Defines a 1-D transform of vectors `V`.
macro_rules! axis {
    ($(#[$meta:meta])* $name:ident: $from:literal to $to:literal, $values:pat => $of:expr) => {
        $(#[$meta])*
        pub(in super::super) struct $name;

        impl Axis<$from, $to> for $name {
            #[inline(always)]
            fn of<V: Vector>($values: [V; $from]) -> [V; $to] {
                $of
            }
        }
    };
}

/// F(2, 3): two outputs of a kernel of three taps from four pixels, at four positions.
pub(super) mod three {
    use super::{Axis, Vector};

    axis!(Pixels: 4 to 4, [a, b, c, d] => [a - c, b + c, c - b, b - d]);
    axis!(
        /// The adjoint of [`Pixels`].
        PixelGradients: 4 to 4, [a, b, c, d] => [a, b - c + d, b + c - a, d.negated()]
    );
    axis!(Outputs: 4 to 2, [a, b, c, d] => [a + b + c, b - c - d]);
    axis!(
        /// The adjoint of [`Outputs`].
        OutputGradients: 2 to 4, [a, b] => [a, a + b, a - b, b.negated()]
    );
    axis!(Taps: 3 to 4, [a, b, c] => {
        let outer = a + c;
        [a, (outer + b).halved(), (outer - b).halved(), c]
    });
    axis!(
        /// The adjoint of [`Taps`].
        TapGradients: 4 to 3, [a, b, c, d] => {
            let sum = (b + c).halved();
            [a + sum, (b - c).halved(), sum + d]
        }
    );
}

/// F(2, 2): two outputs of a kernel of two taps from three pixels, at three positions.
pub(super) mod two {
    use super::{Axis, Vector};

    axis!(Pixels: 3 to 3, [a, b, c] => [a - b, b, b - c]);
    axis!(
        /// The adjoint of [`Pixels`].
        PixelGradients: 3 to 3, [a, b, c] => [a, b - a + c, c.negated()]
    );
    axis!(Outputs: 3 to 2, [a, b, c] => [a + b, b - c]);
    axis!(
        /// The adjoint of [`Outputs`].
        OutputGradients: 2 to 3, [a, b] => [a, a + b, b.negated()]
    );
    axis!(Taps: 2 to 3, [a, b] => [a, a + b, b]);
    axis!(
        /// The adjoint of [`Taps`].
        TapGradients: 3 to 2, [a, b, c] => [a + b, b + c]
    );
}

/// A transform along rows, then along columns.
#[inline(always)]
pub(super) fn both<A: Axis<FROM, TO>, V: Vector, const FROM: usize, const TO: usize>(
    values: Square<V, FROM>,
) -> Square<V, TO> {
    let any = values[0][0];
    let mut rows = [[any; TO]; FROM];
    for row in 0..FROM {
        rows[row] = A::of(values[row]);
    }
    let mut out = [[any; TO]; TO];
    for column in 0..TO {
        let mut line = [any; FROM];
        for row in 0..FROM {
            line[row] = rows[row][column];
        }
        let line = A::of(line);
        for row in 0..TO {
            out[row][column] = line[row];
        }
    }
    out
}

/// Loads a square of `len` values each from offset `at` on, with these strides.
#[inline(always)]
pub(super) fn load_square<V: Vector, const EDGE: usize>(
    has: V::Has,
    values: &[f32],
    [down, across]: Strides,
    at: usize,
    len: usize,
) -> Square<V, EDGE> {
    let mut square = [[V::all(has, 0.0); EDGE]; EDGE];
    for row in 0..EDGE {
        for column in 0..EDGE {
            let at = row * down + column * across + at;
            square[row][column] = V::load(has, &values[at..at + len]);
        }
    }
    square
}

/// Writes a square as [`load_square`] reads it.
#[inline(always)]
pub(super) fn store_square<V: Vector, const EDGE: usize>(
    square: Square<V, EDGE>,
    values: &mut [f32],
    [down, across]: Strides,
    at: usize,
    len: usize,
) {
    for row in 0..EDGE {
        for column in 0..EDGE {
            let at = row * down + column * across + at;
            square[row][column].store(&mut values[at..at + len]);
        }
    }
}

/// Offsets of a square's pixels in the values of an image; `None` outside it.
type Offsets<const EDGE: usize> = Square<Option<usize>, EDGE>;

/// The pixels of a tile.
struct Tile {
    /// Index of the image.
    image: usize,
    /// Height, width and channels of the images.
    extents: [usize; 3],
    /// Row and column of the first pixel, counted in the padded image.
    start: [usize; 2],
    /// Between two pixels.
    step: usize,
    padding: usize,
}

impl Tile {
    #[inline(always)]
    fn offsets<const EDGE: usize>(&self) -> Offsets<EDGE> {
        let Self { image, extents: [height, width, channels], start: [top, left], step, padding } =
            *self;
        let mut offsets = [[None; EDGE]; EDGE];
        for row in 0..EDGE {
            let y = top + row * step;
            if y < padding || y >= height + padding {
                continue;
            }
            let start = (image * height + y - padding) * width;
            for column in 0..EDGE {
                let x = left + column * step;
                if x >= padding && x < width + padding {
                    offsets[row][column] = Some((start + x - padding) * channels);
                }
            }
        }
        offsets
    }
}

impl Winograd {
    /// Sets `places` to the transformed tiles of `rows` of the images on this side.
    pub(super) fn set_places(
        &self,
        side: Side,
        places: &mut Places,
        images: Input,
        rows: &TileRows,
    ) {
        match (side, self.taps()) {
            (Side::Large, 2) => set_large_of_two(self, places, images, rows),
            (Side::Large, _) => set_large_of_three(self, places, images, rows),
            (Side::Small, 2) => set_small_of_two(self, places, images, rows),
            (Side::Small, _) => set_small_of_three(self, places, images, rows),
        }
    }

    /// Adds `places`, transformed back, to the tiles of `rows` of the images on this side.
    pub(super) fn add_places(
        &self,
        side: Side,
        places: &Places,
        images: &mut [f32],
        rows: &TileRows,
    ) {
        match (side, self.taps()) {
            (Side::Large, 2) => add_large_of_two(self, places, images, rows),
            (Side::Large, _) => add_large_of_three(self, places, images, rows),
            (Side::Small, 2) => add_small_of_two(self, places, images, rows),
            (Side::Small, _) => add_small_of_three(self, places, images, rows),
        }
    }

    /// Calls `each` for each tile of `rows` and each phase of the images, with the offsets of the tile's pixels and
    /// that of its values in a position's matrix. A closure with a single call site is inlined.
    #[inline(always)]
    fn for_each_tile<const EDGE: usize>(
        &self,
        side: Side,
        rows: &TileRows,
        mut each: impl FnMut(&Offsets<EDGE>, usize),
    ) {
        let Self { geometry: g, small, .. } = *self;
        let [tile_rows, tile_columns] = self.tiles();
        let (phases, step, padding, extents) = match side {
            Side::Large => {
                let extents = [g.height, g.width, g.channels];
                (self.phases(), g.window.stride, g.window.padding, extents)
            }
            Side::Small => (1, 1, 0, [g.rows, g.columns, small]),
        };
        let mut at = 0;
        for row in rows.clone() {
            for column in 0..tile_columns {
                let (image, row) = (row / tile_rows, row % tile_rows);
                let [top, left] = [row, column].map(|tile| tile * OUT_EDGE * step);
                for phase in 0..phases {
                    let start = [top + phase / step, left + phase % step];
                    each(&Tile { image, extents, start, step, padding }.offsets(), at);
                    at += extents[2];
                }
            }
        }
    }

    /// Transforms the tiles of one side, of `PIXELS` pixels along an edge, by `A`.
    #[inline(always)]
    fn set<V: Vector, A: Axis<PIXELS, PLACE_EDGE>, const PIXELS: usize, const PLACE_EDGE: usize>(
        &self,
        has: V::Has,
        side: Side,
        places: &mut Places,
        images: Input,
        rows: &TileRows,
    ) {
        let strides = [PLACE_EDGE * places.stride, places.stride];
        let channels = self.channels(side);
        self.for_each_tile::<PIXELS>(side, rows, |offsets, first| {
            for channel in (0..channels).step_by(V::LEN) {
                let len = V::LEN.min(channels - channel);
                let mut square = [[V::all(has, 0.0); PIXELS]; PIXELS];
                for row in 0..PIXELS {
                    for column in 0..PIXELS {
                        if let Some(pixel) = offsets[row][column] {
                            let values = V::load(has, &images.values[pixel + channel..][..len]);
                            square[row][column] =
                                if images.relu { values.rectified() } else { values };
                        }
                    }
                }
                let square = both::<A, V, _, _>(square);
                store_square(square, places.values, strides, first + channel, len);
            }
        });
    }

    /// Adds what `A` transforms back to the images of one side, whose tiles have `PIXELS` pixels along an edge.
    #[inline(always)]
    fn add<V: Vector, A: Axis<PLACE_EDGE, PIXELS>, const PLACE_EDGE: usize, const PIXELS: usize>(
        &self,
        has: V::Has,
        side: Side,
        places: &Places,
        images: &mut [f32],
        rows: &TileRows,
    ) {
        let strides = [PLACE_EDGE * places.stride, places.stride];
        let channels = self.channels(side);
        self.for_each_tile::<PIXELS>(side, rows, |offsets, first| {
            for channel in (0..channels).step_by(V::LEN) {
                let len = V::LEN.min(channels - channel);
                let square = load_square(has, places.values, strides, first + channel, len);
                let square = both::<A, V, _, _>(square);
                for row in 0..PIXELS {
                    for column in 0..PIXELS {
                        if let Some(pixel) = offsets[row][column] {
                            let to = &mut images[pixel + channel..][..len];
                            (V::load(has, to) + square[row][column]).store(to);
                        }
                    }
                }
            }
        });
    }
}

/// Defines the four passes over tiles for a filter.
macro_rules! passes {
    ($filter:ident: $set_large:ident $add_large:ident $set_small:ident $add_small:ident) => {
        vectorised! {
            fn $set_large<V>(has; winograd: &Winograd, places: &mut Places, images: Input, rows: &TileRows) {
                winograd.set::<V, $filter::Pixels, _, _>(has, Side::Large, places, images, rows);
            }
        }
        vectorised! {
            fn $add_large<V>(has; winograd: &Winograd, places: &Places, images: &mut [f32], rows: &TileRows) {
                winograd.add::<V, $filter::PixelGradients, _, _>(has, Side::Large, places, images, rows);
            }
        }
        vectorised! {
            fn $set_small<V>(has; winograd: &Winograd, places: &mut Places, images: Input, rows: &TileRows) {
                winograd.set::<V, $filter::OutputGradients, _, _>(has, Side::Small, places, images, rows);
            }
        }
        vectorised! {
            fn $add_small<V>(has; winograd: &Winograd, places: &Places, images: &mut [f32], rows: &TileRows) {
                winograd.add::<V, $filter::Outputs, _, _>(has, Side::Small, places, images, rows);
            }
        }
    };
}
passes!(two: set_large_of_two add_large_of_two set_small_of_two add_small_of_two);
passes!(three: set_large_of_three add_large_of_three set_small_of_three add_small_of_three);
