//! `vqgen run`: all stages of a recipe; skips what is finished and resumes what is not.

use clap::Args as ClapArgs;

use super::discard::CodesState;
use super::{Context, reconstruct, sample};
use crate::training::Begin;

/// The flags of `run`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Remove and rebuild pieces of the run that no longer fit the recipe or the data
    #[arg(long)]
    pub discard: bool,
}

/// Completes every unfinished stage of the run, then samples and reconstructs.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let _lock = context.lock("run")?;
    context.check_pictures(&dataset)?;
    context.make_way_for_all(&dataset, args.discard)?;
    if !context.has_imported_tokenizer()? {
        context.train_tokenizer(&dataset, &device, Begin::Either, None)?;
    }
    if !matches!(context.codes_state(&dataset)?, CodesState::Current(_)) {
        context.encode_dataset(&dataset, &device, args.discard)?;
    }
    context.train_prior(&device, Begin::Either, None)?;
    sample::sample(&sample::Args::default(), context, &device)?;
    reconstruct::held_out(&reconstruct::Args::default(), context, &dataset, &device)
}
