//! The code file on disk: safetensors with `codes` u16 `[N, h, w]`, or `[N, h, w, depth]` for a depth above 1, `labels`
//! u16 `[N]`, `splits` and `views` u8 `[N]`, and as text `names` and, where there are any, `captions`, u8.

use std::path::Path;

use super::Codes;
use super::texts;
use crate::checkpoint::disk::container::{self, Container, Entry};
use crate::checkpoint::disk::digest::Values;
use crate::data::{Split, View};
use crate::error::{Error, Result};

const FORMAT: &str = "vqgen.codes.1";
const FINGERPRINT: &str = "fingerprint";
/// Between the captions of an image, which have no line breaks.
const BETWEEN_CAPTIONS: &str = "\n";
/// Metadata key of the data set, JSON.
const DATA: &str = "data";

/// The fields that have another form in the file than in [`Codes`].
pub(super) struct Bytes {
    shape: Vec<usize>,
    per_image: [usize; 1],
    splits: Vec<u8>,
    views: Vec<u8>,
    captions: Vec<u8>,
    captions_len: [usize; 1],
}

impl Bytes {
    pub(super) fn of(codes: &Codes) -> Self {
        let mut shape = vec![codes.n_images(), codes.height, codes.width];
        if codes.depth > 1 {
            shape.push(codes.depth);
        }
        let captions: Vec<String> =
            codes.captions.iter().map(|of_image| of_image.join(BETWEEN_CAPTIONS)).collect();
        let captions = texts::join(&captions);
        Self {
            captions_len: [captions.len()],
            captions,
            shape,
            per_image: [codes.n_images()],
            splits: codes.splits.iter().map(|split| *split as u8).collect(),
            views: codes.views.iter().map(|view| view.id()).collect(),
        }
    }

    /// The tensors that the fingerprint covers, in its order.
    pub(super) fn fingerprinted<'a>(&'a self, codes: &'a Codes) -> Vec<Entry<'a>> {
        let entry = |name, shape, values| Entry { name, shape, values };
        let captions = entry("captions", &self.captions_len[..], Values::U8(&self.captions));
        // Files without captions keep their fingerprint.
        let captions = (!codes.captions.is_empty()).then_some(captions);
        let others = [
            entry("codes", &self.shape[..], Values::U16(&codes.codes)),
            entry("labels", &self.per_image[..], Values::U16(&codes.labels)),
            entry("splits", &self.per_image[..], Values::U8(&self.splits)),
            entry("views", &self.per_image[..], Values::U8(&self.views)),
        ];
        captions.into_iter().chain(others).collect()
    }
}

impl Codes {
    /// Checks the codes and writes the file atomically. The folder must exist.
    ///
    /// # Errors
    /// Codes that violate what [`Codes`] promises, and I/O errors.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let cannot = |e| Error::invalid(format!("cannot write {}: {e}", path.display()));
        self.check().map_err(cannot)?;
        let mut metadata: std::collections::BTreeMap<_, _> =
            self.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        metadata.insert(FINGERPRINT.to_owned(), self.fingerprint());
        if let Some(data) = &self.data {
            let data = serde_json::to_string(data).map_err(|e| cannot(e.to_string()))?;
            metadata.insert(DATA.to_owned(), data);
        }
        let bytes = Bytes::of(self);
        let names = texts::join(&self.names);
        let n_bytes = [names.len()];
        let mut entries = bytes.fingerprinted(self);
        if !self.names.is_empty() {
            let values = Values::U8(&names);
            entries.push(Entry { name: "names", shape: &n_bytes, values });
        }
        container::write(path, FORMAT, metadata, entries)
    }

    /// Reads a file and checks all of it.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or violates what [`Codes`] promises; the message names the field.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_container(Container::read(path.as_ref(), FORMAT)?)
    }

    /// As [`Codes::load`], from the bytes of a file; `source` is its name in messages.
    ///
    /// # Errors
    /// As [`Codes::load`].
    pub fn from_bytes(source: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_container(Container::from_bytes(source.as_ref(), bytes, FORMAT)?)
    }

    fn from_container(container: Container) -> Result<Self> {
        container.expect_only(&["codes", "labels", "splits", "views", "names", "captions"])?;
        let (shape, codes) = container.u16("codes")?;
        let (n_images, height, width, depth) = match shape[..] {
            [n_images, height, width] => (n_images, height, width, 1),
            [n_images, height, width, depth] if depth > 1 => (n_images, height, width, depth),
            _ => {
                return Err(container.error(format!(
                    "codes has shape {shape:?}, expected [images, height, width] or, for a depth above 1, \
                     [images, height, width, depth]"
                )));
            }
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
        let splits = parse("split", &splits, &Split::ALL).map_err(|e| container.error(e))?;
        let (shape, views) = container.u8("views")?;
        per_image("views", shape)?;
        let views = parse("view", &views, &View::all(true, View::MOST_SHIFT))
            .map_err(|e| container.error(e))?;
        let per_image_texts = |name: &'static str| match container.optional_u8(name)? {
            Some(bytes) => texts::split(name, &bytes).map_err(|e| container.error(e)),
            None => Ok(Vec::new()),
        };
        let names = per_image_texts("names")?;
        let captions = per_image_texts("captions")?;
        let captions = captions.iter().map(|lines| {
            let captions = lines.split(BETWEEN_CAPTIONS).filter(|caption| !caption.is_empty());
            captions.map(str::to_owned).collect()
        });
        let classes = container.metadata("classes")?;
        let read = Self {
            height,
            width,
            depth,
            codebook_size: container.number("codebook_size")?,
            codes,
            labels,
            splits,
            views,
            names,
            captions: captions.collect(),
            classes: serde_json::from_str(classes).map_err(|e| {
                container.error(format!("classes in the metadata is not a list of names: {e}"))
            })?,
            tokenizer: container.metadata("tokenizer")?.to_owned(),
            data: container.optional_json(DATA)?,
            image_size: container.number("image_size")?,
            channels: container.number("channels")?,
        };
        read.check().map_err(|e| container.error(e))?;
        let (stored, computed) = (container.metadata(FINGERPRINT)?, read.fingerprint());
        if stored != computed {
            return Err(container.error(format!(
                "is damaged: the fingerprint of its codes is {computed}, the recorded one {stored}"
            )));
        }
        Ok(read)
    }

    fn check(&self) -> Result<(), String> {
        let n_images = self.n_images();
        if n_images == 0 {
            return Err("there are no images".into());
        }
        let or_none = |n: usize| if n == 0 { n_images } else { n };
        let lengths = [
            ("splits", self.splits.len()),
            ("views", self.views.len()),
            ("names", or_none(self.names.len())),
            ("captions", or_none(self.captions.len())),
        ];
        for (name, length) in lengths {
            if length != n_images {
                return Err(format!("{name} has {length} entries for {n_images} images"));
            }
        }
        if let Some(name) = self.names.iter().find(|name| name.contains('\0')) {
            return Err(format!("the name {name:?} contains a zero byte, which no file name does"));
        }
        let is_broken = |caption: &&String| caption.is_empty() || caption.contains(['\0', '\n']);
        if let Some(caption) = self.captions.iter().flatten().find(is_broken) {
            return Err(format!("the caption {caption:?} is empty or not on one line"));
        }
        let &Self { height, width, depth, .. } = self;
        let n_positions = height.checked_mul(width);
        let n_codes = n_positions.and_then(|n| n.checked_mul(depth)).unwrap_or(0);
        if !(1..=65_536).contains(&n_codes) {
            return Err(format!(
                "a grid of {height}x{width} positions of depth {depth}, allowed are 1 to 65536 codes"
            ));
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
        below("label", &self.labels, self.classes.len().max(1), 1)
    }
}

/// Parses each byte as an index into `all`.
fn parse<T: Copy>(noun: &str, bytes: &[u8], all: &[T]) -> Result<Vec<T>, String> {
    let one = |(image, byte): (usize, &u8)| {
        all.get(usize::from(*byte)).copied().ok_or_else(|| {
            format!("image {image} has the {noun} {byte}, allowed are 0 to {}", all.len() - 1)
        })
    };
    bytes.iter().enumerate().map(one).collect()
}

fn below(noun: &str, values: &[u16], limit: usize, per_image: usize) -> Result<(), String> {
    match values.iter().position(|value| usize::from(*value) >= limit) {
        None => Ok(()),
        Some(at) => Err(format!(
            "image {} has the {noun} {}, allowed are 0 to {}",
            at / per_image,
            values[at],
            limit - 1
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::codes;
    use super::*;

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
    fn captions_are_read_back_and_damaged_ones_are_refused() {
        let (_folder, path) = path();
        let captions =
            vec![vec!["a cat".to_owned(), "猫".to_owned()], vec![], vec!["tom".to_owned()]];
        let captioned = Codes { captions, ..codes() };
        captioned.save(&path).unwrap();
        assert_eq!(Codes::load(&path).unwrap(), captioned);
        for (captions, expected) in [
            (vec![vec![]], "captions has 1 entries for 3 images"),
            (vec![vec![String::new()], vec![], vec![]], "is empty or not on one line"),
            (vec![vec!["a\nb".to_owned()], vec![], vec![]], "is empty or not on one line"),
        ] {
            let error = Codes { captions, ..codes() }.save(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn codes_of_a_depth_are_read_back_and_one_of_1_has_no_axis() {
        let (_folder, path) = path();
        let deep = Codes { width: 1, depth: 2, ..codes() };
        deep.save(&path).unwrap();
        assert_eq!(Codes::load(&path).unwrap(), deep);
        assert_eq!((deep.n_codes(), deep.grid(1)), (2, &[3, 3][..]));
        forge(&path, &codes(), |e| e[0].shape = &[3, 1, 2, 1]);
        let error = Codes::load(&path).unwrap_err().to_string();
        assert!(error.contains("codes has shape [3, 1, 2, 1]"), "{error}");
    }

    #[test]
    fn a_file_without_names_and_data_set_is_read() {
        let (_folder, path) = path();
        let older = Codes { names: Vec::new(), data: None, ..codes() };
        forge(&path, &codes(), |_| {});
        assert_eq!(Codes::load(&path).unwrap(), older);
        assert_eq!(older.fingerprint(), codes().fingerprint());
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_image_and_what_is_allowed() {
        let (_folder, path) = path();
        type Change = fn(&mut Codes);
        let cases: [(Change, &str); 10] = [
            (|c| c.codes[3] = 8, "image 1 has the code 8, allowed are 0 to 7"),
            (|c| c.labels[2] = 2, "image 2 has the label 2, allowed are 0 to 1"),
            (|c| c.classes.clear(), "image 1 has the label 1, allowed are 0 to 0"),
            (|c| c.names.truncate(1), "names has 1 entries for 3 images"),
            (|c| c.names[2].push('\0'), "contains a zero byte"),
            (|c| c.views.truncate(2), "views has 2 entries for 3 images"),
            (|c| c.codes.truncate(5), "codes has 5 entries for 3 images of 2"),
            (|c| c.codebook_size = 65_537, "codebook_size is 65537"),
            (|c| c.height = usize::MAX, "of depth 1, allowed are 1 to 65536 codes"),
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

    /// Writes `codes` without the checks of [`Codes::save`].
    fn forge(path: &Path, codes: &Codes, change: impl FnOnce(&mut Vec<Entry<'_>>)) {
        let metadata = codes.metadata().into_iter().map(|(k, v)| (k.to_owned(), v));
        let mut metadata: std::collections::BTreeMap<_, _> = metadata.collect();
        metadata.insert(FINGERPRINT.to_owned(), codes.fingerprint());
        let bytes = Bytes::of(codes);
        let mut entries = bytes.fingerprinted(codes).to_vec();
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
        assert!(error(|e| e[3].name = "extra").contains("holds an unknown tensor extra"));
        assert!(error(|e| e[0].shape = &[6]).contains("codes has shape [6], expected [images"));
        assert!(error(|e| e[2].shape = &[1, 3]).contains("splits has shape [1, 3]"));
        assert!(
            error(|e| e[3].values = Values::U16(&[0, 0, 0])).contains("views has the type U16")
        );
        assert!(error(|e| e[0].values = Values::U16(&[1; 6])).contains("is damaged"));
        let wrong = error(|e| e[2].values = Values::U8(&[0, 3, 0]));
        assert!(wrong.contains("image 1 has the split 3, allowed are 0 to 2"), "{wrong}");
        let wrong = error(|e| e[3].values = Values::U8(&[0, 0, 242]));
        assert!(wrong.contains("image 2 has the view 242, allowed are 0 to 241"), "{wrong}");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let (_folder, path) = path();
        codes().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = Codes::load(&path).unwrap_err().to_string();
        assert!(error.contains("codes.safetensors: is not a complete safetensors file"), "{error}");
    }
}
