//! `codes.safetensors`: every image of a data set as its grid of code ids, with label, split and view. The file
//! says of which tokenizer the codes are. Nothing in it is used before all of it was checked.

use std::path::Path;

use super::container::{self, Container, Entry};
use super::digest::{Digest, Values};
use crate::error::{Error, Result};

const FORMAT: &str = "vqgen.codes.1";
const FINGERPRINT: &str = "fingerprint";

/// Value in [`Codes::splits`]: the image is trained on.
pub const SPLIT_TRAIN: u8 = 0;
/// Value in [`Codes::splits`]: the image chooses the best step.
pub const SPLIT_VALIDATION: u8 = 1;
/// Value in [`Codes::splits`]: the image is only ever evaluated.
pub const SPLIT_TEST: u8 = 2;
/// Value in [`Codes::views`]: the image as it is.
pub const VIEW_PLAIN: u8 = 0;
/// Value in [`Codes::views`]: the image mirrored left to right.
pub const VIEW_FLIPPED: u8 = 1;

/// The codes of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Rows of the code grid.
    pub height: usize,
    /// Columns of the code grid.
    pub width: usize,
    /// Number of codes, K; every id is below it.
    pub codebook_size: usize,
    /// Code ids, `[images, height, width]` in raster order.
    pub codes: Vec<u16>,
    /// Index into `classes`, one an image; 0 where there are no classes.
    pub labels: Vec<u16>,
    /// [`SPLIT_TRAIN`], [`SPLIT_VALIDATION`] or [`SPLIT_TEST`], one an image.
    pub splits: Vec<u8>,
    /// [`VIEW_PLAIN`] or [`VIEW_FLIPPED`], one an image.
    pub views: Vec<u8>,
    /// Class names; empty for a data set without classes.
    pub classes: Vec<String>,
    /// Fingerprint of the tokenizer that made the codes.
    pub tokenizer: String,
    /// Height and width of the images in pixels.
    pub image_size: usize,
    /// Channels of the images.
    pub channels: usize,
}

impl Codes {
    /// Number of images, views counted.
    pub fn n_images(&self) -> usize {
        self.labels.len()
    }

    /// Codes an image.
    pub fn n_codes(&self) -> usize {
        self.height * self.width
    }

    /// The codes of one image in raster order. `image` must be below [`Self::n_images`].
    pub fn grid(&self, image: usize) -> &[u16] {
        // `check` has compared the number of codes with that of images, on the way in and on the way out.
        let start = image * self.n_codes();
        &self.codes[start..start + self.n_codes()]
    }

    /// The images of a split, in file order; flipped views only if asked for.
    pub fn images_of(&self, split: u8, with_flipped: bool) -> Vec<usize> {
        let wanted = |image: &usize| {
            self.splits[*image] == split && (with_flipped || self.views[*image] == VIEW_PLAIN)
        };
        (0..self.n_images()).filter(wanted).collect()
    }

    /// How often each code occurs in `images`.
    pub fn counts(&self, images: &[usize]) -> Vec<u64> {
        let mut counts = vec![0; self.codebook_size];
        for image in images {
            for code in self.grid(*image) {
                // `check` has refused codes that are not below the codebook's size.
                counts[usize::from(*code)] += 1;
            }
        }
        counts
    }

    /// 16 hexadecimal digits that stand for all of the above.
    pub fn fingerprint(&self) -> String {
        let mut digest = Digest::default();
        for (key, value) in self.metadata() {
            digest.text(key);
            digest.text(&value);
        }
        for entry in self.entries(&self.shape(), &[self.n_images()]) {
            digest.tensor(entry.name, entry.shape, entry.values);
        }
        digest.fingerprint()
    }

    /// Checks and writes the file whole. The folder must exist.
    ///
    /// # Errors
    /// Codes that are not what [`Codes`] promises, or what the system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.check()
            .map_err(|e| Error::invalid(format!("cannot write {}: {e}", path.display())))?;
        let metadata = self.metadata().into_iter().chain([(FINGERPRINT, self.fingerprint())]);
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).collect();
        let (shape, per_image) = (self.shape(), [self.n_images()]);
        container::write(path, FORMAT, metadata, self.entries(&shape, &per_image).to_vec())
    }

    /// Reads a file and checks all of it.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or holds other things than [`Codes`] promises; named with its field.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_container(Container::read(path.as_ref(), FORMAT)?)
    }

    /// The same of the content of a file; `source` is its name in messages.
    ///
    /// # Errors
    /// As [`Codes::load`].
    pub fn from_bytes(source: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_container(Container::from_bytes(source.as_ref(), bytes, FORMAT)?)
    }

    fn from_container(container: Container) -> Result<Self> {
        container.expect_only(&["codes", "labels", "splits", "views"])?;
        let (shape, codes) = container.u16("codes")?;
        let [n_images, height, width] = shape[..] else {
            let message = format!("codes has shape {shape:?}, wanted is [images, height, width]");
            return Err(container.error(message));
        };
        let per_image =
            |name: &str, shape: Vec<usize>| match shape[..] {
                [n] if n == n_images => Ok(()),
                _ => Err(container
                    .error(format!("{name} has shape {shape:?}, the codes need [{n_images}]"))),
            };
        let (shape, labels) = container.u16("labels")?;
        per_image("labels", shape)?;
        let (shape, splits) = container.u8("splits")?;
        per_image("splits", shape)?;
        let (shape, views) = container.u8("views")?;
        per_image("views", shape)?;
        let classes = container.metadata("classes")?;
        let read = Self {
            height,
            width,
            codebook_size: container.number("codebook_size")?,
            codes,
            labels,
            splits,
            views,
            classes: serde_json::from_str(classes).map_err(|e| {
                container.error(format!("classes in the metadata is not a list of names: {e}"))
            })?,
            tokenizer: container.metadata("tokenizer")?.to_owned(),
            image_size: container.number("image_size")?,
            channels: container.number("channels")?,
        };
        read.check().map_err(|e| container.error(e))?;
        let (stored, computed) = (container.metadata(FINGERPRINT)?, read.fingerprint());
        if stored != computed {
            return Err(container.error(format!(
                "is damaged: its codes have the fingerprint {computed}, written down is {stored}"
            )));
        }
        Ok(read)
    }

    fn shape(&self) -> [usize; 3] {
        [self.n_images(), self.height, self.width]
    }

    /// In the order that the fingerprint has them.
    fn metadata(&self) -> [(&'static str, String); 5] {
        [
            ("channels", self.channels.to_string()),
            ("classes", serde_json::Value::from(self.classes.clone()).to_string()),
            ("codebook_size", self.codebook_size.to_string()),
            ("image_size", self.image_size.to_string()),
            ("tokenizer", self.tokenizer.clone()),
        ]
    }

    fn entries<'a>(&'a self, shape: &'a [usize; 3], per_image: &'a [usize; 1]) -> [Entry<'a>; 4] {
        let entry = |name, shape, values| Entry { name, shape, values };
        [
            entry("codes", &shape[..], Values::U16(&self.codes)),
            entry("labels", &per_image[..], Values::U16(&self.labels)),
            entry("splits", &per_image[..], Values::U8(&self.splits)),
            entry("views", &per_image[..], Values::U8(&self.views)),
        ]
    }

    fn check(&self) -> Result<(), String> {
        let n_images = self.n_images();
        if n_images == 0 {
            return Err("there are no images".into());
        }
        for (name, length) in [("splits", self.splits.len()), ("views", self.views.len())] {
            if length != n_images {
                return Err(format!("{name} has {length} entries for {n_images} images"));
            }
        }
        let n_codes = self.height.checked_mul(self.width).unwrap_or(0);
        if !(1..=65_536).contains(&n_codes) {
            let (height, width) = (self.height, self.width);
            return Err(format!("a grid of {height}x{width} codes, allowed are 1 to 65536 codes"));
        }
        if n_codes.checked_mul(n_images) != Some(self.codes.len()) {
            return Err(format!(
                "codes has {} entries for {n_images} images of {n_codes}",
                self.codes.len()
            ));
        }
        if !(2..=65_536).contains(&self.codebook_size) {
            return Err(format!("codebook_size is {}, allowed are 2 to 65536", self.codebook_size));
        }
        if self.classes.len() > 65_536 {
            return Err(format!("{} classes, allowed are up to 65536", self.classes.len()));
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(format!("channels is {}, allowed are 1 and 3", self.channels));
        }
        if !(1..=65_536).contains(&self.image_size) {
            return Err(format!("image_size is {}, allowed are 1 to 65536", self.image_size));
        }
        below("code", &self.codes, self.codebook_size, n_codes)?;
        below("label", &self.labels, self.classes.len().max(1), 1)?;
        below("split", &self.splits, usize::from(SPLIT_TEST) + 1, 1)?;
        below("view", &self.views, usize::from(VIEW_FLIPPED) + 1, 1)
    }
}

fn below<T: Copy + Into<usize>>(
    noun: &str,
    values: &[T],
    limit: usize,
    per_image: usize,
) -> Result<(), String> {
    match values.iter().position(|value| (*value).into() >= limit) {
        None => Ok(()),
        Some(at) => Err(format!(
            "image {} has the {noun} {}, allowed are 0 to {}",
            at / per_image,
            values[at].into(),
            limit - 1
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn codes() -> Codes {
        Codes {
            height: 1,
            width: 2,
            codebook_size: 8,
            codes: vec![0, 7, 3, 3, 1, 0],
            labels: vec![0, 1, 0],
            splits: vec![SPLIT_TRAIN, SPLIT_TEST, SPLIT_TRAIN],
            views: vec![VIEW_PLAIN, VIEW_PLAIN, VIEW_FLIPPED],
            classes: vec!["cats".into(), "dögs".into()],
            tokenizer: "0123456789abcdef".into(),
            image_size: 8,
            channels: 3,
        }
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.safetensors");
        (folder, path)
    }

    #[test]
    fn codes_are_read_back_as_they_were() {
        let (_folder, path) = path();
        codes().save(&path).unwrap();
        assert_eq!(Codes::load(&path).unwrap(), codes());
    }

    #[test]
    fn images_are_chosen_by_split_and_view_and_counted() {
        let codes = codes();
        assert_eq!((codes.n_images(), codes.n_codes()), (3, 2));
        assert_eq!(codes.grid(1), [3, 3]);
        assert_eq!(codes.images_of(SPLIT_TRAIN, true), [0, 2]);
        assert_eq!(codes.images_of(SPLIT_TRAIN, false), [0]);
        assert_eq!(codes.counts(&[0, 1]), [1, 0, 0, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn the_fingerprint_depends_on_every_field() {
        let base = codes().fingerprint();
        let changes: [fn(&mut Codes); 8] = [
            |c| c.codes[0] = 1,
            |c| c.labels[0] = 1,
            |c| c.splits[0] = 1,
            |c| c.views[0] = 1,
            |c| c.classes[0] = "cat".into(),
            |c| c.tokenizer = "f".into(),
            |c| c.codebook_size = 9,
            |c| (c.height, c.width) = (2, 1),
        ];
        for change in changes {
            let mut other = codes();
            change(&mut other);
            assert_ne!(other.fingerprint(), base);
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_image_and_what_is_allowed() {
        let (_folder, path) = path();
        type Change = fn(&mut Codes);
        let cases: [(Change, &str); 10] = [
            (|c| c.codes[3] = 8, "image 1 has the code 8, allowed are 0 to 7"),
            (|c| c.labels[2] = 2, "image 2 has the label 2, allowed are 0 to 1"),
            (|c| c.classes.clear(), "image 1 has the label 1, allowed are 0 to 0"),
            (|c| c.splits[0] = 3, "image 0 has the split 3, allowed are 0 to 2"),
            (|c| c.views[1] = 2, "image 1 has the view 2, allowed are 0 to 1"),
            (|c| c.views.truncate(2), "views has 2 entries for 3 images"),
            (|c| c.codes.truncate(5), "codes has 5 entries for 3 images of 2"),
            (|c| c.codebook_size = 65_537, "codebook_size is 65537"),
            (|c| c.height = usize::MAX, "codes, allowed are 1 to 65536 codes"),
            (|c| c.channels = 4, "channels is 4, allowed are 1 and 3"),
        ];
        for (change, message) in cases {
            let mut broken = codes();
            change(&mut broken);
            let error = broken.save(&path).unwrap_err().to_string();
            assert!(error.contains(message), "{error} lacks {message}");
            assert!(!path.exists());
        }
    }

    /// Writes `codes` past the checks of [`Codes::save`].
    fn forge(path: &Path, codes: &Codes, change: impl FnOnce(&mut Vec<Entry<'_>>)) {
        let metadata = codes.metadata().into_iter().map(|(k, v)| (k.to_owned(), v));
        let mut metadata: std::collections::BTreeMap<_, _> = metadata.collect();
        metadata.insert(FINGERPRINT.to_owned(), codes.fingerprint());
        let (shape, per_image) = (codes.shape(), [codes.n_images()]);
        let mut entries = codes.entries(&shape, &per_image).to_vec();
        change(&mut entries);
        container::write(path, FORMAT, metadata, entries).unwrap();
    }

    #[test]
    fn a_file_with_a_code_out_of_range_is_not_loaded() {
        let (_folder, path) = path();
        let mut broken = codes();
        broken.codes[0] = 8;
        forge(&path, &broken, |_| {});
        let error = Codes::load(&path).unwrap_err().to_string();
        assert!(error.contains("codes.safetensors: image 0 has the code 8"), "{error}");
    }

    #[test]
    fn missing_extra_and_misshapen_tensors_are_named() {
        let (_folder, path) = path();
        let error = |change: fn(&mut Vec<Entry<'_>>)| {
            forge(&path, &codes(), change);
            Codes::load(&path).unwrap_err().to_string()
        };
        assert!(
            error(|e| e.retain(|entry| entry.name != "labels"))
                .ends_with("tensor labels is missing")
        );
        assert!(error(|e| e[3].name = "extra").contains("tensor extra that has no meaning here"));
        assert!(error(|e| e[0].shape = &[6]).contains("codes has shape [6], wanted is [images"));
        assert!(error(|e| e[2].shape = &[1, 3]).contains("splits has shape [1, 3]"));
        assert!(
            error(|e| e[3].values = Values::U16(&[0, 0, 0])).contains("views has the type U16")
        );
        assert!(error(|e| e[0].values = Values::U16(&[1; 6])).contains("is damaged"));
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let (_folder, path) = path();
        codes().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = Codes::load(&path).unwrap_err().to_string();
        assert!(error.contains("codes.safetensors: is not a whole safetensors file"), "{error}");
    }
}
