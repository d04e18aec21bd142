//! The variance of the training pixels, exact whatever the number of images.

use super::Target;

/// Sum and sum of squares of one image's bytes: integers, so their order does not matter.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    sum: u64,
    squares: u64,
}

impl Sums {
    /// Those of `pixels`.
    pub(super) fn of(pixels: &[u8]) -> Self {
        let (mut sum, mut squares) = (0, 0);
        for &pixel in pixels {
            let pixel = u64::from(pixel);
            sum += pixel;
            squares += pixel * pixel;
        }
        Self { sum, squares }
    }
}

/// The variance in [0, 1] of the bytes summed in `sums`; 0 without any.
pub(super) fn variance(sums: impl Iterator<Item = Sums>, target: Target) -> f64 {
    let (mut n, mut sum, mut squares) = (0u128, 0u128, 0u128);
    for one in sums {
        n += target.n_bytes() as u128;
        sum += u128::from(one.sum);
        squares += u128::from(one.squares);
    }
    if n == 0 {
        return 0.0;
    }
    // n^2 times the variance in u8 units, in integers: no cancellation.
    let scaled = n * squares - sum * sum;
    scaled as f64 / (n as f64 * n as f64 * 255.0 * 255.0)
}
