//! The binary: parse, dispatch, print the error chain, choose the exit code.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use vqgen::cli::Cli;
use vqgen::commands;

/// Training allocates and frees large buffers all the time; the system's allocator returns their pages each time, and
/// every new page costs a page fault.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", commands::error_chain(&error));
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
