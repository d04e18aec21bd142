//! `vqgen sample`: code sequences from the prior, decoded to images, in one grid.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Context, Outcome};
use crate::recipe::Override;

/// The flags of `sample`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Images in all [default: the recipe's sample.count]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,

    /// Draw this class; several times for several classes in turn
    #[arg(long, value_name = "NAME")]
    pub class: Vec<String>,

    /// Below 1 safer, above 1 wilder, 0 always the likeliest code [default: the recipe's]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f64>,

    /// Draw from the K likeliest codes only, 0 from all [default: the recipe's]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Draw from the likeliest codes that together have probability P, 1 from all [default: the recipe's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f64>,

    /// Classifier-free guidance: 1 is none, above 1 exaggerates the class [default: the recipe's]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub guidance: Option<f64>,

    /// Keep the upper rows of this image and let the prior draw the rest
    #[arg(long, value_name = "IMAGE")]
    pub complete: Option<PathBuf>,

    /// With --complete: how many rows of codes to keep [default: half of them]
    #[arg(long, value_name = "N", requires = "complete")]
    pub keep_rows: Option<usize>,

    /// Also write each image as a file of its own
    #[arg(long)]
    pub separate: bool,

    /// Where to write the grid, a PNG file [default: in generations/<run>]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Args {
    /// The recipe keys that these flags stand for.
    pub fn overrides(&self) -> Vec<Override> {
        let count = self.count.map(|n| Override::of_flag("--count", "sample.count", n));
        let temperature =
            self.temperature.map(|t| Override::of_flag("--temperature", "sample.temperature", t));
        let top_k = self.top_k.map(|k| Override::of_flag("--top-k", "sample.top_k", k));
        let top_p = self.top_p.map(|p| Override::of_flag("--top-p", "sample.top_p", p));
        let guidance = self.guidance.map(|g| Override::of_flag("--guidance", "sample.guidance", g));
        [count, temperature, top_k, top_p, guidance].into_iter().flatten().collect()
    }
}

/// Samples from the prior of the run.
pub fn run(_args: &Args, context: &Context) -> Outcome {
    anyhow::bail!("sample is not part of this build yet (run {})", context.run.name)
}
