//! CIE L*a*b* with white point D50, as in files, to sRGB.

/// The white point of L*a*b* in files.
const D50: [f32; 3] = [0.964_22, 1.0, 0.825_21];
/// Linear sRGB of XYZ relative to D50, Bradford-adapted (Lindbloom).
const RGB_OF_XYZ: [[f32; 3]; 3] = [
    [3.133_856, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// L* from 0 to 100 and a*, b* to sRGB in [0, 1]; colours out of gamut are clipped.
pub(super) fn to_srgb([l, a, b]: [f32; 3]) -> [f32; 3] {
    let y = (l + 16.0) / 116.0;
    let inverse = |t: f32| {
        const EDGE: f32 = 6.0 / 29.0;
        if t > EDGE { t * t * t } else { 3.0 * EDGE * EDGE * (t - 4.0 / 29.0) }
    };
    let xyz = [y + a / 500.0, y, y - b / 200.0].map(inverse);
    let xyz = [xyz[0] * D50[0], xyz[1] * D50[1], xyz[2] * D50[2]];
    RGB_OF_XYZ.map(|row| {
        let linear: f32 = row.iter().zip(xyz).map(|(factor, value)| factor * value).sum();
        let linear = linear.clamp(0.0, 1.0);
        if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_grey_and_a_colour_are_what_colour_management_makes_of_them() {
        let bytes = |lab| to_srgb(lab).map(|value| (value * 255.0).round() as u8);
        assert_eq!(bytes([100.0, 0.0, 0.0]), [255; 3]);
        assert_eq!(bytes([53.585, 0.0, 0.0]), [128; 3]);
        assert_eq!(bytes([0.0, 0.0, 0.0]), [0; 3]);
        // sRGB red relative to D50 (Lindbloom).
        let red = bytes([54.29, 80.81, 69.89]);
        assert!(red[0] >= 254 && red[1] <= 2 && red[2] <= 2, "{red:?}");
    }
}
