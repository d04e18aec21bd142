//! `vqgen reconstruct`: images through the tokenizer and back, originals beside reconstructions.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Context, Outcome};

/// The flags of `reconstruct`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Images, or folders of images [default: images held out from training]
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,

    /// Most images to reconstruct
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32)]
    pub count: usize,

    /// Also write each reconstruction as a file of its own
    #[arg(long)]
    pub separate: bool,

    /// Where to write the grid, a PNG file [default: in reconstructions/<run>]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Reconstructs images with the tokenizer of the run.
pub fn run(_args: &Args, context: &Context) -> Outcome {
    anyhow::bail!("reconstruct is not part of this build yet (run {})", context.run.name)
}
