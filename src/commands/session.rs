//! The process as seen by commands: device, verbosity, and interruption.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use super::interrupt;
use super::silence::silently;
use crate::device::{self, Device, DeviceSpec, Opened};
use crate::error::{Error, Result};
use crate::ops::{
    Precision, check_instruction_limit, keep_freed_memory, runs_on_host, set_precision,
};
use crate::progress::{Progress, printable};

/// Process-wide settings, whatever the recipe.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The requested device; [`Session::open_device`] opens it.
    pub device: DeviceSpec,
    /// Of GEMM operands on the CPU.
    pub precision: Precision,
    /// Whether a flag asks for it: then a device that cannot compute in it is refused.
    pub insists: bool,
    /// Whether only warnings and errors are shown.
    pub quiet: bool,
    /// Whether one unreadable image is an error.
    pub strict: bool,
    /// Set by the first signal while `saves` is.
    pub(super) stop: Arc<AtomicBool>,
    /// Whether the current work saves its state when interrupted.
    pub(super) saves: Arc<AtomicBool>,
}

impl Session {
    /// Handles SIGINT, SIGTERM and SIGHUP. To be called once per process, before any other thread is started.
    pub fn catch_interrupts(&self) -> anyhow::Result<()> {
        interrupt::catch(Arc::clone(&self.stop), Arc::clone(&self.saves))
    }

    /// Runs work that polls the flag and saves its state when it is set. Elsewhere a signal ends the process at once:
    /// there is nothing to save.
    ///
    /// # Errors
    /// Errors of the work, and [`Error::Interrupted`] when the flag was set as the work completed.
    pub fn saving<T>(&self, work: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
        self.saves.store(true, Ordering::SeqCst);
        let done = work(&self.stop);
        self.saves.store(false, Ordering::SeqCst);
        let done = done?;
        if self.stop.load(Ordering::SeqCst) {
            return Err(Error::Interrupted("the stage under way is finished and saved".to_owned()));
        }
        Ok(done)
    }

    /// Runs `program` in a pool of `threads` compute threads, one per core by default. Once per process.
    pub fn compute_with<T: Send>(
        &self,
        threads: Option<usize>,
        program: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        check_instruction_limit()?;
        keep_freed_memory();
        device::in_pool(threads, program)?
    }

    /// Opens the device and reports which one it is.
    pub fn open_device(&self) -> Result<Device> {
        Ok(self.open()?.0.device)
    }

    /// The same, with a description of the device and the precision of this process on it.
    pub fn open(&self) -> Result<(Opened, Precision)> {
        let opened = silently(|| device::open(self.device))?;
        let precision = self.precision_on(&opened)?;
        set_precision(precision)?;
        self.note(format_args!(
            "device {}: {}, precision {}",
            opened.spec,
            opened.description,
            precision.name()
        ));
        if let Some(note) = &opened.note {
            self.warn(note);
        }
        Ok((opened, precision))
    }

    /// The precision of this process on the device.
    fn precision_on(&self, opened: &Opened) -> Result<Precision> {
        if self.precision == Precision::F32 {
            return Ok(Precision::F32);
        }
        let wanted = self.precision.name();
        if !runs_on_host(&opened.device) {
            if !self.insists {
                return Ok(Precision::F32);
            }
            return Err(Error::invalid(format!(
                "--precision {wanted} is for the CPU, and the device is {} (add --device cpu, or leave out --precision)",
                opened.spec
            )));
        }
        if !self.precision.is_available() && !self.insists {
            self.warn(format_args!(
                "the precision of this run is {wanted}, which this CPU has no instructions for: going on with f32"
            ));
            return Ok(Precision::F32);
        }
        Ok(self.precision)
    }

    /// Progress display for long work, on stderr.
    pub fn progress(&self) -> Progress {
        Progress::stderr(self.quiet)
    }

    /// A line on stderr, unless quiet.
    pub fn note(&self, message: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", printable(&message.to_string()));
        }
    }

    /// A warning on stderr, even when quiet.
    pub fn warn(&self, message: impl Display) {
        let _ = writeln!(io::stderr(), "warning: {}", printable(&message.to_string()));
    }

    /// A line of the result, on stdout. A closed pipe (`| head`) is not an error.
    pub fn result(&self, line: impl Display) -> anyhow::Result<()> {
        let mut line = line.to_string();
        // Another program gets the text verbatim.
        if io::stdout().is_terminal() {
            line = printable(&line).into_owned();
        }
        match writeln!(io::stdout(), "{line}") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write to stdout")
            }
            _ => Ok(()),
        }
    }
}
