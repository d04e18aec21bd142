//! `vqgen inspect`: what made a picture.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::Value;

use super::Session;
use super::sample::text_of_picture;

/// The flags of `inspect`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// A picture that vqgen sampled
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
}

/// Prints what made the picture, as JSON.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<()> {
    let text = text_of_picture(&args.image)?;
    // Pretty, where it is JSON at all.
    let shown = serde_json::from_str::<Value>(&text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or(text);
    session.result(shown)
}
