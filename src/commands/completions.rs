//! `vqgen completions`: the script with which a shell completes the command line.

use clap::{Args as ClapArgs, Command};
use clap_complete::{Shell, generate};

use super::Session;

/// The flags of `completions`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The shell that reads the script
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the script for `command`.
pub fn run(args: &Args, mut command: Command, session: &Session) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    session.result(String::from_utf8_lossy(&script).trim_end())
}
