//! SIGINT (Ctrl-C), SIGTERM and SIGHUP. The first one asks work that has a state to save to save it and end; for other
//! work, and on the second, the process ends at once, which damages no file.
//!
//! On Unix the signals are blocked in every thread and one thread waits for them, so that no code runs inside
//! a signal handler.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::Context as _;

/// The exit code after SIGINT: 128 plus the signal number.
const OF_CTRL_C: u8 = 130;

/// Signals go to the whole process, and so does the resulting exit code.
static EXIT_CODE: AtomicU8 = AtomicU8::new(OF_CTRL_C);

/// The exit code of an interrupted process.
pub(super) fn exit_code() -> u8 {
    EXIT_CODE.load(Ordering::SeqCst)
}

/// Sets `stop` on the first signal received while `saves` is set. To be called once per process, before any other
/// thread is started.
pub(super) fn catch(stop: Arc<AtomicBool>, saves: Arc<AtomicBool>) -> anyhow::Result<()> {
    listen(move |code| {
        EXIT_CODE.store(code, Ordering::SeqCst);
        if !saves.load(Ordering::SeqCst) || stop.swap(true, Ordering::SeqCst) {
            process::exit(i32::from(code));
        }
        // On a terminal the cursor is at the end of a bar, or after the echoed ^C.
        let fresh_line = if io::stderr().is_terminal() { "\n" } else { "" };
        let message = "stopping after this step; interrupt again to stop at once";
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
    // Exceeding the file size limit (`ulimit -f`) would end the process; with the signal blocked, the write fails as on
    // a full disk.
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(signal) = waited_for.wait() {
            // Signal numbers are far below 128.
            asked(128 + signal as i32 as u8);
        }
    })?;
    Ok(())
}

/// Whether this process was started with SIGHUP ignored, as by `nohup`: waiting for it would undo that. `false` where
/// `/proc` does not tell.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // One bit per signal; SIGHUP is the first.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
fn listen(mut asked: impl FnMut(u8) + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || asked(OF_CTRL_C))?)
}
