//! Follows one scan of a JPEG to its last unit, without computing pixels: verifies that every pixel is in the file.
//! Decoders fill missing data with grey and report success, and an end marker proves nothing either way, so every code
//! is read (ITU-T T.81, annexes F and G). Costs a quarter to a third of decoding.

use super::bits::{Bits, Broken, Huffman};
use super::header::{Component, Frame, Header};

/// Parameters of a scan.
struct Scan {
    /// For each component its index in the frame and the numbers of its tables.
    components: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    start: u32,
    end: u32,
    /// Bit position before (0 for a first scan) and after.
    high: u8,
    low: u8,
}

/// What the scans so far have provided.
pub(super) struct Coverage {
    /// For each component and coefficient one more than the lowest known bit; 0 for an absent one.
    precision: Vec<[u8; 64]>,
    /// For a progressive frame, for each block of each component, which coefficients are not zero: a refining scan has
    /// one more bit for each of them.
    nonzero: Vec<Vec<u64>>,
}

impl Coverage {
    pub(super) fn new(frame: &Frame) -> Self {
        let n = frame.components.len();
        Self { precision: vec![[0; 64]; n], nonzero: vec![Vec::new(); n] }
    }

    /// Whether nothing is left to read: every coefficient is known to its last bit.
    pub(super) fn is_complete(&self) -> bool {
        self.precision.iter().flatten().all(|&precision| precision == 1)
    }

    /// Whether every component has its DC coefficients, without which an end marker is premature.
    pub(super) fn has_every_block(&self) -> bool {
        self.precision.iter().all(|of_component| of_component[0] > 0)
    }
}

/// Blocks across and down of a component in a non-interleaved scan.
pub(super) fn own_blocks(frame: &Frame, component: Component) -> (u32, u32) {
    let (h_max, v_max) = frame.max_factors();
    let blocks =
        |pixels: u32, factor: u32, largest: u32| (pixels * factor).div_ceil(largest).div_ceil(8);
    (blocks(frame.width, component.h, h_max), blocks(frame.height, component.v, v_max))
}

/// Follows the scan whose header is `data` and whose entropy-coded data begin at `at`. Returns where they end: at a
/// marker, or after the last byte needed.
pub(super) fn follow(
    header: &Header<'_>,
    coverage: &mut Coverage,
    data: &[u8],
    bytes: &[u8],
    at: usize,
) -> Result<usize, String> {
    let frame = header.frame.as_ref().ok_or("is a damaged JPEG: a scan comes before the frame")?;
    let scan = Scan::read(frame, coverage, data)?;
    let mut walk = Walk { bits: Bits::new(bytes, at), bytes, end_of_band_run: 0 };
    walk.follow(header, frame, &scan, coverage).map_err(|broken| match broken {
        Broken::Ends => "is a truncated JPEG: it ends before its last pixel".to_string(),
        Broken::Invalid => "is a damaged JPEG: its data cannot be decoded".to_string(),
    })?;
    scan.record(coverage);
    Ok(walk.bits.position())
}

impl Scan {
    fn read(frame: &Frame, coverage: &Coverage, data: &[u8]) -> Result<Self, String> {
        let damaged = |what: &str| format!("is a damaged JPEG: {what}");
        let n = data.first().map_or(0, |&n| usize::from(n));
        let (Some(selectors), Some(&[start, end, bits, ..])) =
            (data.get(1..1 + 2 * n), data.get(1 + 2 * n..))
        else {
            return Err(damaged("a scan header is cut"));
        };
        let mut components = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let position = frame.components.iter().position(|c| c.id == selector[0]);
            let position = position.ok_or_else(|| damaged("a scan names an unknown component"))?;
            let tables = (usize::from(selector[1] >> 4), usize::from(selector[1] & 15));
            components.push((position, tables.0, tables.1));
        }
        let (high, low) = (bits >> 4, bits & 15);
        // A sequential scan has all coefficients, whatever these bytes are.
        let (start, end, high, low) =
            if frame.progressive { (start, end, high, low) } else { (0, 63, 0, 0) };
        let possible = start <= end
            && end < 64
            && low < 14
            && (high == 0 || high == low + 1)
            && matches!(n, 1..=4)
            && (!frame.progressive || (start == 0) == (end == 0))
            && (n == 1 || start == 0);
        if !possible {
            return Err(damaged("a scan header is impossible"));
        }
        let scan = Self { components, start: u32::from(start), end: u32::from(end), high, low };
        for &(position, ..) in &scan.components {
            let known = &coverage.precision[position];
            // A scan starts a coefficient or refines it by one bit.
            let expected = if scan.high == 0 { 0 } else { scan.high + 1 };
            if scan.band().any(|k| known[k] != expected) {
                return Err(damaged("its scans do not fit together"));
            }
        }
        Ok(scan)
    }

    fn band(&self) -> impl Iterator<Item = usize> + use<> {
        self.start as usize..=self.end as usize
    }

    fn record(&self, coverage: &mut Coverage) {
        for &(position, ..) in &self.components {
            self.band().for_each(|k| coverage.precision[position][k] = self.low + 1);
        }
    }
}

struct Walk<'a> {
    bits: Bits<'a>,
    bytes: &'a [u8],
    /// How many more blocks have no coefficients in this band.
    end_of_band_run: u32,
}

impl Walk<'_> {
    fn follow(
        &mut self,
        header: &Header<'_>,
        frame: &Frame,
        scan: &Scan,
        coverage: &mut Coverage,
    ) -> Result<(), Broken> {
        fn table(tables: &[Option<Huffman>; 4], number: usize) -> Result<&Huffman, Broken> {
            tables.get(number).and_then(Option::as_ref).ok_or(Broken::Invalid)
        }
        let needs_dc = scan.start == 0 && scan.high == 0;
        let needs_ac = scan.end > 0;
        // Blocks of each component in an MCU, with the tables that are needed.
        let mut parts = Vec::new();
        for &(position, dc, ac) in &scan.components {
            let component = frame.components[position];
            let blocks = if scan.components.len() == 1 { 1 } else { component.h * component.v };
            let dc = if needs_dc { Some(table(&header.dc_tables, dc)?) } else { None };
            let ac = if needs_ac { Some(table(&header.ac_tables, ac)?) } else { None };
            parts.push((blocks, dc, ac));
        }
        let n_units = match scan.components[..] {
            [(position, ..)] => {
                let (across, down) = own_blocks(frame, frame.components[position]);
                let n_blocks = across * down;
                if frame.progressive && needs_ac {
                    coverage.nonzero[position].resize(n_blocks as usize, 0);
                }
                n_blocks
            }
            _ => {
                let (h_max, v_max) = frame.max_factors();
                frame.width.div_ceil(8 * h_max) * frame.height.div_ceil(8 * v_max)
            }
        };
        let mut until_restart = header.restart_interval;
        let mut n_restarts = 0;
        for unit in 0..n_units {
            if header.restart_interval > 0 {
                if until_restart == 0 {
                    self.restart(n_restarts)?;
                    n_restarts += 1;
                    until_restart = header.restart_interval;
                }
                until_restart -= 1;
            }
            if !frame.progressive {
                for (blocks, dc, ac) in &parts {
                    let (Some(dc), Some(ac)) = (dc, ac) else { return Err(Broken::Invalid) };
                    for _ in 0..*blocks {
                        self.sequential_block(dc, ac)?;
                    }
                }
            } else if needs_ac {
                let (position, ..) = scan.components[0];
                let nonzero = &mut coverage.nonzero[position][unit as usize];
                let Some((_, _, Some(ac))) = parts.first() else { return Err(Broken::Invalid) };
                match scan.high {
                    0 => self.band(scan, ac, nonzero)?,
                    _ => self.refined_band(scan, ac, nonzero)?,
                }
            } else {
                for (blocks, dc, _) in &parts {
                    for _ in 0..*blocks {
                        match dc {
                            Some(dc) => self.mean(dc)?,
                            None => self.bits.skip(1)?,
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Continues after the restart marker number `index`, which must be the next marker.
    fn restart(&mut self, index: u32) -> Result<(), Broken> {
        let (at, marker) = next_marker(self.bytes, self.bits.position()).ok_or(Broken::Ends)?;
        if u32::from(marker) != 0xd0 + index % 8 {
            return Err(Broken::Invalid);
        }
        self.bits.jump(at);
        self.end_of_band_run = 0;
        Ok(())
    }

    fn mean(&mut self, dc: &Huffman) -> Result<(), Broken> {
        let n_bits = u32::from(self.bits.symbol(dc)?);
        if n_bits > 16 {
            return Err(Broken::Invalid);
        }
        self.bits.skip(n_bits)
    }

    fn sequential_block(&mut self, dc: &Huffman, ac: &Huffman) -> Result<(), Broken> {
        self.mean(dc)?;
        self.bits.pass_coefficients(ac)
    }

    /// The first scan of a band of coefficients of a block.
    fn band(&mut self, scan: &Scan, ac: &Huffman, nonzero: &mut u64) -> Result<(), Broken> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut k = scan.start;
        while k <= scan.end {
            let symbol = u32::from(self.bits.symbol_and_value(ac)?);
            let (run, n_bits) = (symbol >> 4, symbol & 15);
            match (run, n_bits) {
                (15, 0) => k += 16,
                (_, 0) => {
                    self.end_of_band_run = (1 << run) - 1 + self.bits.take(run)?;
                    break;
                }
                _ => {
                    k += run;
                    if k > scan.end {
                        return Err(Broken::Invalid);
                    }
                    *nonzero |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// A later scan of a band: one bit for each nonzero coefficient, and new ones between them.
    fn refined_band(&mut self, scan: &Scan, ac: &Huffman, nonzero: &mut u64) -> Result<(), Broken> {
        let before = *nonzero;
        let mut k = scan.start;
        if self.end_of_band_run == 0 {
            while k <= scan.end {
                let symbol = u32::from(self.bits.symbol(ac)?);
                let (run, n_bits) = (symbol >> 4, symbol & 15);
                if n_bits == 0 && run < 15 {
                    self.end_of_band_run = (1 << run) + self.bits.take(run)?;
                    break;
                }
                // A new coefficient has one bit, its sign.
                if n_bits > 1 {
                    return Err(Broken::Invalid);
                }
                // It comes after `run` coefficients that stay zero; nonzero ones in between have one bit each.
                let mut zeros = !before & from(k);
                for _ in 0..run {
                    zeros &= zeros.wrapping_sub(1);
                }
                let place = zeros.trailing_zeros().min(scan.end + 1);
                let passed = (before & from(k) & !from(place)).count_ones();
                self.skip_bits(n_bits + passed)?;
                if n_bits > 0 {
                    if place > scan.end {
                        return Err(Broken::Invalid);
                    }
                    *nonzero |= 1 << place;
                }
                k = place + 1;
            }
        }
        if self.end_of_band_run > 0 {
            self.skip_bits((before & from(k) & !from(scan.end + 1)).count_ones())?;
            self.end_of_band_run -= 1;
        }
        Ok(())
    }

    /// Skips at most 64 bits.
    fn skip_bits(&mut self, n: u32) -> Result<(), Broken> {
        if n > 32 {
            self.bits.skip(n - 32)?;
        }
        self.bits.skip(n.min(32))
    }
}

/// The coefficients from `k` on, which may be 64.
fn from(k: u32) -> u64 {
    u64::MAX.checked_shl(k).unwrap_or(0)
}

/// The next marker at or after `at`, and the position after it.
pub(super) fn next_marker(bytes: &[u8], mut at: usize) -> Option<(usize, u8)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xff)?;
        if bytes[at] != 0 {
            return Some((at + 1, bytes[at]));
        }
    }
}
