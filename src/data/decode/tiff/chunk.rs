//! One strip or tile: its bytes extracted from the file, decompressed, with the predictor undone. It knows the
//! compressions and nothing of colours.

use std::borrow::Cow;
use std::io::Read;

use super::super::jpeg;
use super::kinds::{Compression, Photometric, Predictor};
use super::layout::Layout;
use super::{damaged, unusual};

/// The pixels of a chunk: rows of `n_samples` samples per pixel, each row byte-aligned.
pub(super) struct Shape {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) n_samples: usize,
}

impl Shape {
    /// Bytes of a row.
    pub(super) fn stride(&self, layout: &Layout) -> u64 {
        // Below 2^32, 2^16 and 2^7.
        (u64::from(self.width) * self.n_samples as u64 * u64::from(layout.bits)).div_ceil(8)
    }

    /// Bytes of all rows. Subsampled chroma comes in units: luma of all their pixels, then two chroma samples.
    pub(super) fn n_bytes(&self, layout: &Layout) -> u64 {
        if layout.is_subsampled() {
            let (across, down) = layout.subsampling;
            let units_across = u64::from(self.width.div_ceil(across));
            let units_down = u64::from(self.height.div_ceil(down));
            return units_across.saturating_mul(units_down * u64::from(across * down + 2));
        }
        self.stride(layout).saturating_mul(u64::from(self.height))
    }
}

/// The samples of chunk `index`, in the file's byte order, or in native order where a predictor is undone.
pub(super) fn unpack<'a>(
    layout: &Layout,
    bytes: &'a [u8],
    index: usize,
    shape: &Shape,
) -> Result<Cow<'a, [u8]>, String> {
    let (offset, length) = layout.chunks[index];
    let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
    let packed = range.and_then(|(at, length)| bytes.get(at..at.checked_add(length)?));
    let packed = packed.ok_or_else(|| damaged("it ends before its last pixel"))?;
    if layout.compression == Compression::Jpeg {
        return jpeg_chunk(layout, packed, shape).map(Cow::Owned);
    }
    let packed = match layout.reversed_bits {
        true => Cow::Owned(packed.iter().map(|byte| byte.reverse_bits()).collect()),
        false => Cow::Borrowed(packed),
    };
    // Checked against the most that an image may take.
    let (n_bytes, stride) = (shape.n_bytes(layout) as usize, shape.stride(layout) as usize);
    let mut unpacked = match layout.compression {
        Compression::None | Compression::Jpeg => packed,
        Compression::Deflate => {
            let mut unpacked = Vec::new();
            let mut decoder = flate2::read::ZlibDecoder::new(&*packed).take(n_bytes as u64);
            decoder.read_to_end(&mut unpacked).map_err(damaged)?;
            Cow::Owned(unpacked)
        }
        Compression::Lzw => Cow::Owned(lzw(&packed, n_bytes)?),
        Compression::PackBits => Cow::Owned(pack_bits(&packed, n_bytes)),
        Compression::Fax4 => Cow::Owned(fax4(&packed, shape)?),
    };
    if unpacked.len() < n_bytes {
        return Err(damaged("it ends before its last pixel"));
    }
    match layout.predictor {
        Predictor::None => {}
        Predictor::Horizontal => {
            let rows = unpacked.to_mut().chunks_exact_mut(stride);
            rows.for_each(|row| add_up(row, layout, shape.n_samples));
        }
        Predictor::Float => {
            let rows = unpacked.to_mut().chunks_exact_mut(stride);
            rows.for_each(|row| join(row, layout, shape.n_samples));
        }
    }
    Ok(unpacked)
}

fn lzw(packed: &[u8], n_bytes: usize) -> Result<Vec<u8>, String> {
    if packed.starts_with(&[0]) && packed.get(1).is_some_and(|byte| byte & 1 == 1) {
        return Err(unusual("in the LZW variant from before TIFF 6.0"));
    }
    let mut decoder = weezl::decode::Configuration::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
        .with_yield_on_full_buffer(true)
        .build();
    let mut unpacked = Vec::new();
    let mut rest = packed;
    while unpacked.len() < n_bytes {
        let start = unpacked.len();
        // Grows with what is actually there.
        let step = (n_bytes - start).min(start.max(1 << 16));
        unpacked.resize(start + step, 0);
        let result = decoder.decode_bytes(rest, &mut unpacked[start..]);
        unpacked.truncate(start + result.consumed_out);
        rest = &rest[result.consumed_in..];
        match result.status.map_err(damaged)? {
            weezl::LzwStatus::Ok => {}
            weezl::LzwStatus::Done | weezl::LzwStatus::NoProgress => break,
        }
    }
    Ok(unpacked)
}

fn pack_bits(packed: &[u8], n_bytes: usize) -> Vec<u8> {
    let mut unpacked = Vec::new();
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first()
        && unpacked.len() < n_bytes
    {
        rest = match control {
            0..=127 => {
                let (these, after) = after.split_at(after.len().min(usize::from(control) + 1));
                unpacked.extend_from_slice(these);
                after
            }
            128 => after,
            _ => {
                let Some((&byte, after)) = after.split_first() else { break };
                unpacked.resize(unpacked.len() + 257 - usize::from(control), byte);
                after
            }
        };
    }
    unpacked.truncate(n_bytes);
    unpacked
}

/// Black pixels become ones: of the two colours, black is the one that is coded.
fn fax4(packed: &[u8], shape: &Shape) -> Result<Vec<u8>, String> {
    let width = u16::try_from(shape.width).map_err(damaged)?;
    let height = u16::try_from(shape.height).map_err(damaged)?;
    let stride = usize::from(width).div_ceil(8);
    let mut unpacked = Vec::new();
    let result = fax::decoder::decode_g4(packed.iter().copied(), width, Some(height), |changes| {
        let mut row = vec![0u8; stride];
        for (x, colour) in fax::decoder::pels(changes, width).enumerate() {
            if colour == fax::Color::Black {
                row[x / 8] |= 0x80 >> (x % 8);
            }
        }
        unpacked.extend_from_slice(&row);
    });
    result.ok_or_else(|| damaged("its CCITT data cannot be decoded"))?;
    Ok(unpacked)
}

/// A strip or tile that is a JPEG, whose tables may be shared.
fn jpeg_chunk(layout: &Layout, packed: &[u8], shape: &Shape) -> Result<Vec<u8>, String> {
    let joined: Vec<u8>;
    let packed = match &layout.jpeg_tables {
        // Both begin with a start marker, and the tables end with an end marker.
        Some(tables) => {
            let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
            joined = [tables, packed.get(2..).unwrap_or_default()].concat();
            &joined
        }
        None => packed,
    };
    let converts = layout.photometric == Photometric::YCbCr;
    let (width, height, n_samples, samples) = jpeg::decode_piece(packed, converts)?;
    if n_samples != shape.n_samples || width != shape.width || height < shape.height {
        return Err(damaged("the JPEG in it is of another size"));
    }
    Ok(samples)
}

/// Undoes the differences between neighbours and converts the samples to native byte order.
fn add_up(row: &mut [u8], layout: &Layout, n_samples: usize) {
    macro_rules! add_up {
        ($kind:ty) => {{
            const N: usize = size_of::<$kind>();
            let (samples, _) = row.as_chunks_mut::<N>();
            for i in 0..samples.len() {
                let read: fn([u8; N]) -> $kind =
                    if layout.big_endian { <$kind>::from_be_bytes } else { <$kind>::from_le_bytes };
                let mut value = read(samples[i]);
                if i >= n_samples {
                    value = value.wrapping_add(<$kind>::from_ne_bytes(samples[i - n_samples]));
                }
                samples[i] = value.to_ne_bytes();
            }
        }};
    }
    match layout.bits {
        8 => add_up!(u8),
        16 => add_up!(u16),
        32 => add_up!(u32),
        _ => add_up!(u64),
    }
}

/// Undoes the predictor of floats: differences of bytes, with the first bytes of all samples before all second ones.
fn join(row: &mut [u8], layout: &Layout, n_samples: usize) {
    let width = (layout.bits / 8) as usize;
    for i in n_samples..row.len() {
        row[i] = row[i].wrapping_add(row[i - n_samples]);
    }
    let apart = row.to_vec();
    let n = apart.len() / width;
    for (i, sample) in row.chunks_exact_mut(width).enumerate() {
        for (byte, to) in sample.iter_mut().enumerate() {
            *to = apart[byte * n + i];
        }
        if cfg!(target_endian = "little") {
            sample.reverse();
        }
    }
}
