//! TIFF, BigTIFF included, first page. Tags, strips and tiles are read here: the crate `tiff` (0.11) knows neither
//! palettes nor subsampled YCbCr nor alpha beside grey, and takes memory for whatever a tag announces.
//!
//! What black and white are: 0 and the largest value for unsigned samples, as the specification says. It says
//! nothing of signed and floating-point ones; see [`range`].

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

/// What is said of a TIFF that is whole but not of a kind that is decoded.
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
    // Those of L*a*b* say what is known already.
    if let Some(profile) = &layout.profile
        && !layout.is_lab()
    {
        raster.colour = Colour::Icc(profile.clone());
    }
    Ok(raster)
}
