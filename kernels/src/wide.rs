//! Loops over f32, compiled for the widest vectors that the processor has.
//!
//! A binary for any x86-64 has vectors of 4 values; processors of the last ten years have 8 or 16. The operations and
//! their order are the same at every width, without fused multiply-add, and so are the results.

use super::instructions::Instructions;

/// Evaluates an expression, a loop over slices, that is compiled once for each width. What it calls must be a closure
/// or `#[inline(always)]`.
///
/// A macro, since the loop must be inlined into the function with the target feature. The compiler does not inline a
/// longer closure with three callers, but does a closure of a few lines with one; [`vectorised`] is for longer ones.
macro_rules! wide {
    ($work:expr) => {{
        use $crate::wide::Width;
        match Width::in_use() {
            Width::Sixteen(has) => has.run(|| $work),
            Width::Eight(has) => has.run(|| $work),
            Width::Native => $work,
        }
    }};
}
pub(super) use wide;

/// Defines a function whose body is compiled once for each width, whatever its length. What it calls must be
/// `#[inline(always)]`. A type parameter stands for the [`Vector`](super::vector::Vector) of the width, and the first
/// parameter, which callers omit, for the proof needed to make one.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$vector:ident>($has:ident; $($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) {
            use $crate::vector;

            #[inline(always)]
            fn body<$vector: vector::Vector>($has: $vector::Has, $($arg: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::wide::{HasAvx2, HasAvx512, Width};
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn sixteen(has: HasAvx512, $($arg: $type),*) {
                    body::<vector::Sixteen>(has, $($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn eight(has: HasAvx2, $($arg: $type),*) {
                    body::<vector::Eight>(has, $($arg),*);
                }
                // SAFETY: the processor has the features the functions are compiled for.
                #[allow(unsafe_code)]
                match Width::in_use() {
                    Width::Sixteen(has) => return unsafe { sixteen(has, $($arg),*) },
                    Width::Eight(has) => return unsafe { eight(has, $($arg),*) },
                    Width::Native => {}
                }
            }
            body::<vector::Four>((), $($arg),*);
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn sixteen($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn eight($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                use $crate::wide::Width;
                // SAFETY: the processor has the features the functions are compiled for.
                #[allow(unsafe_code)]
                match Width::in_use() {
                    Width::Sixteen(_) => return unsafe { sixteen($($arg),*) },
                    Width::Eight(_) => return unsafe { eight($($arg),*) },
                    Width::Native => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use vectorised;

/// Lanes of f32 in a vector.
#[derive(Debug, Clone, Copy)]
pub(super) enum Width {
    /// AVX-512.
    Sixteen(HasAvx512),
    /// AVX2.
    Eight(HasAvx2),
    /// Baseline of the target.
    Native,
}

impl Width {
    #[inline]
    pub(super) fn in_use() -> Self {
        match Instructions::in_use() {
            Instructions::Plain => Self::Native,
            Instructions::Avx2 => Self::Eight(HasAvx2(())),
            Instructions::Avx512 | Instructions::Avx512Bf16 | Instructions::Amx => {
                Self::Sixteen(HasAvx512(()))
            }
        }
    }
}

/// Proof that the processor has AVX-512; made by [`Width::in_use`] alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasAvx512(());

/// Proof that the processor has AVX2; made by [`Width::in_use`] alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasAvx2(());

/// Defines how to run a closure compiled for these instructions.
macro_rules! run_with {
    ($has:ident, $features:literal) => {
        impl $has {
            #[inline(always)]
            pub(super) fn run<R>(self, work: impl FnOnce() -> R) -> R {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = $features)]
                    fn compiled<R>(work: impl FnOnce() -> R) -> R {
                        work()
                    }
                    // SAFETY: the existence of `self` proves that the processor has the features.
                    #[allow(unsafe_code)]
                    unsafe {
                        compiled(work)
                    }
                }
                #[cfg(not(target_arch = "x86_64"))]
                work()
            }
        }
    };
}
run_with!(HasAvx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2");
run_with!(HasAvx2, "avx2");
