//! Image grids: tiles of u8 pixels arranged in columns and enlarged by integer factors.

use super::Picture;
use crate::error::{Error, Result};

/// Most pixels per side of a grid: what image viewers can still open.
const MAX_SIDE: usize = 32_768;

/// The layout of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Tiles per row, at least 1.
    pub columns: usize,
    /// Pixels between tiles and around all of them, after enlarging.
    pub padding: usize,
    /// Every pixel becomes a square of this many pixels per side, at least 1.
    pub scale: usize,
    /// The colour of the padding and of empty cells; grey pictures take its first component.
    pub background: [u8; 3],
}

impl Default for Layout {
    fn default() -> Self {
        Self { columns: 8, padding: 2, scale: 1, background: [255; 3] }
    }
}

impl Layout {
    /// Height and width in pixels of a picture of `n` tiles of this size. For checking before the tiles are made.
    ///
    /// # Errors
    /// As [`grid`].
    pub fn size(&self, n: usize, tile: [usize; 2]) -> Result<[usize; 2]> {
        let Self { columns, padding, scale, .. } = *self;
        if n == 0 || columns == 0 || scale == 0 {
            return Err(Error::invalid(format!(
                "a grid needs at least 1 image, column and scale; got {n}, {columns} and {scale}"
            )));
        }
        let columns = columns.min(n);
        let rows = n.div_ceil(columns);
        let extent = |tile: usize, n_tiles: usize| {
            let cell = tile.checked_mul(scale)?.checked_add(padding)?;
            let extent = cell.checked_mul(n_tiles)?.checked_add(padding)?;
            (extent <= MAX_SIDE).then_some(extent)
        };
        let [height, width] = tile;
        match (extent(height, rows), extent(width, columns)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => Err(Error::invalid(format!(
                "a grid of {columns} x {rows} images of {width} x {height} pixels, scale {scale}, padding \
                 {padding}, is larger than {MAX_SIDE} pixels per side; ask for fewer images, another number of \
                 columns or a smaller scale"
            ))),
        }
    }
}

/// Images of one size: `pixels` is u8 `[n, height, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Tiles<'a> {
    /// The pixels of all tiles, concatenated.
    pub pixels: &'a [u8],
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
}

impl Tiles<'_> {
    /// How many tiles there are.
    ///
    /// # Errors
    /// A size of 0, channels other than 1 and 3, or pixels that are not a whole number of tiles.
    pub fn count(&self) -> Result<usize> {
        let Self { height, width, channels, .. } = *self;
        let length = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
        match length {
            Some(length)
                if length > 0
                    && matches!(channels, 1 | 3)
                    && self.pixels.len().is_multiple_of(length) =>
            {
                Ok(self.pixels.len() / length)
            }
            _ => Err(Error::invalid(format!(
                "{} bytes are not a whole number of tiles of {height} x {width} x {channels}",
                self.pixels.len()
            ))),
        }
    }
}

/// Arranges `tiles` in row-major order, from the top left. With fewer tiles than columns there are only as many columns
/// as tiles.
///
/// # Errors
/// No tile, a layout with 0 columns or scale 0, or a picture of more than 32,768 pixels per side.
pub fn grid(tiles: &Tiles<'_>, layout: &Layout) -> Result<Picture> {
    let n = tiles.count()?;
    let [height, width] = layout.size(n, [tiles.height, tiles.width])?;
    let columns = layout.columns.min(n);
    let channels = tiles.channels;
    let mut pixels = layout.background[..channels].repeat(width * height);
    let length = tiles.height * tiles.width * channels;
    for (i, tile) in tiles.pixels.chunks_exact(length).enumerate() {
        let left = layout.padding + (i % columns) * (tiles.width * layout.scale + layout.padding);
        let top = layout.padding + (i / columns) * (tiles.height * layout.scale + layout.padding);
        for (y, row) in tile.chunks_exact(tiles.width * channels).enumerate() {
            let enlarged: Vec<u8> =
                row.chunks_exact(channels).flat_map(|pixel| pixel.repeat(layout.scale)).collect();
            for copy in 0..layout.scale {
                let start = ((top + y * layout.scale + copy) * width + left) * channels;
                pixels[start..start + enlarged.len()].copy_from_slice(&enlarged);
            }
        }
    }
    Ok(Picture { pixels, height, width, channels })
}

/// The tiles of two equally shaped sets for [`grid`] with `columns` columns: a row of `first`, below it the same images
/// of `second`, then the next row. The last row is padded with `background`.
///
/// # Errors
/// Sets of different shape, or as [`Tiles::count`].
pub fn pair_rows(
    first: &Tiles<'_>,
    second: &Tiles<'_>,
    columns: usize,
    background: [u8; 3],
) -> Result<Vec<u8>> {
    let (n, n_second) = (first.count()?, second.count()?);
    let shape = |tiles: &Tiles<'_>, n| (n, tiles.height, tiles.width, tiles.channels);
    let (a, b) = (shape(first, n), shape(second, n_second));
    if a != b || columns == 0 {
        let message = format!("cannot pair images {a:?} with {b:?} in {columns} columns");
        return Err(Error::invalid(message));
    }
    let length = first.height * first.width * first.channels;
    // As in `grid`, so that rows stay pairs with fewer images than columns.
    let columns = columns.min(n.max(1));
    let mut out = Vec::new();
    for (first, second) in
        first.pixels.chunks(columns * length).zip(second.pixels.chunks(columns * length))
    {
        for row in [first, second] {
            out.extend_from_slice(row);
            let missing = columns * length - row.len();
            let filler = background[..a.3].iter().copied().cycle();
            out.extend(filler.take(missing));
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn grey(pixels: &[u8], height: usize, width: usize) -> Tiles<'_> {
        Tiles { pixels, height, width, channels: 1 }
    }

    #[test]
    fn three_tiles_in_two_columns_leave_one_place_empty() {
        let layout = Layout { columns: 2, padding: 1, scale: 1, background: [9; 3] };
        let picture = grid(&grey(&[1, 2, 3], 1, 1), &layout).unwrap();
        assert_eq!((picture.height, picture.width), (5, 5));
        let rows: Vec<&[u8]> = picture.pixels.chunks(5).collect();
        assert_eq!(rows, [[9; 5], [9, 1, 9, 2, 9], [9; 5], [9, 3, 9, 9, 9], [9; 5]]);
    }

    #[test]
    fn enlarging_repeats_pixels_and_keeps_colours_together() {
        let tile = [1, 2, 3, 4, 5, 6];
        let tiles = Tiles { pixels: &tile, height: 1, width: 2, channels: 3 };
        let layout = Layout { columns: 8, padding: 0, scale: 2, background: [0; 3] };
        let picture = grid(&tiles, &layout).unwrap();
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        assert_eq!(picture.pixels, [row, row].concat());
    }

    #[test]
    fn pairs_stand_below_each_other_and_the_last_row_is_filled() {
        let (a, b) = ([1, 2, 3], [11, 12, 13]);
        let pairs = pair_rows(&grey(&a, 1, 1), &grey(&b, 1, 1), 2, [0; 3]).unwrap();
        assert_eq!(pairs, [1, 2, 11, 12, 3, 0, 13, 0]);
        let few = pair_rows(&grey(&a, 1, 1), &grey(&b, 1, 1), 8, [0; 3]).unwrap();
        assert_eq!(few, [1, 2, 3, 11, 12, 13]);
        assert!(pair_rows(&grey(&a, 1, 1), &grey(&b[..2], 1, 1), 2, [0; 3]).is_err());
    }

    #[test]
    fn impossible_grids_are_refused_with_the_numbers() {
        let pixels = [0; 8];
        let fails =
            |tiles: &Tiles<'_>, layout: &Layout| grid(tiles, layout).unwrap_err().to_string();
        let layout = Layout::default();
        assert!(fails(&grey(&pixels, 3, 1), &layout).contains("8 bytes are not a whole number"));
        assert!(fails(&grey(&[], 2, 2), &layout).contains("at least 1"));
        assert!(fails(&grey(&pixels, 0, 2), &layout).contains("0 x 2"));
        let huge = Layout { scale: usize::MAX, ..layout };
        assert!(fails(&grey(&pixels, 2, 2), &huge).contains("32768"));
        let no_columns = Layout { columns: 0, ..layout };
        assert!(fails(&grey(&pixels, 2, 2), &no_columns).contains("at least 1"));
    }
}
