//! Conversion of RGB, grey or CMYK to sRGB: by ICC profiles, code points, or primaries with a gamma. What cannot be
//! converted is reported, and never fails an image: its colours are then treated as sRGB, as without a profile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace,
    Layout, MatrixCoefficients, ToneReprCurve, TransferCharacteristics, Transform8BitExecutor,
    Transform16BitExecutor, TransformOptions,
};
use sha2::{Digest, Sha256};

use super::raster::{Channels, Colour, Primaries};

/// Most bytes of a colour profile. Those for printing presses have up to 3 MB.
const MAX_PROFILE_BYTES: usize = 4 << 20;
/// Cached conversions. A folder of photographs has a few different profiles; building a conversion takes about a
/// millisecond, as long as decoding a small image.
const MAX_REMEMBERED: usize = 16;
/// A conversion that changes no value by more than this is skipped: an sRGB profile must leave pixels unchanged.
const ROUNDING: u8 = 1;

/// How the colours of an image are converted to sRGB.
pub(super) enum Conversion {
    /// They are sRGB already.
    None,
    /// From pixels of that many 8-bit samples to RGB. A grey image with an RGB profile uses it for neutral colours, and
    /// needs 3.
    U8(Arc<Transform8BitExecutor>, usize),
    /// The same for 16 bits.
    U16(Arc<Transform16BitExecutor>, usize),
    /// They are treated as sRGB, for this reason.
    Impossible(String),
}

/// The conversion from `colour` for `channels`, in 16 bits if `wide`.
pub(super) fn conversion(colour: &Colour, channels: Channels, wide: bool) -> Arc<Conversion> {
    type Remembered = Vec<([u8; 32], Arc<Conversion>)>;
    static REMEMBERED: LazyLock<Mutex<Remembered>> = LazyLock::new(Mutex::default);
    match colour {
        Colour::Srgb => return Arc::new(Conversion::None),
        Colour::Unknown(reason) => return Arc::new(Conversion::Impossible(reason.clone())),
        _ => {}
    }
    let key = key(colour, channels, wide);
    let lock = || REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, conversion)) = lock().iter().find(|(known, _)| *known == key) {
        return conversion.clone();
    }
    let made = catch_unwind(AssertUnwindSafe(|| make(colour, channels, wide)))
        .unwrap_or_else(|_| Err("damaged".to_string()));
    let made = Arc::new(made.unwrap_or_else(Conversion::Impossible));
    let mut remembered = lock();
    if remembered.len() >= MAX_REMEMBERED {
        remembered.remove(0);
    }
    remembered.push((key, made.clone()));
    made
}

fn key(colour: &Colour, channels: Channels, wide: bool) -> [u8; 32] {
    let mut hash = Sha256::new();
    match colour {
        Colour::Icc(profile) => hash.update(profile),
        other => hash.update(format!("{other:?}")),
    }
    hash.update(format!("{channels:?} {wide}"));
    hash.finalize().into()
}

fn make(colour: &Colour, channels: Channels, wide: bool) -> Result<Conversion, String> {
    let source = profile(colour, channels)?;
    let srgb = ColorProfile::new_srgb();
    let (from, n) = match source.color_space {
        DataColorSpace::Gray => (Layout::Gray, 1),
        DataColorSpace::Cmyk => (Layout::Rgba, 4),
        _ => (Layout::Rgb, 3),
    };
    let options = TransformOptions { prefer_fixed_point: false, ..TransformOptions::default() };
    let unusual = |error| format!("of a kind that is not converted ({error})");
    let narrow =
        source.create_transform_8bit(from, &srgb, Layout::Rgb, options).map_err(unusual)?;
    if changes_nothing(&*narrow, channels, n) {
        return Ok(Conversion::None);
    }
    Ok(match wide {
        false => Conversion::U8(narrow, n),
        true => {
            let wide = source.create_transform_16bit(from, &srgb, Layout::Rgb, options);
            Conversion::U16(wide.map_err(unusual)?, n)
        }
    })
}

/// Whether a conversion from pixels of `n` samples is the identity up to rounding, tested on all greys and, for images
/// in colour, on a lattice of colours.
fn changes_nothing(transform: &Transform8BitExecutor, channels: Channels, n: usize) -> bool {
    let mut colours: Vec<u8> = (0..=255).flat_map(|grey| [grey; 3]).collect();
    match channels {
        Channels::Grey => {}
        Channels::Rgb => {
            let steps = || (0..=255).step_by(15);
            for (r, g) in steps().flat_map(|r| steps().map(move |g| (r, g))) {
                colours.extend(steps().flat_map(|b| [r, g, b]));
            }
        }
        Channels::Cmyk => return false,
    }
    let source: Vec<u8> = colours.iter().copied().step_by(3 / n).collect();
    let mut converted = vec![0; colours.len()];
    transform.transform(&source, &mut converted).is_ok()
        && colours.iter().zip(&converted).all(|(a, b)| a.abs_diff(*b) <= ROUNDING)
}

/// The profile that `colour` describes, if it fits `channels`.
fn profile(colour: &Colour, channels: Channels) -> Result<ColorProfile, String> {
    match colour {
        Colour::Srgb | Colour::Unknown(_) => Ok(ColorProfile::new_srgb()),
        Colour::Icc(bytes) => {
            if bytes.len() > MAX_PROFILE_BYTES {
                let most = MAX_PROFILE_BYTES >> 20;
                return Err(format!("larger than {most} MiB"));
            }
            let profile =
                ColorProfile::new_from_slice(bytes).map_err(|error| format!("damaged: {error}"))?;
            let fits = matches!(
                (channels, profile.color_space),
                (Channels::Grey | Channels::Rgb, DataColorSpace::Rgb)
                    | (Channels::Grey, DataColorSpace::Gray)
                    | (Channels::Cmyk, DataColorSpace::Cmyk)
            );
            if !fits {
                let kind = profile.color_space;
                return Err(format!("for {kind:?} colours, in an image of {channels:?} ones"));
            }
            Ok(relative_to_light(profile))
        }
        Colour::CodePoints { primaries, transfer } => code_points(*primaries, *transfer),
        Colour::Calibrated { gamma, primaries } => {
            let mut profile = ColorProfile::new_srgb();
            if let Some(primaries) = primaries {
                set_primaries(&mut profile, primaries)?;
            }
            if *gamma > 0.0 {
                let curve = Some(ToneReprCurve::Parametric(vec![*gamma]));
                profile.red_trc = curve.clone();
                profile.green_trc = curve.clone();
                profile.blue_trc = curve;
                profile.cicp = None;
            }
            Ok(profile)
        }
    }
}

/// A grey profile whose curve gives L*, which is not converted, with the equivalent curve in luminance.
fn relative_to_light(mut profile: ColorProfile) -> ColorProfile {
    const ENTRIES: u16 = 4096;
    if profile.color_space == DataColorSpace::Gray
        && profile.pcs == DataColorSpace::Lab
        && let Some(Ok(curve)) =
            profile.gray_trc.as_ref().map(|curve| curve.make_linear_evaluator())
    {
        let entry = |i: u16| {
            let l = 100.0 * curve.evaluate_value(f32::from(i) / f32::from(ENTRIES - 1));
            let y = if l > 8.0 { ((l + 16.0) / 116.0).powi(3) } else { l / 903.3 };
            (y * 65_535.0).round() as u16 // saturates
        };
        profile.gray_trc = Some(ToneReprCurve::Lut((0..ENTRIES).map(entry).collect()));
        profile.pcs = DataColorSpace::Xyz;
    }
    profile
}

fn code_points(primaries: u8, transfer: u8) -> Result<ColorProfile, String> {
    // PQ and HLG describe the light of a display, which 8-bit sRGB cannot represent.
    if matches!(transfer, 16 | 18) {
        return Err("of high dynamic range (PQ or HLG)".to_string());
    }
    let unknown = || format!("of the code points {primaries} and {transfer}");
    let profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: CicpColorPrimaries::try_from(primaries).map_err(|_| unknown())?,
        transfer_characteristics: TransferCharacteristics::try_from(transfer)
            .map_err(|_| unknown())?,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    });
    if profile.is_matrix_shaper() { Ok(profile) } else { Err(unknown()) }
}

fn set_primaries(profile: &mut ColorProfile, primaries: &Primaries) -> Result<(), String> {
    let Primaries { white, red, green, blue } = *primaries;
    let all = [white, red, green, blue];
    let area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1]);
    if !all.iter().flatten().all(|&value| (0.0..1.0).contains(&value))
        || white[1] < 0.01
        || area.abs() < 1e-4
    {
        return Err("damaged: its primaries are impossible".to_string());
    }
    let at = |[x, y]: [f32; 2]| Chromaticity { x, y };
    profile.update_rgb_colorimetry(
        at(white).to_xyyb(),
        ColorPrimaries { red: at(red), green: at(green), blue: at(blue) },
    );
    Ok(())
}
