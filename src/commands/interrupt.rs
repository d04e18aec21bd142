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
    EXIT_CODE.load(Ordering::SeqCst)
}

/// Sets `stop` at the first request to stop that comes while `saves` is set. Once a process, before any other
/// thread is started.
pub(super) fn catch(stop: Arc<AtomicBool>, saves: Arc<AtomicBool>) -> anyhow::Result<()> {
    listen(move |code| {
        EXIT_CODE.store(code, Ordering::SeqCst);
        if !saves.load(Ordering::SeqCst) || stop.swap(true, Ordering::SeqCst) {
            process::exit(i32::from(code));
        }
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

    let mut waited_for: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if !ignores_hangup() {
        waited_for.add(Signal::SIGHUP);
    }
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

/// Whether this process was started to ignore SIGHUP, as `nohup` does: waiting for it would undo that. `false` where
/// the system does not say it in `/proc`.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit a signal; SIGHUP is the first.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
fn listen(mut asked: impl FnMut(u8) + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || asked(OF_CTRL_C))?)
}
