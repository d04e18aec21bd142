//! `vqgen train-vqvae`: stage 1, encoder, codebook and decoder.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Context;
use super::discard::Piece;
use super::stages::model_to_start_from;
use crate::checkpoint::Stage;
use crate::recipe::Override;
use crate::training::Begin;
use crate::training::vqvae::steps_made;

/// The flags of `train-vqvae`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Total optimizer steps, including those before --resume [default: the recipe's vqvae.steps]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,

    /// Resume at the step where the run stopped; without it, a run that holds this stage is refused
    #[arg(long)]
    pub resume: bool,

    /// Start from the weights of another model, emoji-64, a run's folder or a file: what fits is kept, what does not is named
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub from: Option<PathBuf>,

    /// Remove what would be invalid: without --resume this stage itself, and in any case what was made from it
    #[arg(long)]
    pub discard: bool,
}

impl Args {
    /// The recipe overrides of these flags.
    pub fn overrides(&self) -> Vec<Override> {
        self.steps.iter().map(|n| Override::of_flag("--steps", "vqvae.steps", n)).collect()
    }
}

/// Trains the tokenizer of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let begin = if args.resume { Begin::Resume } else { Begin::Fresh };
    let from = model_to_start_from(args.from.as_deref(), Stage::Vqvae)?;
    if args.resume || !args.discard {
        begin.resumes(&context.run.dir, Stage::Vqvae)?;
    }
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let _lock = context.lock("train-vqvae")?;
    if args.discard && !args.resume {
        context.make_way(Piece::Tokenizer, "train the tokenizer", true)?;
    } else {
        let made = steps_made(&context.recipe, &dataset, &context.run.dir)?.unwrap_or(0);
        let steps = context.recipe.vqvae.steps;
        if (made as usize) < steps {
            let action = format!("train the tokenizer from step {made} to vqvae.steps {steps}");
            context.make_way(Piece::Codes, &action, args.discard)?;
        }
    }
    context.train_tokenizer(&dataset, &device, begin, from.as_ref())
}
