//! The tags of a TIFF's first page, and which of them are supported.

use image::metadata::Orientation;

use super::super::limits::MAX_DECODED_BYTES;
use super::super::raster::Alpha;
use super::chunk::Shape;
use super::kinds::{
    Compression, Format, Photometric, Predictor, alpha, compression, format, n_colours, photometric,
};
use super::tags::Tags;
use super::{damaged, unusual};

// Tag numbers of TIFF 6.0 and its supplements.
const IMAGE_WIDTH: u16 = 256;
const IMAGE_LENGTH: u16 = 257;
const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const ORIENTATION: u16 = 274;
const SAMPLES_PER_PIXEL: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_BYTE_COUNTS: u16 = 279;
const PLANAR_CONFIGURATION: u16 = 284;
const PREDICTOR: u16 = 317;
const COLOR_MAP: u16 = 320;
const TILE_WIDTH: u16 = 322;
const TILE_LENGTH: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTE_COUNTS: u16 = 325;
const INK_SET: u16 = 332;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const S_MIN_SAMPLE_VALUE: u16 = 340;
const S_MAX_SAMPLE_VALUE: u16 = 341;
const JPEG_TABLES: u16 = 347;
const YCBCR_COEFFICIENTS: u16 = 529;
const YCBCR_SUBSAMPLING: u16 = 530;
const REFERENCE_BLACK_WHITE: u16 = 532;
const ICC_PROFILE: u16 = 34_675;
const DNG_VERSION: u16 = 50_706;

/// A page: the layout of its pixels, and where they are.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) big_endian: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) photometric: Photometric,
    pub(super) format: Format,
    /// Bits per sample, the same for all.
    pub(super) bits: u32,
    /// Samples per pixel in the file, 1 to 65,535.
    pub(super) n_samples: usize,
    /// Which of them is alpha, and its kind.
    pub(super) alpha: Alpha,
    pub(super) alpha_sample: usize,
    pub(super) compression: Compression,
    pub(super) predictor: Predictor,
    /// Whether each sample is in chunks of its own instead of interleaved.
    pub(super) planar: bool,
    /// Whether the first bit of a byte is the lowest.
    pub(super) reversed_bits: bool,
    /// Pixels across and down of a chunk, and whether those at the border are padded to that size.
    pub(super) chunk_width: u32,
    pub(super) chunk_height: u32,
    pub(super) tiled: bool,
    /// Offset and length in the file.
    pub(super) chunks: Vec<(u64, u64)>,
    pub(super) jpeg_tables: Option<Vec<u8>>,
    /// Red, green and blue of each palette entry, interleaved, of 16 bits.
    pub(super) palette: Vec<u16>,
    /// Luma pixels per chroma sample.
    pub(super) subsampling: (u32, u32),
    pub(super) luma: [f32; 3],
    pub(super) reference: [f32; 6],
    /// The range of samples, where the file declares it.
    pub(super) range: Option<(f64, f64)>,
    pub(super) profile: Option<Vec<u8>>,
    pub(super) orientation: Orientation,
}

impl Layout {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let tags = Tags::read(bytes)?;
        if tags.has(DNG_VERSION) {
            return Err(unusual("of raw camera data (DNG)"));
        }
        let width = tags.required(IMAGE_WIDTH, "width")?;
        let height = tags.required(IMAGE_LENGTH, "height")?;
        let n_samples = usize::from(tags.one::<u16>(SAMPLES_PER_PIXEL)?.unwrap_or(1));
        let photometric = photometric(tags.required(PHOTOMETRIC, "photometric interpretation")?)?;
        let (alpha, alpha_sample) = alpha(photometric, n_samples, &tags.many(EXTRA_SAMPLES)?)?;
        if photometric == Photometric::Cmyk && tags.one::<u16>(INK_SET)?.unwrap_or(1) != 1 {
            return Err(unusual("of inks other than CMYK"));
        }
        let tile_width: Option<u32> = tags.one(TILE_WIDTH)?;
        let (offsets, lengths, chunk_height) = match tile_width {
            Some(_) => {
                (TILE_OFFSETS, TILE_BYTE_COUNTS, tags.required(TILE_LENGTH, "height of tiles")?)
            }
            None => {
                let rows = tags.one(ROWS_PER_STRIP)?.unwrap_or(height);
                (STRIP_OFFSETS, STRIP_BYTE_COUNTS, rows.min(height))
            }
        };
        let offsets: Vec<u64> = tags.many(offsets)?;
        let lengths: Vec<u64> = tags.many(lengths)?;
        let lengths = match lengths.is_empty() {
            // Old writers omitted them: a strip then extends at most to the end of the file.
            true => offsets.iter().map(|&at| (bytes.len() as u64).saturating_sub(at)).collect(),
            false => lengths,
        };
        let smallest = tags.reals(S_MIN_SAMPLE_VALUE).into_iter().reduce(f64::min);
        let largest = tags.reals(S_MAX_SAMPLE_VALUE).into_iter().reduce(f64::max);
        let orientation: Option<u16> = tags.one(ORIENTATION)?;
        let orientation = orientation.and_then(|number| u8::try_from(number).ok());
        let bytes_of = |tag| tags.raw(tag).map(|(bytes, _)| bytes.to_vec());
        Ok(Self {
            big_endian: tags.is_big_endian(),
            width,
            height,
            photometric,
            format: format(tags.same_for_all(SAMPLE_FORMAT, "formats")?)?,
            bits: u32::from(tags.same_for_all(BITS_PER_SAMPLE, "sizes in bits")?.unwrap_or(1)),
            n_samples,
            alpha,
            alpha_sample,
            compression: compression(tags.one(COMPRESSION)?.unwrap_or(1))?,
            predictor: match tags.one::<u16>(PREDICTOR)?.unwrap_or(1) {
                1 => Predictor::None,
                2 => Predictor::Horizontal,
                3 => Predictor::Float,
                other => return Err(damaged(format!("there is no predictor {other}"))),
            },
            planar: n_samples > 1 && tags.one::<u16>(PLANAR_CONFIGURATION)?.unwrap_or(1) == 2,
            reversed_bits: tags.one::<u16>(FILL_ORDER)?.unwrap_or(1) == 2,
            chunk_width: tile_width.unwrap_or(width),
            chunk_height,
            tiled: tile_width.is_some(),
            chunks: offsets.into_iter().zip(lengths).collect(),
            jpeg_tables: bytes_of(JPEG_TABLES),
            palette: tags.many(COLOR_MAP)?,
            subsampling: match tags.many(YCBCR_SUBSAMPLING)?[..] {
                [across, down] => (across, down),
                _ => (2, 2),
            },
            luma: tags.real_array(YCBCR_COEFFICIENTS).unwrap_or([0.299, 0.587, 0.114]),
            reference: tags
                .real_array(REFERENCE_BLACK_WHITE)
                .unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]),
            range: smallest.zip(largest),
            profile: bytes_of(ICC_PROFILE),
            orientation: orientation
                .and_then(Orientation::from_exif)
                .unwrap_or(Orientation::NoTransforms),
        })
    }

    /// Colour samples per pixel.
    pub(super) fn n_colours(&self) -> usize {
        n_colours(self.photometric)
    }

    /// The samples of a pixel that are used, in order: colours, then alpha.
    pub(super) fn kept(&self) -> Vec<usize> {
        let alpha = (self.alpha != Alpha::None).then_some(self.alpha_sample);
        (0..self.n_colours()).chain(alpha).collect()
    }

    /// Whether chroma is subsampled and interleaved with luma in units; JPEG hides it.
    pub(super) fn is_subsampled(&self) -> bool {
        self.photometric == Photometric::YCbCr
            && self.compression != Compression::Jpeg
            && self.subsampling != (1, 1)
    }

    pub(super) fn is_lab(&self) -> bool {
        matches!(self.photometric, Photometric::CieLab | Photometric::IccLab)
    }

    /// Bytes per pixel while decoding: its samples, and what they are scaled to.
    pub(super) fn bytes_per_pixel(&self) -> u64 {
        let of_sample = match (self.format, self.bits) {
            (Format::Unsigned, 0..=8) => 1,
            (Format::Unsigned, _) => 2,
            _ => 4 + 2,
        };
        let n = self.kept().len() as u64;
        match self.photometric {
            Photometric::Palette => n * of_sample + 3,
            Photometric::CieLab | Photometric::IccLab => n * of_sample + 6,
            _ => n * of_sample,
        }
    }

    /// Refuses unsupported layouts.
    pub(super) fn check(&self) -> Result<(), String> {
        let (bits, photometric) = (self.bits, self.photometric);
        let known = match self.format {
            Format::Unsigned => matches!(bits, 1..=16 | 24 | 32 | 64),
            Format::Signed => matches!(bits, 8 | 16 | 32 | 64),
            Format::Float => matches!(bits, 16 | 32 | 64),
        };
        if !known {
            return Err(unusual(&format!("of {bits}-bit samples ({:?})", self.format)));
        }
        let of_bytes = |allowed: &[u32]| {
            let fits = self.format == Format::Unsigned && allowed.contains(&bits);
            let what = format!("of {photometric:?} with {bits}-bit samples ({:?})", self.format);
            if fits { Ok(()) } else { Err(unusual(&what)) }
        };
        match photometric {
            Photometric::Palette => {
                of_bytes(&[1, 2, 3, 4, 5, 6, 7, 8, 16])?;
                if self.palette.len() != 3 << bits {
                    let (seen, expected) = (self.palette.len(), 3u32 << bits);
                    return Err(damaged(format!("its palette has {seen} numbers, not {expected}")));
                }
            }
            Photometric::YCbCr => {
                of_bytes(&[8])?;
                let (across, down) = self.subsampling;
                let allowed = [1, 2, 4];
                if !allowed.contains(&across) || !allowed.contains(&down) {
                    return Err(damaged(format!("its chroma is subsampled {across} x {down}")));
                }
                let plain =
                    !self.planar && self.predictor == Predictor::None && self.n_samples == 3;
                if self.is_subsampled() && !plain {
                    return Err(unusual("of subsampled YCbCr with planes, a predictor or alpha"));
                }
            }
            // Signed a* and b* are often declared so; then L* is too, which it is not.
            Photometric::CieLab | Photometric::IccLab if self.format == Format::Signed => {
                return Err(unusual("of L*a*b* with signed samples"));
            }
            Photometric::CieLab | Photometric::IccLab => of_bytes(&[8, 16])?,
            _ => {}
        }
        match self.compression {
            Compression::Jpeg => of_bytes(&[8])?,
            Compression::Fax4 if self.n_samples != 1 => {
                return Err(unusual("of several samples per pixel in CCITT compression"));
            }
            Compression::Fax4 => of_bytes(&[1])?,
            _ => {}
        }
        let predicts = match self.predictor {
            Predictor::None => true,
            Predictor::Horizontal => matches!(bits, 8 | 16 | 32 | 64),
            Predictor::Float => self.format == Format::Float,
        };
        if !predicts {
            return Err(unusual(&format!("of {bits}-bit samples with a predictor")));
        }
        let largest =
            Shape { width: self.chunk_width, height: self.chunk_height, n_samples: self.n_samples };
        if largest.n_bytes(self) > MAX_DECODED_BYTES {
            let (width, height) = (self.chunk_width, self.chunk_height);
            return Err(damaged(format!("its strips or tiles are of {width} x {height} pixels")));
        }
        let across = self.width.div_ceil(self.chunk_width.max(1)) as usize;
        let down = self.height.div_ceil(self.chunk_height.max(1)) as usize;
        let n_planes = if self.planar { self.n_samples } else { 1 };
        if self.chunk_width == 0
            || self.chunk_height == 0
            || self.chunks.len() != across * down * n_planes
        {
            return Err(damaged("its strips or tiles do not make up the image"));
        }
        Ok(())
    }

    /// Checks that the file can hold the pixels at all, before memory is allocated for them.
    pub(super) fn check_amount(&self, bytes: &[u8]) -> Result<(), String> {
        let most = match self.compression {
            Compression::None => 1,
            // A repeated byte, 128 times in two bytes; the longest match of deflate; a string of 4,096 in 12 bits.
            Compression::PackBits => 64,
            Compression::Deflate => 1032,
            Compression::Lzw => 4096,
            // A bit per row of G4 or block of JPEG.
            Compression::Jpeg | Compression::Fax4 => 64 * 1024,
        };
        let n_pixels = u64::from(self.width) * u64::from(self.height);
        // Subsampling leaves at least three eighths of the bits.
        let least = n_pixels * self.n_samples as u64 * u64::from(self.bits) / 8 / 4;
        if least / most > bytes.len() as u64 {
            let (width, height, n) = (self.width, self.height, bytes.len());
            return Err(damaged(format!("{width} x {height} pixels do not fit in {n} bytes")));
        }
        Ok(())
    }
}
