//! The loops of a depthwise convolution over one padded image: sums over the kernel's taps, in blocks of channels whose
//! partial sums stay in registers.

use super::super::math::LANES;
use super::super::wide::vectorised;

/// Output columns that are computed at once, so that a loaded weight is used as often.
const COLUMNS: usize = 4;

/// Extents of the loops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taps {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) channels: usize,
    /// Of the padded image, in pixels.
    pub(super) padded_width: usize,
    /// Of the output.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Taps {
    /// Offset of the first channel of the pixel under the kernel's first tap.
    #[inline(always)]
    fn pixel(&self, row: usize, column: usize) -> usize {
        (row * self.padded_width + column) * self.stride * self.channels
    }
}

#[inline(always)]
fn lanes(values: &[f32], at: usize) -> &[f32; LANES] {
    match values[at..].first_chunk() {
        Some(lanes) => lanes,
        None => unreachable!("{LANES} values at {at} of {}", values.len()),
    }
}

/// Sums of `N` adjacent output pixels, for the channels from `channel`.
#[inline(always)]
fn sums<const K: usize, const N: usize>(
    padded: &[f32],
    weight: &[f32],
    taps: &Taps,
    pixel: usize,
    channel: usize,
) -> [[f32; LANES]; N] {
    let Taps { stride, channels, padded_width, .. } = *taps;
    let mut sums = [[0.0; LANES]; N];
    for y in 0..K {
        for x in 0..K {
            let weight = lanes(weight, (y * K + x) * channels + channel);
            let from = pixel + (y * padded_width + x) * channels + channel;
            for (column, sums) in sums.iter_mut().enumerate() {
                let values = lanes(padded, from + column * stride * channels);
                for lane in 0..LANES {
                    sums[lane] += values[lane] * weight[lane];
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn convolve_by<const K: usize>(padded: &[f32], weight: &[f32], taps: &Taps, out: &mut [f32]) {
    let Taps { stride, channels, padded_width, rows, columns, .. } = *taps;
    let whole = channels - channels % LANES;
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let n = if column + COLUMNS <= columns { COLUMNS } else { 1 };
            let (pixel, at) = (taps.pixel(row, column), (row * columns + column) * channels);
            for channel in (0..whole).step_by(LANES) {
                if n == COLUMNS {
                    let sums = sums::<K, COLUMNS>(padded, weight, taps, pixel, channel);
                    for (column, sums) in sums.iter().enumerate() {
                        let at = at + column * channels + channel;
                        out[at..at + LANES].copy_from_slice(sums);
                    }
                } else {
                    let [sums] = sums::<K, 1>(padded, weight, taps, pixel, channel);
                    out[at + channel..][..LANES].copy_from_slice(&sums);
                }
            }
            for column in 0..n {
                for channel in whole..channels {
                    let from = pixel + column * stride * channels + channel;
                    let mut sum = 0.0;
                    for y in 0..K {
                        for x in 0..K {
                            sum += padded[from + (y * padded_width + x) * channels]
                                * weight[(y * K + x) * channels + channel];
                        }
                    }
                    out[at + column * channels + channel] = sum;
                }
            }
            column += n;
        }
    }
}

#[inline(always)]
fn add_to_taps_by<const K: usize>(padded: &[f32], by_sum: &[f32], taps: &Taps, sums: &mut [f32]) {
    let Taps { channels, padded_width, rows, columns, .. } = *taps;
    let whole = channels - channels % LANES;
    for y in 0..K {
        for channel in (0..whole).step_by(LANES) {
            let mut of_row = [[0.0; LANES]; K];
            for row in 0..rows {
                for column in 0..columns {
                    let gradient = lanes(by_sum, (row * columns + column) * channels + channel);
                    let from = taps.pixel(row, column) + y * padded_width * channels + channel;
                    for (x, sums) in of_row.iter_mut().enumerate() {
                        let values = lanes(padded, from + x * channels);
                        for lane in 0..LANES {
                            sums[lane] += values[lane] * gradient[lane];
                        }
                    }
                }
            }
            for (x, of_tap) in of_row.iter().enumerate() {
                let at = (y * K + x) * channels + channel;
                sums[at..at + LANES].iter_mut().zip(of_tap).for_each(|(sum, value)| *sum += value);
            }
        }
        for channel in whole..channels {
            for x in 0..K {
                let mut sum = 0.0;
                for row in 0..rows {
                    for column in 0..columns {
                        let from = taps.pixel(row, column) + (y * padded_width + x) * channels;
                        sum += padded[from + channel]
                            * by_sum[(row * columns + column) * channels + channel];
                    }
                }
                sums[(y * K + x) * channels + channel] += sum;
            }
        }
    }
}

vectorised! {
    /// Writes the sums over the taps to `out`, `[rows, columns, channels]`.
    pub(super) fn convolve(padded: &[f32], weight: &[f32], taps: Taps, out: &mut [f32]) {
        match taps.kernel {
            3 => convolve_by::<3>(padded, weight, &taps, out),
            4 => convolve_by::<4>(padded, weight, &taps, out),
            5 => convolve_by::<5>(padded, weight, &taps, out),
            other => unreachable!("a depthwise kernel of {other}"),
        }
    }
}

vectorised! {
    /// Adds the gradient w.r.t. the weight, given `by_sum` w.r.t. the output.
    pub(super) fn add_to_taps(padded: &[f32], by_sum: &[f32], taps: Taps, sums: &mut [f32]) {
        match taps.kernel {
            3 => add_to_taps_by::<3>(padded, by_sum, &taps, sums),
            4 => add_to_taps_by::<4>(padded, by_sum, &taps, sums),
            5 => add_to_taps_by::<5>(padded, by_sum, &taps, sums),
            other => unreachable!("a depthwise kernel of {other}"),
        }
    }
}

vectorised! {
    /// Adds the gradient w.r.t. the padded image, given `by_sum` w.r.t. the output.
    pub(super) fn scatter(by_sum: &[f32], weight: &[f32], taps: Taps, padded: &mut [f32]) {
        let Taps { kernel, channels, padded_width, columns, .. } = taps;
        for (pixel, gradient) in by_sum.chunks_exact(channels).enumerate() {
            let from = taps.pixel(pixel / columns, pixel % columns);
            for y in 0..kernel {
                for x in 0..kernel {
                    let tap = &weight[(y * kernel + x) * channels..][..channels];
                    let to = &mut padded[from + (y * padded_width + x) * channels..][..channels];
                    for ((to, tap), gradient) in to.iter_mut().zip(tap).zip(gradient) {
                        *to += tap * gradient;
                    }
                }
            }
        }
    }
}
