//! Explicit f32 vectors, for loops that the compiler does not vectorise by itself: those that hold many values in
//! registers.

use std::ops::{Add, Mul, Sub};

#[cfg(target_arch = "x86_64")]
use super::wide::{HasAvx2, HasAvx512};

/// A vector register of some instruction set. Making one takes proof that the processor has the instructions; an
/// existing one is such proof.
pub(super) trait Vector:
    Copy + Add<Output = Self> + Mul<Output = Self> + Sub<Output = Self>
{
    /// Lanes of a vector.
    const LEN: usize;

    /// The proof.
    type Has: Copy;

    /// The same value in every lane.
    fn all(has: Self::Has, value: f32) -> Self;

    /// The first values of a slice, padded with zeros.
    fn load(has: Self::Has, values: &[f32]) -> Self;

    /// Writes as many lanes as fit.
    fn store(self, to: &mut [f32]);

    /// `max(x, 0)` of each lane; NaN propagates. The sign of a zero is unspecified.
    fn rectified(self) -> Self;

    /// Half of each lane.
    fn halved(self) -> Self;

    /// 0 minus each lane.
    fn negated(self) -> Self;
}

/// Defines the vector of an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    ($(#[$meta:meta])* $name:ident, $has:ident, $register:ident, $len:literal, $set:ident, $load:ident, $store:ident, $add:ident,
     $subtract:ident, $multiply:ident, $max:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(super) struct $name(std::arch::x86_64::$register);

        // SAFETY: `has` proves that the processor has the instructions, or `self`, which was made with such a proof.
        #[allow(unsafe_code)]
        impl Vector for $name {
            const LEN: usize = $len;
            type Has = $has;

            #[inline(always)]
            fn all(_: $has, value: f32) -> Self {
                Self(unsafe { std::arch::x86_64::$set(value) })
            }

            #[inline(always)]
            fn load(_: $has, values: &[f32]) -> Self {
                let mut padded = [0.0; $len];
                let values = match values.first_chunk() {
                    Some(values) => values,
                    None => {
                        padded[..values.len()].copy_from_slice(values);
                        &padded
                    }
                };
                Self(unsafe { std::arch::x86_64::$load(values.as_ptr()) })
            }

            #[inline(always)]
            fn store(self, to: &mut [f32]) {
                if let Some(to) = to.first_chunk_mut::<$len>() {
                    unsafe { std::arch::x86_64::$store(to.as_mut_ptr(), self.0) };
                    return;
                }
                let mut all = [0.0; $len];
                unsafe { std::arch::x86_64::$store(all.as_mut_ptr(), self.0) };
                let len = to.len();
                to.copy_from_slice(&all[..len]);
            }

            #[inline(always)]
            fn rectified(self) -> Self {
                // `max` returns its second operand where either is NaN.
                Self(unsafe { std::arch::x86_64::$max(std::arch::x86_64::$set(0.0), self.0) })
            }

            #[inline(always)]
            fn halved(self) -> Self {
                Self(unsafe { std::arch::x86_64::$multiply(std::arch::x86_64::$set(0.5), self.0) })
            }

            #[inline(always)]
            fn negated(self) -> Self {
                Self(unsafe { std::arch::x86_64::$subtract(std::arch::x86_64::$set(0.0), self.0) })
            }
        }

        vector!(@ $name, Add, add, $add);
        vector!(@ $name, Mul, mul, $multiply);
        vector!(@ $name, Sub, sub, $subtract);
    };
    (@ $name:ident, $trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for $name {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                Self(unsafe { std::arch::x86_64::$instruction(self.0, other.0) })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector!(
    /// AVX-512.
    Sixteen,
    HasAvx512,
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_max_ps
);
#[cfg(target_arch = "x86_64")]
vector!(
    /// AVX2.
    Eight,
    HasAvx2,
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_max_ps
);

/// Four lanes, vectorised by the compiler on any processor.
#[derive(Clone, Copy)]
pub(super) struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn each(mut self, of: impl Fn(usize, f32) -> f32) -> Self {
        for (lane, value) in self.0.iter_mut().enumerate() {
            *value = of(lane, *value);
        }
        self
    }
}

impl Vector for Four {
    const LEN: usize = 4;
    type Has = ();

    #[inline(always)]
    fn all((): (), value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn load((): (), values: &[f32]) -> Self {
        Self(values.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0.0; 4];
            padded[..values.len()].copy_from_slice(values);
            padded
        }))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let len = to.len().min(4);
        to[..len].copy_from_slice(&self.0[..len]);
    }

    #[inline(always)]
    fn rectified(self) -> Self {
        self.each(|_, value| if value <= 0.0 { 0.0 } else { value })
    }

    #[inline(always)]
    fn halved(self) -> Self {
        self.each(|_, value| 0.5 * value)
    }

    #[inline(always)]
    fn negated(self) -> Self {
        self.each(|_, value| 0.0 - value)
    }
}

impl Add for Four {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.each(|lane, value| value + other.0[lane])
    }
}

impl Mul for Four {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.each(|lane, value| value * other.0[lane])
    }
}

impl Sub for Four {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.each(|lane, value| value - other.0[lane])
    }
}
