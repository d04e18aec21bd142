//! A raster of any kind to upright 8-bit RGB: colours converted to sRGB, then reduced to 8 bits, then composited on the
//! background. Processed a few pixels at a time, so that only the result takes memory.

use image::{DynamicImage, RgbImage};

use super::Colours;
use super::colour::{Conversion, conversion};
use super::raster::{Alpha, Channels, Raster, Samples};

/// Pixels that are converted together.
const STEP: usize = 4096;

/// An upright image, and how its colours were handled.
pub(super) fn flatten(raster: Raster, background: [u8; 3]) -> Result<(RgbImage, Colours), String> {
    let wide = matches!(raster.samples, Samples::U16(_));
    let conversion = conversion(&raster.colour, raster.channels, wide);
    let colours = match &*conversion {
        Conversion::None => Colours::AsStored,
        Conversion::U8(..) | Conversion::U16(..) => Colours::Converted,
        Conversion::Impossible(reason) => Colours::Unconverted(reason.clone()),
    };
    let (width, height, orientation) = (raster.width, raster.height, raster.orientation);
    let is_plain_rgb = raster.channels == Channels::Rgb
        && matches!(*conversion, Conversion::None | Conversion::Impossible(_));
    let has_nothing_to_do = is_plain_rgb && raster.alpha == Alpha::None;
    // The most common of the other cases, slightly faster.
    let is_plain_rgba = is_plain_rgb && raster.alpha == Alpha::Straight;
    let pixels = match raster.samples {
        Samples::U8(samples) if has_nothing_to_do => samples,
        Samples::U8(ref samples) if is_plain_rgba => {
            let (pixels, _) = samples.as_chunks::<4>();
            let composite = |&[r, g, b, alpha]: &[u8; 4]| {
                over([r, g, b].map(|c| u32::from(c) * u32::from(alpha)), alpha, background)
            };
            pixels.iter().flat_map(composite).collect()
        }
        Samples::U8(ref samples) => convert(samples, &raster, &conversion, background)?,
        Samples::U16(ref samples) => convert(samples, &raster, &conversion, background)?,
    };
    let image = RgbImage::from_raw(width, height, pixels);
    let mut image = DynamicImage::from(image.ok_or("has fewer pixels than it says")?);
    image.apply_orientation(orientation);
    Ok((image.into_rgb8(), colours))
}

/// A sample of 8 or 16 bits.
trait Sample: Copy + Default + Into<u32> {
    /// White.
    const FULL: u32;
    fn of(value: u32) -> Self;
    /// Rounded to 8 bits.
    fn narrow(self) -> u8;
    /// Converts the colours `from` to RGB; `false` if the conversion is not for such samples.
    fn convert(conversion: &Conversion, from: &[Self], to: &mut [Self]) -> bool;
}

impl Sample for u8 {
    const FULL: u32 = 255;
    fn of(value: u32) -> Self {
        value.min(Self::FULL) as u8
    }
    fn narrow(self) -> u8 {
        self
    }
    fn convert(conversion: &Conversion, from: &[Self], to: &mut [Self]) -> bool {
        matches!(conversion, Conversion::U8(transform, _) if transform.transform(from, to).is_ok())
    }
}

impl Sample for u16 {
    const FULL: u32 = 65_535;
    fn of(value: u32) -> Self {
        value.min(Self::FULL) as u16
    }
    fn narrow(self) -> u8 {
        ((u32::from(self) + 128) / 257) as u8
    }
    fn convert(conversion: &Conversion, from: &[Self], to: &mut [Self]) -> bool {
        matches!(conversion, Conversion::U16(transform, _) if transform.transform(from, to).is_ok())
    }
}

fn convert<T: Sample>(
    samples: &[T],
    raster: &Raster,
    conversion: &Conversion,
    background: [u8; 3],
) -> Result<Vec<u8>, String> {
    let (n_colours, n_samples) = (raster.channels.count(), raster.n_samples());
    // Samples per pixel that are converted, if any.
    let n_converted = match *conversion {
        Conversion::U8(_, n) | Conversion::U16(_, n) => n,
        _ => 0,
    };
    let converts = n_converted > 0;
    // Conversion needs straight alpha. Without it, premultiplied colours are composited exactly as they are.
    let divides =
        raster.alpha == Alpha::Premultiplied && (converts || raster.channels == Channels::Cmyk);
    let n_pixels = samples.len() / n_samples;
    let mut out = Vec::with_capacity(n_pixels * 3);
    let mut colours = vec![T::default(); STEP * n_colours];
    let mut rgb = [T::default(); STEP * 3];
    for pixels in samples.chunks(STEP * n_samples) {
        let n = pixels.len() / n_samples;
        let (colours, rgb) = (&mut colours[..n * n_colours], &mut rgb[..n * 3]);
        for (pixel, colour) in
            pixels.chunks_exact(n_samples).zip(colours.chunks_exact_mut(n_colours))
        {
            colour.copy_from_slice(&pixel[..n_colours]);
            if divides {
                let alpha: u32 = pixel[n_colours].into();
                colour.iter_mut().for_each(|value| *value = divide(*value, alpha));
            }
        }
        if !converts {
            plain_rgb(colours, rgb, raster.channels);
        } else {
            let neutral: Vec<T>;
            let from = if n_converted > n_colours {
                neutral = colours.iter().flat_map(|&grey| [grey; 3]).collect();
                &neutral
            } else {
                &*colours
            };
            if !T::convert(conversion, from, rgb) {
                return Err("has colours that cannot be converted to sRGB".to_string());
            }
        }
        for (pixel, rgb) in pixels.chunks_exact(n_samples).zip(rgb.as_chunks::<3>().0) {
            let colour = rgb.map(T::narrow);
            out.extend(match raster.alpha {
                Alpha::None => colour,
                Alpha::Premultiplied if !divides => {
                    over(colour.map(|c| u32::from(c) * 255), pixel[n_colours].narrow(), background)
                }
                _ => {
                    let alpha = pixel[n_colours].narrow();
                    over(colour.map(|c| u32::from(c) * u32::from(alpha)), alpha, background)
                }
            });
        }
    }
    Ok(out)
}

/// Undoes the premultiplication by `alpha`; 0 where alpha is 0.
fn divide<T: Sample>(value: T, alpha: u32) -> T {
    let value = u64::from(value.into()) * u64::from(T::FULL) + u64::from(alpha / 2);
    T::of(value.checked_div(u64::from(alpha)).unwrap_or(0).min(u64::from(T::FULL)) as u32)
}

/// Colours without a profile to RGB.
fn plain_rgb<T: Sample>(colours: &[T], rgb: &mut [T], channels: Channels) {
    let rgb = rgb.as_chunks_mut::<3>().0;
    match channels {
        Channels::Rgb => rgb.as_flattened_mut().copy_from_slice(colours),
        Channels::Grey => rgb.iter_mut().zip(colours).for_each(|(rgb, &grey)| *rgb = [grey; 3]),
        Channels::Cmyk => {
            for (rgb, &[c, m, y, k]) in rgb.iter_mut().zip(colours.as_chunks::<4>().0) {
                let white = T::FULL - k.into();
                // Each ink transmits what it does not cover. Below 2^32 for 16 bits.
                *rgb = [c, m, y]
                    .map(|ink| T::of(((T::FULL - ink.into()) * white + T::FULL / 2) / T::FULL));
            }
        }
    }
}

/// `colour`, premultiplied by alpha and 255, composited on the background.
fn over(colour: [u32; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    let behind = 255 - u32::from(alpha);
    std::array::from_fn(|i| {
        ((colour[i] + u32::from(background[i]) * behind + 127) / 255).min(255) as u8
    })
}
