//! Decoding single files: every format and colour mode, and everything that can be wrong with a file. The
//! fixtures come from `tests/fixtures/data/make.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Cursor;
use std::path::PathBuf;

use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use vqgen::data::{Target, decode_bytes, decode_file};

const RED: [u8; 3] = [220, 20, 20];
const BLUE: [u8; 3] = [20, 20, 220];
const ORANGE: [u8; 3] = [200, 120, 40];
const COLOUR: Target = Target { image_size: 16, channels: 3, background: [255; 3] };

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn pixel(pixels: &[u8], x: usize, y: usize) -> [u8; 3] {
    let start = (y * 16 + x) * 3;
    pixels[start..start + 3].try_into().unwrap()
}

fn assert_near(found: [u8; 3], expected: [u8; 3], tolerance: u8, what: &str) {
    let near = found.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= tolerance);
    assert!(near, "{what}: {found:?}, expected {expected:?}");
}

fn reason(bytes: &[u8]) -> String {
    decode_bytes("x.png", bytes, &COLOUR).unwrap_err().to_string()
}

/// A PNG of nothing but a header for `width` x `height` RGB pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], body: &[u8]| {
        png.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(body);
        png.extend_from_slice(kind);
        png.extend_from_slice(body);
        png.extend(crc.sum().to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
    chunk(b"IEND", &[]);
    png
}

#[test]
fn every_format_gives_its_colour() {
    let image = RgbImage::from_pixel(16, 16, Rgb(ORANGE));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let pixels = decode_bytes("x", &encode(image.clone(), format), &COLOUR).unwrap();
        assert_eq!(pixels, ORANGE.repeat(256), "{format:?}");
    }
    let jpeg = decode_bytes("x", &encode(image, ImageFormat::Jpeg), &COLOUR).unwrap();
    assert_near(pixel(&jpeg, 8, 8), ORANGE, 3, "JPEG");
    for (name, colour, tolerance) in [
        ("animated.gif", RED, 0),
        ("animated.webp", RED, 0),
        ("lossy.webp", ORANGE, 4),
        ("progressive.jpg", RED, 3),
        ("grey.jpg", [90; 3], 1),
        ("one_bit.png", [255; 3], 0),
        ("grey_16.png", [0x80; 3], 0),
        ("cmyk.jpg", ORANGE, 3),
        ("cmyk.tif", ORANGE, 3),
    ] {
        let pixels = decode_file(fixture(name), &COLOUR).unwrap();
        assert_eq!(pixels.len(), 16 * 16 * 3, "{name}");
        assert_near(pixel(&pixels, 3, 3), colour, tolerance, name);
    }
}

#[test]
fn sixteen_bit_colour_keeps_its_upper_byte() {
    let image = ImageBuffer::from_pixel(16, 16, Rgb([0xffffu16, 0x8080, 0x0101]));
    let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &COLOUR).unwrap();
    assert_eq!(pixels, [255, 128, 1].repeat(256));
}

#[test]
fn the_format_comes_from_the_content_not_from_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let png = encode(RgbImage::from_pixel(16, 16, Rgb(RED)), ImageFormat::Png);
    std::fs::write(&path, png).unwrap();
    assert_eq!(decode_file(&path, &COLOUR).unwrap(), RED.repeat(256));
}

#[test]
fn exif_orientation_is_honoured_in_jpeg_and_png() {
    for extension in ["jpg", "png"] {
        let name = format!("orientation_6.{extension}");
        let upright = decode_file(fixture(&name), &COLOUR).unwrap();
        assert_near(pixel(&upright, 3, 3), RED, 3, &name);
        assert_near(pixel(&upright, 12, 3), RED, 3, &name);
        assert_near(pixel(&upright, 3, 12), BLUE, 3, &name);
        let name = format!("orientation_3.{extension}");
        let turned = decode_file(fixture(&name), &COLOUR).unwrap();
        assert_near(pixel(&turned, 12, 3), RED, 3, &name);
        assert_near(pixel(&turned, 3, 12), BLUE, 3, &name);
    }
}

#[test]
fn alpha_is_composited_on_the_background() {
    let target = Target { background: [0, 100, 200], ..COLOUR };
    let decode = |alpha| {
        let image = RgbaImage::from_pixel(16, 16, Rgba([200, 0, 100, alpha]));
        let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &target).unwrap();
        pixel(&pixels, 0, 0)
    };
    assert_eq!(decode(0), [0, 100, 200]);
    assert_eq!(decode(255), [200, 0, 100]);
    // 200 * 51/255 = 40; 100 * 204/255 = 80; 100 * 51/255 + 200 * 204/255 = 180.
    assert_eq!(decode(51), [40, 80, 180]);
    let palette = decode_file(fixture("palette.png"), &target).unwrap();
    assert_eq!((pixel(&palette, 0, 0), pixel(&palette, 15, 0)), (RED, [0, 100, 200]));
}

#[test]
fn colours_of_transparent_pixels_do_not_bleed_into_a_smaller_image() {
    // Left half opaque black, right half transparent red, reduced to a quarter.
    let image = RgbaImage::from_fn(64, 64, |x, _| {
        if x < 30 { Rgba([0, 0, 0, 255]) } else { Rgba([255, 0, 0, 0]) }
    });
    let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &COLOUR).unwrap();
    assert!(pixels.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
}

#[test]
fn one_channel_is_the_luma_of_the_composited_image() {
    let target = Target { channels: 1, ..COLOUR };
    let image = RgbaImage::from_pixel(16, 16, Rgba([255, 0, 0, 255]));
    let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &target).unwrap();
    assert_eq!(pixels, [76; 256]);
    let clear = RgbaImage::from_pixel(16, 16, Rgba([255, 0, 0, 0]));
    let pixels = decode_bytes("x", &encode(clear, ImageFormat::Png), &target).unwrap();
    assert_eq!(pixels, [255; 256]);
}

#[test]
fn the_centre_square_is_kept_of_wide_and_tall_images() {
    // A 48 x 16 image of three coloured thirds, upright and rotated by 90 degrees.
    let third = |i: u32| Rgb([[255, 0, 0], [0, 255, 0], [0, 0, 255]][(i / 16) as usize]);
    for image in
        [RgbImage::from_fn(48, 16, |x, _| third(x)), RgbImage::from_fn(16, 48, |_, y| third(y))]
    {
        let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &COLOUR).unwrap();
        assert_eq!(pixels, [0, 255, 0].repeat(256));
    }
}

#[test]
fn a_smaller_image_is_what_pillow_makes_of_it() {
    let target = Target { image_size: 32, ..COLOUR };
    let ours = decode_file(fixture("pattern.png"), &target).unwrap();
    let reference = decode_file(fixture("pattern_32.png"), &target).unwrap();
    let differences: Vec<u8> = ours.iter().zip(&reference).map(|(a, b)| a.abs_diff(*b)).collect();
    // Pillow rounds and clamps to 8 bits between its two passes, ours does not.
    let worst = differences.iter().copied().max().unwrap();
    let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
    assert!(worst <= 4 && mean < 0.3, "differences: largest {worst}, mean {mean}");
}

#[test]
fn a_much_smaller_image_is_averaged_over_all_its_pixels() {
    // The only right answer for a fine chessboard is its mean; sampling single pixels would give black or white.
    let image =
        RgbImage::from_fn(1003, 1500, |x, y| Rgb([if (x + y) % 2 == 0 { 0 } else { 255 }; 3]));
    let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &COLOUR).unwrap();
    assert!(pixels.iter().all(|&value| value.abs_diff(127) <= 2));
    // A horizontal ramp stays one, including its ends.
    let slope = RgbImage::from_fn(1024, 1024, |x, _| Rgb([(x / 4) as u8; 3]));
    let pixels = decode_bytes("x", &encode(slope, ImageFormat::Png), &COLOUR).unwrap();
    for x in 1..15 {
        assert_near(pixel(&pixels, x, 7), [(x * 16 + 8) as u8; 3], 2, "slope");
    }
}

#[test]
fn an_extreme_strip_is_decoded_without_growing() {
    let image = RgbImage::from_pixel(16_384, 1, Rgb(RED));
    let pixels = decode_bytes("x", &encode(image, ImageFormat::Png), &COLOUR).unwrap();
    assert_eq!(pixels, RED.repeat(256));
}

#[test]
fn sizes_that_cannot_be_are_refused_before_memory_is_taken() {
    assert!(reason(&png_header(30_000, 30_000)).contains("too large"));
    assert!(reason(&png_header(30_000, 30_000)).contains("16384"));
    assert!(reason(&png_header(16_384, 16_384)).contains("768 MiB, at most 512 MiB"));
    for (width, height) in [(0, 0), (0, 5), (u32::MAX, 1)] {
        reason(&png_header(width, height));
    }
    let mut bmp = encode(RgbImage::from_pixel(4, 4, Rgb(RED)), ImageFormat::Bmp);
    bmp[18..26].fill(0);
    assert!(reason(&bmp).contains("0x0"), "{}", reason(&bmp));
    let mut gif = std::fs::read(fixture("animated.gif")).unwrap();
    gif[6..10].fill(0xff);
    assert!(reason(&gif).contains("65535"), "{}", reason(&gif));
}

#[test]
fn what_is_no_image_is_said_plainly() {
    assert!(reason(b"").contains("is empty"));
    assert!(reason(b"just some text, but named .png").contains("is not a PNG, JPEG"));
    let folder = tempfile::tempdir().unwrap();
    let error = decode_file(folder.path(), &COLOUR).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let missing = folder.path().join("missing.png");
    let error = decode_file(&missing, &COLOUR).unwrap_err().to_string();
    assert!(error.contains("missing.png") && error.contains("cannot be read"), "{error}");
}

#[test]
fn a_target_of_no_pixels_is_an_error() {
    let png = encode(RgbImage::from_pixel(4, 4, Rgb(RED)), ImageFormat::Png);
    for target in [Target { image_size: 0, ..COLOUR }, Target { channels: 2, ..COLOUR }] {
        let message = decode_bytes("x", &png, &target).unwrap_err().to_string();
        assert!(message.contains("cannot be decoded to"), "{message}");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_a_whole_image_and_never_a_panic() {
    let noise = RgbImage::from_fn(24, 24, |x, y| Rgb([(x * 31 + y * 57 + x * y * 13) as u8; 3]));
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        let whole = encode(noise.clone(), format);
        let expected = decode_bytes("x", &whole, &COLOUR).unwrap();
        for length in 0..whole.len() {
            // Only bytes that carry no pixels may be missing: an end marker, padding.
            if let Ok(pixels) = decode_bytes("x", &whole[..length], &COLOUR) {
                let missing = whole.len() - length;
                assert!(pixels == expected && missing < 64, "{format:?} without {missing} bytes");
            }
        }
    }
}

#[test]
fn a_truncated_jpeg_is_an_error_although_its_decoder_would_fill_it_with_grey() {
    for name in ["progressive.jpg", "cmyk.jpg", "orientation_6.jpg"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let expected = decode_bytes(name, &whole, &COLOUR).unwrap();
        // An end marker proves nothing: it may have been added where the file was truncated.
        for end in [&b""[..], b"\xff\xd9"] {
            for length in [whole.len() - 4, whole.len() - 20, whole.len() / 2] {
                // Truncation in a table or a header is reported as damage.
                let message = reason(&[&whole[..length], end].concat());
                let refused =
                    message.contains("a truncated JPEG") || message.contains("a damaged JPEG");
                assert!(refused, "{name}: {message}");
            }
        }
        // Every pixel is there without it, and cameras may write other data in its place or after it.
        for end in [&b""[..], b"trailer", b"\xff\xd9trailer", b"\0\0SEFH\xff\xda\xff\xd0"] {
            let ended = [&whole[..whole.len() - 2], end].concat();
            assert!(decode_bytes(name, &ended, &COLOUR).unwrap() == expected, "{name}");
        }
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_refused_although_an_end_marker_was_put_there() {
    let noise = RgbImage::from_fn(40, 24, |x, y| Rgb([(x * 31 + y * 57 + x * y * 13) as u8; 3]));
    let mut files = vec![encode(noise, ImageFormat::Jpeg)];
    for name in ["grey.jpg", "cmyk.jpg", "../kinds/jpeg_3x1.jpg", "../kinds/jpeg_rgb.jpg"] {
        files.push(std::fs::read(fixture(name)).unwrap());
    }
    files.push(std::fs::read(fixture("../kinds/jpeg_2x2_scans_restart.jpg")).unwrap());
    for whole in files {
        let expected = decode_bytes("x", &whole, &COLOUR).unwrap();
        let mut accepted = 0;
        for length in 2..whole.len() {
            let cut = [&whole[..length], b"\xff\xd9"].concat();
            if let Ok(pixels) = decode_bytes("x", &cut, &COLOUR) {
                accepted += 1;
                assert!(pixels == expected, "{length} of {} bytes", whole.len());
            }
        }
        // The two bytes of the end marker, and one with unused bits only.
        assert!(accepted <= 3, "{accepted} of {} bytes", whole.len());
    }
}

#[test]
fn flipped_bits_never_panic() {
    for name in
        ["animated.gif", "lossy.webp", "cmyk.jpg", "cmyk.tif", "palette.png", "orientation_6.jpg"]
    {
        let whole = std::fs::read(fixture(name)).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = decode_bytes(name, &damaged, &COLOUR);
        }
    }
}
