//! TIFF, including BigTIFF, first page. Tags, strips and tiles are read here: the crate `tiff` (0.11) supports neither
//! palettes nor subsampled YCbCr nor grey with alpha, and allocates whatever a tag declares.
//!
//! Black and white: 0 and the largest value for unsigned samples, as in the specification. It does not define them for
//! signed and floating-point ones; see [`range`].

mod tags;

mod kinds;

mod layout;

mod chunk;

mod assemble;

mod range;

mod photometric;

use super::limits::check_size;
use super::raster::{Colour, Raster};
use layout::Layout;

/// The message for a valid TIFF of an unsupported kind.
fn unusual(what: &str) -> String {
    format!("is a TIFF {what}, which is not read; convert it to a PNG")
}

fn damaged(what: impl std::fmt::Display) -> String {
    format!("is a damaged TIFF: {what}")
}

/// The image on the first page.
pub(super) fn decode(bytes: &[u8]) -> Result<Raster, String> {
    let layout = Layout::read(bytes)?;
    layout.check()?;
    check_size(layout.width, layout.height, layout.bytes_per_pixel())?;
    layout.check_amount(bytes)?;
    let samples = assemble::assemble(&layout, bytes)?;
    let mut raster = photometric::raster(&layout, samples)?;
    // L*a*b* defines its colours by itself.
    if let Some(profile) = &layout.profile
        && !layout.is_lab()
    {
        raster.colour = Colour::Icc(profile.clone());
    }
    Ok(raster)
}
