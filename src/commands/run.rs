//! `vqgen run`: all stages of a recipe; skips what is finished and resumes what is not.

use super::{Context, Outcome, reconstruct, sample};
use crate::checkpoint::{Codes, Kind, ModelFile, Stage};
use crate::recipe::Views;
use crate::training::Begin;

/// Takes the run through every stage that is not finished, then samples and reconstructs.
pub fn run(context: &Context) -> Outcome {
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let _lock = context.lock("run")?;
    context.check_pictures(&dataset)?;
    context.train_tokenizer(&dataset, &device, Begin::Either)?;
    if !has_codes(context) {
        context.encode_dataset(&dataset, &device)?;
    }
    context.train_prior(&device, Begin::Either)?;
    sample::sample(&sample::Args::default(), context, &device)?;
    reconstruct::held_out(&reconstruct::Args::default(), context, &dataset, &device)
}

/// Whether the code file is there, of this tokenizer, and has the views that the recipe asks for.
fn has_codes(context: &Context) -> bool {
    let dir = &context.run.dir;
    let (Ok(codes), Ok(tokenizer)) = (
        Codes::load(dir.codes_path()),
        ModelFile::load(dir.model_path(Stage::Vqvae), Kind::Tokenizer),
    ) else {
        return false;
    };
    let flipped = codes.views.iter().any(|view| *view != 0);
    codes.tokenizer == tokenizer.fingerprint()
        && flipped == (context.recipe.prior.views == Views::Flip)
}
