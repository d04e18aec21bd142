//! The two kinds of damage: truncation, and a single flipped bit.

/// `whole` truncated to every length below its own.
pub(crate) fn cuts(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..whole.len()).map(|length| whole[..length].to_vec())
}

/// `whole` with each of its bits flipped.
pub(crate) fn flips(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..whole.len() * 8).map(|bit| {
        let mut damaged = whole.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    })
}

/// Both.
pub(crate) fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    cuts(whole).chain(flips(whole))
}
