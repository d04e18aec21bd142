//! The colours declared by a BMP: version 4 of its header has primaries and gammas, version 5 may embed a profile.

use super::raster::{Colour, Primaries};

/// Offset of the header, after the file header.
const HEADER: usize = 14;

pub(super) fn read(bytes: &[u8]) -> Colour {
    let word = |at: usize| {
        let bytes = bytes.get(HEADER + at..HEADER + at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let size = word(0).unwrap_or(0);
    let Some(kind) = word(56).filter(|_| size >= 108) else { return Colour::Srgb };
    match &kind.to_be_bytes() {
        b"MBED" if size >= 124 => {
            let (Some(at), Some(length)) = (word(112), word(116)) else { return Colour::Srgb };
            let start = HEADER + at as usize;
            let profile = bytes.get(start..start.saturating_add(length as usize));
            let damaged = || Colour::Unknown("damaged: it is incomplete".to_string());
            profile.map_or_else(damaged, |profile| Colour::Icc(profile.to_vec()))
        }
        b"LINK" if size >= 124 => Colour::Unknown("in another file".to_string()),
        [0, 0, 0, 0] => calibrated(word),
        // "sRGB", "Win " (the system's, which is sRGB) and unknown values.
        _ => Colour::Srgb,
    }
}

/// The XYZ of red, green and blue, which add up to white, and three gammas. Nearly always all zeros.
fn calibrated(word: impl Fn(usize) -> Option<u32>) -> Colour {
    let xyz = |i: usize| {
        let part =
            |j: usize| word(60 + 12 * i + 4 * j).map_or(0.0, |w| w as f32 / (1u32 << 30) as f32);
        [part(0), part(1), part(2)]
    };
    let gammas = [0, 1, 2].map(|i| word(96 + 4 * i).map_or(0.0, |w| w as f32 / 65_536.0));
    let colours = [xyz(0), xyz(1), xyz(2)];
    if gammas.iter().any(|gamma| !(0.1..10.0).contains(gamma))
        || colours.iter().any(|xyz| xyz.iter().sum::<f32>() <= 0.0)
    {
        return Colour::Srgb;
    }
    if gammas.iter().any(|gamma| (gamma - gammas[0]).abs() > 0.01) {
        return Colour::Unknown("of a gamma for each colour".to_string());
    }
    let xy = |[x, y, z]: [f32; 3]| [x / (x + y + z), y / (x + y + z)];
    let white = [0, 1, 2].map(|j| colours[0][j] + colours[1][j] + colours[2][j]);
    let [red, green, blue] = colours.map(xy);
    let primaries = Some(Primaries { white: xy(white), red, green, blue });
    Colour::Calibrated { gamma: gammas[0], primaries }
}
