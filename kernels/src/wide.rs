//! Loops over f32 compiled for the widest vectors of the processor at hand.
//!
//! A binary for any x86-64 has 4 values in a vector; processors of the last ten years have 8 or 16. The operations
//! and their order stay the same at every width (nothing here fuses a product with a sum), and so do the results.

use super::instructions::Instructions;

/// Evaluates an expression, a loop over slices, that is compiled once for each width. What it calls must be a closure
/// or `#[inline(always)]`.
///
/// A macro, since the compiler has to take the loop into the function that has the instructions. It does not with a
/// closure of any length that has three callers, and does with one of a few lines that has one; [`vectorised`] is for
/// longer ones.
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
/// `#[inline(always)]`. With a type parameter, that is the [`Vector`](super::vector::Vector) of the width, and the first
/// argument, which callers do not give, the proof that makes one.
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

/// How many values of f32 a vector has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Width {
    /// AVX-512.
    Sixteen(HasAvx512),
    /// AVX2.
    Eight(HasAvx2),
    /// Whatever every processor of the target has.
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

/// The processor has AVX-512; only [`Width::in_use`] says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasAvx512(());

/// The processor has AVX2; only [`Width::in_use`] says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasAvx2(());

/// Defines how to run what is compiled for these instructions.
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
                    // SAFETY: the processor has the features, or there would be no `self`.
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
