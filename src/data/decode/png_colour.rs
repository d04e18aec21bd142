//! The colours declared by a PNG, by the precedence of the specification's third edition (section 4.3): `cICP`, `iCCP`,
//! `sRGB`, then `gAMA` with `cHRM`. Also `eXIf`, which may come after the pixels.

use image::metadata::Orientation;

use super::raster::{Colour, Primaries};

/// A gamma this close to that of sRGB means the sRGB curve; libpng's threshold.
const GAMMA_TOLERANCE: f32 = 0.05;
/// The same for chromaticities, mostly rounded values of BT.709.
const CHROMATICITY_TOLERANCE: f32 = 0.005;
const SRGB_PRIMARIES: Primaries =
    Primaries { white: [0.3127, 0.329], red: [0.64, 0.33], green: [0.3, 0.6], blue: [0.15, 0.06] };

/// The chunks of interest.
#[derive(Default)]
pub(super) struct Chunks {
    code_points: Option<[u8; 4]>,
    has_profile: bool,
    is_srgb: bool,
    /// Exponent from samples to light, the inverse of what is stored.
    gamma: Option<f32>,
    primaries: Option<Primaries>,
    pub(super) orientation: Option<Orientation>,
}

/// Reads the chunks. One with a wrong checksum counts as absent, as for the decoder.
pub(super) fn read(bytes: &[u8]) -> Chunks {
    let mut chunks = Chunks::default();
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [l3, l2, l1, l0, name @ ..] = *head;
        let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        let Some((data, after)) = after.split_at_checked(length) else { break };
        let Some((checksum, after)) = after.split_first_chunk::<4>() else { break };
        let is_sound = || {
            let mut crc = flate2::Crc::new();
            crc.update(&name);
            crc.update(data);
            crc.sum() == u32::from_be_bytes(*checksum)
        };
        match &name {
            b"cICP" | b"iCCP" | b"sRGB" | b"gAMA" | b"cHRM" | b"eXIf" if is_sound() => {
                chunks.take(&name, data);
            }
            _ => {}
        }
        rest = after;
    }
    chunks
}

impl Chunks {
    fn take(&mut self, name: &[u8; 4], data: &[u8]) {
        match name {
            b"cICP" => self.code_points = data.try_into().ok(),
            b"iCCP" => self.has_profile = true,
            b"sRGB" => self.is_srgb = true,
            b"gAMA" => {
                let gamma = number(data, 0).filter(|gamma| (0.01..100.0).contains(gamma));
                self.gamma = gamma.map(|gamma| 1.0 / gamma);
            }
            b"cHRM" => {
                let at = |i| Some([number(data, i)?, number(data, i + 1)?]);
                self.primaries = (|| {
                    Some(Primaries { white: at(0)?, red: at(2)?, green: at(4)?, blue: at(6)? })
                })();
            }
            b"eXIf" => self.orientation = Orientation::from_exif_chunk(data),
            _ => {}
        }
    }

    /// The colours of an image with the decompressed `profile`, if that could be decompressed.
    pub(super) fn colour(&self, profile: Option<Vec<u8>>) -> Colour {
        match self.code_points {
            Some([primaries, transfer, 0, 1]) => {
                return match (primaries, transfer) {
                    (1, 13) => Colour::Srgb,
                    _ => Colour::CodePoints { primaries, transfer },
                };
            }
            Some([.., matrix, range]) => {
                return Colour::Unknown(format!("of matrix {matrix} and range {range}"));
            }
            None => {}
        }
        if self.has_profile {
            let unreadable = || Colour::Unknown("damaged or too large".to_string());
            return profile.map_or_else(unreadable, Colour::Icc);
        }
        let (false, Some(gamma)) = (self.is_srgb, self.gamma) else { return Colour::Srgb };
        let is_srgb_gamma = (gamma / 2.2 - 1.0).abs() <= GAMMA_TOLERANCE;
        let primaries = self.primaries.filter(|primaries| !primaries.is_near(&SRGB_PRIMARIES));
        if is_srgb_gamma && primaries.is_none() {
            return Colour::Srgb;
        }
        Colour::Calibrated { gamma: if is_srgb_gamma { 0.0 } else { gamma }, primaries }
    }
}

impl Primaries {
    fn is_near(&self, other: &Self) -> bool {
        let all = |p: &Self| [p.white, p.red, p.green, p.blue];
        let pairs = all(self).into_iter().flatten().zip(all(other).into_iter().flatten());
        pairs.into_iter().all(|(a, b)| (a - b).abs() <= CHROMATICITY_TOLERANCE)
    }
}

/// The number at `index` of a list in units of 1/100,000.
fn number(data: &[u8], index: usize) -> Option<f32> {
    let bytes = data.get(4 * index..4 * index + 4)?.try_into().ok()?;
    Some((f64::from(u32::from_be_bytes(bytes)) / 100_000.0) as f32)
}
