//! The one place where u8 pixels become a model's f32 in [-0.5, 0.5], and back, and where colour becomes grey. Slices
//! in, vectors out; layout is up to the caller, except that colour is interleaved RGB.

/// Subtracted from a pixel in [0, 1], so that model inputs are centred on 0.
const CENTRE: f32 = 0.5;

/// u8 pixels as model inputs: `u8 / 255 - 0.5`.
pub fn to_model(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0 - CENTRE).collect()
}

/// Model outputs as u8 pixels: rounded to the nearest, clamped to 0..=255. NaN becomes 0.
pub fn to_u8(values: &[f32]) -> Vec<u8> {
    // A float-to-integer `as` saturates and maps NaN to 0.
    values.iter().map(|&value| ((value + CENTRE) * 255.0).round() as u8).collect()
}

/// Interleaved RGB to luma with the weights of ITU-R BT.601 in 16-bit fixed point, bit for bit what Pillow's
/// `convert("L")` computes. Grey (r = g = b) is unchanged.
pub fn luma(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3)
        .map(|pixel| {
            let weighted = 19595 * u32::from(pixel[0])
                + 38470 * u32::from(pixel[1])
                + 7471 * u32::from(pixel[2]);
            ((weighted + 0x8000) >> 16) as u8
        })
        .collect()
}

/// Grey to interleaved RGB.
pub fn grey_to_rgb(grey: &[u8]) -> Vec<u8> {
    grey.iter().flat_map(|&value| [value; 3]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_256_values_survive_the_way_to_the_model_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(to_u8(&to_model(&all)), all);
        assert_eq!(to_model(&[0, 255]), [-0.5, 0.5]);
    }

    #[test]
    fn values_outside_the_range_are_clamped_and_the_rest_rounded() {
        let step = 1.0 / 255.0;
        let values = [-9.0, -0.5 + 0.4 * step, -0.5 + 0.6 * step, 9.0, f32::INFINITY, f32::NAN];
        assert_eq!(to_u8(&values), [0, 0, 1, 255, 255, 0]);
    }

    #[test]
    fn luma_keeps_grey_and_weighs_colours_as_pillow_does() {
        for value in 0..=255 {
            assert_eq!(luma(&[value; 3]), [value]);
        }
        // Pillow 13: Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
        assert_eq!(luma(&[255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 200, 77]), [76, 150, 29, 130]);
        assert_eq!(grey_to_rgb(&[3, 9]), [3, 3, 3, 9, 9, 9]);
    }
}
