//! Image files to code ids: listing, decoding, resizing and encoding, as `extract-codes` does.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use image::{ImageFormat, RgbImage};

use super::shapes::{Images, SEED, Work};
use crate::codec::Codec;
use crate::data::{BatchStream, Dataset, Part, View};
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::rng::{Purpose, stream};
use crate::tokenizer::Tokenizer;

/// Image files in a temporary folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files {
    /// Number of files.
    pub(super) count: usize,
    /// Their height and width.
    pub(super) size: usize,
    /// Whether the decoded pixels stay in memory.
    pub(super) in_memory: bool,
    /// The shape they are encoded in.
    pub(super) images: Images,
}

impl Files {
    /// Opens the folder and encodes every file.
    pub(super) fn extract(&self, device: &Device) -> Result<Work> {
        let folder = tempfile::tempdir()
            .map_err(|e| Error::file(std::env::temp_dir(), format!("cannot make a folder: {e}")))?;
        for index in 0..self.count {
            let path = folder.path().join(format!("{index:05}.jpg"));
            let picture = picture(index as u64, self.size as u32);
            picture
                .save_with_format(&path, ImageFormat::Jpeg)
                .map_err(|e| Error::file(&path, e.to_string()))?;
        }
        let Recipe { vqvae, mut data, .. } = self.images.recipe()?;
        data.path = path_text(folder.path())?;
        data.memory_budget_mb = if self.in_memory { data.memory_budget_mb } else { 0 };
        let tokenizer = Tokenizer::new(&vqvae.tokenizer_config(&data), SEED, device);
        let (batch_size, device) = (self.images.batch, device.clone());
        Ok(Box::new(move || {
            let _kept = &folder;
            let dataset = Arc::new(Dataset::open(&data, true)?);
            let parts = Part::all(&dataset, &[View::AS_IS], batch_size);
            let n_batches = parts.len();
            let mut batches = BatchStream::in_order(Arc::clone(&dataset), parts)?;
            for _ in 0..n_batches {
                let _ = Codec::new(&tokenizer, &device).encode_values(batches.next_batch()?.pixels);
            }
            Ok(())
        }))
    }
}

fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::file(path, "cannot be used by the bench: its name is not UTF-8"))
}

/// Waves and a little noise: it compresses about as well as a photograph.
fn picture(index: u64, size: u32) -> RgbImage {
    let mut rng = stream(SEED, Purpose::Augment, 1, index);
    let waves: [[f32; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| rng.uniform()));
    RgbImage::from_fn(size, size, |x, y| {
        let (x, y) = (x as f32 / size as f32, y as f32 / size as f32);
        image::Rgb(waves.map(|[across, down, phase]| {
            let angle = 20.0 * (across * x + down * y + phase);
            (128.0 + 100.0 * angle.sin() + 20.0 * (rng.uniform() - 0.5)) as u8
        }))
    })
}
