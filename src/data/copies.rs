//! Images that are there more than once: the same file content, or the same look in another size, format or quality.

use std::collections::HashMap;

use super::{Dataset, Split, View};
use crate::error::Result;

/// Cells of a side of the grid that a look is compared on: one more column, for differences of neighbours.
const CELLS: usize = 8;
/// Cells of a side of the grid that images of one look are compared on.
const FINE_CELLS: usize = 16;
/// The largest difference of a cell of two images that look the same, of 255.
const MOST_DIFFERENT: u8 = 16;
/// Images whose pixels are asked for at once.
const PIECE: usize = 256;

/// Pairs of images, by their names: each with the first one like it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Of the same content.
    pub same: Vec<[String; 2]>,
    /// Of other content and the same look: in which of two neighbouring cells is brighter they agree, and in the
    /// colour of each cell of a finer grid nearly.
    pub alike: Vec<[String; 2]>,
}

impl Dataset {
    /// The images that are there more than once, over all splits.
    ///
    /// # Errors
    /// A file that has changed since the data set was opened.
    pub fn copies(&self) -> Result<Copies> {
        let mut copies = Copies::default();
        let mut by_key: HashMap<u64, String> = HashMap::new();
        let mut by_look: HashMap<u64, Vec<(String, Vec<u8>)>> = HashMap::new();
        let n_bytes = self.image_size() * self.image_size() * self.channels();
        for split in Split::ALL {
            let all: Vec<usize> = (0..self.len(split)).collect();
            for piece in all.chunks(PIECE) {
                let pixels = self.pixels(split, piece, View::AS_IS)?;
                for (&index, image) in piece.iter().zip(pixels.chunks_exact(n_bytes)) {
                    let (name, key) = (self.name(split, index), self.content_key(split, index));
                    if let Some(first) = by_key.get(&key) {
                        copies.same.push([first.clone(), name.to_owned()]);
                        continue;
                    }
                    by_key.insert(key, name.to_owned());
                    let looks = by_look.entry(look(image, self.image_size())).or_default();
                    let fine = cells(image, self.image_size(), [FINE_CELLS; 2]);
                    match looks.iter().find(|(_, first)| is_alike(first, &fine)) {
                        Some((first, _)) => copies.alike.push([first.clone(), name.to_owned()]),
                        None => looks.push((name.to_owned(), fine)),
                    }
                }
            }
        }
        Ok(copies)
    }
}

/// The signs of the differences between horizontal neighbours on a coarse grid, as bits ("dHash").
fn look(image: &[u8], size: usize) -> u64 {
    let channels = image.len() / (size * size);
    let cells = cells(image, size, [CELLS, CELLS + 1]);
    let cells: Vec<u32> =
        cells.chunks_exact(channels).map(|cell| cell.iter().map(|v| u32::from(*v)).sum()).collect();
    let signs = cells.chunks_exact(CELLS + 1).flat_map(|row| row.windows(2));
    signs.fold(0, |bits, pair| bits << 1 | u64::from(pair[0] < pair[1]))
}

/// Mean of each channel in the cells of a grid of `[rows, columns]`.
fn cells(image: &[u8], size: usize, [rows, columns]: [usize; 2]) -> Vec<u8> {
    let channels = image.len() / (size * size);
    let part = |cell: usize, of: usize| {
        let first = cell * size / of;
        first..((cell + 1) * size / of).max(first + 1)
    };
    let mut cells = Vec::with_capacity(rows * columns * channels);
    for row in 0..rows {
        for column in 0..columns {
            let (rows, columns) = (part(row, rows), part(column, columns));
            let n = (rows.len() * columns.len()) as u64;
            for channel in 0..channels {
                let value = |y: usize, x: usize| image[(y * size + x) * channels + channel];
                let all = rows.clone().flat_map(|y| columns.clone().map(move |x| (y, x)));
                let sum: u64 = all.map(|(y, x)| u64::from(value(y, x))).sum();
                cells.push((sum / n) as u8);
            }
        }
    }
    cells
}

fn is_alike(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= MOST_DIFFERENT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;
    use crate::data::DataConfig;

    #[test]
    fn copies_are_told_from_what_looks_the_same_and_from_what_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let picture = |slope: u32| {
            RgbImage::from_fn(40, 40, |x, y| Rgb([(x * slope) as u8, (y * 5) as u8, 90]))
        };
        let save = |name: &str, image: RgbImage| {
            DynamicImage::from(image).save(dir.path().join(name)).unwrap();
        };
        save("a.png", picture(3));
        save("b.png", picture(3));
        save("c.bmp", picture(3));
        let larger = image::imageops::resize(&picture(3), 80, 80, image::imageops::Triangle);
        save("d.png", larger);
        save("e.png", picture(6));
        // Of the same brightness everywhere.
        let other = |image: &RgbImage| {
            RgbImage::from_fn(40, 40, |x, y| {
                let Rgb([r, g, b]) = *image.get_pixel(x, y);
                Rgb([b, g, r])
            })
        };
        save("f.png", other(&picture(3)));
        let path = dir.path().to_str().unwrap().to_owned();
        let config = DataConfig { path, image_size: 20, ..DataConfig::default() };
        let mut copies = Dataset::open(&config, true).unwrap().copies().unwrap();
        for pair in copies.same.iter_mut().chain(&mut copies.alike) {
            pair.sort();
        }
        assert_eq!(copies.same.len(), 1, "{copies:?}");
        assert_eq!(copies.same[0], ["a.png", "b.png"].map(str::to_owned));
        // In whichever order the splits have them.
        assert_eq!(copies.alike.len(), 2, "{copies:?}");
        assert!(
            copies.alike.iter().flatten().all(|name| !["e.png", "f.png"].contains(&name.as_str())),
            "{copies:?}"
        );
    }
}
