//! `vqgen bench`: the speed of this machine on named shapes, as JSON lines.

use clap::Args as ClapArgs;

use super::{Outcome, Session};

/// The flags of `bench`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Only the cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub case: Option<String>,

    /// Timed repeats of each case, after one that warms up; the median counts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = repeats)]
    pub repeats: usize,
}

fn repeats(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=10_000).contains(&n) => Ok(n),
        _ => Err("allowed are 1 to 10000".to_owned()),
    }
}

/// Times the cases on the session's device.
pub fn run(_args: &Args, session: &Session) -> Outcome {
    anyhow::bail!("bench is not part of this build yet (device {})", session.device)
}
