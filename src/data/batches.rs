//! Training batches, prepared ahead by one thread. Which images a step sees, and how they are changed, is a
//! pure function of (seed, step), so a run that starts at step 1,000 sees what an uninterrupted run would.
//!
//! Training reads an endless row of images: epoch 0 in a random order, epoch 1 in another, and so on. Step
//! `s` takes places `s * batch` to `(s + 1) * batch`. A batch may therefore span epochs, and is always full.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{Dataset, Split, View, augment, pixels};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};

/// Batches that wait, besides the one being made. More would only cost memory: making one is far quicker
/// than training on it.
const QUEUE: usize = 2;

/// Images as a model takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[size, image_size, image_size, channels]` in [-0.5, 0.5].
    pub pixels: Vec<f32>,
    /// The class of each image; all 0 where there are no classes.
    pub labels: Vec<u16>,
    /// Which images of the split these are.
    pub indices: Vec<usize>,
    /// The training step it is for; 0 for a batch by index.
    pub step: u64,
    /// How many images there are.
    pub size: usize,
}

impl Batch {
    /// These images of `split`, unchanged: for validation and for extracting codes.
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

/// One place in the endless row of training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// How often the whole split was seen before.
    pub epoch: u64,
    /// Which image of the split.
    pub index: usize,
}

/// The order in which training sees `n` images. It remembers the permutation of one epoch, which is only a
/// matter of speed.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    n: usize,
    epoch: u64,
    permutation: Vec<usize>,
}

impl Order {
    /// The order of `n` images, at least 1, under `seed`.
    pub fn new(seed: u64, n: usize) -> Self {
        assert!(n > 0, "an order of 0 images");
        Self { seed, n, epoch: 0, permutation: permutation(seed, 0, n) }
    }

    /// The images of `step`, `batch_size` of them. Depends on the arguments and on (seed, n) alone.
    pub fn draws(&mut self, step: u64, batch_size: usize) -> Vec<Draw> {
        // 128 bits: no step and batch size overflow.
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

/// An endless stream of training batches. Dropping it ends its thread.
#[derive(Debug)]
pub struct BatchStream {
    /// `None` only while dropping.
    receiver: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl BatchStream {
    /// Starts preparing the batches of `first_step`, `first_step + 1` and so on.
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
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("batches".to_string())
            .spawn(move || produce(&dataset, seed, batch_size, first_step, &sender))
            .map_err(|error| Error::invalid(format!("cannot start the batch thread: {error}")))?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }

    /// The next batch, in order of steps. Waits only if the thread has fallen behind.
    ///
    /// # Errors
    /// A file that can no longer be read. The stream is over then, and every later call is an error too.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let received = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        received.unwrap_or_else(|| Err(Error::invalid("the batch thread has stopped")))
    }
}

impl Drop for BatchStream {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails and it returns; only then is joining finite.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was reported by `next_batch`.
            let _ = thread.join();
        }
    }
}

fn produce(
    dataset: &Dataset,
    seed: u64,
    batch_size: usize,
    first_step: u64,
    sender: &SyncSender<Result<Batch>>,
) {
    let mut order = Order::new(seed, dataset.len(Split::Train));
    for step in first_step.. {
        let batch = prepare(dataset, seed, step, &order.draws(step, batch_size));
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

/// The batch of these draws, each image changed as its own random stream says.
fn prepare(dataset: &Dataset, seed: u64, step: u64, draws: &[Draw]) -> Result<Batch> {
    let indices: Vec<usize> = draws.iter().map(|draw| draw.index).collect();
    let mut bytes = dataset.pixels(Split::Train, &indices, View::AsIs)?;
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
