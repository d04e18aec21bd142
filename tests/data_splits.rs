//! Folders that are splits, folders around everything, and notes on images that are in two splits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/images.rs"]
mod images;

use std::path::Path;

use images::{contents, open, open_error, two_classes, write_image};
use tempfile::{TempDir, tempdir};
use vqgen::data::{DataConfig, Dataset, Split};

/// `n` images in two classes in each of these folders, all different.
fn in_folders(folders: &[(&str, u32)]) -> TempDir {
    let folder = tempdir().unwrap();
    let mut number = 0;
    for (name, n) in folders {
        for i in 0..*n {
            let class = ["cats", "dogs"][i as usize % 2];
            write_image(folder.path(), &format!("{name}/{class}/{i}.png"), number);
            number += 1;
        }
    }
    folder
}

fn per_split(folder: &Path) -> [usize; 3] {
    open(folder).report().per_split
}

fn said(folder: &Path) -> String {
    open(folder).report().to_string()
}

#[test]
fn train_val_and_test_folders_are_the_splits_and_the_folders_in_them_the_classes() {
    let folder = in_folders(&[("train", 40), ("val", 8), ("test", 6)]);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    assert_eq!(dataset.report().per_split, [40, 8, 6]);
    assert_eq!(dataset.spread(Split::Train, 4), [0, 10, 20, 30]);
    assert_eq!(dataset.spread(Split::Test, 8), [0, 0, 1, 2, 3, 3, 4, 5]);
    for (name, split, label, _) in contents(&dataset) {
        let parts: Vec<&str> = name.split('/').collect();
        let expected = match parts[0] {
            "train" => Split::Train,
            "val" => Split::Validation,
            _ => Split::Test,
        };
        assert_eq!((split, dataset.classes()[usize::from(label)].as_str()), (expected, parts[1]));
    }
    let text = dataset.report().to_string();
    let note = "folders taken as splits, not as classes: test/, train/, val/ (data.validation and data.test";
    assert!(text.contains(note), "{text}");
}

#[test]
fn splits_are_known_by_many_names_in_any_case() {
    for (train, validation, test) in [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VALID", "TEST"),
        ("training_set", "val_set", "test_set"),
        ("train2017", "val2017", "test2017"),
        ("train", "dev", "eval"),
        ("train-images", "valid-images", "test-images"),
    ] {
        let folder = in_folders(&[(train, 30), (validation, 5), (test, 4)]);
        assert_eq!(per_split(folder.path()), [30, 5, 4], "{train} {validation} {test}");
        assert_eq!(open(folder.path()).classes(), ["cats", "dogs"]);
    }
}

#[test]
fn the_split_that_no_folder_is_comes_from_train_by_content() {
    let folder = in_folders(&[("train", 300), ("test", 20)]);
    let [train, validation, test] = per_split(folder.path());
    assert_eq!((train + validation, test), (300, 20));
    assert!((5..30).contains(&validation), "{validation}");
    assert!(said(folder.path()).contains("validation is taken from train, data.test is not used"));

    let folder = in_folders(&[("train", 300), ("val", 20)]);
    let [train, validation, test] = per_split(folder.path());
    assert_eq!((train + test, validation), (300, 20));
    assert!((5..30).contains(&test), "{test}");
}

#[test]
fn an_image_keeps_its_split_when_others_are_added_to_split_folders() {
    let folder = in_folders(&[("train", 200), ("test", 20)]);
    let before = contents(&open(folder.path()));
    for i in 0..100 {
        write_image(folder.path(), &format!("train/birds/{i}.png"), 1000 + i);
        write_image(folder.path(), &format!("test/cats/more {i}.png"), 2000 + i);
    }
    let after = contents(&open(folder.path()));
    let split_of = |name: &str| after.iter().find(|(other, ..)| other == name).unwrap().1;
    assert!(before.iter().all(|(name, split, ..)| split_of(name) == *split));
}

#[test]
fn classes_are_those_of_all_splits_and_one_that_is_never_trained_is_named() {
    let folder = in_folders(&[("train", 20), ("test", 4)]);
    write_image(folder.path(), "train/ants/1.png", 900);
    write_image(folder.path(), "train/ants/2.png", 901);
    write_image(folder.path(), "test/zebras/1.png", 902);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["ants", "cats", "dogs", "zebras"]);
    let text = dataset.report().to_string();
    assert!(
        text.contains("a class of which no image is in train") && text.contains(": zebras"),
        "{text}"
    );
}

#[test]
fn splits_without_classes_have_none() {
    let folder = tempdir().unwrap();
    for i in 0..20 {
        write_image(folder.path(), &format!("train/{i}.png"), i);
        write_image(folder.path(), &format!("val/{i}.png"), 100 + i);
    }
    let dataset = open(folder.path());
    assert!(dataset.classes().is_empty());
    assert_eq!(dataset.len(Split::Validation), 20);
}

#[test]
fn an_image_beside_the_folders_of_splits_or_of_their_classes_is_told_where_to_go() {
    let folder = in_folders(&[("train", 40), ("test", 20)]);
    write_image(folder.path(), "cover.png", 900);
    write_image(folder.path(), "test/unsorted.png", 901);
    let text = said(folder.path());
    assert!(text.contains("cover.png lies beside the folders of the splits"), "{text}");
    assert!(text.contains("test/unsorted.png lies in test/ and in no class folder"), "{text}");
    assert!(open_error(folder.path(), true).contains("move each into the folder of its class"));
}

#[test]
fn a_train_folder_beside_another_class_is_a_class_and_so_are_splits_without_train() {
    let folder = two_classes(20);
    write_image(folder.path(), "train/1.png", 900);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs", "train"]);
    let text = dataset.report().to_string();
    assert!(
        text.contains(
            "not as splits: train/ (beside folders that are not named after a split: cats/, dogs/)"
        ),
        "{text}"
    );

    let folder = in_folders(&[("val", 10), ("test", 10)]);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["test", "val"]);
    assert!(dataset.report().to_string().contains("there is no train/"));
}

#[test]
fn a_single_folder_around_splits_or_classes_is_looked_through() {
    let folder = in_folders(&[("archive/data/train", 30), ("archive/data/test", 5)]);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    assert_eq!(dataset.len(Split::Test), 5);

    let folder = in_folders(&[("images", 30)]);
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    let text = dataset.report().to_string();
    assert!(
        text.contains("the classes are the folders in images/, the only one there is"),
        "{text}"
    );

    // As some archives unpack.
    let folder = in_folders(&[("train/train", 30), ("test/test", 5)]);
    let dataset = open(folder.path());
    assert_eq!((dataset.classes().len(), dataset.len(Split::Test)), (2, 5));
}

#[test]
fn a_single_class_is_a_class_however_deep_its_images_lie() {
    for name in ["cats/1.png", "cats/deep/down/1.png"] {
        let folder = tempdir().unwrap();
        write_image(folder.path(), name, 1);
        assert_eq!(open(folder.path()).classes(), ["cats"], "{name}");
    }
    let folder = two_classes(0);
    write_image(folder.path(), "cats/1.png", 1);
    write_image(folder.path(), "cats/old/1.png", 2);
    write_image(folder.path(), "cats/new/1.png", 3);
    assert_eq!(open(folder.path()).classes(), ["cats"]);
}

#[test]
fn an_image_that_is_in_two_splits_is_counted() {
    let folder = in_folders(&[("train", 40), ("val", 8), ("test", 6)]);
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    };
    copy("train/cats/0.png", "test/cats/copy 0.png");
    copy("train/cats/2.png", "test/cats/copy 2.png");
    copy("train/cats/2.png", "val/cats/copy 2.png");
    let text = said(folder.path());
    assert!(text.contains("2 images of test are in train too, byte for byte"), "{text}");
    assert!(text.contains("1 image of validation is in train too"), "{text}");
    assert!(text.contains("1 image of test is in validation too"), "{text}");
}

#[test]
fn what_was_no_split_folder_is_the_data_set_that_it_was() {
    // The fingerprint from before folders could be splits.
    let folder = two_classes(30);
    assert_eq!(open(folder.path()).fingerprint(), "31505dd123a29932");
    let embedded = Dataset::open(&DataConfig::default(), true).unwrap();
    assert_eq!(embedded.fingerprint(), "01159b74af850dfb");
    assert_eq!(embedded.report().per_split, [1710, 100, 101]);
    assert_eq!(embedded.report().notes, ["2507 captions of all images"]);
    let flat = tempdir().unwrap();
    for i in 0..30 {
        write_image(flat.path(), &format!("{i}.png"), i);
    }
    assert_eq!(open(flat.path()).fingerprint(), "e036def8cacb75df");
}
