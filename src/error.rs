//! The library's one error type. It says what failed, the value seen, the value allowed and what to do
//! next; it knows nothing of how a message is shown. Any layer may use it.

use std::path::{Path, PathBuf};

/// What every fallible function of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. Messages start in lower case and carry no final period, so that they chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, a recipe key or a combination of them that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A file whose content is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: "read", "write", "create".
        action: &'static str,
        /// The file or folder it was about.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user asked to stop; the state was saved first.
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

    /// A refusal of the operating system while doing `action` to `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// Whether the operating system refused a file that is there: it may be whole, so nothing should be made in its
    /// place before the user has seen to that.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound)
    }
}
