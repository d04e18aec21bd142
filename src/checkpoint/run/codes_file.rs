//! `codes.safetensors`: the grid of code ids of every image of a data set, with name, label, split and view. The file
//! records which tokenizer and data set the codes are of. All of it is checked before any of it is used.

use std::collections::BTreeSet;

use crate::checkpoint::disk::digest::Digest;
use crate::data::{Provenance, Split, View};

mod stored;
mod texts;

/// The codes of a data set. A row is one image in one view; rows are sorted by view, then split, then name.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// Rows of the code grid.
    pub height: usize,
    /// Columns of the code grid.
    pub width: usize,
    /// Codes per position of the grid.
    pub depth: usize,
    /// Number of codes, K; every id is below it.
    pub codebook_size: usize,
    /// Code ids, `[images, height, width, depth]` in raster order, those of a position adjacent.
    pub codes: Vec<u16>,
    /// Index into `classes`, one per image; 0 where there are no classes.
    pub labels: Vec<u16>,
    /// One per image.
    pub splits: Vec<Split>,
    /// One per image.
    pub views: Vec<View>,
    /// Path of each image relative to its data set, `/` between folders. Empty in a file of an older vqgen.
    pub names: Vec<String>,
    /// What is written of each image, a line a caption; empty for a data set without captions.
    pub captions: Vec<Vec<String>>,
    /// Class names; empty for a data set without classes.
    pub classes: Vec<String>,
    /// Fingerprint of the tokenizer that produced the codes.
    pub tokenizer: String,
    /// The data set. `None` in a file of an older vqgen.
    pub data: Option<Provenance>,
    /// Height and width of the images in pixels.
    pub image_size: usize,
    /// Channels of the images.
    pub channels: usize,
}

impl Codes {
    /// Number of images, counting views.
    pub fn n_images(&self) -> usize {
        self.labels.len()
    }

    /// Codes per image.
    pub fn n_codes(&self) -> usize {
        self.height * self.width * self.depth
    }

    /// The codes of one image in raster order. `image` must be below [`Self::n_images`].
    pub fn grid(&self, image: usize) -> &[u16] {
        // In bounds: `check` has compared the number of codes with that of images, on loading and before saving.
        let start = image * self.n_codes();
        &self.codes[start..start + self.n_codes()]
    }

    /// The images of a split in any of `views`, in file order.
    pub fn images_of(&self, split: Split, views: &[View]) -> Vec<usize> {
        let wanted =
            |image: &usize| self.splits[*image] == split && views.contains(&self.views[*image]);
        (0..self.n_images()).filter(wanted).collect()
    }

    /// The views in which the images of a split are there, in the order of their ids.
    pub fn views_of(&self, split: Split) -> Vec<View> {
        let views = self.splits.iter().zip(&self.views).filter(|(of, _)| **of == split);
        let ids: BTreeSet<u8> = views.map(|(_, view)| view.id()).collect();
        ids.into_iter().filter_map(View::of_id).collect()
    }

    /// 16 hexadecimal digits that identify what a prior learns from the codes: everything but the image names and the
    /// provenance of the data set.
    pub fn fingerprint(&self) -> String {
        let mut digest = Digest::default();
        for (key, value) in self.metadata() {
            digest.text(key);
            digest.text(&value);
        }
        let bytes = stored::Bytes::of(self);
        for entry in bytes.fingerprinted(self) {
            digest.tensor(entry.name, entry.shape, entry.values);
        }
        digest.fingerprint()
    }

    /// In the order of the fingerprint.
    fn metadata(&self) -> [(&'static str, String); 5] {
        [
            ("channels", self.channels.to_string()),
            ("classes", serde_json::Value::from(self.classes.clone()).to_string()),
            ("codebook_size", self.codebook_size.to_string()),
            ("image_size", self.image_size.to_string()),
            ("tokenizer", self.tokenizer.clone()),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    pub(super) fn codes() -> Codes {
        Codes {
            height: 1,
            width: 2,
            depth: 1,
            codebook_size: 8,
            codes: vec![0, 7, 3, 3, 1, 0],
            labels: vec![0, 1, 0],
            splits: vec![Split::Train, Split::Test, Split::Train],
            views: vec![View::AS_IS, View::AS_IS, View::FLIPPED],
            names: ["cats/1.png", "dögs/2.png", "cats/1.png"].map(str::to_owned).to_vec(),
            captions: Vec::new(),
            classes: vec!["cats".into(), "dögs".into()],
            tokenizer: "0123456789abcdef".into(),
            data: Some(Provenance {
                fingerprint: "fedcba9876543210".into(),
                validation: 0.1,
                test: 0.3,
                by_content: true,
            }),
            image_size: 8,
            channels: 3,
        }
    }

    #[test]
    fn images_are_chosen_by_split_and_view_and_counted() {
        let codes = codes();
        assert_eq!((codes.n_images(), codes.n_codes()), (3, 2));
        assert_eq!(codes.grid(1), [3, 3]);
        assert_eq!(codes.images_of(Split::Train, &[View::AS_IS, View::FLIPPED]), [0, 2]);
        assert_eq!(codes.images_of(Split::Train, &[View::AS_IS]), [0]);
        assert_eq!(codes.views_of(Split::Train), [View::AS_IS, View::FLIPPED]);
        assert_eq!(codes.views_of(Split::Test), [View::AS_IS]);
    }

    #[test]
    fn the_fingerprint_depends_on_what_a_prior_learns_from_and_not_on_names() {
        let base = codes().fingerprint();
        let changes: [fn(&mut Codes); 10] = [
            |c| c.codes[0] = 1,
            |c| c.labels[0] = 1,
            |c| c.splits[0] = Split::Validation,
            |c| c.views[0] = View::FLIPPED,
            |c| c.classes[0] = "cat".into(),
            |c| c.captions = vec![vec![], vec!["a dog".into()], vec![]],
            |c| c.tokenizer = "f".into(),
            |c| c.codebook_size = 9,
            |c| (c.height, c.width) = (2, 1),
            |c| (c.width, c.depth) = (1, 2),
        ];
        for change in changes {
            let mut other = codes();
            change(&mut other);
            assert_ne!(other.fingerprint(), base);
        }
        let mut renamed = codes();
        renamed.names.clear();
        renamed.data = None;
        assert_eq!(renamed.fingerprint(), base);
    }
}
