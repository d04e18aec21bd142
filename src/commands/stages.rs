//! Steps that several commands share: opening the data set, loading the models of a run, writing pictures, and one
//! function per stage, so that `run` does exactly what the subcommands do.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::bundled::Bundled;
use super::discard::Piece;
use super::output::prepare_folder;
use super::{Context, RunDirs};
use crate::checkpoint::{
    Codes, Kind, MERGES, ModelFile, RunLock, Stage, atomic, check_codes, check_held_out,
};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{
    BatchStream, Dataset, EMBEDDED_NOTO_EMOJI, Layout, Part, Picture, PictureFormat, Split, Tiles,
    View, grid, pair_rows,
};
use crate::device::Device;
use crate::prior::{Prior, PriorConfig};
use crate::progress::{Progress, Reading};
use crate::recipe::{Adversarial, KeptWeights, PerceptualNet};
use crate::tokenizer::{QuantizerKind, Tokenizer, TokenizerConfig};
use crate::training::prior::train_prior;
use crate::training::{Begin, Event, Job, vqvae::train_vqvae};
use crate::vocabulary::Vocabulary;

/// Pairs per row in a picture of originals and reconstructions.
pub(super) const PAIR_COLUMNS: usize = 8;

/// A trained tokenizer and its file.
pub(super) struct LoadedTokenizer {
    pub(super) model: Tokenizer,
    pub(super) file: ModelFile,
}

impl LoadedTokenizer {
    /// Pixels to codes and back on `device`, that of the model.
    pub(super) fn codec<'a>(&'a self, device: &'a Device) -> Codec<'a> {
        Codec::new(&self.model, device)
    }
}

/// A trained prior and its file.
pub(super) struct LoadedPrior {
    pub(super) model: Prior,
    pub(super) file: ModelFile,
    pub(super) classes: Vec<String>,
    /// The tokens of captions; `None` for a prior without captions.
    pub(super) vocabulary: Option<Vocabulary>,
}

impl LoadedPrior {
    /// The fraction of sequences trained without their class; `None` in a file of an older vqgen.
    pub(super) fn class_dropout(&self) -> crate::error::Result<Option<f64>> {
        let provenance: Option<serde_json::Value> = self.file.optional_json("provenance")?;
        Ok(provenance.and_then(|provenance| provenance.get("class_dropout")?.as_f64()))
    }
}

impl Context {
    /// Opens the data set of the recipe and reports what was read and what was left out.
    pub(super) fn open_dataset(&self) -> anyhow::Result<Arc<Dataset>> {
        let data = &self.recipe.data;
        if let Some(bundled) = self.bundled {
            anyhow::ensure!(
                data.path != EMBEDDED_NOTO_EMOJI,
                "--model {0} comes without its images: name images, or with --data the folder that \
                 models/{0}/images.py writes",
                bundled.name
            );
        }
        let reading = Reading::new(self.session.progress(), &data.path);
        let count = |done, all| reading.count(done, all);
        let dataset = Dataset::open_with_progress(data, self.session.strict, &count)
            .with_context(|| format!("cannot read the images of {}", data.path))?;
        drop(reading);
        let report = dataset.report();
        self.session.note(format_args!("data {report}"));
        Ok(Arc::new(dataset))
    }

    /// Loads the tokenizer of the run; its configuration comes from its file.
    pub(super) fn load_tokenizer(&self, device: &Device) -> anyhow::Result<LoadedTokenizer> {
        let file = self.model_file(Stage::Vqvae)?;
        let model = file.build(|config: &TokenizerConfig| Tokenizer::new(config, 0, device))?;
        Ok(LoadedTokenizer { model, file })
    }

    /// Loads the prior of the run; its configuration comes from its file.
    pub(super) fn load_prior(&self, device: &Device) -> anyhow::Result<LoadedPrior> {
        let file = self.model_file(Stage::Prior)?;
        let model = file.build(|config: &PriorConfig| Prior::new(config, 0, device))?;
        let classes: Vec<String> = file.json("classes")?;
        let n_classes = model.config().n_classes;
        anyhow::ensure!(
            classes.len() == n_classes,
            "{}: classes in the metadata are {} names, the model was trained on {n_classes}",
            file.source().display(),
            classes.len()
        );
        let vocabulary = vocabulary(&file, model.config())?;
        Ok(LoadedPrior { model, file, classes, vocabulary })
    }

    /// Stage 1. The run must be locked.
    pub(super) fn train_tokenizer(
        &self,
        dataset: &Arc<Dataset>,
        device: &Device,
        begin: Begin,
        from: Option<&ModelFile>,
    ) -> anyhow::Result<()> {
        let vqvae = &self.recipe.vqvae;
        if vqvae.quantizer == QuantizerKind::Fsq {
            let codes = vqvae.tokenizer_config(&self.recipe.data).codebook_size;
            self.session.note(format_args!("fsq: levels {:?}, {codes} codes", vqvae.levels));
        }
        let mut progress = self.session.progress();
        let previews = self.run.previews();
        prepare_folder(&previews.join("step-000000.png"))?;
        let mut failed = None;
        let mut emit = |event: Event| {
            if let Event::Preview { step, originals, reconstructions } = &event {
                let path = previews.join(format!("step-{step:06}.png"));
                let (size, channels) = (dataset.image_size(), dataset.channels());
                let written = pairs(originals, reconstructions, size, channels, 2)
                    .and_then(|pairs| Ok(pairs.encode(PictureFormat::Png)?))
                    .and_then(|bytes| Ok(atomic::write(&path, &bytes)?));
                failed = failed.take().or(written.err());
            }
            progress.handle(&event);
        };
        let outcome = self.session.saving(|stop| {
            let job = Job { run: &self.run.dir, begin, from, stop, emit: &mut emit };
            train_vqvae(&self.recipe, dataset, device, job)
        })?;
        if let Some(error) = failed {
            self.session.warn(format_args!("{error:#}"));
        }
        if let Some(best) = outcome.best {
            let step = outcome.best_step;
            // With a perceptual term the score is more than the error; a discriminator keeps the newest model.
            let score = match vqvae.perceptual.net {
                PerceptualNet::None => "MSE/variance",
                _ => "score",
            };
            let kept = if vqvae.adversarial.loss == Adversarial::None { "best" } else { "last" };
            self.session.note(format_args!("{kept} validation {score} {best:.4} at step {step}"));
        }
        Ok(())
    }

    /// Encodes every image of every split. A prior that was trained on other codes is removed with `discard`, and
    /// otherwise an error. The run must be locked.
    pub(super) fn encode_dataset(
        &self,
        dataset: &Arc<Dataset>,
        device: &Device,
        discard: bool,
    ) -> anyhow::Result<()> {
        let tokenizer = self.load_tokenizer(device)?;
        self.check_images_fit(dataset, tokenizer.model.config())?;
        let held_out =
            |split| check_held_out("evaluate", &tokenizer.file, dataset.provenance(), split);
        if let Err(error) = held_out(Split::Validation).and_then(|()| held_out(Split::Test)) {
            self.session.warn(error);
        }
        let mut progress = self.session.progress();
        let codes =
            encode(&tokenizer, dataset, &self.recipe.prior.all_views(), device, &mut progress)?;
        let path = self.run.dir.codes_path();
        let of_prior = self.codes_of_prior()?;
        if of_prior.is_none_or(|of_prior| of_prior != codes.fingerprint()) {
            self.make_way(Piece::Prior, "extract the codes again", discard)?;
        }
        codes.save(&path)?;
        self.session.note(format_args!("wrote {}", path.display()));
        Ok(())
    }

    /// Stage 2. The run must be locked.
    pub(super) fn train_prior(
        &self,
        device: &Device,
        begin: Begin,
        from: Option<&ModelFile>,
    ) -> anyhow::Result<()> {
        let tokenizer = self.model_file(Stage::Vqvae)?;
        let path = self.run.dir.codes_path();
        let codes = Codes::load(&path).with_context(|| missing(&path))?;
        check_codes("train a prior", &codes, &path, &tokenizer)?;
        let mut progress = self.session.progress();
        let mut emit = |event: Event| progress.handle(&event);
        let outcome = self.session.saving(|stop| {
            let job = Job { run: &self.run.dir, begin, from, stop, emit: &mut emit };
            train_prior(&self.recipe, &codes, device, job)
        })?;
        if let Some(best) = outcome.best {
            let which = match self.recipe.prior.keep {
                KeptWeights::Best => "best",
                KeptWeights::Last => "last",
            };
            let step = outcome.best_step;
            self.session
                .note(format_args!("{which} validation {best:.4} nats per code at step {step}"));
        }
        Ok(())
    }

    /// Refuses a tokenizer trained for images of another shape.
    pub(super) fn check_images_fit(
        &self,
        dataset: &Dataset,
        config: &TokenizerConfig,
    ) -> anyhow::Result<()> {
        let (size, channels) = (dataset.image_size(), dataset.channels());
        anyhow::ensure!(
            (size, channels) == (config.image_size, config.channels),
            "the tokenizer is for {0}x{0} images of {1} channels, the recipe asks for {size}x{size} of \
             {channels} (set data.image_size and data.channels, or train another tokenizer)",
            config.image_size,
            config.channels
        );
        Ok(())
    }

    /// Refuses what would otherwise fail after hours of training: an unwritable output, a grid that is too large,
    /// sampling parameters that do not fit the codebook.
    pub(super) fn check_pictures(&self, dataset: &Dataset) -> anyhow::Result<()> {
        for folder in [&self.run.generations, &self.run.reconstructions] {
            prepare_folder(&folder.join("picture.png"))?;
        }
        let (sample, size) = (&self.recipe.sample, dataset.image_size());
        let layout = Layout { columns: sample.columns, scale: sample.scale, ..Layout::default() };
        layout.size(sample.count, [size, size]).context("the images of `sample`")?;
        let codes = self.recipe.vqvae.tokenizer_config(&self.recipe.data).codebook_size;
        anyhow::ensure!(
            sample.top_k <= codes,
            "sample.top_k is {}, allowed are 0 (off) to the {codes} codes of the tokenizer",
            sample.top_k
        );
        Ok(())
    }

    /// Locks the run folder while this process writes into it as `command`.
    pub(super) fn lock(&self, command: &str) -> anyhow::Result<RunLock> {
        Ok(RunLock::take(&self.run.dir, command)?)
    }
}

/// The vocabulary in the file of a prior with captions.
fn vocabulary(file: &ModelFile, config: &PriorConfig) -> anyhow::Result<Option<Vocabulary>> {
    if !config.has_captions() {
        return Ok(None);
    }
    let path = file.source().display();
    let broken = |reason: String| anyhow::anyhow!("{path}: {MERGES} in the metadata: {reason}");
    let vocabulary = Vocabulary::of_merges(file.json(MERGES)?).map_err(broken)?;
    let (found, trained_on) = (vocabulary.n_tokens(), config.caption_tokens);
    anyhow::ensure!(
        found == trained_on,
        broken(format!("{found} tokens, the model was trained on {trained_on}"))
    );
    Ok(Some(vocabulary))
}

/// The model to start from: that of a run, by its folder, a file, or one inside the binary.
pub(super) fn model_to_start_from(
    from: Option<&Path>,
    stage: Stage,
) -> anyhow::Result<Option<ModelFile>> {
    let Some(path) = from else { return Ok(None) };
    let bundled = path.to_str().and_then(Bundled::find).filter(|_| !path.exists());
    if let Some(bundled) = bundled {
        return Ok(Some(bundled.load(stage)?));
    }
    let path = match path.is_dir() {
        true => RunDirs::at(path)?.dir.model_path(stage),
        false => path.to_path_buf(),
    };
    let file = ModelFile::load(&path, Kind::of(stage));
    let file = file.with_context(|| format!("cannot start from {}", path.display()))?;
    Ok(Some(file))
}

/// Requires a file of an earlier stage.
pub(super) fn require(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(path.exists(), missing(path));
    Ok(())
}

/// The message when a file of an earlier stage cannot be loaded.
pub(super) fn missing(path: &Path) -> String {
    if path.exists() {
        return format!("cannot use {}", path.display());
    }
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let command = match name {
        "vqvae" => "train-vqvae",
        "codes" => "extract-codes",
        _ => "train-prior",
    };
    format!("there is no {} (run {command} first, or name a run with --run)", path.display())
}

fn encode(
    tokenizer: &LoadedTokenizer,
    dataset: &Arc<Dataset>,
    views: &[View],
    device: &Device,
    progress: &mut Progress,
) -> anyhow::Result<Codes> {
    let config = tokenizer.model.config();
    let [height, width, depth] = config.grid();
    let mut codes = Codes {
        height,
        width,
        depth,
        codebook_size: config.codebook_size,
        codes: Vec::new(),
        labels: Vec::new(),
        splits: Vec::new(),
        views: Vec::new(),
        names: Vec::new(),
        captions: Vec::new(),
        classes: dataset.classes().to_vec(),
        tokenizer: tokenizer.file.fingerprint().to_owned(),
        data: Some(dataset.provenance().clone()),
        image_size: config.image_size,
        channels: config.channels,
    };
    let codec = tokenizer.codec(device);
    let parts = Part::all(dataset, views, IMAGES_PER_PASS);
    let steps = parts.iter().map(|part| part.images.len()).sum();
    let name = dataset.config().path.clone();
    progress.handle(&Event::Started { stage: "codes", name, step: 0, steps, training: None });
    let begun = std::time::Instant::now();
    let mut done = 0;
    let mut batches = BatchStream::in_order(Arc::clone(dataset), parts.clone())?;
    for Part { split, images, view } in parts {
        let batch = batches.next_batch()?;
        codes.codes.extend(codec.encode_values(batch.pixels));
        codes.labels.extend(batch.labels);
        codes.splits.extend(std::iter::repeat_n(split, images.len()));
        codes.views.extend(std::iter::repeat_n(view, images.len()));
        codes.names.extend(images.clone().map(|index| dataset.name(split, index).to_owned()));
        if dataset.is_captioned() {
            let captions = images.clone().map(|index| dataset.captions(split, index).to_vec());
            codes.captions.extend(captions);
        }
        done += images.len();
        progress.handle(&Event::Stepped { step: done });
    }
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: done, seconds });
    Ok(codes)
}

/// Originals in rows with their reconstructions below.
pub(super) fn pairs(
    originals: &[u8],
    reconstructions: &[u8],
    size: usize,
    channels: usize,
    scale: usize,
) -> anyhow::Result<Picture> {
    let tiles = |pixels| Tiles { pixels, height: size, width: size, channels };
    let background = [255; 3];
    let pairs = pair_rows(&tiles(originals), &tiles(reconstructions), PAIR_COLUMNS, background)?;
    let n = tiles(originals).count()?;
    let layout = Layout { columns: PAIR_COLUMNS.min(n), scale, ..Layout::default() };
    Ok(grid(&tiles(&pairs), &layout)?)
}
