//! `vqgen eval`: the honest numbers of a run, as a table and as JSON.

use clap::Args as ClapArgs;

use super::{Context, Outcome};

/// The flags of `eval`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which images: train, validation or test
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "validation", "test"], default_value = "test", hide_possible_values = true)]
    pub split: String,

    /// One JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Measures the tokenizer and, where there is one, the prior of the run.
pub fn run(_args: &Args, context: &Context) -> Outcome {
    anyhow::bail!("eval is not part of this build yet (run {})", context.run.name)
}
