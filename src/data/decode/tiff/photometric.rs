//! Samples to grey, RGB or CMYK of 8 or 16 bits: their scale, palettes, YCbCr and L*a*b*.

use super::super::lab;
use super::super::raster::{Alpha, Channels, Colour, Raster, Samples};
use super::assemble::Values;
use super::kinds::{Compression, Photometric};
use super::layout::Layout;
use super::range;

pub(super) fn raster(layout: &Layout, values: Values) -> Result<Raster, String> {
    let n_colours = layout.n_colours();
    let pixel = n_colours + usize::from(layout.alpha != Alpha::None);
    let (channels, samples) = match layout.photometric {
        Photometric::Palette => (Channels::Rgb, look_up(layout, &values, pixel)),
        Photometric::WhiteIsZero => {
            let mut samples = scaled(layout, values)?;
            invert(&mut samples, pixel);
            (Channels::Grey, samples)
        }
        Photometric::BlackIsZero => (Channels::Grey, scaled(layout, values)?),
        Photometric::Rgb => (Channels::Rgb, scaled(layout, values)?),
        Photometric::Cmyk => (Channels::Cmyk, scaled(layout, values)?),
        Photometric::YCbCr => {
            let mut samples = scaled(layout, values)?;
            // The JPEG decoder has already converted it.
            if let (Samples::U8(samples), true) =
                (&mut samples, layout.compression != Compression::Jpeg)
            {
                samples.chunks_exact_mut(pixel).for_each(|pixel| rgb_of_ycbcr(layout, pixel));
            }
            (Channels::Rgb, samples)
        }
        Photometric::CieLab | Photometric::IccLab => {
            (Channels::Rgb, rgb_of_lab(layout, values, pixel))
        }
    };
    Ok(Raster {
        width: layout.width,
        height: layout.height,
        samples,
        channels,
        alpha: layout.alpha,
        colour: Colour::Srgb,
        orientation: layout.orientation,
    })
}

/// Scales to the full range of 8 or 16 bits.
fn scaled(layout: &Layout, values: Values) -> Result<Samples, String> {
    Ok(match values {
        Values::U8(mut values) => {
            let largest = (1u32 << layout.bits) - 1;
            if largest < 255 {
                let scale = |value: u8| ((u32::from(value) * 255 + largest / 2) / largest) as u8;
                values.iter_mut().for_each(|value| *value = scale(*value));
            }
            Samples::U8(values)
        }
        Values::U16(mut values) => {
            // Samples of more than 16 bits were reduced to 16.
            let largest = (1u32 << layout.bits.min(16)) - 1;
            if largest < 65_535 {
                let scale = |value: u16| {
                    ((u64::from(value) * 65_535 + u64::from(largest / 2)) / u64::from(largest))
                        as u16
                };
                values.iter_mut().for_each(|value| *value = scale(*value));
            }
            Samples::U16(values)
        }
        Values::F32(values) => Samples::U16(range::to_u16(layout, &values)?),
    })
}

/// Inverts the first sample of each pixel.
fn invert(samples: &mut Samples, pixel: usize) {
    match samples {
        Samples::U8(samples) => samples.iter_mut().step_by(pixel).for_each(|s| *s = 255 - *s),
        Samples::U16(samples) => samples.iter_mut().step_by(pixel).for_each(|s| *s = 65_535 - *s),
    }
}

/// The palette's colours, followed by alpha, which is scaled as the indices are.
fn look_up(layout: &Layout, values: &Values, pixel: usize) -> Samples {
    let n = layout.palette.len() / 3;
    // Some writers store 8 bits instead of 16.
    let is_16_bit = layout.palette.iter().any(|&value| value > 255);
    let colour = |index: usize, channel: usize| {
        let value = layout.palette.get(channel * n + index).copied().unwrap_or(0);
        (if is_16_bit { value >> 8 } else { value }) as u8
    };
    let largest = (1u32 << layout.bits) - 1;
    let mut out = Vec::new();
    let mut put = |index: u32, alpha: Option<u32>| {
        out.extend((0..3).map(|channel| colour(index as usize, channel)));
        out.extend(alpha.map(|alpha| (alpha * 255 / largest) as u8));
    };
    match values {
        Values::U8(values) => values
            .chunks_exact(pixel)
            .for_each(|pixel| put(pixel[0].into(), pixel.get(1).map(|&alpha| alpha.into()))),
        Values::U16(values) => values
            .chunks_exact(pixel)
            .for_each(|pixel| put(pixel[0].into(), pixel.get(1).map(|&alpha| alpha.into()))),
        // Refused earlier.
        Values::F32(_) => {}
    }
    Samples::U8(out)
}

/// By the formulas of TIFF 6.0, section 21.
fn rgb_of_ycbcr(layout: &Layout, pixel: &mut [u8]) {
    let [red, green, blue] = layout.luma;
    let [black, white, cb_0, cb_1, cr_0, cr_1] = layout.reference;
    let scale = |code: u8, zero: f32, full: f32, range: f32| {
        (f32::from(code) - zero) * range / (full - zero)
    };
    let y = scale(pixel[0], black, white, 255.0);
    let cb = scale(pixel[1], cb_0, cb_1, 127.0);
    let cr = scale(pixel[2], cr_0, cr_1, 127.0);
    let r = y + cr * (2.0 - 2.0 * red);
    let b = y + cb * (2.0 - 2.0 * blue);
    let g = (y - blue * b - red * r) / green;
    for (to, value) in pixel.iter_mut().zip([r, g, b]) {
        *to = value.round() as u8; // saturates
    }
}

fn rgb_of_lab(layout: &Layout, values: Values, pixel: usize) -> Samples {
    let signed = layout.photometric == Photometric::CieLab;
    let values: Vec<u16> = match values {
        Values::U16(values) => values,
        Values::U8(values) => {
            let n = values.len();
            let wide = values.into_iter().enumerate().map(|(i, value)| match i % pixel {
                1 | 2 => u16::from(value) << 8,
                _ => u16::from(value) * 257,
            });
            let mut out = Vec::with_capacity(n);
            out.extend(wide);
            out
        }
        Values::F32(_) => Vec::new(), // refused before
    };
    let mut out = values;
    for pixel in out.chunks_exact_mut(pixel) {
        let offset = |code: u16| match signed {
            true => f32::from(code as i16) / 256.0,
            false => f32::from(code) / 256.0 - 128.0,
        };
        let lab = [f32::from(pixel[0]) * 100.0 / 65_535.0, offset(pixel[1]), offset(pixel[2])];
        pixel[..3]
            .copy_from_slice(&lab::to_srgb(lab).map(|value| (value * 65_535.0).round() as u16));
    }
    Samples::U16(out)
}
