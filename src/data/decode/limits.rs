//! Limits on the cost of an image, checked before memory is allocated.

/// Most pixels per side: beyond any camera, and small enough that no product of a few such numbers overflows.
pub const MAX_SIDE: u32 = 16_384;
/// Most bytes one decoded image may take. Decoding runs on every core at once, so this bounds the peak.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Most bytes of a compressed file that are read into memory.
pub(in crate::data) const MAX_FILE_BYTES: u64 = 512 << 20;
/// Most pixels per byte of a PNG, JPEG, BMP or GIF. Deflate expands a byte to at most 1,032, of 8 pixels each; a JPEG
/// spends at least a bit on a unit of at most 32 x 32 pixels. TIFF and WebP have no such bound.
const MAX_PIXELS_PER_BYTE: u64 = 8 * 1032;

/// Checks that an image of this size, decoded to `bytes_per_pixel`, is within the limits.
pub(super) fn check_size(width: u32, height: u32, bytes_per_pixel: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("has no pixels ({width} x {height})"));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!(
            "is too large: {width} x {height} pixels, at most {MAX_SIDE} per side"
        ));
    }
    let n_pixels = u64::from(width) * u64::from(height); // at most 2^28
    // Every image is converted to RGB.
    let needed = n_pixels.saturating_mul(bytes_per_pixel.max(3));
    if needed > MAX_DECODED_BYTES {
        let (needed, limit) = (needed >> 20, MAX_DECODED_BYTES >> 20);
        return Err(format!(
            "is too large: {width} x {height} pixels take {needed} MiB, at most {limit} MiB"
        ));
    }
    Ok(())
}

/// Checks that a file of `n_bytes` can hold that many pixels.
pub(super) fn check_density(
    width: u32,
    height: u32,
    n_bytes: usize,
    format: &str,
) -> Result<(), String> {
    let n_pixels = u64::from(width) * u64::from(height);
    if n_pixels / MAX_PIXELS_PER_BYTE > n_bytes as u64 {
        return Err(format!(
            "is damaged: {width} x {height} pixels do not fit in {n_bytes} bytes of {format}"
        ));
    }
    Ok(())
}
