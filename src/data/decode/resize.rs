//! The centre square of an image at the target's size and channels.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::super::pixels::luma;
use super::Target;

/// A source this many times the target or more is first averaged over boxes, which is several times faster and leaves a
/// factor of at least 3 to the final resize: Pillow's `reducing_gap`, whose documentation calls the result at 3
/// indistinguishable from a full resize in most cases.
const REDUCING_GAP: u32 = 3;

/// The centre square of `image` at the size and with the channels of `target`. `image` must not be empty.
pub(in super::super) fn fit(image: RgbImage, target: &Target) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let side = width.min(height);
    // Cropping first keeps a 16,384 x 1 strip from growing to a strip 32 times that size; it is otherwise the same as
    // resizing the shorter side and then cropping.
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let size = target.image_size as u32;
    let square = match side / (REDUCING_GAP * size) {
        _ if side == width && side == height && side == size => image,
        0 | 1 => imageops::resize(
            &*imageops::crop_imm(&image, left, top, side, side),
            size,
            size,
            FilterType::CatmullRom,
        ),
        factor => {
            let reduced = box_reduce(&image, left, top, side, factor);
            imageops::resize(&reduced, size, size, FilterType::CatmullRom)
        }
    };
    match target.channels {
        1 => luma(&square),
        _ => square.into_raw(),
    }
}

/// The square at `left`, `top` averaged over `factor` by `factor` boxes. The remainder, less than one target pixel, is
/// cropped evenly from the borders.
fn box_reduce(image: &RgbImage, left: u32, top: u32, side: u32, factor: u32) -> RgbImage {
    let n = side / factor;
    let margin = (side - n * factor) / 2;
    let (left, top) = ((left + margin) as usize, (top + margin) as usize);
    let (n, factor) = (n as usize, factor as usize);
    let stride = image.width() as usize * 3;
    // A box has at most MAX_SIDE squared pixels of at most 255: below 2^36.
    let area = (factor * factor) as u64;
    let mut out = RgbImage::new(n as u32, n as u32);
    let mut sums = vec![0u64; n * 3];
    for (box_row, out_row) in out.chunks_exact_mut(n * 3).enumerate() {
        sums.fill(0);
        let first = (top + box_row * factor) * stride + left * 3;
        for row in 0..factor {
            // n * factor <= side pixels from `left`, in rows below `top + side`: inside the image.
            let start = first + row * stride;
            let source = &image.as_raw()[start..start + n * factor * 3];
            for (sum, pixels) in sums.chunks_exact_mut(3).zip(source.chunks_exact(factor * 3)) {
                let mut totals = [0u32; 3];
                for pixel in pixels.chunks_exact(3) {
                    totals[0] += u32::from(pixel[0]);
                    totals[1] += u32::from(pixel[1]);
                    totals[2] += u32::from(pixel[2]);
                }
                sum.iter_mut().zip(totals).for_each(|(sum, total)| *sum += u64::from(total));
            }
        }
        for (to, &sum) in out_row.iter_mut().zip(&sums) {
            *to = ((sum + area / 2) / area) as u8;
        }
    }
    out
}
