//! The files of a run: model files, the code file, what resuming needs, the metrics log and the folder they
//! live in. Models and their training are not known here beyond "a module with named parameters" and the shapes that
//! files announce, which are compared with what the files hold.
//!
//! Rules that hold for every file: it appears whole or not at all ([`atomic`]; the metrics log alone grows in
//! place); the same content gives the same bytes; everything read is checked before it is used, and an error
//! names the file and the field. Tensor files are safetensors (<https://github.com/huggingface/safetensors>),
//! weights in PyTorch's layout, and carry a checksum over everything in them.

pub mod atomic;
mod binding;
mod build;
mod codes_file;
mod container;
mod digest;
mod layout;
mod lock;
mod metrics;
mod model_file;
mod named_tensor;
pub mod parameters;
mod place;
mod resume_state;
mod run_dir;

pub use binding::{DATA, check_classes, check_codes, check_held_out, check_prior};
pub use build::ModelConfig;
pub use codes_file::Codes;
pub use container::read_foreign;
pub use lock::RunLock;
pub use metrics::{MetricsLine, MetricsLog};
pub use model_file::{Kind, ModelFile};
pub use named_tensor::NamedTensor;
pub use resume_state::ResumeState;
pub use run_dir::{RunDir, Stage, write_json};
