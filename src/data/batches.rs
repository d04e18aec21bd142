//! Batches, prefetched by one thread. Which images a step sees, and how they are augmented, is a pure function of
//! (seed, step), so a run resumed at step 1,000 sees what an uninterrupted run would.
//!
//! Training reads an endless sequence of images: epoch 0 in a random order, epoch 1 in another, and so on. Step `s`
//! takes elements `s * batch` to `(s + 1) * batch`. A batch may therefore span epochs, and is always full.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::{Dataset, Split, View, augment, pixels};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};

/// Batches queued, besides the one being prepared. More would only cost memory: preparing one is far quicker than
/// training on it.
const QUEUE: usize = 2;

/// A batch in a model's format.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[size, image_size, image_size, channels]` in [-0.5, 0.5].
    pub pixels: Vec<f32>,
    /// The class of each image; all 0 where there are no classes.
    pub labels: Vec<u16>,
    /// Indices of these images within the split.
    pub indices: Vec<usize>,
    /// The training step it is for; 0 for a batch by index.
    pub step: u64,
    /// How many images there are.
    pub size: usize,
}

impl Batch {
    /// These images of `split`, without augmentation: for validation and code extraction.
    ///
    /// # Errors
    /// As [`Dataset::pixels`].
    pub fn of(dataset: &Dataset, split: Split, indices: &[usize], view: View) -> Result<Self> {
        let bytes = dataset.pixels(split, indices, view)?;
        Ok(Self {
            pixels: pixels::to_model(&bytes),
            labels: indices.iter().map(|&index| dataset.label(split, index)).collect(),
            indices: indices.to_vec(),
            step: 0,
            size: indices.len(),
        })
    }
}

/// One element of the endless sequence of training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Number of complete passes over the split before.
    pub epoch: u64,
    /// Index of the image within the split.
    pub index: usize,
}

/// The order in which training sees `n` images. The permutation of one epoch is cached, for speed only.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    n: usize,
    epoch: u64,
    permutation: Vec<usize>,
}

impl Order {
    /// The order of `n` images, at least 1, for `seed`.
    pub fn new(seed: u64, n: usize) -> Self {
        assert!(n > 0, "an order of 0 images");
        Self { seed, n, epoch: 0, permutation: permutation(seed, 0, n) }
    }

    /// The images of `step`, `batch_size` of them. Depends on the arguments and on (seed, n) alone.
    pub fn draws(&mut self, step: u64, batch_size: usize) -> Vec<Draw> {
        // 128 bits: cannot overflow.
        let first = u128::from(step) * batch_size as u128;
        let n = self.n as u128;
        (first..first + batch_size as u128)
            .map(|place| {
                let epoch = (place / n) as u64;
                if epoch != self.epoch {
                    (self.epoch, self.permutation) = (epoch, permutation(self.seed, epoch, self.n));
                }
                Draw { epoch, index: self.permutation[(place % n) as usize] }
            })
            .collect()
    }
}

/// The order of `n` images in `epoch`.
fn permutation(seed: u64, epoch: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    stream(seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
    order
}

/// A range of images of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The split.
    pub split: Split,
    /// Indices of the images.
    pub images: Range<usize>,
    /// The view.
    pub view: View,
}

impl Part {
    /// All images of `dataset` in each of `views`, split by split, in parts of at most `batch_size`. Shifted views are of
    /// the training split alone.
    pub fn all(dataset: &Dataset, views: &[View], batch_size: usize) -> Vec<Self> {
        let of_split = |view: View, split: Split| {
            let n = dataset.len(split);
            let part = move |first| Self { split, images: first..n.min(first + batch_size), view };
            (0..n).step_by(batch_size.max(1)).map(part)
        };
        let splits = views.iter().flat_map(|view| Split::ALL.map(|split| (*view, split)));
        let splits = splits.filter(|(view, split)| view.distance() == 0 || *split == Split::Train);
        splits.flat_map(|(view, split)| of_split(view, split)).collect()
    }
}

/// A stream of batches. Dropping it stops its thread.
#[derive(Debug)]
pub struct BatchStream {
    /// `None` only while dropping.
    receiver: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl BatchStream {
    /// Starts prefetching the batches of `first_step`, `first_step + 1` and so on.
    ///
    /// # Errors
    /// A batch size of 0, a training split without images, or a thread that cannot be started.
    pub fn new(
        dataset: Arc<Dataset>,
        seed: u64,
        batch_size: usize,
        first_step: u64,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::invalid("batch_size is 0; it must be at least 1"));
        }
        if dataset.is_empty(Split::Train) {
            return Err(Error::invalid("there is no image to train on"));
        }
        let mut order = Order::new(seed, dataset.len(Split::Train));
        Self::start(
            (first_step..)
                .map(move |step| prepare(&dataset, seed, step, &order.draws(step, batch_size))),
        )
    }

    /// Starts prefetching the batches of `parts`, in order and without augmentation: for code extraction.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn in_order(dataset: Arc<Dataset>, parts: Vec<Part>) -> Result<Self> {
        Self::start(parts.into_iter().map(move |Part { split, images, view }| {
            Batch::of(&dataset, split, &images.collect::<Vec<_>>(), view)
        }))
    }

    fn start(batches: impl Iterator<Item = Result<Batch>> + Send + 'static) -> Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("batches".to_string())
            .spawn(move || {
                for batch in batches {
                    let failed = batch.is_err();
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error| Error::invalid(format!("cannot start the batch thread: {error}")))?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }

    /// The next batch, in order. Blocks only if the thread has fallen behind.
    ///
    /// # Errors
    /// A file that can no longer be read, or the end of the stream. The stream has then ended, and every later call is
    /// an error too.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let received = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        received.unwrap_or_else(|| Err(Error::invalid("the batch thread has stopped")))
    }
}

impl Drop for BatchStream {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails and it returns, so joining cannot block forever.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by `next_batch`.
            let _ = thread.join();
        }
    }
}

/// The batch of these draws, each image augmented from its own random stream.
fn prepare(dataset: &Dataset, seed: u64, step: u64, draws: &[Draw]) -> Result<Batch> {
    let indices: Vec<usize> = draws.iter().map(|draw| draw.index).collect();
    let mut bytes = dataset.pixels(Split::Train, &indices, View::AS_IS)?;
    let (size, channels) = (dataset.image_size(), dataset.channels());
    let (flip, crop) = (dataset.config().flip, dataset.config().crop);
    if flip || crop > 0 {
        for (image, draw) in bytes.chunks_exact_mut(size * size * channels).zip(draws) {
            let change = augment::draw(seed, draw.epoch, draw.index, flip, crop);
            augment::apply(change, image, size, channels);
        }
    }
    Ok(Batch {
        pixels: pixels::to_model(&bytes),
        labels: indices.iter().map(|&index| dataset.label(Split::Train, index)).collect(),
        size: indices.len(),
        indices,
        step,
    })
}
