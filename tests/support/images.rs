//! Folders of small images as the tests of data sets open them. Each test uses a part of it.
#![allow(dead_code)]

use std::path::Path;

use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};
use vqgen::data::{DataConfig, Dataset, Split, View};

/// An 8 x 8 image that differs from that of any other `number`.
pub(crate) fn write_image(folder: &Path, name: &str, number: u32) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(8, 8, |x, y| {
        Rgb([number as u8, (number >> 8) as u8, (x * 30 + y) as u8])
    });
    image.save(path).unwrap();
}

/// `n` images in two classes.
pub(crate) fn two_classes(n: u32) -> TempDir {
    let folder = tempdir().unwrap();
    for i in 0..n {
        write_image(folder.path(), &format!("{}/{i}.png", ["cats", "dogs"][i as usize % 2]), i);
    }
    folder
}

pub(crate) fn config(folder: &Path) -> DataConfig {
    DataConfig { path: folder.to_str().unwrap().to_string(), image_size: 8, ..Default::default() }
}

pub(crate) fn open(folder: &Path) -> Dataset {
    Dataset::open(&config(folder), false).unwrap()
}

pub(crate) fn open_error(folder: &Path, strict: bool) -> String {
    Dataset::open(&config(folder), strict).unwrap_err().to_string()
}

/// Every name with its split, label and pixels.
pub(crate) fn contents(dataset: &Dataset) -> Vec<(String, Split, u16, Vec<u8>)> {
    let mut all = Vec::new();
    for split in Split::ALL {
        for index in 0..dataset.len(split) {
            let pixels = dataset.pixels(split, &[index], View::AS_IS).unwrap();
            let name = dataset.name(split, index).to_string();
            all.push((name, split, dataset.label(split, index), pixels));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
