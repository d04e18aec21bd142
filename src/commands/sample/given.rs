//! Which codes of an image a completion keeps.

use std::path::Path;

use super::super::Context;
use super::Args;
use crate::codec::Codec;
use crate::data::{Header, Target, decode_file};

/// A grey mask pixel from this value on is drawn anew.
const DRAWN: u8 = 128;

/// The codes of `image` in raster order, `None` where they are drawn anew.
pub(super) fn given_codes(
    args: &Args,
    image: &Path,
    context: &Context,
    codec: Codec<'_>,
) -> anyhow::Result<Vec<Option<u16>>> {
    let config = codec.config();
    let (size, grid) = (config.image_size, config.grid_size());
    let background = context.recipe.data.background;
    let target = Target { image_size: size, channels: config.channels, background };
    let (pixels, kept) = if args.outpaint {
        let quarter = grid.div_ceil(4);
        let inside = quarter..grid - quarter;
        anyhow::ensure!(
            !inside.is_empty(),
            "--outpaint: the image is {grid}x{grid} codes, too few to have a middle"
        );
        let middle = (quarter * size / grid, inside.len() * size / grid);
        let kept = cells(grid, |row, column| inside.contains(&row) && inside.contains(&column));
        (in_the_middle(image, target, middle)?, kept)
    } else {
        let kept = match &args.mask {
            Some(mask) => outside_of_mask(mask, size, grid)?,
            None => first_cells(args, grid)?,
        };
        (decode_file(image, &target)?, kept)
    };
    if let Some(Header { size: [width, height], .. }) = Header::of_file(image)
        && [width, height] != [size, size]
        && !args.outpaint
    {
        context.session.warn(format_args!(
            "{} is {width}x{height} pixels, the tokenizer is for {size}x{size}: it is resized and \
             centre-cropped",
            image.display()
        ));
    }
    let codes = codec.encode(&pixels);
    let kept = kept.iter().flat_map(|kept| std::iter::repeat_n(*kept, config.depth));
    let mut given: Vec<Option<u16>> =
        codes.into_iter().zip(kept).map(|(code, kept)| kept.then_some(code)).collect();
    let n = given.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    given.truncate(n);
    Ok(given)
}

/// What `is_kept` says of each cell, given its row and column.
fn cells(grid: usize, is_kept: impl Fn(usize, usize) -> bool) -> Vec<bool> {
    (0..grid * grid).map(|cell| is_kept(cell / grid, cell % grid)).collect()
}

/// The first rows and the first columns; half of the rows by default.
fn first_cells(args: &Args, grid: usize) -> anyhow::Result<Vec<bool>> {
    let check = |flag: &str, n: usize, what: &str| {
        anyhow::ensure!(
            (1..grid).contains(&n),
            "{flag} is {n}, the image is {grid} {what} of codes: allowed are 1 to {}",
            grid - 1
        );
        Ok(n)
    };
    let columns = args.keep_columns.map(|n| check("--keep-columns", n, "columns")).transpose()?;
    let rows = args.keep_rows.map(|n| check("--keep-rows", n, "rows")).transpose()?;
    let (rows, columns) = match (rows, columns) {
        (None, None) => (grid / 2, 0),
        (rows, columns) => (rows.unwrap_or(0), columns.unwrap_or(0)),
    };
    Ok(cells(grid, |row, column| row < rows || column < columns))
}

/// The cells without a white pixel of the mask.
fn outside_of_mask(mask: &Path, size: usize, grid: usize) -> anyhow::Result<Vec<bool>> {
    let target = Target { image_size: size, channels: 1, background: [0; 3] };
    let pixels = decode_file(mask, &target)?;
    let mut kept = vec![true; grid * grid];
    for (place, _) in pixels.iter().enumerate().filter(|(_, value)| **value >= DRAWN) {
        let (row, column) = (place / size * grid / size, place % size * grid / size);
        kept[row * grid + column] = false;
    }
    anyhow::ensure!(
        kept.contains(&false),
        "{} has no white pixel: what is white is drawn anew, the rest is kept",
        mask.display()
    );
    Ok(kept)
}

/// The image reduced to a square of `side` pixels whose first row and column is `from`, on the background.
fn in_the_middle(
    image: &Path,
    target: Target,
    (from, side): (usize, usize),
) -> anyhow::Result<Vec<u8>> {
    let Target { image_size: size, channels, background } = target;
    let inner = decode_file(image, &Target { image_size: side, ..target })?;
    let grey = (background.iter().map(|value| u32::from(*value)).sum::<u32>() / 3) as u8;
    let one: Vec<u8> = if channels == 1 { vec![grey] } else { background.to_vec() };
    let mut pixels = one.repeat(size * size);
    for (row, line) in inner.chunks_exact(side * channels).enumerate() {
        let start = ((from + row) * size + from) * channels;
        pixels[start..start + line.len()].copy_from_slice(line);
    }
    Ok(pixels)
}
