//! The transforms of [`super`]: each along one axis, then taken along both for all channels of a tile, a vector of
//! channels at a time.

#![allow(clippy::needless_range_loop)] // rows and columns index squares on either side of a transform

use super::{OUT_EDGE, Places, Side, TileRows, Winograd};
use crate::ops::cpu::conv::Input;
use crate::ops::cpu::vector::Vector;
use crate::ops::cpu::wide::vectorised;

/// A square of vectors of neighbouring channels.
pub(super) type Square<V, const EDGE: usize> = [[V; EDGE]; EDGE];

/// A transform along an axis. By types instead of closures, since nothing makes the compiler take a closure into the
/// function that has the instructions.
pub(super) trait Axis<const FROM: usize, const TO: usize> {
    fn of<V: Vector>(values: [V; FROM]) -> [V; TO];
}

/// Defines a transform along an axis of vectors `V`.
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

/// F(2, 3): two outputs of a kernel of three taps come from four pixels and have four places.
pub(super) mod three {
    use super::{Axis, Vector};

    axis!(Pixels: 4 to 4, [a, b, c, d] => [a - c, b + c, c - b, b - d]);
    axis!(
        /// The adjoint of [`Pixels`].
        PixelGradients: 4 to 4, [a, b, c, d] => [a, b - c + d, b + c - a, V::all(0.0) - d]
    );
    axis!(Outputs: 4 to 2, [a, b, c, d] => [a + b + c, b - c - d]);
    axis!(
        /// The adjoint of [`Outputs`].
        OutputGradients: 2 to 4, [a, b] => [a, a + b, a - b, V::all(0.0) - b]
    );
    axis!(Taps: 3 to 4, [a, b, c] => {
        let half = V::all(0.5);
        [a, half * (a + c + b), half * (a + c - b), c]
    });
    axis!(
        /// The adjoint of [`Taps`].
        TapGradients: 4 to 3, [a, b, c, d] => {
            let half = V::all(0.5);
            let sum = half * (b + c);
            [a + sum, half * (b - c), sum + d]
        }
    );
}

/// F(2, 2): two outputs of a kernel of two taps come from three pixels and have three places.
pub(super) mod two {
    use super::{Axis, Vector};

    axis!(Pixels: 3 to 3, [a, b, c] => [a - b, b, b - c]);
    axis!(
        /// The adjoint of [`Pixels`].
        PixelGradients: 3 to 3, [a, b, c] => [a, b - a + c, V::all(0.0) - c]
    );
    axis!(Outputs: 3 to 2, [a, b, c] => [a + b, b - c]);
    axis!(
        /// The adjoint of [`Outputs`].
        OutputGradients: 2 to 3, [a, b] => [a, a + b, V::all(0.0) - b]
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
    let mut rows = [[V::all(0.0); TO]; FROM];
    for row in 0..FROM {
        rows[row] = A::of(values[row]);
    }
    let mut out = [[V::all(0.0); TO]; TO];
    for column in 0..TO {
        let mut line = [V::all(0.0); FROM];
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

/// Where the pixels of a square are in the values of an image: `None` outside of it.
type Pixels<const EDGE: usize> = Square<Option<usize>, EDGE>;

/// The pixels of a tile.
struct Tile {
    /// Number of the image.
    image: usize,
    /// Height, width and channels of the images.
    extents: [usize; 3],
    /// Row and column of the first pixel, among the padding.
    start: [usize; 2],
    /// Between two pixels.
    step: usize,
    padding: usize,
}

impl Tile {
    #[inline(always)]
    fn pixels<const EDGE: usize>(&self) -> Pixels<EDGE> {
        let Self { image, extents: [height, width, channels], start: [top, left], step, padding } =
            *self;
        let mut pixels = [[None; EDGE]; EDGE];
        for row in 0..EDGE {
            let y = top + row * step;
            if y < padding || y >= height + padding {
                continue;
            }
            let start = (image * height + y - padding) * width;
            for column in 0..EDGE {
                let x = left + column * step;
                if x >= padding && x < width + padding {
                    pixels[row][column] = Some((start + x - padding) * channels);
                }
            }
        }
        pixels
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

    /// Adds what comes of `places` at the tiles of `rows` onto the images on this side.
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

    /// Calls `each` for each tile of `rows` and each phase of the images with the tile's pixels and the number of its
    /// first channel among those of a place.
    #[inline(always)]
    fn for_each_tile<const EDGE: usize>(
        &self,
        side: Side,
        rows: &TileRows,
        mut each: impl FnMut(&Pixels<EDGE>, usize),
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
        let mut channel = 0;
        for row in rows.clone() {
            for column in 0..tile_columns {
                let (image, row) = (row / tile_rows, row % tile_rows);
                let [top, left] = [row, column].map(|tile| tile * OUT_EDGE * step);
                for phase in 0..phases {
                    let start = [top + phase / step, left + phase % step];
                    each(&Tile { image, extents, start, step, padding }.pixels(), channel);
                    channel += extents[2];
                }
            }
        }
    }

    /// Sets the places of one side, whose tiles are of `EDGE` pixels, by `A`.
    #[inline(always)]
    fn set<V: Vector, A: Axis<EDGE, PLACES>, const EDGE: usize, const PLACES: usize>(
        &self,
        side: Side,
        places: &mut Places,
        images: Input,
        rows: &TileRows,
    ) {
        let stride = places.stride;
        let [channels, _] = self.channels(side);
        self.for_each_tile::<EDGE>(side, rows, |pixels, first| {
            for channel in (0..channels).step_by(V::LEN) {
                let len = V::LEN.min(channels - channel);
                let mut square = [[V::all(0.0); EDGE]; EDGE];
                for row in 0..EDGE {
                    for column in 0..EDGE {
                        if let Some(pixel) = pixels[row][column] {
                            let values = V::load(&images.values[pixel + channel..][..len]);
                            square[row][column] =
                                if images.relu { values.rectified() } else { values };
                        }
                    }
                }
                let square = both::<A, V, _, _>(square);
                for row in 0..PLACES {
                    for column in 0..PLACES {
                        let at = (row * PLACES + column) * stride + first + channel;
                        square[row][column].store(&mut places.values[at..at + len]);
                    }
                }
            }
        });
    }

    /// Adds onto the images of one side, whose tiles are of `EDGE` pixels, by `A`.
    #[inline(always)]
    fn add<V: Vector, A: Axis<PLACES, EDGE>, const PLACES: usize, const EDGE: usize>(
        &self,
        side: Side,
        places: &Places,
        images: &mut [f32],
        rows: &TileRows,
    ) {
        let stride = places.stride;
        let [channels, _] = self.channels(side);
        self.for_each_tile::<EDGE>(side, rows, |pixels, first| {
            for channel in (0..channels).step_by(V::LEN) {
                let len = V::LEN.min(channels - channel);
                let mut square = [[V::all(0.0); PLACES]; PLACES];
                for row in 0..PLACES {
                    for column in 0..PLACES {
                        let at = (row * PLACES + column) * stride + first + channel;
                        square[row][column] = V::load(&places.values[at..at + len]);
                    }
                }
                let square = both::<A, V, _, _>(square);
                for row in 0..EDGE {
                    for column in 0..EDGE {
                        if let Some(pixel) = pixels[row][column] {
                            let to = &mut images[pixel + channel..][..len];
                            (V::load(to) + square[row][column]).store(to);
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
            fn $set_large<V>(winograd: &Winograd, places: &mut Places, images: Input, rows: &TileRows) {
                winograd.set::<V, $filter::Pixels, _, _>(Side::Large, places, images, rows);
            }
        }
        vectorised! {
            fn $add_large<V>(winograd: &Winograd, places: &Places, images: &mut [f32], rows: &TileRows) {
                winograd.add::<V, $filter::PixelGradients, _, _>(Side::Large, places, images, rows);
            }
        }
        vectorised! {
            fn $set_small<V>(winograd: &Winograd, places: &mut Places, images: Input, rows: &TileRows) {
                winograd.set::<V, $filter::OutputGradients, _, _>(Side::Small, places, images, rows);
            }
        }
        vectorised! {
            fn $add_small<V>(winograd: &Winograd, places: &Places, images: &mut [f32], rows: &TileRows) {
                winograd.add::<V, $filter::Outputs, _, _>(Side::Small, places, images, rows);
            }
        }
    };
}
passes!(two: set_large_of_two add_large_of_two set_small_of_two add_small_of_two);
passes!(three: set_large_of_three add_large_of_three set_small_of_three add_small_of_three);
