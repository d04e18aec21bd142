//! An open data set: every image decoded once, damaged ones set aside, the rest in three splits. The pixels stay in
//! memory if they fit the budget; otherwise they are decoded again at every use, and everything else (order, splits,
//! batches, variance) is bitwise the same, because the first decoding pass is made in either case. It delivers u8;
//! [`super::batches`] converts to f32.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::augment::Change;
use super::decode::Colours;
use super::report::{unconverted_note, unusable};
use super::source::{Decoded, Item, Source};
use super::variance::{Sums, variance};
use super::{
    DataConfig, Provenance, Report, Skip, Split, Target, View, augment, split, split_notes,
};
use crate::error::{Error, Result};

/// At most one in this many files may be unreadable; more is an error.
const TOLERANCE: usize = 10;

/// Images of one size with their classes and splits. Within a split they are sorted by name. Shared between threads by
/// `Arc`.
pub struct Dataset {
    config: DataConfig,
    target: Target,
    source: Source,
    /// Every image of `source.items`, concatenated; `None` if they are decoded at every use.
    pixels: Option<Vec<u8>>,
    /// Content keys of `source.items`.
    content_keys: Vec<u64>,
    /// For each split, the indices of its images in `source.items`.
    splits: [Vec<usize>; 3],
    report: Report,
    variance: f64,
    provenance: Provenance,
}

impl Dataset {
    /// Opens the data set of `config` and decodes every image once, on all cores.
    ///
    /// # Errors
    /// A value of `config` that is not allowed, no images, or more than 10 % of the files unreadable, or with `strict`
    /// a single one.
    pub fn open(config: &DataConfig, strict: bool) -> Result<Self> {
        Self::open_with_progress(config, strict, &|_, _| {})
    }

    /// [`Dataset::open`], calling `progress(images done, images in total)` after each image, from any thread.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_with_progress(
        config: &DataConfig,
        strict: bool,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self> {
        config.validate()?;
        let target = config.target();
        let mut source = Source::load(config)?;
        let n_listed = source.items.len() + source.skipped.len() + source.unread.total();

        let (outcomes, mut pixels) = decode_all(&source, config, progress);
        let (sums, content_keys): (Vec<_>, Vec<_>) =
            keep_readable(&mut source, outcomes, pixels.as_mut(), target.n_bytes())
                .into_iter()
                .unzip();
        check_skipped(config, &source, n_listed, strict)?;
        source.name_classes()?;
        if pixels.is_some() {
            source.packed = None;
        }

        let published: Vec<_> = source.items.iter().map(|item| item.published).collect();
        let assigned = split::assign(&content_keys, &published, config.validation, config.test);
        let splits = Split::ALL.map(|split| {
            (0..assigned.len()).filter(|&i| assigned[i] == split).collect::<Vec<usize>>()
        });

        let variance = variance(splits[Split::Train as usize].iter().map(|&i| sums[i]), target);
        let (validation, test) = (config.validation, config.test);
        let by_content = published.iter().all(Option::is_none)
            && (assigned.iter().zip(&content_keys))
                .all(|(split, key)| *split == split::by_content(*key, validation, test));
        let fingerprint = fingerprint(&source.items, &content_keys, config);
        let provenance = Provenance { fingerprint, validation, test, by_content };
        let mut notes = source.notes.clone();
        notes.extend(split_notes::of(&source, &content_keys, &splits, config));
        let report = Report {
            source: source.kind,
            read: source.items.len(),
            skipped: source.skipped.clone(),
            unread: source.unread.clone(),
            classes: source.classes.len(),
            per_split: [splits[0].len(), splits[1].len(), splits[2].len()],
            streamed: pixels.is_none(),
            notes,
        };
        Ok(Self {
            config: config.clone(),
            target,
            source,
            pixels,
            content_keys,
            splits,
            report,
            variance,
            provenance,
        })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &DataConfig {
        &self.config
    }

    /// How many images `split` holds; may be 0.
    pub fn len(&self, split: Split) -> usize {
        self.splits[split as usize].len()
    }

    /// `n` images of `split`, which is sorted by class, evenly spaced: each as often as the others, where there are fewer.
    pub fn spread(&self, split: Split, n: usize) -> Vec<usize> {
        (0..n).map(|i| i * self.len(split) / n).collect()
    }

    /// Whether `split` holds no image.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Class names by label, sorted for folders; empty without classes.
    pub fn classes(&self) -> &[String] {
        &self.source.classes
    }

    /// The class of image `index` of `split`; 0 without classes. Panics if there is no such image.
    pub fn label(&self, split: Split, index: usize) -> u16 {
        self.item(split, index).label
    }

    /// The relative path of image `index` of `split`, `/` between folders; for raw data sets the file and the index in
    /// it. Panics if there is no such image.
    pub fn name(&self, split: Split, index: usize) -> &str {
        &self.item(split, index).name
    }

    /// A hash of the content of image `index` of `split`. Panics if there is no such image.
    pub(super) fn content_key(&self, split: Split, index: usize) -> u64 {
        self.content_keys[self.splits[split as usize][index]]
    }

    /// Whether any image has a caption.
    pub fn is_captioned(&self) -> bool {
        self.source.items.iter().any(|item| !item.captions.is_empty())
    }

    /// What is written of image `index` of `split`; empty for most data sets. Panics if there is no such image.
    pub fn captions(&self, split: Split, index: usize) -> &[String] {
        &self.item(split, index).captions
    }

    /// Height and width of every image in pixels.
    pub fn image_size(&self) -> usize {
        self.target.image_size
    }

    /// 1 or 3.
    pub fn channels(&self) -> usize {
        self.target.channels
    }

    /// Bytes of pixels that are kept in memory; 0 beyond the budget.
    pub fn bytes_in_memory(&self) -> usize {
        self.pixels.as_ref().map_or(0, Vec::len)
    }

    /// What was read and what was left out.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The variance of the training pixels in [0, 1], over all pixels and channels: normalises the reconstruction
    /// error. Exact, also for a data set beyond the memory budget.
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// 16 hexadecimal digits that change when images are added, removed, renamed or altered, or when the configuration
    /// changes their pixels or splits. `path`, `flip`, `crop` and the memory budget do not affect it.
    pub fn fingerprint(&self) -> &str {
        &self.provenance.fingerprint
    }

    /// What a file made from this data set records of it.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The pixels of these images of `split`, u8 `[indices.len(), image_size, image_size, channels]`.
    /// Cost: a copy, or decoding on all cores beyond the memory budget.
    ///
    /// # Errors
    /// An index that is not below [`Dataset::len`], or a file that has changed since the data set was opened.
    pub fn pixels(&self, split: Split, indices: &[usize], view: View) -> Result<Vec<u8>> {
        let n_bytes = self.target.n_bytes();
        let positions = &self.splits[split as usize];
        if let Some(index) = indices.iter().find(|&&index| index >= positions.len()) {
            let n = positions.len();
            return Err(Error::invalid(format!("image {index} of the {n} images of {split}")));
        }
        let mut out = vec![0; indices.len() * n_bytes];
        match &self.pixels {
            Some(pixels) => {
                for (to, &index) in out.chunks_exact_mut(n_bytes).zip(indices) {
                    let start = positions[index] * n_bytes;
                    to.copy_from_slice(&pixels[start..start + n_bytes]);
                }
            }
            None => {
                out.par_chunks_exact_mut(n_bytes).zip(indices).try_for_each(|(to, &index)| {
                    let position = positions[index];
                    to.copy_from_slice(&self.decode_again(position)?);
                    Ok(())
                })?
            }
        }
        let change = Change::of_view(view);
        for image in out.chunks_exact_mut(n_bytes) {
            augment::apply(change, image, self.target.image_size, self.target.channels);
        }
        Ok(out)
    }

    /// The pixels of `source.items[position]`, which must be unchanged since the data set was opened: resuming a run on
    /// other images would be another run.
    fn decode_again(&self, position: usize) -> Result<Vec<u8>> {
        let item = &self.source.items[position];
        let decoded = self.source.decode(item, &self.target).map_err(|reason| {
            let message = format!("{reason} (it could be read when the data set was opened)");
            Error::file(&item.name, message)
        })?;
        if decoded.content_key != self.content_keys[position] {
            return Err(Error::file(&item.name, "has changed since the data set was opened"));
        }
        Ok(decoded.pixels)
    }

    fn item(&self, split: Split, index: usize) -> &Item {
        &self.source.items[self.splits[split as usize][index]]
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("config", &self.config)
            .field("report", &self.report)
            .finish()
    }
}

/// What is kept of an image besides its pixels: their sums, its content key, and how its colours were handled.
type Read = Result<(Sums, u64, Colours), String>;

/// Decodes every item once: into one buffer if that fits the budget, otherwise only for the sums.
fn decode_all(
    source: &Source,
    config: &DataConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> (Vec<Read>, Option<Vec<u8>>) {
    let (target, n) = (config.target(), source.items.len());
    let (n_bytes, done) = (target.n_bytes(), AtomicUsize::new(0));
    let decode = |item: &Item| {
        let decoded = source.decode(item, &target);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, n);
        decoded
    };
    let outcome =
        |decoded: Decoded| (Sums::of(&decoded.pixels), decoded.content_key, decoded.colours);
    let budget = (config.memory_budget_mb as u64).saturating_mul(1 << 20);
    let order = source.reading_order();
    if (n as u64).saturating_mul(n_bytes as u64) > budget {
        let outcomes = order.par_iter().map(|&i| (i, decode(&source.items[i]).map(outcome)));
        return (in_order(outcomes.collect()), None);
    }
    let mut pixels = vec![0; n * n_bytes];
    let mut places: Vec<Option<&mut [u8]>> = pixels.chunks_exact_mut(n_bytes).map(Some).collect();
    let places: Vec<_> =
        order.into_iter().filter_map(|i| places[i].take().map(|to| (i, to))).collect();
    let outcomes = places
        .into_par_iter()
        .map(|(i, to)| {
            let read = decode(&source.items[i]).map(|decoded| {
                to.copy_from_slice(&decoded.pixels);
                outcome(decoded)
            });
            (i, read)
        })
        .collect();
    (in_order(outcomes), Some(pixels))
}

/// What was read, by the index of the item.
fn in_order(mut outcomes: Vec<(usize, Read)>) -> Vec<Read> {
    outcomes.sort_by_key(|(i, _)| *i);
    outcomes.into_iter().map(|(_, read)| read).collect()
}

/// Moves undecodable images from the items, and from the buffer, to the list of skipped files.
fn keep_readable(
    source: &mut Source,
    outcomes: Vec<Read>,
    mut pixels: Option<&mut Vec<u8>>,
    n_bytes: usize,
) -> Vec<(Sums, u64)> {
    let mut kept = Vec::with_capacity(outcomes.len());
    let mut unconverted = Vec::new();
    let items = std::mem::take(&mut source.items);
    for (i, (mut item, outcome)) in items.into_iter().zip(outcomes).enumerate() {
        match outcome {
            Err(reason) => source.skipped.push(Skip::new(item.name, reason)),
            Ok((sums, content_key, colours)) => {
                item.is_converted = colours == Colours::Converted;
                if let Colours::Unconverted(reason) = colours {
                    unconverted.push((item.name.clone(), reason));
                }
                if let Some(pixels) = pixels.as_deref_mut() {
                    pixels.copy_within(i * n_bytes..(i + 1) * n_bytes, kept.len() * n_bytes);
                }
                source.items.push(item);
                kept.push((sums, content_key));
            }
        }
    }
    if let Some(pixels) = pixels {
        pixels.truncate(kept.len() * n_bytes);
    }
    source.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    source.notes.extend(unconverted_note(&unconverted));
    kept
}

/// Refuses a data set with too many unusable files.
fn check_skipped(
    config: &DataConfig,
    source: &Source,
    n_listed: usize,
    strict: bool,
) -> Result<()> {
    let n = source.skipped.len() + source.unread.total();
    let too_many = n * TOLERANCE > n_listed;
    let too_strict = strict && n > 0;
    if !too_many && !too_strict {
        return Ok(());
    }
    let rule = if too_many { "at most 10 % may be" } else { "none may be with --strict" };
    let what = unusable(&source.skipped, &source.unread);
    Err(Error::file(&config.path, format!("{n} of {n_listed} files are unusable, {rule}: {what}")))
}

fn fingerprint(items: &[Item], content_keys: &[u64], config: &DataConfig) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "vqgen.data.1 {} {} {:?} {} {}\n",
        config.image_size, config.channels, config.background, config.validation, config.test
    ));
    for (item, key) in items.iter().zip(content_keys) {
        // Before colours were converted, the same file gave other pixels.
        let colours = if item.is_converted { " srgb" } else { "" };
        hash.update(format!("{}\0{} {key}{colours}\n", item.name, item.label));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
