//! The files of a run: model files, the code file, resume states, the metrics log and the folder they live in. Models
//! and their training are not known here beyond "a module with named parameters"; the shapes that files declare are
//! compared with what the files hold.
//!
//! Rules for every file: it appears whole or not at all ([`atomic`]; only the metrics log grows in place); equal
//! content gives equal bytes; everything read is checked before it is used, and an error names the file and the field.
//! Tensor files are safetensors (<https://github.com/huggingface/safetensors>), hold weights in PyTorch's layout, and
//! carry a checksum over all content.

mod tensors;

mod disk;

mod run;

mod foreign_weights;

mod warm_start;

pub use disk::atomic;
pub use disk::container::Contents;
pub(crate) use disk::container::foreign_from_bytes;
pub(crate) use disk::digest::text_fingerprint;
pub use disk::foreign::read_foreign;
pub use foreign_weights::{Origin, load_foreign};
pub use run::binding::{DATA, IMPORTED, MERGES};
pub(crate) use run::binding::{bound_to, check_classes, check_codes, check_held_out, check_prior};
pub use run::build::ModelConfig;
pub use run::codes_file::Codes;
pub(crate) use run::lock::RunLock;
pub use run::metrics::{MetricsLine, MetricsLog};
pub use run::model_file::{Kind, ModelFile};
pub use run::resume_state::ResumeState;
pub(crate) use run::run_dir::write_json;
pub use run::run_dir::{RunDir, Stage};
pub use tensors::named_tensor::NamedTensor;
pub(crate) use tensors::parameter;
pub use tensors::parameters;
pub use tensors::place::Place;
pub use warm_start::{Rows, TakenOver, start_from};
