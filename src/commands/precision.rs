//! From the recipe's choice of a precision to what GEMMs compute in here, and back to what a run keeps.

use serde::Deserialize;

use super::RunDirs;
use crate::ops::Precision;
use crate::recipe::PrecisionChoice;

/// What a choice means on this processor.
pub(super) fn on_this_processor(choice: PrecisionChoice) -> Precision {
    match choice {
        PrecisionChoice::Auto => Precision::fastest(),
        PrecisionChoice::F32 => Precision::F32,
        PrecisionChoice::Bf16 => Precision::Bf16,
    }
}

/// What `auto` chooses on this processor.
pub(super) fn fastest() -> PrecisionChoice {
    match Precision::fastest() {
        Precision::F32 => PrecisionChoice::F32,
        Precision::Bf16 => PrecisionChoice::Bf16,
    }
}

/// The precision that a run began with; `None` where there is no run, or only models that were packed.
pub(super) fn kept(run: &RunDirs) -> Option<PrecisionChoice> {
    #[derive(Deserialize)]
    struct Kept {
        precision: Option<PrecisionChoice>,
    }
    let kept: Kept = run.dir.load_recipe().ok()?;
    // Before the key existed, it was f32 unless a flag said otherwise.
    let kept = kept.precision.unwrap_or(PrecisionChoice::F32);
    (kept != PrecisionChoice::Auto).then_some(kept)
}
