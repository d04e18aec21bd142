//! Transposition of 16x16 blocks of 32-bit values in registers.

use std::arch::x86_64::*;

/// Lanes of a vector.
const LANES: usize = 16;

/// Transposes 16 rows of 16 32-bit values; rows are `from_stride` and `to_stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
    let mut a = [_mm512_setzero_si512(); 16];
    let mut b = a;
    let line = |index: usize| load(&from[index * from_stride..]);
    for i in 0..8 {
        let (upper, lower) = (line(2 * i), line(2 * i + 1));
        a[2 * i] = _mm512_unpacklo_epi32(upper, lower);
        a[2 * i + 1] = _mm512_unpackhi_epi32(upper, lower);
    }
    for i in 0..4 {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for i in 0..4 {
        a[i] = _mm512_shuffle_i32x4::<0x88>(b[i], b[4 + i]);
        a[4 + i] = _mm512_shuffle_i32x4::<0xdd>(b[i], b[4 + i]);
        a[8 + i] = _mm512_shuffle_i32x4::<0x88>(b[8 + i], b[12 + i]);
        a[12 + i] = _mm512_shuffle_i32x4::<0xdd>(b[8 + i], b[12 + i]);
    }
    for i in 0..4 {
        b[i] = _mm512_shuffle_i32x4::<0x88>(a[i], a[8 + i]);
        b[4 + i] = _mm512_shuffle_i32x4::<0x88>(a[4 + i], a[12 + i]);
        b[8 + i] = _mm512_shuffle_i32x4::<0xdd>(a[i], a[8 + i]);
        b[12 + i] = _mm512_shuffle_i32x4::<0xdd>(a[4 + i], a[12 + i]);
    }
    for (index, line) in b.into_iter().enumerate() {
        store(line, &mut to[index * to_stride..]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub(super) fn load(from: &[f32]) -> __m512i {
    let from = &from[..LANES];
    // SAFETY: as many values as a vector has.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub(super) fn store(values: __m512i, to: &mut [f32]) {
    let to = &mut to[..LANES];
    // SAFETY: as many values as a vector has.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), values) }
}
