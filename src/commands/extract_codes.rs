//! `vqgen extract-codes`: encodes every image of the data set as a grid of code ids, all in one file.

use clap::Args as ClapArgs;

use super::Context;
use super::discard::{CodesState, Piece};
use super::stages::require;
use crate::checkpoint::Stage;
use crate::recipe::Override;

/// The flags of `extract-codes`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which views of an image to encode: none is the image unchanged, flip adds its horizontal flip [default: the
    /// recipe's prior.views]
    #[arg(long, value_name = "VIEWS", value_parser = ["none", "flip"], hide_possible_values = true)]
    pub views: Option<String>,

    /// Remove a prior that was trained on other codes, instead of refusing
    #[arg(long)]
    pub discard: bool,
}

impl Args {
    /// The recipe overrides of these flags.
    pub fn overrides(&self) -> Vec<Override> {
        self.views.iter().map(|views| Override::of_flag("--views", "prior.views", views)).collect()
    }
}

/// Encodes the data set of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    require(&context.run.dir.model_path(Stage::Vqvae))?;
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let _lock = context.lock("extract-codes")?;
    if matches!(context.codes_state(&dataset)?, CodesState::Stale) && !args.discard {
        context.make_way(Piece::Prior, "extract the codes again", false)?;
    }
    context.encode_dataset(&dataset, &device, args.discard)
}
