//! Grids of tiles.

use proptest::prelude::*;
use vqgen::data::{Layout, PictureFormat, Tiles, grid, pair_rows};

prop_compose! {
    /// Tiles of any content, and how to lay them out.
    fn sets()(
        n in 1usize..8,
        height in 1usize..5,
        width in 1usize..5,
        colour in any::<bool>(),
        columns in 1usize..10,
        padding in 0usize..4,
        scale in 1usize..4,
        background in any::<[u8; 3]>(),
    )(
        pixels in prop::collection::vec(any::<u8>(), n * height * width * if colour { 3 } else { 1 }),
        extents in Just((n, height, width, if colour { 3 } else { 1 })),
        layout in Just(Layout { columns, padding, scale, background }),
    ) -> (Vec<u8>, (usize, usize, usize, usize), Layout) {
        (pixels, extents, layout)
    }
}

proptest! {
    #[test]
    fn every_tile_is_where_it_belongs_and_the_rest_is_background((pixels, extents, layout) in sets()) {
        let (n, height, width, channels) = extents;
        let picture = grid(&Tiles { pixels: &pixels, height, width, channels }, &layout).unwrap();
        let Layout { columns, padding, scale, background } = layout;
        let columns = columns.min(n);
        let (cell_height, cell_width) = (height * scale + padding, width * scale + padding);
        prop_assert_eq!(picture.height, n.div_ceil(columns) * cell_height + padding);
        prop_assert_eq!(picture.width, columns * cell_width + padding);
        prop_assert_eq!(picture.channels, channels);
        prop_assert_eq!(picture.pixels.len(), picture.height * picture.width * channels);
        for (at, seen) in picture.pixels.chunks(channels).enumerate() {
            let (y, x) = (at / picture.width, at % picture.width);
            // Which cell, and where in it, counted from the end of the padding before it.
            let place = |at: usize, cell: usize| {
                let at = at.checked_sub(padding)?;
                (at % cell < cell - padding).then_some((at / cell, at % cell / scale))
            };
            let tile = place(y, cell_height).zip(place(x, cell_width)).and_then(|((row, y), (column, x))| {
                let tile = row * columns + column;
                (tile < n).then_some(((tile * height + y) * width + x) * channels)
            });
            match tile {
                Some(from) => prop_assert_eq!(seen, &pixels[from..from + channels]),
                None => prop_assert_eq!(seen, &background[..channels]),
            }
        }
    }

    #[test]
    fn a_png_holds_the_picture((pixels, (_, height, width, channels), layout) in sets()) {
        let picture = grid(&Tiles { pixels: &pixels, height, width, channels }, &layout).unwrap();
        let decoded = image::load_from_memory(&picture.encode(PictureFormat::Png).unwrap()).unwrap();
        prop_assert_eq!((decoded.width() as usize, decoded.height() as usize), (picture.width, picture.height));
        prop_assert_eq!(decoded.into_bytes(), picture.pixels);
    }

    #[test]
    fn pairs_stand_one_below_the_other((pixels, (n, height, width, channels), layout) in sets()) {
        let second: Vec<u8> = pixels.iter().map(|value| !value).collect();
        let tiles = |pixels| Tiles { pixels, height, width, channels };
        let columns = layout.columns.min(n);
        let pairs = pair_rows(&tiles(&pixels), &tiles(&second), columns, layout.background).unwrap();
        let length = height * width * channels;
        prop_assert_eq!(pairs.len(), 2 * n.div_ceil(columns) * columns * length);
        for (i, (a, b)) in pixels.chunks(length).zip(second.chunks(length)).enumerate() {
            let first = (2 * (i / columns) * columns + i % columns) * length;
            let below = first + columns * length;
            prop_assert_eq!(&pairs[first..first + length], a);
            prop_assert_eq!(&pairs[below..below + length], b);
        }
    }

    #[test]
    fn sizes_of_any_kind_are_a_picture_or_an_error(
        n in 0usize..4,
        [height, width, channels] in any::<[usize; 3]>(),
        [columns, padding, scale] in any::<[usize; 3]>(),
    ) {
        let layout = Layout { columns, padding, scale, background: [0; 3] };
        let small = Tiles { pixels: &vec![0; n * 4], height: 2, width: 2, channels: 1 };
        if let Ok(picture) = grid(&small, &layout) {
            prop_assert!(picture.height <= 32_768 && picture.width <= 32_768);
        }
        let _ = Tiles { pixels: &vec![0; n], height, width, channels }.count();
    }
}
