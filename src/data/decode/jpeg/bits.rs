//! Huffman codes of entropy-coded JPEG data (ITU-T T.81, annexes C and F), read only to check that they are complete:
//! symbols are looked up and their extra bits skipped. It never reads past a marker or the end of the data.

/// Bits resolved by one look-up; longer codes are rare.
const LOOKUP_BITS: u32 = 10;

/// Why entropy-coded data could not be followed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// A marker or the end of the file comes before the last unit.
    Ends,
    /// A code that is in no table, or a run beyond the last coefficient.
    Invalid,
}

/// A code and its symbol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) symbol: u8,
    /// Length of the code in bits.
    length: u8,
    /// Length of the code together with the value that follows a coefficient's code, whose length is the lower half of
    /// the symbol.
    whole_length: u8,
}

impl Code {
    fn new(symbol: u8, length: u32) -> Self {
        let length = length as u8; // at most 16
        Self { symbol, length, whole_length: length + (symbol & 15) }
    }
}

/// A Huffman table.
#[derive(Clone)]
pub(super) struct Huffman {
    /// Indexed by the next [`LOOKUP_BITS`] bits: the code that they begin with; a length of 0 for a longer code.
    lookup: Vec<Code>,
    /// For each length from 1 to 16, one more than its largest code, left-aligned to 16 bits, or 0.
    ends: [u32; 17],
    /// Added to a code of a given length, the index into `symbols`.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// The table of `counts` codes of 1 to 16 bits, for `symbols` in order; `None` where there is no such prefix code.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut lookup = vec![Code::default(); 1 << LOOKUP_BITS];
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let n = usize::from(count);
            let these = symbols.get(index..index + n)?;
            if code + u32::from(count) > 1 << length {
                return None;
            }
            offsets[length as usize] = index as i32 - code as i32;
            for (&symbol, code) in these.iter().zip(code..) {
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let n_entries = 1 << (LOOKUP_BITS - length);
                    lookup[first..first + n_entries].fill(Code::new(symbol, length));
                }
            }
            code += u32::from(count);
            index += n;
            if n > 0 {
                ends[length as usize] = code << (16 - length);
            }
            code <<= 1;
        }
        Some(Self { lookup, ends, offsets, symbols: symbols.get(..index)?.to_vec() })
    }
}

/// Bits of entropy-coded data, most significant first, with stuffed zeros removed.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Bits read but not yet used, from the top; zeros below.
    held: u64,
    n_held: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, n_held: 0 }
    }

    /// Position of the bytes not yet read: before the next marker, and at most 8 after the last one used.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Continues elsewhere, after a restart marker, and discards what is held.
    pub(super) fn jump(&mut self, at: usize) {
        *self = Self::new(self.bytes, at);
    }

    /// Reads bytes until more than 56 bits are held, or up to a marker or the end.
    fn refill(&mut self) {
        let ahead = self.bytes.get(self.at..self.at + 8).and_then(|ahead| ahead.try_into().ok());
        if let Some(word) = ahead.map(u64::from_be_bytes)
            && !has_ff(word)
        {
            self.held |= word >> self.n_held;
            self.at += ((63 - self.n_held) >> 3) as usize;
            self.n_held |= 56;
            return;
        }
        while self.n_held <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let mut next = self.at + 1;
            if byte == 0xff {
                // Any number of fill bytes, then a stuffed zero or a marker.
                let after = self.bytes[next..].iter().position(|&byte| byte != 0xff);
                match after.map(|n| next + n) {
                    Some(place) if self.bytes[place] == 0 => next = place + 1,
                    _ => return,
                }
            }
            self.held |= u64::from(byte) << (56 - self.n_held);
            self.n_held += 8;
            self.at = next;
        }
    }

    /// Skips `n` bits, at most 32.
    #[inline]
    pub(super) fn skip(&mut self, n: u32) -> Result<(), Broken> {
        if self.n_held < n {
            self.refill();
            if self.n_held < n {
                return Err(Broken::Ends);
            }
        }
        self.held <<= n;
        self.n_held -= n;
        Ok(())
    }

    /// The next `n` bits, at most 16.
    pub(super) fn take(&mut self, n: u32) -> Result<u32, Broken> {
        if self.n_held < n {
            self.refill();
        }
        let value = if n == 0 { 0 } else { (self.held >> (64 - n)) as u32 };
        self.skip(n)?;
        Ok(value)
    }

    /// The symbol of the next code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, Broken> {
        let code = self.code(table)?;
        self.skip(u32::from(code.length))?;
        Ok(code.symbol)
    }

    /// The symbol of the next code; skips the value that follows it.
    #[inline]
    pub(super) fn symbol_and_value(&mut self, table: &Huffman) -> Result<u8, Broken> {
        let code = self.code(table)?;
        self.skip(u32::from(code.whole_length))?;
        Ok(code.symbol)
    }

    /// Skips the coefficients 1 to 63 of a sequential block.
    pub(super) fn pass_coefficients(&mut self, table: &Huffman) -> Result<(), Broken> {
        let mut k = 1;
        while k < 64 {
            if self.n_held < 32 {
                self.refill();
            }
            // As many codes as are certainly held, of up to 26 bits each.
            let (mut held, mut n_held) = (self.held, self.n_held);
            let mut ended = false;
            loop {
                let code = table.lookup[(held >> (64 - LOOKUP_BITS)) as usize];
                let length = u32::from(code.whole_length);
                if code.length == 0 || length > n_held {
                    break;
                }
                held <<= length;
                n_held -= length;
                // A run of 16 zeros continues the block; any other symbol without a value ends it.
                ended = code.symbol & 15 == 0 && code.symbol != 0xf0;
                k += u32::from(code.symbol >> 4) + 1;
                if ended || k >= 64 {
                    break;
                }
            }
            let advanced = n_held < self.n_held;
            (self.held, self.n_held) = (held, n_held);
            if ended {
                return Ok(());
            }
            if !advanced {
                let symbol = self.symbol_and_value(table)?;
                if symbol & 15 == 0 && symbol != 0xf0 {
                    return Ok(());
                }
                k += u32::from(symbol >> 4) + 1;
            }
        }
        if k > 64 { Err(Broken::Invalid) } else { Ok(()) }
    }

    /// The next code, without consuming it.
    #[inline]
    fn code(&mut self, table: &Huffman) -> Result<Code, Broken> {
        if self.n_held < 32 {
            self.refill();
        }
        let code = table.lookup[(self.held >> (64 - LOOKUP_BITS)) as usize];
        if code.length > 0 { Ok(code) } else { self.long_code(table) }
    }

    fn long_code(&self, table: &Huffman) -> Result<Code, Broken> {
        let ahead = (self.held >> 48) as u32;
        for length in LOOKUP_BITS + 1..=16 {
            if ahead < table.ends[length as usize] {
                let code = (ahead >> (16 - length)) as i32;
                let index = code + table.offsets[length as usize];
                let symbol = usize::try_from(index).ok().and_then(|i| table.symbols.get(i));
                return symbol.map(|&symbol| Code::new(symbol, length)).ok_or(Broken::Invalid);
            }
        }
        // Missing bits read as zeros, which may look like an invalid code.
        Err(if self.n_held < 16 { Broken::Ends } else { Broken::Invalid })
    }
}

/// Whether a byte of `word` is 0xFF.
fn has_ff(word: u64) -> bool {
    let inverse = !word;
    inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 != 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110 and a code of ten bits.
    fn table() -> Huffman {
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[9]) = (1, 1, 1, 1);
        Huffman::new(&counts, &[5, 6, 7, 8]).unwrap()
    }

    #[test]
    fn codes_short_and_long_give_their_symbols() {
        // 0 10 110 1110000000 and a 0.
        let mut bits = Bits::new(&[0b0101_1011, 0b1000_0000, 0b0000_0000], 0);
        let table = table();
        let symbols: Vec<u8> = (0..5).map(|_| bits.symbol(&table).unwrap()).collect();
        assert_eq!(symbols, [5, 6, 7, 8, 5]);
    }

    #[test]
    fn stuffed_zeros_are_no_data_and_a_marker_ends_it() {
        let mut bits = Bits::new(&[0xff, 0x00, 0x12, 0xff, 0xd9, 0x34], 0);
        assert_eq!(bits.take(16), Ok(0xff12));
        assert_eq!(bits.take(1), Err(Broken::Ends));
        assert_eq!(bits.position(), 3);
        let mut bits = Bits::new(&[0xff, 0xff, 0x00, 0x12], 0);
        assert_eq!(bits.take(16), Ok(0xff12));
        assert_eq!(bits.skip(1), Err(Broken::Ends));
    }

    #[test]
    fn every_place_of_a_byte_of_ones_is_seen() {
        for shift in 0..8 {
            assert!(has_ff(0xff << (8 * shift)));
            assert!(!has_ff(0xfe << (8 * shift)) && !has_ff(0x7f01_80fe_0000_ff00 & !(0xff << 8)));
        }
    }

    #[test]
    fn a_code_of_no_table_is_invalid_and_too_many_codes_are_no_table() {
        assert_eq!(
            Bits::new(&[0xff, 0, 0xff, 0, 0xff, 0], 0).symbol(&table()),
            Err(Broken::Invalid)
        );
        assert_eq!(Bits::new(&[0b1110_0000], 0).symbol(&table()), Err(Broken::Ends));
        assert!(Huffman::new(&[3; 16], &[0; 48]).is_none());
        assert!(Huffman::new(&[1; 16], &[0; 3]).is_none());
    }
}
