//! Files to pixels: finds the images, assigns each a class and a split, decodes them to one size, and delivers them as
//! u8 or, in training batches, as f32. It knows nothing of models, of a run only the file names that distinguish it
//! from a folder of images, and nothing of how a message is shown.
//!
//! ```text
//! DataConfig ──source──▶ items ──decode──▶ u8 [n,H,W,C] ──batches──▶ f32 [batch,H,W,C] in [-0.5, 0.5]
//!             (folder, archive,    (rayon)    in memory, or again at every use
//!              table, list, embedded,
//!              IDX, CIFAR)
//! ```
//!
//! Names, order, split and pixels of an image depend only on its relative path, its content, and which folders are
//! splits or classes, so the same folder gives the same data set on every machine.

pub mod config;

pub mod split;

pub mod pixels;

pub mod decode;

mod names;

mod columns;
mod content;
mod labels;

mod archive;
mod list;
mod shards;
mod table;

mod own;

mod folder;

mod arrangement;

mod embedded;

mod captions;
mod cifar;
mod class_files;
mod idx;
mod packed;

mod source;

mod survey;

mod variance;

pub mod report;

pub mod provenance;

mod split_notes;

mod copies;

pub mod dataset;

mod view;

mod augment;

mod files;

pub mod batches;

mod grid;

mod picture;

pub use batches::{Batch, BatchStream, Draw, Order, Part};
pub use captions::CaptionSource;
pub(crate) use captions::{cleaned_caption, read_captions};
pub use config::DataConfig;
pub(crate) use config::EMBEDDED_NOTO_EMOJI;
pub use copies::Copies;
pub use dataset::Dataset;
pub(crate) use decode::Header;
pub use decode::{Target, decode_bytes, decode_file};
pub use files::{ImagePaths, image_paths};
pub use grid::{Layout, Tiles, grid, pair_rows};
pub(crate) use own::is_description;
pub use picture::{Picture, PictureFormat, picture_text};
pub use provenance::Provenance;
pub use report::{Cause, Extensions, Report, Skip};
pub use split::Split;
pub use survey::Survey;
pub use view::View;
