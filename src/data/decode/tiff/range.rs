//! Black and white where the type of the samples does not define them. `SMinSampleValue` and `SMaxSampleValue` do, if
//! present. Otherwise:
//!
//! - Floats range from 0 to 1, and slight overshoots are clipped, as viewers do. Integers up to 255, or up to 65,535,
//!   are 8-bit or 16-bit pixels stored as floats. Anything else has no certain meaning as a picture, and is refused
//!   with its range.
//! - Signed integers of more than 8 bits in 0 to 255 are 8-bit pixels. Otherwise black is 0 if none is negative, else
//!   the lowest value of the type, and white its highest.

use super::kinds::Format;
use super::layout::Layout;
use super::unusual;

/// How far a float may lie outside [0, 1]: the overshoot of sharpening.
const OVERSHOOT: f32 = 0.5;

/// Scales `values` to 16 bits. NaN, which marks a missing value, becomes 0.
pub(super) fn to_u16(layout: &Layout, values: &[f32]) -> Result<Vec<u16>, String> {
    let (black, white) = black_and_white(layout, values)?;
    let scale = 65_535.0 / (white - black);
    // `as` saturates and maps NaN to 0.
    let scaled = values.iter().map(|&value| ((f64::from(value) - black) * scale).round() as u16);
    Ok(scaled.collect())
}

fn black_and_white(layout: &Layout, values: &[f32]) -> Result<(f64, f64), String> {
    if let Some((black, white)) = layout.range
        && black.is_finite()
        && white.is_finite()
        && black < white
    {
        return Ok((black, white));
    }
    let real = || values.iter().copied().filter(|value| !value.is_nan());
    let smallest = real().reduce(f32::min).unwrap_or(0.0);
    let largest = real().reduce(f32::max).unwrap_or(0.0);
    if layout.format == Format::Signed {
        let beyond = 2f64.powi(layout.bits as i32 - 1);
        return Ok(match (smallest < 0.0, largest <= 255.0 && layout.bits > 8) {
            (false, true) => (0.0, 255.0),
            (false, false) => (0.0, beyond - 1.0),
            (true, _) => (-beyond, beyond - 1.0),
        });
    }
    if smallest >= -OVERSHOOT && largest <= 1.0 + OVERSHOOT {
        return Ok((0.0, 1.0));
    }
    let whole = smallest >= 0.0 && real().all(|value| value.fract() == 0.0);
    match largest {
        0.0..=255.0 if whole => Ok((0.0, 255.0)),
        0.0..=65_535.0 if whole => Ok((0.0, 65_535.0)),
        _ => Err(unusual(&format!(
            "of floats from {smallest} to {largest}, whose black and white it does not say (0 to 1, whole numbers \
             to 255 or 65535, or SMinSampleValue and SMaxSampleValue)"
        ))),
    }
}
