//! The wish to stop, from outside: Ctrl-C, a polite kill, a closed terminal. Work that has a state to save is
//! asked to save it and end; other work, and a second wish, end the process at once, which harms no file.
//!
//! On Unix the signals are blocked in every thread and one thread waits for them, so that no code runs inside
//! a signal handler.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::Context as _;

/// The exit code of a process that Ctrl-C ended: 128 and the number of the signal.
const OF_CTRL_C: u8 = 130;

/// Signals come to the process as a whole, and so does the exit code they ask for.
static EXIT_CODE: AtomicU8 = AtomicU8::new(OF_CTRL_C);

/// The exit code of a process that was asked to stop and did.
pub(super) fn exit_code() -> u8 {
    EXIT_CODE.load(Ordering::Relaxed)
}

/// Sets `stop` at the first request to stop that comes while `saves` is set. Once a process, before any other
/// thread is started.
pub(super) fn catch(stop: Arc<AtomicBool>, saves: Arc<AtomicBool>) -> anyhow::Result<()> {
    listen(move |code| {
        if !saves.load(Ordering::SeqCst) || stop.swap(true, Ordering::SeqCst) {
            process::exit(i32::from(code));
        }
        EXIT_CODE.store(code, Ordering::Relaxed);
        // On a terminal the cursor stands at the end of a bar, or behind the echoed ^C.
        let fresh_line = if io::stderr().is_terminal() { "\n" } else { "" };
        let message = "stopping after this step; again to stop at once";
        let _ = writeln!(io::stderr(), "{fresh_line}{message}");
    })
    .context("cannot handle Ctrl-C")
}

#[cfg(unix)]
fn listen(mut asked: impl FnMut(u8) + Send + 'static) -> anyhow::Result<()> {
    use nix::sys::signal::{SigSet, Signal};

    let waited_for: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let mut blocked = waited_for;
    // A file beyond the limit of its size (`ulimit -f`) would end the process; blocked, it is an error of the
    // write like a full disk.
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(signal) = waited_for.wait() {
            // The numbers of signals are far below 128.
            asked(128 + signal as i32 as u8);
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
fn listen(mut asked: impl FnMut(u8) + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || asked(OF_CTRL_C))?)
}
