//! Where raw data sets are found and how they are named: in folders below, with other endings, EMNIST's six sets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/idx.rs"]
mod idx_files;

use std::path::Path;

use idx_files::{gzip, idx, images, labels};
use tempfile::{TempDir, tempdir};
use vqgen::data::{DataConfig, Dataset, Split, View};
use vqgen::error::Result;

fn open_at(path: &Path) -> Result<Dataset> {
    let config = DataConfig {
        path: path.to_str().unwrap().to_string(),
        image_size: 4,
        channels: 1,
        ..Default::default()
    };
    Dataset::open(&config, true)
}

fn open(path: &Path) -> Dataset {
    open_at(path).unwrap()
}

fn error(path: &Path) -> String {
    open_at(path).unwrap_err().to_string()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// MNIST's files in `folder`.
fn write_mnist(folder: &Path) {
    for (part, n) in [("train", 40), ("t10k", 10)] {
        write(folder, &format!("{part}-images-idx3-ubyte"), &images(n));
        write(folder, &format!("{part}-labels-idx1-ubyte"), &labels(n));
    }
}

#[test]
fn gzip_is_told_by_content_whatever_the_name() {
    let folder = tempdir().unwrap();
    write_mnist(folder.path());
    let plain = open(folder.path()).fingerprint().to_owned();
    let folder = tempdir().unwrap();
    write(folder.path(), "train-images-idx3-ubyte.gz", &images(40));
    write(folder.path(), "train-labels-idx1-ubyte", &gzip(&labels(40)));
    write(folder.path(), "t10k-images-idx3-ubyte", &gzip(&images(10)));
    write(folder.path(), "t10k-labels-idx1-ubyte.gz", &labels(10));
    assert_eq!(open(folder.path()).fingerprint(), plain);
}

#[test]
fn raw_files_are_found_from_the_folders_around_them() {
    let folder = tempdir().unwrap();
    let raw = folder.path().join("data/MNIST/raw");
    write_mnist(&raw);
    let expected = open(&raw).fingerprint().to_owned();
    for above in ["", "data", "data/MNIST"] {
        let dataset = open(&folder.path().join(above));
        assert_eq!(dataset.fingerprint(), expected);
        assert_eq!(dataset.len(Split::Test), 10);
        assert!(dataset.report().to_string().contains("found in "), "{}", dataset.report());
    }
}

#[test]
fn of_two_sets_below_a_folder_one_must_be_chosen() {
    let folder = tempdir().unwrap();
    for name in ["MNIST/raw", "FashionMNIST/raw"] {
        write_mnist(&folder.path().join(name));
    }
    let message = error(folder.path());
    let choice = format!("--data {}", folder.path().join("MNIST/raw").display());
    assert!(message.contains("holds 2 data sets") && message.contains(&choice), "{message}");
    open(&folder.path().join("FashionMNIST"));
}

#[test]
fn images_and_raw_files_in_one_folder_are_not_left_out_without_a_word() {
    let picture = |folder: &Path, name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(4, 4).save(path).unwrap();
    };
    let folder = tempdir().unwrap();
    write_mnist(folder.path());
    picture(folder.path(), "preview.png");
    let text = open(folder.path()).report().to_string();
    assert!(text.contains("left out 1 image file, as the data set is the IDX files"), "{text}");

    let folder = tempdir().unwrap();
    write_mnist(&folder.path().join("MNIST/raw"));
    picture(folder.path(), "cats/1.png");
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats"]);
    let text = dataset.report().to_string();
    assert!(text.contains("left out a data set that --data can name: "), "{text}");
    assert!(text.contains("MNIST/raw"), "{text}");
}

/// 60 training and 26 test images of 4 x 3 in EMNIST's column-major order: image `i` is `i` everywhere but for one
/// pixel of its first row, which is 200.
fn write_emnist(folder: &Path, set: &str, first_label: u32, n_classes: u32) {
    for (part, n) in [("train", 60), ("test", n_classes)] {
        let image = |i: u32| {
            let mut stored = vec![i as u8; 12];
            // Four columns of three pixels; the third is the last of the centre square.
            stored[6] = 200;
            stored
        };
        let pixels: Vec<u8> = (0..n).flat_map(image).collect();
        let labels: Vec<u8> = (0..n).map(|i| (first_label + i % n_classes) as u8).collect();
        let name = |kind: &str| format!("emnist-{set}-{part}-{kind}-ubyte.gz");
        write(folder, &name("images-idx3"), &gzip(&idx(0x0803, &[n, 4, 3], &pixels)));
        write(folder, &name("labels-idx1"), &gzip(&idx(0x0801, &[n], &labels)));
    }
}

fn emnist_letters() -> TempDir {
    let folder = tempdir().unwrap();
    write_emnist(folder.path(), "letters", 1, 26);
    folder
}

#[test]
fn letters_of_emnist_stand_upright_and_have_their_names() {
    let folder = emnist_letters();
    let dataset = open(folder.path());
    assert_eq!(dataset.classes().join(""), "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    assert_eq!(dataset.len(Split::Test), 26);
    for i in 0..26 {
        assert_eq!(dataset.name(Split::Test, i), format!("test/{i:05}"));
        assert_eq!(usize::from(dataset.label(Split::Test, i)), i);
    }
    let config = DataConfig {
        path: folder.path().to_str().unwrap().to_string(),
        image_size: 16,
        channels: 1,
        ..Default::default()
    };
    let pixels =
        Dataset::open(&config, true).unwrap().pixels(Split::Test, &[3], View::AS_IS).unwrap();
    let [left, right, below] = [pixels[0], pixels[15], pixels[15 * 16]];
    assert!(right > 100 && left < 60 && below < 60, "{left} {right} {below}");
}

#[test]
fn a_square_image_of_emnist_is_the_stored_one_with_rows_and_columns_swapped() {
    let folder = tempdir().unwrap();
    let stored: Vec<u8> = (0..16).collect();
    for part in ["train", "test"] {
        let n = 20;
        let name = |kind: &str| format!("emnist-digits-{part}-{kind}-ubyte");
        let image = |i: u8| stored.iter().map(move |pixel| pixel + i).collect::<Vec<u8>>();
        let pixels: Vec<u8> = (0..n).flat_map(image).collect();
        write(folder.path(), &name("images-idx3"), &idx(0x0803, &[n.into(), 4, 4], &pixels));
        write(folder.path(), &name("labels-idx1"), &labels(n.into()));
    }
    let dataset = open(folder.path());
    assert_eq!(dataset.classes().join(""), "0123456789");
    let pixels = dataset.pixels(Split::Test, &[0], View::AS_IS).unwrap();
    assert_eq!(pixels, [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]);
}

#[test]
fn the_mapping_of_emnist_names_its_classes_and_a_label_outside_it_is_an_error() {
    let folder = emnist_letters();
    let lines: Vec<String> =
        (1..=26).map(|label| format!("{label} {} {}", label + 96, label + 64)).collect();
    write(folder.path(), "emnist-letters-mapping.txt", lines.join("\n").as_bytes());
    assert_eq!(open(folder.path()).classes()[0], "a");
    write(folder.path(), "emnist-letters-mapping.txt", lines[1..].join("\n").as_bytes());
    let message = error(folder.path());
    assert!(message.contains("label 1 of train/00000 is out of range"), "{message}");
    assert!(message.contains("they are 2 to 26"), "{message}");
}

#[test]
fn of_several_emnist_sets_in_a_folder_one_must_be_chosen() {
    let folder = tempdir().unwrap();
    let gzip = folder.path().join("gzip");
    write_emnist(&gzip, "letters", 1, 26);
    write_emnist(&gzip, "balanced", 0, 47);
    let message = error(folder.path());
    let choice = gzip.join("emnist-letters");
    assert!(message.contains(&format!("--data {}", choice.display())), "{message}");
    assert_eq!(open(&choice).classes().len(), 26);
    assert_eq!(open(&gzip.join("emnist-balanced")).classes().len(), 47);
    assert!(error(&gzip.join("emnist-digits")).contains("does not exist"));
}

#[test]
fn missing_parts_of_emnist_are_named() {
    let folder = emnist_letters();
    std::fs::remove_file(folder.path().join("emnist-letters-train-labels-idx1-ubyte.gz")).unwrap();
    assert!(error(folder.path()).contains("no emnist-letters-train-labels-idx1-ubyte[.gz] beside"));
    std::fs::remove_file(folder.path().join("emnist-letters-train-images-idx3-ubyte.gz")).unwrap();
    assert!(error(folder.path()).contains("but no emnist-letters-train-images-idx3-ubyte[.gz]"));
}
