//! Archives, tables and lists of images: the same images, classes, captions and splits as the folder that they were made
//! from. `tests/fixtures/containers` holds them as the usual programs write them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use vqgen::data::{DataConfig, Dataset, Split, View};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containers").join(name)
}

fn config(path: &Path) -> DataConfig {
    DataConfig { path: path.to_str().unwrap().to_owned(), image_size: 4, ..DataConfig::default() }
}

fn open(path: impl AsRef<Path>) -> Dataset {
    Dataset::open(&config(path.as_ref()), true).unwrap()
}

fn error_of(config: &DataConfig) -> String {
    Dataset::open(config, false).unwrap_err().to_string()
}

/// An image: split, label, captions and pixels.
type Image = (Split, u16, Vec<String>, Vec<u8>);

/// All images, sorted.
fn images(dataset: &Dataset) -> Vec<Image> {
    let of_split = |split| {
        (0..dataset.len(split)).map(move |i| {
            let pixels = dataset.pixels(split, &[i], View::AS_IS).unwrap();
            let captions = dataset.captions(split, i).to_vec();
            (split, dataset.label(split, i), captions, pixels)
        })
    };
    let mut images: Vec<Image> = Split::ALL.into_iter().flat_map(of_split).collect();
    images.sort_by(|a, b| (a.0 as u8, &a.2, &a.3).cmp(&(b.0 as u8, &b.2, &b.3)));
    images
}

fn names(dataset: &Dataset) -> Vec<&str> {
    let of_split = |split| (0..dataset.len(split)).map(move |i| dataset.name(split, i));
    Split::ALL.into_iter().flat_map(of_split).collect()
}

#[test]
fn archives_and_tables_hold_what_the_folder_holds() {
    let folder = open(fixture("folder"));
    assert_eq!(
        (folder.classes(), folder.report().read),
        (&["cat".to_owned(), "dog".to_owned()][..], 12)
    );
    for name in [
        "folder.zip",
        "pax.tar",
        "ustar.tar",
        "webdataset/unique",
        "webdataset/repeated",
        "hub",
        "hub/data",
    ] {
        let dataset = open(fixture(name));
        assert_eq!(images(&dataset), images(&folder), "{name}");
        if !name.starts_with("webdataset") {
            assert_eq!(dataset.classes(), folder.classes(), "{name}");
        }
    }
    // Where names are the same too, so is all that is made of the images.
    for name in ["ustar.tar", "hub"] {
        let dataset = open(fixture(name));
        assert_eq!(names(&dataset), names(&folder), "{name}");
        assert_eq!(dataset.fingerprint(), folder.fingerprint(), "{name}");
    }
    assert_eq!(open(fixture("webdataset/unique")).classes(), ["0", "1"]);
}

#[test]
fn beyond_the_memory_budget_images_are_read_again() {
    for name in ["folder.zip", "pax.tar", "hub"] {
        let streamed = DataConfig { memory_budget_mb: 0, ..config(&fixture(name)) };
        let streamed = Dataset::open(&streamed, true).unwrap();
        assert_eq!(streamed.bytes_in_memory(), 0);
        assert_eq!(images(&streamed), images(&open(fixture(name))), "{name}");
    }
}

#[test]
fn a_hard_link_in_an_archive_is_the_file_that_it_names() {
    let dataset = open(fixture("gnu.tar"));
    assert_eq!(dataset.report().read, 13);
    let all = names(&dataset);
    let pixels = |end: &str| {
        let n = all.iter().position(|name| name.ends_with(end)).unwrap();
        let (train, validation) = (dataset.len(Split::Train), dataset.len(Split::Validation));
        let (split, index) = match n {
            n if n < train => (Split::Train, n),
            n if n < train + validation => (Split::Validation, n - train),
            n => (Split::Test, n - train - validation),
        };
        dataset.pixels(split, &[index], View::AS_IS).unwrap()
    };
    assert_eq!(pixels("train/cat/link.png"), pixels("train/cat/cat-0.png"));
}

#[test]
fn a_range_of_shards_is_one_data_set_and_a_missing_one_is_named() {
    let pattern = |range: &str| fixture(&format!("webdataset/repeated/set-train-{range}.tar"));
    let dataset = open(pattern("{000..002}"));
    assert_eq!(dataset.report().read, 8);
    // Keys that occur in several shards are told apart by these.
    assert!(names(&dataset).contains(&"set-train-001/0001.png"), "{:?}", names(&dataset));
    assert_eq!(dataset.classes(), ["0", "1"]);
    let message = error_of(&config(&pattern("{000..004}")));
    assert!(message.contains("set-train-003.tar: does not exist (2 of the 5"), "{message}");
    assert_eq!(open(fixture("webdataset/repeated/set-train-000.tar")).report().read, 3);
}

#[test]
fn shards_in_folders_of_a_range_keep_their_classes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = open(fixture("folder"));
    for (part, class) in ["cat", "dog"].iter().enumerate() {
        let parent = dir.path().join(format!("part-{part}"));
        std::fs::create_dir(&parent).unwrap();
        let mut archive = tar::Builder::new(std::fs::File::create(parent.join("a.tar")).unwrap());
        for i in 0..4 {
            let image =
                std::fs::read(fixture(&format!("folder/train/{class}/{class}-{i}.png"))).unwrap();
            for (name, bytes) in
                [(format!("{i}.png"), image), (format!("{i}.cls"), class.as_bytes().to_vec())]
            {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
            }
        }
        archive.finish().unwrap();
    }
    for path in [dir.path().join("part-{0..1}/a.tar"), dir.path().to_owned()] {
        let dataset = open(path);
        assert_eq!(dataset.classes(), folder.classes());
        let labels: Vec<u16> = images(&dataset).into_iter().map(|(_, label, ..)| label).collect();
        assert_eq!(labels.iter().filter(|label| **label == 0).count(), 4, "{labels:?}");
    }
}

#[test]
fn archives_one_after_the_other_in_one_file_are_all_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str| std::fs::read(fixture(name)).unwrap();
    let path = dir.path().join("both.tar");
    let shards = ["webdataset/unique/set-train-000.tar", "webdataset/unique/set-train-001.tar"];
    std::fs::write(&path, shards.map(bytes).concat()).unwrap();
    assert_eq!(open(&path).report().read, 6);
    // The table beside an archive of the same name is about its images, not more of them.
    std::fs::copy(fixture("zstd.parquet"), dir.path().join("both.parquet")).unwrap();
    assert_eq!(open(dir.path()).report().read, 6);
}

#[test]
fn columns_of_other_names_lists_and_rows_without_an_image() {
    let folder = images(&open(fixture("folder")));
    for name in ["zstd.parquet", "plain.parquet"] {
        let config = DataConfig {
            columns: "image=picture of it, label=kind".to_owned(),
            ..config(&fixture(name))
        };
        let dataset = Dataset::open(&config, false).unwrap();
        assert_eq!(dataset.classes(), ["cat", "dog"]);
        let report = dataset.report();
        assert_eq!((report.read, report.skipped.len()), (12, 1), "{report}");
        assert!(report.skipped[0].reason.contains("without an image"), "{report}");
        let mut found: Vec<_> =
            images(&dataset).into_iter().map(|(_, l, c, p)| (l, c, p)).collect();
        let again = |caption: Vec<String>| [caption, vec!["again".to_owned()]].concat();
        let mut expected: Vec<_> =
            folder.iter().map(|(_, l, c, p)| (*l, again(c.clone()), p.clone())).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
        // The only column of bytes needs no name; without one for classes there are none.
        let plain = Dataset::open(&self::config(&fixture(name)), false).unwrap();
        assert_eq!((plain.report().read, plain.classes().len()), (12, 0));
        let untold = DataConfig { columns: "caption=".to_owned(), ..self::config(&fixture(name)) };
        assert!(!Dataset::open(&untold, false).unwrap().is_captioned());
    }
    let with = |columns: &str, name: &str| {
        error_of(&DataConfig { columns: columns.to_owned(), ..config(&fixture(name)) })
    };
    let message = with("image=photo", "zstd.parquet");
    assert!(
        message.contains("no column `photo`") && message.contains("`picture of it`"),
        "{message}"
    );
    let message = with("image=id", "zstd.parquet");
    assert!(message.contains("`id` that holds no encoded images"), "{message}");
    let message = with("image=picture of it,label=style", "zstd.parquet");
    assert!(message.contains("no column `style` of classes"), "{message}");
    let message = with("", "brotli.parquet");
    assert!(message.contains("compressed with BROTLI"), "{message}");
}

#[test]
fn a_list_names_images_classes_and_captions() {
    let dir = tempfile::tempdir().unwrap();
    let folder = open(fixture("folder"));
    let lines = |with_rest: bool| -> String {
        let line = |split: Split, i: usize| {
            let name = folder.name(split, i);
            let path = fixture("folder").join(name);
            let class = &folder.classes()[usize::from(folder.label(split, i))];
            let rest = format!("\t{class}\t{}", folder.captions(split, i)[0]);
            format!("{}{}\r\n", path.display(), if with_rest { &rest } else { "" })
        };
        let of_split = |split| (0..folder.len(split)).map(move |i| line(split, i));
        Split::ALL.into_iter().flat_map(of_split).collect()
    };
    let path = dir.path().join("list.txt");
    std::fs::write(&path, lines(true)).unwrap();
    let listed = open(&path);
    assert_eq!(listed.classes(), folder.classes());
    assert_eq!(images(&listed).len(), 12);
    let pixels = |dataset: &Dataset| -> Vec<_> {
        images(dataset).into_iter().map(|(_, l, c, p)| (l, c, p)).collect()
    };
    let sorted = |mut all: Vec<(u16, Vec<String>, Vec<u8>)>| {
        all.sort();
        all
    };
    assert_eq!(sorted(pixels(&listed)), sorted(pixels(&folder)));
    // Without classes in it, the folders decide, as they do where they are.
    std::fs::write(&path, lines(false)).unwrap();
    assert_eq!(open(&path).report().read, 12);
    std::fs::write(&path, "none.png\nnothing.png\n").unwrap();
    let message = error_of(&config(&path));
    assert!(message.contains("none.png, nothing.png: each cannot be read"), "{message}");
    std::fs::write(&path, "\n \n").unwrap();
    assert!(error_of(&config(&path)).contains("lists no image"));
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let tar = std::fs::read(fixture("ustar.tar")).unwrap();
    let zip = std::fs::read(fixture("folder.zip")).unwrap();
    let table = std::fs::read(fixture("hub/data/test-00000-of-00001.parquet")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        config(&path)
    };
    for (name, bytes, words) in [
        ("cut.tar", &tar[..1_500], "is cut off"),
        ("cut.zip", &zip[..zip.len() - 30], "no whole zip archive"),
        ("cut.parquet", &table[..table.len() - 9], "cannot be read as Parquet"),
        ("a.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0", "decompress it"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "unpack it"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "is one image"),
        ("a.bin", b"\0\x01\x02\x03", "none of what data.path may name"),
        ("empty", b"", "none of what data.path may name"),
    ] {
        let message = error_of(&write(name, bytes));
        assert!(message.contains(words) && message.contains(name), "{name}: {message}");
    }
    std::fs::write(dir.path().join("b.zip"), &zip).unwrap();
    std::fs::write(dir.path().join("c.parquet"), &table).unwrap();
    for name in ["cut.tar", "cut.zip", "cut.parquet", "a.png", "a.tar.gz", "a.7z"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let message = error_of(&config(dir.path()));
    assert!(message.contains("archives and tables") && message.contains("b.zip"), "{message}");
    // Beside images, they are left out and counted.
    std::fs::copy(fixture("folder/test/cat/cat-0.png"), dir.path().join("a.png")).unwrap();
    let note = open(dir.path()).report().notes.join("\n");
    assert!(note.contains("1 .zip") && note.contains("1 .parquet"), "{note}");
}
