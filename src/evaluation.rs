//! Evaluation of a run: reconstruction quality, codebook usage, bits per picture, and how alike sets of images are. Pure
//! functions over slices, and the passes of a model over a split that use them; sums are f64.

mod code_use;
mod pixels;
mod ssim;

mod dot;
mod frechet;
mod kernel_distance;
mod laplacian;
mod moments;
mod neighbours;
mod sliced_wasserstein;

mod prior;

mod tokenizer;

mod image_set;
mod judges;

pub use code_use::perplexity;
pub(crate) use code_use::{bits_per_pixel, perplexities, perplexity_of_all, usage};
pub use frechet::frechet_distance;
pub(crate) use image_set::{FeatureDistances, ImageSet, SetDistances};
pub(crate) use judges::{Judges, PairSums};
pub use kernel_distance::kernel_distance;
pub use moments::Moments;
pub(crate) use neighbours::{FeatureViews, Neighbour, share_nearer};
pub(crate) use pixels::mean;
pub use pixels::{mse_per_image, psnr_db};
pub(crate) use prior::nats_per_code;
pub use sliced_wasserstein::{Patches, sliced_wasserstein};
pub use ssim::{ImageShape, ssim_per_image};
pub(crate) use tokenizer::{TokenizerScores, score_tokenizer};
