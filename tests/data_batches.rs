//! Training batches: the same from any starting step, full whatever the number of images, the same beyond
//! the memory budget, and a thread that ends with its stream.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};
use vqgen::data::batches::Order;
use vqgen::data::{Batch, BatchStream, DataConfig, Dataset, Part, Split, View, pixels};

fn folder(n: u32) -> TempDir {
    let folder = tempdir().unwrap();
    for i in 0..n {
        let class = folder.path().join(["a", "b"][i as usize % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let image = RgbImage::from_fn(8, 8, |x, y| Rgb([i as u8, (x * 30) as u8, (y * 30) as u8]));
        image.save(class.join(format!("{i}.png"))).unwrap();
    }
    folder
}

fn config(folder: &Path) -> DataConfig {
    DataConfig {
        path: folder.to_str().unwrap().to_string(),
        image_size: 8,
        flip: true,
        crop: 2,
        ..Default::default()
    }
}

fn open(config: &DataConfig) -> Arc<Dataset> {
    Arc::new(Dataset::open(config, true).unwrap())
}

fn take(
    dataset: &Arc<Dataset>,
    seed: u64,
    batch_size: usize,
    first_step: u64,
    n: usize,
) -> Vec<Batch> {
    let mut stream = BatchStream::new(Arc::clone(dataset), seed, batch_size, first_step).unwrap();
    (0..n).map(|_| stream.next_batch().unwrap()).collect()
}

#[test]
fn a_stream_that_starts_later_gives_the_batches_of_one_that_did_not() {
    let folder = folder(21);
    let dataset = open(&config(folder.path()));
    let all = take(&dataset, 7, 5, 0, 20);
    for first in [1, 3, 4, 13] {
        assert_eq!(take(&dataset, 7, 5, first as u64, 20 - first), all[first..]);
    }
    assert!(all.iter().enumerate().all(|(i, batch)| batch.step == i as u64 && batch.size == 5));
    assert_ne!(take(&dataset, 8, 5, 0, 1), all[..1], "another seed, other batches");
}

#[test]
fn each_epoch_sees_every_image_once_in_its_own_order() {
    let mut order = Order::new(3, 10);
    let draws: Vec<_> = (0..10).flat_map(|step| order.draws(step, 4)).collect();
    let epochs: Vec<Vec<usize>> =
        draws.chunks(10).map(|epoch| epoch.iter().map(|draw| draw.index).collect()).collect();
    for (number, epoch) in epochs.iter().enumerate() {
        assert_eq!(epoch.iter().collect::<HashSet<_>>().len(), 10);
        assert!(draws[number * 10..][..10].iter().all(|draw| draw.epoch == number as u64));
    }
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn a_batch_larger_than_the_data_set_is_full_and_no_step_overflows() {
    let folder = folder(5);
    let dataset = open(&config(folder.path()));
    let n = dataset.len(Split::Train);
    assert!(n < 16);
    let batches = take(&dataset, 1, 16, 0, 3);
    assert!(batches.iter().all(|b| b.indices.len() == 16 && b.pixels.len() == 16 * 8 * 8 * 3));
    let mut order = Order::new(1, 3);
    assert_eq!(order.draws(u64::MAX, 5), Order::new(1, 3).draws(u64::MAX, 5));
}

#[test]
fn beyond_the_memory_budget_batches_are_the_same() {
    let folder = folder(30);
    let kept = open(&config(folder.path()));
    let streamed = open(&DataConfig { memory_budget_mb: 0, ..config(folder.path()) });
    assert_eq!(take(&kept, 5, 8, 2, 6), take(&streamed, 5, 8, 2, 6));
}

#[test]
fn without_augmentation_a_batch_is_the_images_and_labels_it_names() {
    let folder = folder(30);
    let dataset = open(&DataConfig { flip: false, crop: 0, ..config(folder.path()) });
    for batch in take(&dataset, 2, 6, 0, 8) {
        let bytes = dataset.pixels(Split::Train, &batch.indices, View::AS_IS).unwrap();
        assert_eq!(batch.pixels, pixels::to_model(&bytes));
        assert!(batch.pixels.iter().all(|value| (-0.5..=0.5).contains(value)));
        let by_index = Batch::of(&dataset, Split::Train, &batch.indices, View::AS_IS).unwrap();
        assert_eq!((&by_index.pixels, &by_index.labels), (&batch.pixels, &batch.labels));
        for (&index, &label) in batch.indices.iter().zip(&batch.labels) {
            let class = dataset.name(Split::Train, index).split('/').next().unwrap();
            assert_eq!(dataset.classes()[usize::from(label)], class);
        }
    }
}

#[test]
fn augmentation_changes_images_and_differs_between_epochs() {
    let folder = folder(8);
    let dataset = open(&config(folder.path()));
    let n = dataset.len(Split::Train);
    let epochs = take(&dataset, 2, n, 0, 6);
    let image = |batch: &Batch, index| {
        let place = batch.indices.iter().position(|&i| i == index).unwrap();
        batch.pixels[place * 192..][..192].to_vec()
    };
    let first = image(&epochs[0], 0);
    assert!(epochs[1..].iter().any(|batch| image(batch, 0) != first));
    // Only its position changes: the red channel of each image is its number everywhere.
    for batch in &epochs {
        assert!(
            batch
                .pixels
                .chunks(192)
                .all(|image| image.iter().step_by(3).all(|&red| red == image[0]))
        );
    }
}

#[test]
fn dropping_a_stream_ends_its_thread_even_when_it_waits_to_hand_over() {
    let folder = folder(10);
    let dataset = open(&config(folder.path()));
    for n in [0, 1, 5] {
        take(&dataset, 0, 4, 0, n);
        // The thread holds the only other reference, so it has ended when the count is one again.
        assert_eq!(Arc::strong_count(&dataset), 1);
    }
}

#[test]
fn a_file_that_vanishes_surfaces_as_an_error_and_the_stream_stays_over() {
    let folder = folder(12);
    let dataset = open(&DataConfig { memory_budget_mb: 0, ..config(folder.path()) });
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    let mut stream = BatchStream::new(Arc::clone(&dataset), 0, 4, 0).unwrap();
    let error = (0..10).find_map(|_| stream.next_batch().err()).expect("a file is missing");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(stream.next_batch().unwrap_err().to_string().contains("stopped"));
}

#[test]
fn a_batch_of_nothing_is_refused() {
    let folder = folder(3);
    let dataset = open(&config(folder.path()));
    let error = BatchStream::new(dataset, 0, 0, 0).unwrap_err().to_string();
    assert!(error.contains("batch_size is 0"), "{error}");
}

#[test]
fn in_order_every_image_of_every_view_comes_once_whether_kept_or_not() {
    let folder = folder(21);
    for memory_budget_mb in [1, 0] {
        let dataset = open(&DataConfig { memory_budget_mb, ..config(folder.path()) });
        let parts = Part::all(&dataset, &[View::AS_IS, View::FLIPPED], 4);
        let n_images: usize = parts.iter().map(|part| part.images.len()).sum();
        assert_eq!(n_images, 2 * 21);
        let mut batches = BatchStream::in_order(Arc::clone(&dataset), parts.clone()).unwrap();
        for Part { split, images, view } in parts {
            let images: Vec<usize> = images.collect();
            let wanted = Batch::of(&dataset, split, &images, view).unwrap();
            assert_eq!(batches.next_batch().unwrap(), wanted);
        }
        assert!(batches.next_batch().is_err(), "there is nothing after the last");
    }
}
