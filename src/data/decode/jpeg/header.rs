//! The segments of a JPEG: the frame, the tables, the colour profile and the orientation. It knows the markers (ITU-T
//! T.81, annex B) and nothing of entropy-coded data.

use std::borrow::Cow;

use super::bits::Huffman;

/// One component of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal and vertical sampling factor, 1 to 4.
    pub(super) h: u32,
    pub(super) v: u32,
}

/// The frame header.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// The largest sampling factors.
    pub(super) fn max_factors(&self) -> (u32, u32) {
        let largest = |of: fn(&Component) -> u32| self.components.iter().map(of).max().unwrap_or(1);
        (largest(|c| c.h), largest(|c| c.v))
    }
}

/// How components are converted to colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    Grey,
    Rgb,
    YCbCr,
    /// Ink, stored as 255 minus its amount.
    Cmyk,
    /// The same, with the first three stored as YCbCr.
    Ycck,
}

/// What the segments read so far contain.
#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) frame: Option<Frame>,
    pub(super) dc_tables: [Option<Huffman>; 4],
    pub(super) ac_tables: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 without.
    pub(super) restart_interval: u32,
    jfif: bool,
    adobe_transform: Option<u8>,
    exif: Option<&'a [u8]>,
    /// Number, count and data of each part of the colour profile.
    profile_parts: Vec<(u8, u8, &'a [u8])>,
}

impl<'a> Header<'a> {
    /// Reads the segment of `marker`, whose content, without its length, is `data`.
    pub(super) fn take(&mut self, marker: u8, data: &'a [u8]) -> Result<(), String> {
        match marker {
            0xc4 => self.huffman_tables(data)?,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                if self.frame.is_some() {
                    return Err("is a hierarchical JPEG (several frames); convert it to a \
                                baseline JPEG or a PNG"
                        .to_string());
                }
                self.frame = Some(frame(marker, data)?);
            }
            0xdd => {
                let interval = data.get(..2).ok_or_else(cut_segment)?;
                self.restart_interval = u32::from(interval[0]) << 8 | u32::from(interval[1]);
            }
            0xdc | 0xde | 0xdf => {
                return Err("is a JPEG of an unsupported kind (its height comes after its \
                            pixels, or it is hierarchical); convert it to a baseline JPEG or a PNG"
                    .to_string());
            }
            0xe0 if data.starts_with(b"JFIF\0") => self.jfif = true,
            0xe1 => {
                if let Some(exif) = data.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert(exif);
                }
            }
            0xe2 => {
                if let Some([number, n, part @ ..]) = data.strip_prefix(b"ICC_PROFILE\0") {
                    self.profile_parts.push((*number, *n, part));
                }
            }
            0xee if data.starts_with(b"Adobe") => self.adobe_transform = data.get(11).copied(),
            _ => {}
        }
        Ok(())
    }

    /// Several tables may share a segment: class and number, 16 counts, the symbols.
    fn huffman_tables(&mut self, mut data: &[u8]) -> Result<(), String> {
        while let Some((&[which, ref counts @ ..], rest)) = data.split_first_chunk::<17>() {
            let n: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let table = rest.get(..n).and_then(|symbols| Huffman::new(counts, symbols));
            let table = table.ok_or("is a damaged JPEG: a Huffman table is impossible")?;
            let tables = if which >> 4 == 0 { &mut self.dc_tables } else { &mut self.ac_tables };
            let slot = tables.get_mut(usize::from(which & 15));
            *slot.ok_or("is a damaged JPEG: there is no fifth Huffman table")? = Some(table);
            data = &rest[n..];
        }
        Ok(())
    }

    /// By the rules of libjpeg.
    pub(super) fn transform(&self) -> Transform {
        let components = self.frame.as_ref().map_or(&[][..], |frame| &frame.components);
        match (components, self.adobe_transform) {
            ([_], _) => Transform::Grey,
            ([_, _, _, _], None | Some(0)) => Transform::Cmyk,
            ([_, _, _, _], Some(_)) => Transform::Ycck,
            _ if self.jfif => Transform::YCbCr,
            (_, Some(0)) => Transform::Rgb,
            (_, Some(_)) => Transform::YCbCr,
            ([r, g, b], None) if [r.id, g.id, b.id] == *b"RGB" => Transform::Rgb,
            _ => Transform::YCbCr,
        }
    }

    pub(super) fn exif(&self) -> Option<&'a [u8]> {
        self.exif
    }

    /// The embedded colour profile, joined from its parts; an error where one is missing.
    pub(super) fn profile(&self) -> Option<Result<Cow<'a, [u8]>, String>> {
        let mut parts = self.profile_parts.clone();
        parts.sort_by_key(|&(number, ..)| number);
        let n = parts.len();
        let in_order = parts.iter().zip(1..).all(|(&(number, of, _), expected)| {
            usize::from(number) == expected && usize::from(of) == n
        });
        match parts[..] {
            [] => None,
            _ if !in_order => Some(Err("damaged: a part is missing".to_string())),
            [(_, _, whole)] => Some(Ok(Cow::Borrowed(whole))),
            _ => Some(Ok(Cow::Owned(parts.into_iter().flat_map(|part| part.2).copied().collect()))),
        }
    }
}

fn cut_segment() -> String {
    "is a damaged JPEG: a segment is shorter than it must be".to_string()
}

/// Reads a frame header, or says why such a frame is not decoded.
fn frame(marker: u8, data: &[u8]) -> Result<Frame, String> {
    let kind = match marker {
        0xc0..=0xc2 => None,
        0xc3 => Some("lossless coding"),
        0xc5..=0xc7 | 0xcd..=0xcf => Some("hierarchical coding"),
        _ => Some("arithmetic coding"),
    };
    if let Some(kind) = kind {
        let marker = marker & 15;
        return Err(format!(
            "is a JPEG with {kind} (SOF{marker}), which few programs read; convert it to a \
             baseline JPEG (`jpegtran` does it without loss) or a PNG"
        ));
    }
    let &[precision, h1, h0, w1, w0, n, ref components @ ..] = data else {
        return Err(cut_segment());
    };
    if precision != 8 {
        return Err(format!(
            "is a JPEG with {precision} bits per sample, at most 8 are read; convert it to a PNG"
        ));
    }
    if !matches!(n, 1 | 3 | 4) {
        return Err(format!(
            "is a JPEG of {n} components; 1, 3 or 4 are read; convert it to a PNG"
        ));
    }
    let components: Vec<Component> = (components.chunks_exact(3).take(usize::from(n)))
        .map(|part| Component {
            id: part[0],
            h: u32::from(part[1] >> 4),
            v: u32::from(part[1] & 15),
        })
        .collect();
    if components.len() < usize::from(n) {
        return Err(cut_segment());
    }
    let has_namesake = |i: usize| components[..i].iter().any(|c| c.id == components[i].id);
    if (0..components.len()).any(has_namesake) {
        return Err("is a damaged JPEG: two components have the same number".to_string());
    }
    let allowed = 1..=4;
    if !components.iter().all(|c| allowed.contains(&c.h) && allowed.contains(&c.v)) {
        return Err("is a damaged JPEG: a sampling factor is not from 1 to 4".to_string());
    }
    Ok(Frame {
        progressive: marker == 0xc2,
        width: u32::from(w1) << 8 | u32::from(w0),
        height: u32::from(h1) << 8 | u32::from(h0),
        components,
    })
}
