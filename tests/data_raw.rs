//! IDX files and CIFAR batches: intact ones give their pixels, labels and published splits; damaged ones are errors
//! that name the file, before memory is allocated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "support/idx.rs"]
mod idx_files;

use std::path::Path;

use idx_files::{gzip, idx, images, labels};
use tempfile::{TempDir, tempdir};
use vqgen::data::{DataConfig, Dataset, Split, View};

fn config(folder: &Path) -> DataConfig {
    DataConfig {
        path: folder.to_str().unwrap().to_string(),
        image_size: 4,
        channels: 1,
        validation: 0.2,
        ..Default::default()
    }
}

fn open(folder: &Path) -> Dataset {
    Dataset::open(&config(folder), true).unwrap()
}

fn open_error(folder: &Path) -> String {
    Dataset::open(&config(folder), false).unwrap_err().to_string()
}

/// 40 training and 10 test images, 4 x 4.
fn mnist() -> TempDir {
    let folder = tempdir().unwrap();
    for (part, n) in [("train", 40), ("t10k", 10)] {
        write(&folder, &format!("{part}-images-idx3-ubyte"), &images(n));
        write(&folder, &format!("{part}-labels-idx1-ubyte"), &labels(n));
    }
    folder
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
    std::fs::write(folder.path().join(name), bytes).unwrap();
}

fn remove(folder: &TempDir, name: &str) {
    std::fs::remove_file(folder.path().join(name)).unwrap();
}

#[test]
fn idx_files_give_pixels_labels_and_the_published_test_split() {
    let dataset = open(mnist().path());
    assert_eq!(dataset.len(Split::Test), 10);
    assert_eq!(dataset.len(Split::Train) + dataset.len(Split::Validation), 40);
    assert!(dataset.len(Split::Validation) > 0);
    assert_eq!(dataset.classes().join(""), "0123456789");
    for i in 0..10 {
        assert_eq!(dataset.name(Split::Test, i), format!("t10k/{i:05}"));
        assert_eq!(usize::from(dataset.label(Split::Test, i)), i);
        let expected: Vec<u8> = (0..16).map(|p| (i * 5 + p) as u8).collect();
        assert_eq!(dataset.pixels(Split::Test, &[i], View::AS_IS).unwrap(), expected);
    }
}

#[test]
fn dots_gzip_class_names_and_a_missing_test_part_are_understood() {
    let folder = tempdir().unwrap();
    write(&folder, "train-images.idx3-ubyte", &images(40));
    write(&folder, "train-labels-idx1-ubyte.gz", &gzip(&labels(40)));
    let names: Vec<String> = (0..10).map(|i| format!("class {i}")).collect();
    write(&folder, "classes.txt", names.join("\r\n").as_bytes());
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), names);
    assert!(dataset.len(Split::Test) > 0);
    assert!(dataset.report().to_string().contains("no t10k files"));
}

#[test]
fn gzipped_images_and_streaming_give_the_same_data_set() {
    let folder = mnist();
    let plain = open(folder.path());
    remove(&folder, "train-images-idx3-ubyte");
    write(&folder, "train-images-idx3-ubyte.gz", &gzip(&images(40)));
    let config = DataConfig { memory_budget_mb: 0, ..config(folder.path()) };
    let streamed = Dataset::open(&config, true).unwrap();
    assert_eq!(plain.fingerprint(), streamed.fingerprint());
    let all: Vec<usize> = (0..plain.len(Split::Train)).collect();
    assert_eq!(
        plain.pixels(Split::Train, &all, View::AS_IS).unwrap(),
        streamed.pixels(Split::Train, &all, View::AS_IS).unwrap()
    );
}

#[test]
fn grey_files_become_colour_and_other_sizes_on_request() {
    let folder = mnist();
    let config = DataConfig { channels: 3, image_size: 8, ..config(folder.path()) };
    let dataset = Dataset::open(&config, true).unwrap();
    let pixels = dataset.pixels(Split::Test, &[3], View::AS_IS).unwrap();
    assert_eq!(pixels.len(), 8 * 8 * 3);
    assert!(pixels.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    assert!(pixels[0].abs_diff(15) <= 2 && pixels[8 * 8 * 3 - 1].abs_diff(30) <= 2);
}

#[test]
fn damaged_idx_files_are_errors_that_say_what_is_wrong() {
    let huge = u32::MAX;
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("train-images-idx3-ubyte", vec![], "its header alone has 16"),
        ("train-images-idx3-ubyte", images(40)[..15].to_vec(), "its header alone has 16"),
        (
            "train-images-idx3-ubyte",
            images(40)[..200].to_vec(),
            "declares 640 bytes of data, it holds 184",
        ),
        ("train-images-idx3-ubyte", [images(40), vec![0]].concat(), "too long"),
        ("train-images-idx3-ubyte", labels(40), "0x00000801, expected 0x00000803"),
        ("train-images-idx3-ubyte", idx(0x0803, &[0, 4, 4], &[]), "declares 0 along axis 0"),
        ("train-images-idx3-ubyte", idx(0x0803, &[40, 0, 4], &[]), "declares 0 along axis 1"),
        (
            "train-images-idx3-ubyte",
            idx(0x0803, &[huge, huge, huge], &[]),
            "along axis 1; 1 to 16384",
        ),
        (
            "train-images-idx3-ubyte",
            idx(0x0803, &[huge, 16384, 16384], &[]),
            "more than the 2048 MiB",
        ),
        ("train-images-idx3-ubyte", images(39), "holds 40 labels"),
        (
            "train-labels-idx1-ubyte",
            labels(40)[..30].to_vec(),
            "declares 40 bytes of data, it holds 22",
        ),
        (
            "train-labels-idx1-ubyte",
            idx(0x0801, &[40], &[10; 40]),
            "label 10 of train/00000 is out of range",
        ),
        (
            "t10k-images-idx3-ubyte",
            idx(0x0803, &[10, 2, 2], &[0; 40]),
            "train images are 4 x 4 pixels, t10k 2 x 2",
        ),
    ];
    for (name, bytes, expected) in cases {
        let folder = mnist();
        write(&folder, name, &bytes);
        let message = open_error(folder.path());
        assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
    }
}

#[test]
fn damaged_gzip_and_more_than_announced_are_errors() {
    let folder = mnist();
    remove(&folder, "train-images-idx3-ubyte");
    let name = "train-images-idx3-ubyte.gz";
    let whole = gzip(&images(40));
    write(&folder, name, &whole[..whole.len() / 2]);
    assert!(open_error(folder.path()).contains("cannot be decompressed"));
    write(&folder, name, b"not gzip at all, but long enough");
    assert!(open_error(folder.path()).contains("it starts with 0x6e6f7420"));
    // A small file that would expand to 64 MiB is read no further than its declared length.
    write(&folder, name, &gzip(&[images(40), vec![0; 64 << 20]].concat()));
    assert!(open_error(folder.path()).contains("too long"));
}

#[test]
fn missing_idx_parts_are_named() {
    let folder = mnist();
    remove(&folder, "train-labels-idx1-ubyte");
    assert!(open_error(folder.path()).contains("no train-labels-idx1-ubyte[.gz] beside it"));
    let folder = mnist();
    remove(&folder, "train-images-idx3-ubyte");
    assert!(open_error(folder.path()).contains("no train-images-idx3-ubyte"));
}

/// Records of image `i` from 0 with label `i % 10` and planes of `i`, `i + 1`, `i + 2`.
fn cifar_batch(n: usize) -> Vec<u8> {
    cifar_records(0..n)
}

fn cifar_records(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let plane = |value: usize| vec![value as u8; 1024];
    numbers
        .flat_map(|i| [vec![(i % 10) as u8], plane(i), plane(i + 1), plane(i + 2)].concat())
        .collect()
}

fn cifar() -> TempDir {
    let folder = tempdir().unwrap();
    for i in 1..=5 {
        // No image is in both parts.
        write(&folder, &format!("data_batch_{i}.bin"), &cifar_records(20 * i..20 * (i + 1)));
    }
    write(&folder, "test_batch.bin", &cifar_batch(10));
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    write(&folder, "batches.meta.txt", names.as_bytes());
    folder
}

#[test]
fn cifar_planes_become_interleaved_pixels_and_the_test_batch_is_the_test_split() {
    let folder = cifar();
    let config = DataConfig { channels: 3, image_size: 32, ..config(folder.path()) };
    let dataset = Dataset::open(&config, true).unwrap();
    assert_eq!(dataset.len(Split::Test), 10);
    assert_eq!(dataset.report().read, 110);
    assert_eq!(dataset.classes()[9], "truck");
    assert_eq!(dataset.classes().len(), 10);
    assert!(dataset.report().notes.is_empty());
    for i in 0..10 {
        let pixels = dataset.pixels(Split::Test, &[i], View::AS_IS).unwrap();
        let value = i as u8;
        assert_eq!(pixels, [value, value + 1, value + 2].repeat(1024));
        assert_eq!(usize::from(dataset.label(Split::Test, i)), i);
    }
}

#[test]
fn cifar_100_has_two_labels_a_record_and_the_fine_one_counts() {
    let outer = tempdir().unwrap();
    let inner = outer.path().join("cifar-100-binary");
    std::fs::create_dir(&inner).unwrap();
    let plane = |value: u8| vec![value; 1024];
    let records = |numbers: std::ops::Range<u8>| -> Vec<u8> {
        numbers
            .flat_map(|i| [vec![0, i % 3], plane(i), plane(i + 1), plane(i + 2)].concat())
            .collect()
    };
    std::fs::write(inner.join("train.bin"), records(10..40)).unwrap();
    std::fs::write(inner.join("test.bin"), records(0..3)).unwrap();
    // `train.bin` alone may be anything.
    assert!(Dataset::open(&config(outer.path()), true).is_err());
    std::fs::write(inner.join("fine_label_names.txt"), "apple\nbaby\nbear\n").unwrap();
    for folder in [outer.path(), &inner] {
        let config = DataConfig { channels: 3, image_size: 32, ..config(folder) };
        let dataset = Dataset::open(&config, true).unwrap();
        assert_eq!(dataset.report().source, "CIFAR-100 batches");
        assert_eq!((dataset.len(Split::Test), dataset.report().read), (3, 33));
        assert_eq!(dataset.classes(), ["apple", "baby", "bear"]);
        for i in 0..3 {
            let pixels = dataset.pixels(Split::Test, &[i], View::AS_IS).unwrap();
            let value = i as u8;
            assert_eq!(pixels, [value, value + 1, value + 2].repeat(1024));
            assert_eq!(usize::from(dataset.label(Split::Test, i)), i);
        }
    }
}

#[test]
fn a_cifar_archive_is_found_one_folder_down_and_missing_batches_are_noted() {
    let outer = tempdir().unwrap();
    let inner = outer.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("data_batch_2.bin"), cifar_batch(30)).unwrap();
    let dataset = open(outer.path());
    assert_eq!(dataset.classes()[0], "airplane");
    assert!(dataset.len(Split::Test) > 0);
    assert_eq!(dataset.report().notes.len(), 5);
}

#[test]
fn damaged_cifar_batches_are_errors_that_name_the_file() {
    let folder = cifar();
    write(&folder, "data_batch_3.bin", &cifar_batch(20)[..3073 * 7 - 1]);
    let message = open_error(folder.path());
    assert!(message.contains("data_batch_3.bin") && message.contains("21510 bytes"), "{message}");
    write(&folder, "data_batch_3.bin", &[]);
    assert!(open_error(folder.path()).contains("has 0 bytes"));
    let mut labelled = cifar_batch(3);
    labelled[3073] = 10;
    write(&folder, "data_batch_3.bin", &labelled);
    assert!(open_error(folder.path()).contains("label 10 of record 1"));
    write(&folder, "batches.meta.txt", b"\n\n");
    assert!(open_error(folder.path()).contains("holds no class name"));
}

#[test]
fn fashion_mnist_opens_as_published() {
    // Where the Debian package `dataset-fashion-mnist` puts its files.
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    if !folder.join("train-images-idx3-ubyte.gz").is_file() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let config = DataConfig { image_size: 28, validation: 0.05, ..config(folder) };
    let dataset = Dataset::open(&config, true).unwrap();
    assert_eq!(dataset.report().read, 70_000);
    assert_eq!(dataset.len(Split::Test), 10_000);
    let n_validation = dataset.len(Split::Validation);
    assert!((2_700..3_300).contains(&n_validation), "{n_validation}");
    // 0.353 is the published standard deviation of all 60,000 training images.
    assert!((dataset.variance().sqrt() - 0.353).abs() < 0.002, "{}", dataset.variance());
    let mut counts = [0; 10];
    for i in 0..10_000 {
        counts[usize::from(dataset.label(Split::Test, i))] += 1;
    }
    assert_eq!(counts, [1000; 10]);
}
