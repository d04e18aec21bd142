//! The library's only error type. A message says what failed, the value seen, the value allowed and what to do next;
//! how it is shown is not known here. Any layer may use it.

use std::path::{Path, PathBuf};

/// The result of every fallible function of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. Messages start in lower case and carry no final period, so that they chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, a recipe key or a combination of them that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A file with invalid content.
    #[error("{}: {message}", path.display())]
    File {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// An I/O error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: "read", "write", "create".
        action: &'static str,
        /// The file or folder it was about.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Interrupted by a signal; the state was saved first.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

impl Error {
    /// An argument or key that is not allowed; `message` names the value seen and the values allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// A file with content that is not allowed.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// An I/O error of `action` on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// Whether the system refused access to an existing file: it may be intact, so nothing should replace it until the
    /// user has resolved that.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound)
    }
}
