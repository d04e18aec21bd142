//! The files of a run: the folder and its lock, the log, model files, the code file, what resuming needs, and whether
//! the pieces belong together.

pub(in crate::checkpoint) mod binding;
pub(in crate::checkpoint) mod build;
pub(in crate::checkpoint) mod codes_file;
pub(in crate::checkpoint) mod lock;
pub(in crate::checkpoint) mod metrics;
pub(in crate::checkpoint) mod model_file;
pub(in crate::checkpoint) mod resume_state;
pub(in crate::checkpoint) mod run_dir;
