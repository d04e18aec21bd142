//! Strips, tiles and planes to one interleaved image of the samples that are used.

use super::chunk::{Shape, unpack};
use super::kinds::{Format, Predictor};
use super::layout::Layout;

/// Samples `[height, width, kept]` in their original range.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    /// Unsigned, of up to 8 bits.
    U8(Vec<u8>),
    /// Unsigned, of up to 16 bits; wider ones are reduced to their upper 16.
    U16(Vec<u16>),
    /// Signed or floating-point.
    F32(Vec<f32>),
}

/// Unpacks all chunks.
pub(super) fn assemble(layout: &Layout, bytes: &[u8]) -> Result<Values, String> {
    let n = layout.width as usize * layout.height as usize * layout.kept().len();
    match (layout.format, layout.bits) {
        (Format::Unsigned, 0..=8) => Ok(Values::U8(fill(layout, bytes, n, read_u8)?)),
        (Format::Unsigned, _) => Ok(Values::U16(fill(layout, bytes, n, read_u16)?)),
        _ => Ok(Values::F32(fill(layout, bytes, n, read_f32)?)),
    }
}

/// Reads sample `index` of a row.
type Reader<T> = fn(&[u8], usize, &Encoding) -> T;

/// How a sample is stored.
struct Encoding {
    format: Format,
    bits: u32,
    big_endian: bool,
}

fn fill<T: Copy + Default>(
    layout: &Layout,
    bytes: &[u8],
    n: usize,
    read: Reader<T>,
) -> Result<Vec<T>, String> {
    let kept = layout.kept();
    let mut out = vec![T::default(); n];
    // A predictor, once undone, leaves the samples in native byte order.
    let big_endian = match layout.predictor {
        Predictor::None => layout.big_endian,
        _ => cfg!(target_endian = "big"),
    };
    let encoding = Encoding { format: layout.format, bits: layout.bits, big_endian };
    let across = layout.width.div_ceil(layout.chunk_width) as usize;
    let down = layout.height.div_ceil(layout.chunk_height) as usize;
    for index in 0..layout.chunks.len() {
        let plane = index / (across * down);
        // Samples per pixel in this chunk, and where each goes.
        let (n_samples, targets): (usize, Vec<(usize, usize)>) = if layout.planar {
            (
                1,
                kept.iter()
                    .position(|&sample| sample == plane)
                    .map(|to| (0, to))
                    .into_iter()
                    .collect(),
            )
        } else {
            (layout.n_samples, kept.iter().copied().zip(0..).collect())
        };
        if targets.is_empty() {
            continue;
        }
        let left = (index % across) as u32 * layout.chunk_width;
        let top = (index % (across * down) / across) as u32 * layout.chunk_height;
        let width = layout.chunk_width.min(layout.width - left) as usize;
        let height = layout.chunk_height.min(layout.height - top) as usize;
        let stored_height = if layout.tiled { layout.chunk_height } else { height as u32 };
        let shape = Shape { width: layout.chunk_width, height: stored_height, n_samples };
        let unpacked = unpack(layout, bytes, index, &shape)?;
        let pixel = |row: usize, column: usize| {
            ((top as usize + row) * layout.width as usize + left as usize + column) * kept.len()
        };
        if layout.is_subsampled() {
            let units = Units { data: &unpacked, shape: &shape, factors: layout.subsampling };
            for row in 0..height {
                for column in 0..width {
                    let ycbcr = units.pixel(row, column);
                    for &(from, to) in &targets {
                        out[pixel(row, column) + to] = read(&ycbcr, from, &encoding);
                    }
                }
            }
            continue;
        }
        let stride = shape.stride(layout) as usize;
        for (row, data) in unpacked.chunks_exact(stride).take(height).enumerate() {
            let start = pixel(row, 0);
            let pixels = out[start..start + width * kept.len()].chunks_exact_mut(kept.len());
            for (column, pixel) in pixels.enumerate() {
                for &(from, to) in &targets {
                    pixel[to] = read(data, column * n_samples + from, &encoding);
                }
            }
        }
    }
    Ok(out)
}

/// Subsampled YCbCr: units of `factors` luma samples in row-major order, then Cb and Cr.
struct Units<'a> {
    data: &'a [u8],
    shape: &'a Shape,
    factors: (u32, u32),
}

impl Units<'_> {
    fn pixel(&self, row: usize, column: usize) -> [u8; 3] {
        let (across, down) = (self.factors.0 as usize, self.factors.1 as usize);
        let units_across = (self.shape.width as usize).div_ceil(across);
        let size = across * down + 2;
        let unit = &self.data[(row / down * units_across + column / across) * size..][..size];
        [unit[row % down * across + column % across], unit[size - 2], unit[size - 1]]
    }
}

/// Up to 8 bits, packed without padding.
fn read_u8(row: &[u8], index: usize, encoding: &Encoding) -> u8 {
    match encoding.bits {
        8 => row[index],
        bits => packed(row, index, bits) as u8,
    }
}

fn read_u16(row: &[u8], index: usize, encoding: &Encoding) -> u16 {
    match encoding.bits {
        bits @ (16 | 24 | 32 | 64) => (whole(row, index, encoding) >> (bits - 16)) as u16,
        bits => packed(row, index, bits) as u16,
    }
}

fn read_f32(row: &[u8], index: usize, encoding: &Encoding) -> f32 {
    let value = whole(row, index, encoding);
    match (encoding.format, encoding.bits) {
        (Format::Float, 16) => half(value as u16),
        (Format::Float, 32) => f32::from_bits(value as u32),
        (Format::Float, _) => f64::from_bits(value) as f32,
        (_, bits) => ((value << (64 - bits)) as i64 >> (64 - bits)) as f32,
    }
}

/// A sample of whole bytes.
fn whole(row: &[u8], index: usize, encoding: &Encoding) -> u64 {
    let n = (encoding.bits / 8) as usize;
    let bytes = row[index * n..(index + 1) * n].iter();
    let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if encoding.big_endian { bytes.fold(0, join) } else { bytes.rev().fold(0, join) }
}

/// A sample of at most 16 bits, most significant first, that may begin inside a byte.
fn packed(row: &[u8], index: usize, bits: u32) -> u32 {
    let first = index * bits as usize;
    let byte = |i: usize| u32::from(row.get(first / 8 + i).copied().unwrap_or(0));
    let window = byte(0) << 16 | byte(1) << 8 | byte(2);
    window >> (24 - first as u32 % 8 - bits) & ((1 << bits) - 1)
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    sign * match bits >> 10 & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction > 0.0 => f32::NAN,
        31 => f32::INFINITY,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_begin_inside_a_byte_are_read() {
        let row = [0b1010_1100, 0b0111_0001, 0b1111_0000];
        assert_eq!((0..4).map(|i| packed(&row, i, 4)).collect::<Vec<_>>(), [10, 12, 7, 1]);
        assert_eq!((0..2).map(|i| packed(&row, i, 12)).collect::<Vec<_>>(), [0xac7, 0x1f0]);
        assert_eq!((0..4).map(|i| packed(&row, i, 1)).collect::<Vec<_>>(), [1, 0, 1, 0]);
    }

    #[test]
    fn half_floats_are_what_the_standard_says() {
        let known = [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (1, 5.960_464_5e-8)];
        known.iter().for_each(|&(bits, value)| assert_eq!(half(bits), value));
        assert!(half(0x7e00).is_nan() && half(0x7c00).is_infinite());
    }
}
