//! Augmentation of training images: a random horizontal flip and a random shift. The change of an image is a function
//! of (seed, epoch, image), never of what was drawn before it.

use super::View;
use crate::rng::{Purpose, stream};

/// The augmentation of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    flip: bool,
    /// Pixels to the right and down.
    shift: (isize, isize),
}

impl Change {
    /// The change that makes `view` of an image.
    pub(super) fn of_view(View { flipped, shift: [right, down] }: View) -> Self {
        Self { flip: flipped, shift: (right.into(), down.into()) }
    }
}

/// The change of image `index` in `epoch`. The flip is drawn even if unused, so that enabling one of the two does not
/// affect the other.
pub(super) fn draw(seed: u64, epoch: u64, index: usize, flip: bool, crop: usize) -> Change {
    let mut random = stream(seed, Purpose::Augment, epoch, index as u64);
    let heads = random.below(2) == 1;
    let mut shift = || random.below(2 * crop + 1) as isize - crop as isize;
    Change { flip: flip && heads, shift: (shift(), shift()) }
}

/// Applies `change` to one image `[size, size, channels]`.
pub(super) fn apply(change: Change, image: &mut [u8], size: usize, channels: usize) {
    if change.flip {
        flip(image, size, channels);
    }
    if change.shift != (0, 0) {
        image.copy_from_slice(&shift(image, size, channels, change.shift));
    }
}

/// Flips one image `[size, size, channels]` horizontally.
fn flip(image: &mut [u8], size: usize, channels: usize) {
    for row in image.chunks_exact_mut(size * channels) {
        for x in 0..size / 2 {
            for channel in 0..channels {
                row.swap(x * channels + channel, (size - 1 - x) * channels + channel);
            }
        }
    }
}

/// The image shifted by `(right, down)` pixels, with the edge replicated.
fn shift(image: &[u8], size: usize, channels: usize, (right, down): (isize, isize)) -> Vec<u8> {
    let from = |to: usize, by: isize| (to as isize - by).clamp(0, size as isize - 1) as usize;
    let mut out = Vec::with_capacity(image.len());
    for y in 0..size {
        let row = from(y, down) * size;
        for x in 0..size {
            let start = (row + from(x, right)) * channels;
            out.extend_from_slice(&image[start..start + channels]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipping_mirrors_rows_and_twice_is_nothing() {
        let mut image: Vec<u8> = (0..27).collect();
        let before = image.clone();
        flip(&mut image, 3, 3);
        assert_eq!(image[..9], [6, 7, 8, 3, 4, 5, 0, 1, 2]);
        flip(&mut image, 3, 3);
        assert_eq!(image, before);
    }

    #[test]
    fn a_shift_repeats_the_edge() {
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(shift(&image, 3, 1, (1, 0)), [1, 1, 2, 4, 4, 5, 7, 7, 8]);
        assert_eq!(shift(&image, 3, 1, (0, -2)), [7, 8, 9, 7, 8, 9, 7, 8, 9]);
    }

    #[test]
    fn both_flips_and_every_shift_occur_and_are_off_when_off() {
        let draws: Vec<Change> = (0..400).map(|i| draw(3, 0, i, true, 1)).collect();
        let n_flipped = draws.iter().filter(|change| change.flip).count();
        assert!((150..250).contains(&n_flipped), "{n_flipped}");
        for shift in (-1..=1).flat_map(|x| (-1..=1).map(move |y| (x, y))) {
            assert!(draws.iter().any(|change| change.shift == shift), "{shift:?}");
        }
        let off = Change { flip: false, shift: (0, 0) };
        assert!((0..100).all(|i| draw(3, 0, i, false, 0) == off));
        // Enabling the shift does not change the flips.
        assert!((0..100).all(|i| draw(3, 0, i, true, 0).flip == draws[i].flip));
    }
}
