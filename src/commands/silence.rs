//! Drivers that talk, in lines that look like our own: where there is no desktop session, Mesa asks for one as a
//! device is looked for, and complains ("error: XDG_RUNTIME_DIR is invalid or not set in the environment").

/// Runs `look`, which looks for devices. Where there is no desktop session, what any library writes to stderr meanwhile
/// is thrown away.
pub(super) fn silently<T>(look: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let _silence = std::env::var_os("XDG_RUNTIME_DIR").is_none().then(Silence::begin).flatten();
    look()
}

/// Stderr is thrown away until this is dropped.
#[cfg(unix)]
#[derive(Debug)]
struct Silence {
    stderr: std::os::fd::OwnedFd,
}

#[cfg(unix)]
impl Silence {
    /// None where the system does not let us: then the lines show.
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
