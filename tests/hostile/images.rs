//! Images: third-party decoders on untrusted files. A flipped bit may give another image; it must not cause a panic,
//! and an error names the file.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use vqgen::data::{Target, decode_bytes, decode_file};

use super::damage::{cuts, flips};

const TARGET: Target = Target { image_size: 4, channels: 3, background: [255; 3] };

fn encoded(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(6, 5, |x, y| image::Rgb([(x * 40) as u8, (y * 50) as u8, 7]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Decodes damaged versions of `whole` and counts those that still decode.
fn accepted(damaged: impl Iterator<Item = Vec<u8>>) -> usize {
    let decoded = damaged.filter(|bytes| match decode_bytes("a.img", bytes, &TARGET) {
        Ok(pixels) => {
            assert_eq!(pixels.len(), TARGET.n_bytes());
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("a.img: "), "{error}");
            false
        }
    });
    decoded.count()
}

#[test]
fn a_png_with_a_flipped_bit_or_a_missing_end_is_hardly_ever_accepted() {
    let whole = encoded(ImageFormat::Png);
    // Checksums cover all chunks but the last, which carries no data.
    assert!(accepted(cuts(&whole)) <= 12);
    let accepted = accepted(flips(&whole));
    assert!(accepted <= 12 * 8, "{accepted} of {} bits", whole.len() * 8);
}

#[test]
fn damaged_images_of_the_other_formats_are_errors_or_images() {
    for format in [ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = encoded(format);
        accepted(cuts(&whole));
        accepted(flips(&whole));
    }
}

#[test]
fn a_damaged_tiff_is_an_error_or_an_image() {
    // A small TIFF is mostly its directory; every third bit is enough.
    let whole = encoded(ImageFormat::Tiff);
    accepted(cuts(&whole));
    accepted(flips(&whole).step_by(3));
}

#[test]
fn damaged_images_with_metadata_and_palettes_are_errors_or_images() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
    for name in ["orientation_6.png", "palette.png", "lossy.webp", "animated.webp", "animated.gif"]
    {
        let whole = std::fs::read(folder.join(name)).unwrap();
        accepted(cuts(&whole));
        accepted(flips(&whole));
    }
    for name in ["orientation_6.jpg", "cmyk.jpg", "progressive.jpg", "cmyk.tif"] {
        // Sampled: these have hundreds of bytes of tables.
        let whole = std::fs::read(folder.join(name)).unwrap();
        accepted(cuts(&whole).step_by(3));
        accepted(flips(&whole).step_by(7));
    }
}

#[test]
fn damaged_images_of_rarer_kinds_are_errors_or_images() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    // The middle of a file is compressed pixels; what matters is at its ends.
    let ends = |whole: &[u8], at: usize| at < 400 || at + 400 > whole.len();
    for name in [
        "kinds/tiff_rgb_f32_predictor.tif",
        "kinds/tiff_rgb_u32_tiles.tif",
        "kinds/tiff_ycbcr_2x2.tif",
        "kinds/tiff_jpeg_ycbcr.tif",
        "kinds/tiff_group_4.tif",
        "kinds/tiff_white_is_zero.tif",
        "kinds/tiff_planes_alpha_u16.tif",
        "kinds/tiff_cmyk_profile.tif",
        "kinds/jpeg_2x2_scans_restart.jpg",
        "kinds/jpeg_progressive_restart.jpg",
        "kinds/jpeg_profile_in_parts.jpg",
        "kinds/png_cicp_p3.png",
        "kinds/png_gamma_22_adobe.png",
        "kinds/gif_profile.gif",
        "kinds/bmp_v4_calibrated.bmp",
        "pictures/palette_lzw.tif",
        "pictures/t_big.tif",
    ] {
        let whole = std::fs::read(folder.join(name)).unwrap();
        let places = (0..whole.len()).filter(|&at| ends(&whole, at));
        accepted(places.clone().step_by(17).map(|at| whole[..at].to_vec()));
        accepted(places.step_by(9).flat_map(|at| {
            [0x01, 0x80, 0xff].map(|bits| {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                damaged
            })
        }));
    }
}

#[test]
fn a_damaged_profile_costs_the_colours_and_not_the_image() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["pictures/c_icc_adobergb.webp", "kinds/tiff_cmyk_profile.tif"] {
        let whole = std::fs::read(folder.join(name)).unwrap();
        // A profile begins with its length, 12 bytes before its class.
        let start = whole.windows(4).position(|w| w == b"mntr").unwrap() - 12;
        let length = u32::from_be_bytes(whole[start..start + 4].try_into().unwrap());
        for at in (start..start + length as usize).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            assert_eq!(accepted(std::iter::once(damaged)), 1, "{name} at {at}");
        }
    }
}

#[test]
fn what_is_not_an_image_names_the_file_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lie.png");
    for bytes in
        [&b""[..], b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0\xff\xff\xff\xff", b"RIFF"]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = decode_file(&path, &TARGET).unwrap_err().to_string();
        assert!(error.contains("lie.png: "), "{error}");
    }
}
