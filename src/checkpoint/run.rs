//! The files of a run: the folder and its lock, the metrics log, model files, the code file, resume states, and whether
//! they belong together.

pub(in crate::checkpoint) mod binding;
pub(in crate::checkpoint) mod build;
pub(in crate::checkpoint) mod codes_file;
pub(in crate::checkpoint) mod lock;
pub(in crate::checkpoint) mod metrics;
pub(in crate::checkpoint) mod model_file;
pub(in crate::checkpoint) mod resume_state;
pub(in crate::checkpoint) mod run_dir;
