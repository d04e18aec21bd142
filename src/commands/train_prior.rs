//! `vqgen train-prior`: stage 2, a GPT that predicts the next code.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Context;
use super::discard::Piece;
use super::stages::{model_to_start_from, require};
use crate::checkpoint::Stage;
use crate::recipe::Override;
use crate::training::Begin;

/// The flags of `train-prior`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Total optimizer steps, including those before --resume [default: the recipe's prior.steps]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,

    /// Resume at the step where the run stopped; without it, a run that holds this stage is refused
    #[arg(long)]
    pub resume: bool,

    /// Start from the weights of another model, emoji-64, a run's folder or a file: what fits is kept, what does not is named
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub from: Option<PathBuf>,

    /// Remove what the run holds of this stage, and train from scratch
    #[arg(long, conflicts_with = "resume")]
    pub discard: bool,
}

impl Args {
    /// The recipe overrides of these flags.
    pub fn overrides(&self) -> Vec<Override> {
        self.steps.iter().map(|n| Override::of_flag("--steps", "prior.steps", n)).collect()
    }
}

/// Trains the prior of the run on its code file.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let begin = if args.resume { Begin::Resume } else { Begin::Fresh };
    let from = model_to_start_from(args.from.as_deref(), Stage::Prior)?;
    if !args.discard {
        begin.resumes(&context.run.dir, Stage::Prior)?;
    }
    require(&context.run.dir.model_path(Stage::Vqvae))?;
    require(&context.run.dir.codes_path())?;
    let device = context.session.open_device()?;
    let _lock = context.lock("train-prior")?;
    if args.discard {
        context.make_way(Piece::Prior, "train the prior", true)?;
    }
    context.train_prior(&device, begin, from.as_ref())
}
