//! Loops over f32 compiled for the widest vectors of the processor at hand.
//!
//! A binary for any x86-64 has 4 values in a vector; processors of the last ten years have 8 or 16. The operations
//! and their order stay the same at every width (nothing here fuses a product with a sum), and so do the results.

#[cfg(target_arch = "x86_64")]
use super::instructions::Instructions;

/// Runs `work`, which is compiled once for each width: a loop over slices. What it calls must be
/// `#[inline(always)]` to be compiled with it.
#[inline]
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        let instructions = Instructions::in_use();
        if instructions >= Instructions::Avx512 {
            // SAFETY: the processor has the features that the function is compiled for.
            #[allow(unsafe_code)]
            return unsafe { avx512(work) };
        }
        if instructions >= Instructions::Avx2 {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            return unsafe { avx2(work) };
        }
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Defines a function whose body runs in [`wide`]: a loop that has a name.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            $crate::ops::cpu::wide::wide(move || body($($arg),*))
        }
    };
}
pub(super) use vectorised;
