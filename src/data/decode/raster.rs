//! A decoded image before conversion to 8-bit RGB: samples of 8 or 16 bits, grey, RGB or CMYK, with or without alpha,
//! and what its file declares about colour and orientation.

use image::metadata::Orientation;

/// The samples of a raster, interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
}

/// What the samples of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    Rgb,
    /// Amounts of ink: 0 is none.
    Cmyk,
}

/// How alpha is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    /// After the colour of each pixel, independent of it.
    Straight,
    /// After the colour of each pixel, which is premultiplied by it.
    Premultiplied,
}

/// What a file declares about its colours.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Colour {
    /// Nothing, or that they are sRGB.
    Srgb,
    /// An embedded ICC profile.
    Icc(Vec<u8>),
    /// Code points of ITU-T H.273: primaries and transfer function, for RGB of full range.
    CodePoints { primaries: u8, transfer: u8 },
    /// A transfer function and primaries.
    Calibrated { gamma: f32, primaries: Option<Primaries> },
    /// Something that cannot be converted, and why: the colours are treated as sRGB.
    Unknown(String),
}

/// Chromaticities x, y of white, red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Primaries {
    pub(super) white: [f32; 2],
    pub(super) red: [f32; 2],
    pub(super) green: [f32; 2],
    pub(super) blue: [f32; 2],
}

/// A decoded image. Its samples are `height` rows of `width` pixels of [`Raster::n_samples`] each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Raster {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) samples: Samples,
    pub(super) channels: Channels,
    pub(super) alpha: Alpha,
    pub(super) colour: Colour,
    pub(super) orientation: Orientation,
}

impl Channels {
    /// Samples per pixel without alpha.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

impl Raster {
    /// Samples per pixel, including alpha.
    pub(super) fn n_samples(&self) -> usize {
        self.channels.count() + usize::from(self.alpha != Alpha::None)
    }
}
