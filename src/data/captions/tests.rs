#![allow(clippy::unwrap_used)]

use super::*;

const IMAGES: [&str; 4] = ["cats/1.png", "cats/2.png", "dogs/1.jpg", "dogs/a.b.png"];

/// A file: its name and its content.
type TextFile = (&'static str, Result<Vec<u8>, String>);

fn file(name: &'static str, content: impl AsRef<[u8]>) -> TextFile {
    (name, Ok(content.as_ref().to_vec()))
}

/// The captions of [`IMAGES`] by these files.
fn of(files: Vec<TextFile>) -> Captions {
    let files: HashMap<_, _> = files.into_iter().collect();
    let mut names: Vec<&str> = files.keys().copied().collect();
    names.sort_unstable();
    of_files(&IMAGES, &[], names, |name| files[name].clone())
}

/// The captions of one image by one file.
fn of_image(image: usize, name: &'static str, content: impl AsRef<[u8]>) -> Vec<String> {
    of(vec![file(name, content)]).by_image.get(image).cloned().unwrap_or_default()
}

#[test]
fn rows_of_json_lines_name_images_relative_to_their_folder() {
    let root = r#"{"file_name": "cats/1.png", "text": "a cat"}
{"file_name": "./dogs\\a.b.png", "captions": ["one", "two", "one", 3], "text": null}"#;
    let found = of(vec![file("metadata.jsonl", root)]);
    assert_eq!(found.by_image, [vec!["a cat"], vec![], vec![], vec!["one", "two"]]);
    assert_eq!(found.notes, ["3 captions of 2 images, 2 have none"]);
    assert_eq!(found.used.into_iter().collect::<Vec<_>>(), ["metadata.jsonl"]);
    let inside = r#"{"file_name": "1.jpg", "caption": "a dog"}"#;
    assert_eq!(of_image(2, "dogs/metadata.jsonl", inside), ["a dog"]);
}

#[test]
fn rows_of_csv_have_columns_in_any_order_and_quoted_text() {
    let table = "\u{feff}label, text ,file_name\r\n1,\"a \"\"big\"\"\ncat, grey\",cats/1.png\r\n,ignored,\r\n2,,cats/2.png\r\n3\r\n4,a dog,dogs/1.jpg,more\r\n";
    let found = of(vec![file("metadata.csv", table)]);
    assert_eq!(found.by_image, [vec!["a \"big\" cat, grey"], vec![], vec!["a dog"], vec![]]);
    let notes = found.notes.join("\n");
    assert!(
        notes.contains("(row 2 has no file_name), metadata.csv (row 4 has no file_name)"),
        "{notes}"
    );
    for (table, expected) in [
        ("name;text\na.png;x\n", "has no column file_name, but name;text"),
        ("", "has no column file_name"),
        ("file_name\n\u{0}\n", "1 row of metadata on images that are not there"),
    ] {
        let notes = of(vec![file("cats/metadata.csv", table)]).notes.join("\n");
        assert!(notes.contains(expected), "{notes}");
    }
}

#[test]
fn each_line_of_a_text_beside_an_image_is_a_caption() {
    assert_eq!(
        of_image(3, "dogs/a.b.txt", "\u{feff}one\r\n\r\n  two \t words\r\n"),
        ["one", "two words"]
    );
    assert_eq!(of_image(0, "cats/1.txt", "猫\n🐱 кот"), ["猫", "🐱 кот"]);
    // A text beside no image is none of ours.
    let found = of(vec![file("cats/notes.txt", "hello"), file("LICENSE.txt", "MIT")]);
    assert_eq!(found, Captions::default());
}

#[test]
fn sources_add_up_and_the_same_caption_counts_once() {
    let rows = "{\"file_name\": \"cats/1.png\", \"text\": \"a cat\"}\n{\"file_name\": \"cats/1.png\", \"text\": \"grey\"}";
    let found = of(vec![file("cats/1.txt", "a cat\na tom"), file("metadata.jsonl", rows)]);
    assert_eq!(found.by_image[0], ["a cat", "grey", "a tom"]);
}

#[test]
fn what_cannot_be_used_is_counted_and_named_and_the_rest_counts() {
    let lines = b"{\"file_name\": \"cats/1.png\", \"text\": \"good\"}\nnonsense\n{\"text\": \"whose?\"}\n[1]\n{\"file_name\": \"cats/9.png\", \"text\": \"gone\"}\n";
    let found = of(vec![
        file("metadata.jsonl", lines),
        file("dogs/metadata.jsonl", b"\xff"),
        file("cats/2.txt", b"caf\xe9"),
        ("dogs/1.txt", Err("cannot be read: no".to_owned())),
    ]);
    assert_eq!(found.by_image[0], ["good"]);
    let notes = found.notes.join("\n");
    for expected in [
        "1 caption of 1 image, 3 have none",
        "6 caption sources cannot be used: dogs/metadata.jsonl (",
        "metadata.jsonl (line 2 is no JSON object), metadata.jsonl (line 3 has no file_name)",
        "metadata.jsonl (line 4 is no JSON object)",
        "dogs/metadata.jsonl (is not UTF-8 from byte 0 on: save it as UTF-8)",
        "cats/2.txt (is not UTF-8 from byte 3 on: save it as UTF-8)",
        "dogs/1.txt (cannot be read: no)",
        "1 row of metadata on images that are not there: cats/9.png",
    ] {
        assert!(notes.contains(expected), "{notes}\nlacks {expected}");
    }
}

#[test]
fn empty_and_endless_captions_are_none_and_cut() {
    assert!(of_image(0, "cats/1.txt", " \n\u{feff}\n\0\x07\n").is_empty());
    let found = of(vec![file("cats/1.txt", "ü ".repeat(10_000))]);
    assert_eq!(found.by_image[0][0].chars().count(), 999);
    assert!(found.notes[1].contains("1 caption cut to 1000 characters"), "{:?}", found.notes);
    assert_eq!(of(vec![file("cats/1.txt", "x".repeat(1_000))]).notes.len(), 1);
}

#[test]
fn names_become_words_without_the_number_that_counts_them() {
    let names =
        ["a/red-heart_02.png", "7.png", "route 66.png", "x--y.z.gif", "IMG_0001.jpg", "-.png"];
    let found = of_names(&names);
    let expected =
        [vec!["red heart"], vec!["7"], vec!["route"], vec!["x y z"], vec!["IMG"], vec![]];
    assert_eq!(found.by_image, expected);
}
