//! Which vector instructions are used: detected once, at first use.

use std::sync::OnceLock;

use thiserror::Error;

/// Sets of vector instructions; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Instructions {
    /// Baseline of the target.
    Plain,
    /// x86: vectors of 8 f32, and fused multiply-add.
    Avx2,
    /// x86: vectors of 16 f32.
    Avx512,
    /// x86: dot products of bf16 pairs, 16 at a time.
    Avx512Bf16,
    /// x86: GEMM of bf16 tiles.
    Amx,
}

/// Every set, narrowest first.
pub(super) const ALL: [Instructions; 5] = [
    Instructions::Plain,
    Instructions::Avx2,
    Instructions::Avx512,
    Instructions::Avx512Bf16,
    Instructions::Amx,
];

/// Environment variable that names the widest set that may be used.
pub(super) const LIMIT: &str = "VQGEN_INSTRUCTIONS";

impl Instructions {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// The set with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|set| set.name() == name)
    }

    /// The widest that the processor has and [`LIMIT`] allows.
    #[inline]
    pub(super) fn in_use() -> Self {
        static IN_USE: OnceLock<Instructions> = OnceLock::new();
        *IN_USE.get_or_init(|| {
            let limit = std::env::var(LIMIT).ok().and_then(|name| Self::named(&name));
            limit.map_or(Self::widest(), |limit| limit.min(Self::widest()))
        })
    }

    /// Whether GEMMs of bf16 operands take less time than those of f32. With AVX512-BF16 a training step takes two thirds
    /// of the time on AMD's Zen 4, and 1.2 to 1.7 times as long on an Intel Xeon (family 6, model 207) that hides its AMX.
    pub(super) fn gains_from_bf16(self) -> bool {
        match self {
            Self::Amx => true,
            Self::Avx512Bf16 => !is_intel(),
            _ => false,
        }
    }

    /// The widest that the processor has.
    pub(super) fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if !(has!("avx2") && has!("fma")) {
                return Self::Plain;
            }
            let avx512 =
                has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            if !avx512 {
                return Self::Avx2;
            }
            if !has!("avx512bf16") {
                return Self::Avx512;
            }
            if has_amx() { Self::Amx } else { Self::Avx512Bf16 }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Plain
    }
}

/// `VQGEN_INSTRUCTIONS` does not name a set of instructions.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{LIMIT} is {name:?}, allowed are {}", ALL.map(Instructions::name).join(", "))]
pub struct UnknownInstructions {
    /// The value of the variable.
    pub name: String,
}

/// Checks the environment variable that limits the vector instructions in use: `VQGEN_INSTRUCTIONS`, one of `plain`,
/// `avx2`, `avx512`, `avx512-bf16` and `amx`.
///
/// # Errors
/// Any other value.
pub fn check_instruction_limit() -> Result<(), UnknownInstructions> {
    match std::env::var(LIMIT) {
        Ok(name) if Instructions::named(&name).is_none() => Err(UnknownInstructions { name }),
        _ => Ok(()),
    }
}

/// Names of the sets of vector instructions that the processor has, narrowest first, for `VQGEN_INSTRUCTIONS`.
pub fn instruction_sets() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().filter(|&set| set <= Instructions::widest()).map(Instructions::name)
}

/// Whether the processor is Intel's.
fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the processor has bf16 tiles and the system lets this process use them: Linux requires a request.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILES: u32 = 1 << 24;
    const TILES_OF_BF16: u32 = 1 << 22;
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    let wanted = TILES | TILES_OF_BF16;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & wanted != wanted {
        return false;
    }
    // SAFETY: the call only changes the permissions of this process.
    #[allow(unsafe_code)]
    let granted = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
    granted == 0
}

/// On other systems AMX is not used yet.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_amx() -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_set_is_found_by_its_name() {
        assert!(ALL.into_iter().all(|set| Instructions::named(set.name()) == Some(set)));
        assert!(Instructions::named("sse9").is_none());
        assert!(Instructions::in_use() <= Instructions::widest());
    }

    /// Runs the kernels' tests again with every narrower set.
    #[test]
    fn the_kernels_pass_their_tests_with_every_set_of_instructions() {
        if std::env::var(LIMIT).is_ok() {
            return;
        }
        for set in ALL.into_iter().filter(|&set| set < Instructions::widest()) {
            let output = Command::new(std::env::current_exe().unwrap())
                .env(LIMIT, set.name())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{}: {text}", set.name());
            assert!(text.contains("every_way_multiplies") && text.contains("0 failed"), "{text}");
        }
    }
}
