//! Evaluation of a run: reconstruction quality, codebook usage, and bits per picture. Pure functions over slices, and
//! the passes of a model over a split that use them; sums are f64.

mod code_use;
mod pixels;
mod ssim;

mod prior;

mod tokenizer;

pub use code_use::{bits_per_pixel, perplexity, usage};
pub use pixels::{PSNR_CEILING_DB, mean, mse, mse_per_image, psnr_db, psnr_db_per_image, variance};
pub use prior::nats_per_code;
pub use ssim::{ImageShape, SSIM_WINDOW, ssim_per_image};
pub use tokenizer::{TokenizerScores, score_tokenizer};
