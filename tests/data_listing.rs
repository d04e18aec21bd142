//! What is in a folder besides its images: pictures in unsupported formats, files of systems and of vqgen itself,
//! anything else; nothing of the user's is left out silently.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/images.rs"]
mod images;

use std::path::Path;

use images::{config, open, open_error, two_classes, write_image};
use tempfile::tempdir;
use vqgen::data::{Dataset, Split, image_paths};

fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A PNG that differs from that of any other `number`, under any name.
fn write_as(folder: &Path, name: &str, number: u32) {
    write_image(folder, "made.png", number);
    std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
    std::fs::rename(folder.join("made.png"), folder.join(name)).unwrap();
}

fn said(folder: &Path) -> String {
    open(folder).report().to_string()
}

#[test]
fn a_phone_folder_of_which_most_is_not_read_is_an_error_that_counts_the_rest_by_kind() {
    let folder = tempdir().unwrap();
    for i in 0..20 {
        write_image(folder.path(), &format!("IMG_{i}.png"), i);
        write(folder.path(), &format!("IMG_1{i:02}.HEIC"), b"x");
        write(folder.path(), &format!("IMG_2{i:02}.avif"), b"x");
    }
    let message = open_error(folder.path(), false);
    assert!(message.contains("40 of 60 files are unusable, at most 10 % may be"), "{message}");
    assert!(message.contains("20 .avif, 20 .heic"), "{message}");
    assert!(message.contains("convert them to PNG or JPEG"), "{message}");
}

#[test]
fn a_few_pictures_that_are_not_read_are_counted_and_strict_makes_them_an_error() {
    let folder = two_classes(40);
    for name in ["cats/a.heic", "cats/b.HEIC", "dogs/c.psd"] {
        write(folder.path(), name, b"x");
    }
    let dataset = open(folder.path());
    assert_eq!((dataset.report().read, dataset.report().unread.total()), (40, 3));
    let text = dataset.report().to_string();
    let line = "skipped 3 pictures in unsupported formats: 2 .heic, 1 .psd (convert";
    assert!(text.contains(line), "{text}");
    let message = open_error(folder.path(), true);
    assert!(message.contains("3 of 43 files are unusable, none may be with --strict"), "{message}");
}

#[test]
fn a_folder_of_pictures_that_are_not_read_says_what_is_there() {
    let folder = tempdir().unwrap();
    for name in ["a.heic", "b.cr2", "notes.txt", "all.zip"] {
        write(folder.path(), name, b"x");
    }
    let message = open_error(folder.path(), false);
    for part in ["holds no image", "1 .cr2, 1 .heic", "convert", "1 .txt", "1 .zip"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_raw_file_beside_its_jpeg_is_not_missed() {
    let folder = two_classes(20);
    for i in 0..20 {
        write(folder.path(), &format!("{}/{i}.CR2", ["cats", "dogs"][i % 2]), b"x");
    }
    let dataset = Dataset::open(&config(folder.path()), true).unwrap();
    assert_eq!(dataset.report().unread.total(), 0);
    let text = dataset.report().to_string();
    assert!(text.contains("20 .cr2; an image of the same name is beside each"), "{text}");
}

#[test]
fn other_names_of_formats_that_are_read_are_read() {
    let folder = tempdir().unwrap();
    let names = ["a.jfif", "b.jpe", "c.apng", "d.dib", "e.JIF", "f.pjpeg", "g.mpo", "h.jfi"];
    for (i, name) in names.into_iter().enumerate() {
        write_as(folder.path(), name, i as u32);
    }
    assert_eq!(open(folder.path()).report().read, names.len());
}

#[test]
fn an_image_without_an_extension_or_with_that_of_another_format_is_read() {
    let folder = two_classes(20);
    for (i, name) in ["cats/0f3a", "cats/photo 12.30", "dogs/really a png.heic"].iter().enumerate()
    {
        write_as(folder.path(), name, 100 + i as u32);
    }
    write(folder.path(), "cats/LICENSE", b"BM is how this text begins");
    // A raw file is a TIFF by its first bytes; decoding it as one would give its thumbnail.
    write(folder.path(), "cats/raw.nef", b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let report = open(folder.path()).report().clone();
    assert_eq!((report.read, report.unread.total(), report.skipped.len()), (23, 1, 0));
    assert!(report.to_string().contains("1 other file, not images by their names: 1 without"));
}

#[test]
fn files_that_are_no_pictures_are_counted_by_kind_and_systems_are_passed_over() {
    let folder = two_classes(20);
    for i in 0..9 {
        write(folder.path(), &format!("cats/{i}.txt"), b"a cat");
    }
    for name in ["a.json", "b.json", "movie.mp4"] {
        write(folder.path(), name, b"{}");
    }
    for name in ["Thumbs.db", "cats/desktop.ini", "dogs/.DS_Store", "dogs/._1.png"] {
        write(folder.path(), name, b"x");
    }
    let dataset = Dataset::open(&config(folder.path()), true).unwrap();
    let notes = dataset.report().notes.join("\n");
    // A text beside an image is its caption.
    let note = "left out 7 other files, not images by their names: 4 .txt, 2 .json, 1 .mp4";
    assert_eq!(notes, format!("5 captions of 5 images, 15 have none\n{note}"));
}

#[test]
fn many_kinds_of_files_are_ten_and_a_count() {
    let folder = two_classes(20);
    for i in 0..14 {
        write(folder.path(), &format!("x.k{}", char::from(b'a' + i)), b"x");
    }
    let text = said(folder.path());
    assert!(text.contains("1 .ka, ") && text.contains("1 .kj and 4 of other kinds"), "{text}");
}

#[test]
fn folders_of_systems_and_programs_are_no_classes_and_hold_no_images() {
    let folder = two_classes(20);
    let before = open(folder.path()).fingerprint().to_owned();
    for system in [
        ".ipynb_checkpoints",
        "__MACOSX",
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        ".Trash-1000",
        "__pycache__",
        "node_modules",
        ".git",
    ] {
        write_image(folder.path(), &format!("{system}/a.png"), 1);
        write_image(folder.path(), &format!("cats/{system}/deep/b.png"), 2);
    }
    write(folder.path(), "cats/._0.png", b"x");
    let dataset = Dataset::open(&config(folder.path()), true).unwrap();
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    assert_eq!((dataset.report().read, dataset.fingerprint()), (20, before.as_str()));
    assert!(dataset.report().notes.is_empty(), "{:?}", dataset.report().notes);
    let listed = image_paths(&[folder.path().to_path_buf()]).unwrap();
    assert_eq!(listed.images.len(), 20, "the same by another command");
}

#[test]
fn what_the_user_hides_is_left_out_with_a_word() {
    let folder = two_classes(20);
    write_image(folder.path(), ".mine/a.png", 1);
    write_image(folder.path(), "cats/.x.png", 2);
    let text = said(folder.path());
    assert!(
        text.contains("left out hidden names, which start with a dot: .mine/, cats/.x.png"),
        "{text}"
    );
}

#[test]
fn runs_and_pictures_of_vqgen_are_no_images() {
    let folder = two_classes(20);
    let root = folder.path();
    let before = open(root).fingerprint().to_owned();
    // The working directory is the folder of images.
    write(root, "checkpoints/mine/recipe.json", b"{}");
    write(root, "checkpoints/mine/metrics.jsonl", b"");
    write_image(root, "generations/mine/sample.png", 1);
    write_image(root, "reconstructions/mine/training/step-000100.png", 2);
    // Pictures beside the description that every sample has, a grid and one of its images.
    write(root, "cats/sheet.json", b"{\n  \"vqgen\": \"0.1.0\"\n}\n");
    write_image(root, "cats/sheet.png", 3);
    write_image(root, "cats/sheet-0007.png", 4);
    let dataset = Dataset::open(&config(root), true).unwrap();
    assert_eq!((dataset.classes().len(), dataset.fingerprint()), (2, before.as_str()));
    let notes = dataset.report().notes.join("\n");
    assert_eq!(
        notes,
        "left out what vqgen made: checkpoints/mine/, generations/, reconstructions/, \
         cats/sheet-0007.png, cats/sheet.png"
    );
}

#[test]
fn reconstructions_of_a_run_that_is_elsewhere_are_no_images() {
    let folder = two_classes(20);
    for name in ["test.png", "images-12.png", "images-12-0003.png", "training/step-000100.png"] {
        write_image(folder.path(), &format!("reconstructions/far/{name}"), 9);
    }
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs"]);
    assert!(dataset.report().to_string().contains("vqgen made: reconstructions/far/"));
}

#[test]
fn classes_that_are_called_as_folders_of_vqgen_are_classes() {
    let folder = two_classes(20);
    for (i, name) in
        ["generations/old", "generations/new", "reconstructions/cathedral"].into_iter().enumerate()
    {
        write_image(folder.path(), &format!("{name}/1.png"), 50 + i as u32);
        write(folder.path(), &format!("{name}/1.json"), b"{\"label\": \"vqgen\"}");
    }
    let dataset = open(folder.path());
    assert_eq!(dataset.classes(), ["cats", "dogs", "generations", "reconstructions"]);
    assert_eq!(dataset.report().read, 23);
}

#[test]
fn an_image_in_no_class_folder_is_told_where_to_go() {
    let folder = two_classes(30);
    write_image(folder.path(), "cover.png", 1);
    let text = said(folder.path());
    let line = "skipped 1 file that is in no class folder (move it into the folder of its class)";
    assert!(text.contains(line) && !text.contains("repair"), "{text}");
    let message = open_error(folder.path(), true);
    assert!(message.contains("cover.png lies beside the class folders"), "{message}");
    assert!(message.contains("move it into") && !message.contains("repair"), "{message}");
}

#[test]
fn copies_of_one_picture_are_said_to_be_copies() {
    let folder = tempdir().unwrap();
    for i in 0..40 {
        write_image(folder.path(), &format!("{i}.png"), 7);
    }
    let dataset = open(folder.path());
    assert_eq!(dataset.len(Split::Train), 40);
    let text = dataset.report().to_string();
    assert!(text.contains("the 40 images are copies of 1"), "{text}");
    assert!(!text.contains("too few"), "{text}");
}

#[test]
fn kinds_of_news_are_lines_of_their_own() {
    let folder = two_classes(60);
    write(folder.path(), "cats/bad.png", b"text");
    write(folder.path(), "cats/a.heic", b"x");
    write(folder.path(), "notes.txt", b"x");
    write_image(folder.path(), "cover.png", 1);
    let text = said(folder.path());
    let heads: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(heads, ["60", "skipped", "", "skipped", "", "skipped", "note:"], "{text}");
}

#[cfg(unix)]
#[test]
fn two_names_that_are_no_text_stay_two_classes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    for (i, name) in [b"caf\xe9", b"caf\xe8"].into_iter().enumerate() {
        let class = folder.path().join(OsStr::from_bytes(name));
        std::fs::create_dir(&class).unwrap();
        write_image(&class, "1.png", i as u32);
        write_image(&class, "2.png", 10 + i as u32);
    }
    assert_eq!(open(folder.path()).classes(), ["caf\\xe8", "caf\\xe9"]);
}
