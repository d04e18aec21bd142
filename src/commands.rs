//! One file per subcommand: its arguments, and `run`, which reads as a table of contents of what it does. This module
//! has what they share: the recipe and the folders of a run ([`Context`]), and the process ([`Session`]).
//!
//! Results go to stdout, everything else to stderr.

mod bundled;
mod classes;
mod context;
mod dirs;
mod discard;
mod interrupt;
mod output;
mod precision;
mod session;
mod silence;
mod stages;

pub mod train_vqvae;

pub mod extract_codes;

pub mod train_prior;

pub mod sample;

pub mod reconstruct;

pub mod eval;

pub mod run;

pub mod completions;

pub mod data;

pub mod devices;

pub mod import;

pub mod inspect;

pub mod pack;

pub mod bench;

pub use context::{Context, GlobalArgs, ModelArgs};
pub use dirs::RunDirs;
pub use session::Session;

use crate::error::Error;
use crate::progress::printable;

/// The exit code of a failure: 128 plus the signal that interrupted it (130 for SIGINT, 143 for SIGTERM, 129 for
/// SIGHUP), 1 otherwise.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::Interrupted(_)) => interrupt::exit_code(),
        _ => 1,
    }
}

/// An error and its causes in one line, safe to print on a terminal: `cannot sample: cannot read x: no such file`. A
/// cause that is already part of the message above it is not repeated.
pub fn error_chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    printable(&text).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_chain_of_an_error_names_each_cause_once() {
        let io = std::io::Error::other("no such file");
        let error = Err::<(), _>(Error::io("read", "a.png", io));
        let error = error.context("cannot sample").unwrap_err();
        assert_eq!(error_chain(&error), "cannot sample: cannot read a.png: no such file");
        assert_eq!(exit_code(&error), 1);
    }

    #[test]
    fn an_interruption_exits_with_130_also_below_a_context() {
        let error = anyhow::Error::from(Error::Interrupted("at step 3".to_owned()));
        assert_eq!(exit_code(&error.context("training")), 130);
    }
}
