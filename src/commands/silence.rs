//! Silences drivers that write to stderr, in lines that look like our own: without a desktop session, Mesa complains
//! while devices are enumerated ("error: XDG_RUNTIME_DIR is invalid or not set in the environment").

/// Runs `look`, which enumerates devices. Without a desktop session, everything that libraries write to stderr
/// meanwhile is discarded.
pub(super) fn silently<T>(look: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let _silence = std::env::var_os("XDG_RUNTIME_DIR").is_none().then(Silence::begin).flatten();
    look()
}

/// Stderr is discarded until this is dropped.
#[cfg(unix)]
#[derive(Debug)]
struct Silence {
    stderr: std::os::fd::OwnedFd,
}

#[cfg(unix)]
impl Silence {
    /// `None` where the system does not allow it: then the lines are shown.
    fn begin() -> Option<Self> {
        use std::os::fd::AsFd;
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
        let nowhere = std::fs::File::options().write(true).open("/dev/null").ok()?;
        nix::unistd::dup2_stderr(nowhere).ok()?;
        Some(Self { stderr })
    }
}

#[cfg(unix)]
impl Drop for Silence {
    fn drop(&mut self) {
        let _ = nix::unistd::dup2_stderr(&self.stderr);
    }
}
