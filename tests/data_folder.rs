//! Opening folders of images: classes, splits, what is skipped, what is an error, and the same data set
//! inside and beyond the memory budget.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "support/images.rs"]
mod images;

use images::{config, contents, open, open_error, two_classes, write_image};
use tempfile::tempdir;
use vqgen::data::{DataConfig, Dataset, Split, View};

#[test]
fn first_level_folders_are_classes_and_deeper_files_belong_to_them() {
    let folder = two_classes(30);
    write_image(folder.path(), "birds/deep/down/x.PNG", 77);
    std::fs::create_dir(folder.path().join("empty class")).unwrap();
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["birds", "cats", "dogs"]);
    let all = contents(&dataset);
    assert_eq!(all.len(), 31);
    for (name, _, label, _) in &all {
        assert_eq!(name.split('/').next().unwrap(), dataset.classes()[usize::from(*label)]);
    }
    assert_eq!((all[0].0.as_str(), all[0].3[0]), ("birds/deep/down/x.PNG", 77));
    assert_eq!(dataset.report().read, 31);
    assert_eq!(dataset.report().per_split.iter().sum::<usize>(), 31);
}

#[test]
fn without_sub_folders_there_are_no_classes() {
    let folder = tempdir().unwrap();
    for i in 0..5 {
        write_image(folder.path(), &format!("{i}.png"), i);
    }
    let dataset = open(folder.path());
    assert!(dataset.classes().is_empty());
    assert!(contents(&dataset).iter().all(|(_, _, label, _)| *label == 0));
    assert!(dataset.report().to_string().contains("no classes"));
}

#[test]
fn images_beside_class_folders_are_skipped_by_name_and_too_many_are_an_error() {
    let folder = two_classes(30);
    write_image(folder.path(), "cover.png", 1);
    let dataset = open(folder.path());
    let skip = &dataset.report().skipped[0];
    assert_eq!(skip.path, "cover.png");
    assert!(skip.reason.contains("beside the class folders"));
    for i in 0..9 {
        write_image(folder.path(), &format!("more {i}.png"), i);
    }
    assert!(open_error(folder.path(), false).contains("10 of 40 files are unusable"));
}

#[test]
fn hidden_files_and_other_extensions_are_ignored() {
    let folder = two_classes(20);
    write_image(folder.path(), ".thumbnails/a.png", 1);
    write_image(folder.path(), "cats/.hidden.png", 1);
    std::fs::write(folder.path().join("README.md"), "text").unwrap();
    std::fs::write(folder.path().join("cats/notes.txt"), "text").unwrap();
    let dataset = Dataset::open(&config(folder.path()), true).unwrap();
    assert_eq!((dataset.report().read, dataset.classes().len()), (20, 2));
}

#[test]
fn nothing_to_read_is_an_error_that_says_what_was_looked_for() {
    let folder = tempdir().unwrap();
    assert!(open_error(folder.path(), false).contains("png, apng, jpg, jpeg, jpe, jfif"));
    std::fs::write(folder.path().join("notes.txt"), "text").unwrap();
    std::fs::create_dir(folder.path().join("cats")).unwrap();
    let message = open_error(folder.path(), false);
    assert!(message.contains("train-images-idx3-ubyte") && message.contains("data_batch_1.bin"));
    assert!(open_error(&folder.path().join("nowhere"), false).contains("does not exist"));
    // A text file may list images; this one lists `text`.
    assert!(open_error(&folder.path().join("notes.txt"), false).contains("text cannot be read"));
    let relative = DataConfig { path: "no/such folder".to_string(), ..Default::default() };
    let message = Dataset::open(&relative, false).unwrap_err().to_string();
    let looked_for = std::path::absolute("no/such folder").unwrap();
    assert!(message.contains(&format!("looked for {}", looked_for.display())), "{message}");
    assert!(message.contains("working directory") && message.contains("--data"), "{message}");
    let unknown = DataConfig { path: "embedded:cats".to_string(), ..Default::default() };
    let message = Dataset::open(&unknown, false).unwrap_err().to_string();
    assert!(message.contains("`cats`") && message.contains("noto-emoji"), "{message}");
}

#[test]
fn unreadable_files_are_skipped_counted_and_named_and_strict_makes_them_errors() {
    let folder = two_classes(40);
    let truncated = std::fs::read(folder.path().join("cats/0.png")).unwrap();
    std::fs::write(folder.path().join("cats/cut.png"), &truncated[..truncated.len() / 2]).unwrap();
    std::fs::write(folder.path().join("dogs/text.png"), "not an image").unwrap();
    std::fs::write(folder.path().join("dogs/empty.png"), "").unwrap();
    let before = contents(&open(two_classes(40).path()));
    let dataset = open(folder.path());
    assert_eq!(contents(&dataset), before, "the others are as if the damaged were not there");
    let paths: Vec<&str> = dataset.report().skipped.iter().map(|skip| skip.path.as_str()).collect();
    assert_eq!(paths, ["cats/cut.png", "dogs/empty.png", "dogs/text.png"]);
    let text = dataset.report().to_string();
    assert!(
        text.contains("skipped 3 files that cannot be read")
            && text.contains("dogs/text.png is not a PNG"),
        "{text}"
    );
    let message = open_error(folder.path(), true);
    assert!(message.contains("3 of 43") && message.contains("cats/cut.png"), "{message}");
}

#[test]
fn more_than_a_tenth_unreadable_is_an_error_that_names_the_first() {
    let folder = two_classes(90);
    for i in 0..10 {
        std::fs::write(folder.path().join(format!("cats/bad {i}.png")), "text").unwrap();
    }
    assert_eq!(open(folder.path()).report().skipped.len(), 10);
    std::fs::write(folder.path().join("cats/bad a.png"), "text").unwrap();
    let message = open_error(folder.path(), false);
    assert!(message.contains("11 of 101"), "{message}");
    assert!(
        message.contains("cats/bad 9.png: each is not") && message.contains("and 1 more"),
        "{message}"
    );
}

#[test]
fn a_class_in_which_nothing_can_be_read_vanishes() {
    let folder = two_classes(40);
    std::fs::create_dir(folder.path().join("birds")).unwrap();
    std::fs::write(folder.path().join("birds/a.png"), "text").unwrap();
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    assert_eq!(contents(&dataset)[0].2, 0);
}

#[cfg(unix)]
#[test]
fn loops_of_links_dangling_links_and_pipes_are_skipped_and_never_a_hang() {
    use std::os::unix::fs::symlink;
    let folder = two_classes(60);
    symlink("..", folder.path().join("cats/up")).unwrap();
    symlink("nowhere", folder.path().join("cats/dangling.png")).unwrap();
    symlink("nowhere", folder.path().join("cats/dangling.txt")).unwrap();
    symlink(folder.path().join("cats/0.png"), folder.path().join("dogs/linked.png")).unwrap();
    std::fs::create_dir(folder.path().join("dogs/folder.png")).unwrap();
    let pipe =
        std::process::Command::new("mkfifo").arg(folder.path().join("dogs/pipe.png")).status();
    let has_pipe = pipe.is_ok_and(|status| status.success());
    let dataset = open(folder.path());
    let skipped: Vec<String> = dataset.report().skipped.iter().map(ToString::to_string).collect();
    assert!(
        skipped.iter().any(|skip| skip.contains("cats/dangling.png cannot be read")),
        "{skipped:?}"
    );
    assert!(
        skipped.iter().any(|skip| skip.contains("cats/up") && skip.contains("loop")),
        "{skipped:?}"
    );
    assert_eq!(
        has_pipe,
        skipped.iter().any(|skip| skip.contains("dogs/pipe.png is not a regular file"))
    );
    assert_eq!(skipped.len(), 2 + usize::from(has_pipe), "{skipped:?}");
    assert_eq!(dataset.report().read, 61, "a link to a file is read");
}

#[cfg(unix)]
#[test]
fn files_without_permission_are_skipped() {
    use std::os::unix::fs::PermissionsExt;
    let folder = two_classes(40);
    let locked = folder.path().join("cats/0.png");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&locked).is_ok() {
        eprintln!("skipped: this user reads files whatever their permissions");
        return;
    }
    let dataset = open(folder.path());
    assert_eq!(dataset.report().skipped[0].path, "cats/0.png");
}

#[test]
fn a_file_keeps_its_split_when_others_are_added() {
    let folder = two_classes(200);
    let before = contents(&open(folder.path()));
    for i in 0..100 {
        write_image(folder.path(), &format!("birds/{i}.png"), 1000 + i);
    }
    let after = contents(&open(folder.path()));
    assert_eq!(after.len(), 300);
    let split_of = |name: &str| after.iter().find(|(other, ..)| other == name).unwrap().1;
    assert!(before.iter().all(|(name, split, ..)| split_of(name) == *split));
}

#[test]
fn copies_of_a_file_and_a_renamed_file_stay_in_its_split() {
    let folder = two_classes(100);
    for i in 0..100 {
        let name = format!("{}/{i}.png", ["cats", "dogs"][i % 2]);
        std::fs::copy(folder.path().join(name), folder.path().join(format!("cats/copy {i}.png")))
            .unwrap();
    }
    let all = contents(&open(folder.path()));
    let split_of = |name: &str| all.iter().find(|(other, ..)| other == name).unwrap().1;
    assert!((0..100).any(|i| split_of(&format!("cats/copy {i}.png")) != Split::Train));
    for i in 0..100 {
        let original = format!("{}/{i}.png", ["cats", "dogs"][i % 2]);
        assert_eq!(split_of(&original), split_of(&format!("cats/copy {i}.png")));
    }
}

#[test]
fn sets_of_one_two_and_three_images_can_train() {
    for (n, per_split) in [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1])] {
        let dataset = open(two_classes(n).path());
        assert_eq!(dataset.report().per_split, per_split);
        let notes = dataset.report().notes.len();
        assert_eq!(notes, per_split.iter().filter(|&&n| n == 0).count(), "each is reported");
    }
}

#[test]
fn beyond_the_memory_budget_everything_is_the_same() {
    let folder = two_classes(120);
    std::fs::write(folder.path().join("cats/bad.png"), "text").unwrap();
    let kept = open(folder.path());
    let config = DataConfig { memory_budget_mb: 0, ..config(folder.path()) };
    let streamed = Dataset::open(&config, false).unwrap();
    assert!(streamed.report().streamed && !kept.report().streamed);
    assert_eq!(contents(&kept), contents(&streamed));
    assert_eq!(kept.variance().to_bits(), streamed.variance().to_bits());
    assert_eq!(kept.fingerprint(), streamed.fingerprint());
    assert_eq!(kept.report().skipped, streamed.report().skipped);
}

#[test]
fn a_file_that_vanishes_beyond_the_memory_budget_is_an_error_that_names_it() {
    let folder = two_classes(20);
    let config = DataConfig { memory_budget_mb: 0, ..config(folder.path()) };
    let dataset = Dataset::open(&config, false).unwrap();
    let name = dataset.name(Split::Train, 3).to_string();
    std::fs::remove_file(folder.path().join(&name)).unwrap();
    let message = dataset.pixels(Split::Train, &[3], View::AS_IS).unwrap_err().to_string();
    assert!(message.contains(&name) && message.contains("cannot be read"), "{message}");
    dataset.pixels(Split::Train, &[2], View::AS_IS).unwrap();
}

#[test]
fn a_file_that_changes_beyond_the_memory_budget_is_an_error_that_names_it() {
    let folder = two_classes(20);
    let config = DataConfig { memory_budget_mb: 0, ..config(folder.path()) };
    let dataset = Dataset::open(&config, false).unwrap();
    let name = dataset.name(Split::Train, 3).to_string();
    write_image(folder.path(), &name, 999);
    let message = dataset.pixels(Split::Train, &[3], View::AS_IS).unwrap_err().to_string();
    assert!(message.contains(&name) && message.contains("has changed"), "{message}");
}

#[test]
fn pixels_come_in_the_order_asked_for_and_flipped_on_request() {
    let dataset = open(two_classes(30).path());
    let one = |index| dataset.pixels(Split::Train, &[index], View::AS_IS).unwrap();
    let both = dataset.pixels(Split::Train, &[4, 1], View::AS_IS).unwrap();
    assert_eq!(both, [one(4), one(1)].concat());
    let flipped = dataset.pixels(Split::Train, &[4], View::FLIPPED).unwrap();
    for (row, mirrored) in one(4).chunks(24).zip(flipped.chunks(24)) {
        let reversed: Vec<u8> = mirrored.chunks(3).rev().flatten().copied().collect();
        assert_eq!(row, reversed);
    }
    let message = dataset.pixels(Split::Train, &[30], View::AS_IS).unwrap_err().to_string();
    assert!(message.contains("image 30"), "{message}");
}

#[test]
fn the_variance_is_that_of_the_training_pixels() {
    let dataset = open(two_classes(50).path());
    let indices: Vec<usize> = (0..dataset.len(Split::Train)).collect();
    let pixels = dataset.pixels(Split::Train, &indices, View::AS_IS).unwrap();
    let values: Vec<f64> = pixels.iter().map(|&byte| f64::from(byte) / 255.0).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    assert!((dataset.variance() - variance).abs() < 1e-12);
    assert!(variance > 0.0);
}

#[test]
fn the_fingerprint_notices_changes_of_the_data_and_no_others() {
    let folder = two_classes(30);
    let base = open(folder.path()).fingerprint().to_string();
    assert_eq!(base.len(), 16);
    let with = |change: fn(&mut DataConfig)| {
        let mut config = config(folder.path());
        change(&mut config);
        Dataset::open(&config, false).unwrap().fingerprint().to_string()
    };
    assert_eq!(base, with(|config| config.flip = true));
    assert_eq!(base, open(two_classes(30).path()).fingerprint(), "another place, the same data");
    assert_ne!(base, with(|config| config.channels = 1));
    assert_ne!(base, with(|config| config.validation = 0.2));
    write_image(folder.path(), "cats/new.png", 5);
    assert_ne!(base, open(folder.path()).fingerprint());
}

#[test]
fn progress_counts_every_image() {
    let folder = two_classes(25);
    let calls = std::sync::Mutex::new(Vec::new());
    let record = |done, all| calls.lock().unwrap().push((done, all));
    Dataset::open_with_progress(&config(folder.path()), false, &record).unwrap();
    let mut calls = calls.into_inner().unwrap();
    calls.sort_unstable();
    assert_eq!(calls, (1..=25).map(|i| (i, 25)).collect::<Vec<_>>());
}

#[test]
fn the_embedded_set_opens_without_a_file_system() {
    let dataset = Dataset::open(&DataConfig::default(), true).unwrap();
    assert!(dataset.classes().len() > 1);
    assert!(!dataset.is_empty(Split::Train) && !dataset.is_empty(Split::Validation));
    assert!(dataset.variance() > 0.0);
    assert!(dataset.name(Split::Train, 0).contains('/'));
}
