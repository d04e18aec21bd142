//! `vqgen sample`: samples code sequences from the prior and decodes them to images, in one grid.

mod file_name;
mod given;
mod note;
mod rows;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args as ClapArgs;

use self::file_name::{default_name, file_name_part};
use self::given::given_codes;
use self::note::Note;
pub(super) use self::note::text_of_picture;
use self::rows::Rows;
use super::classes::chosen_classes;
use super::output::{Output, Separate};
use super::stages::{LoadedPrior, LoadedTokenizer};
use super::{Context, GlobalArgs, ModelArgs};
use crate::checkpoint::{check_prior, write_json};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Layout, Picture, Tiles, grid};
use crate::device::Device;
use crate::generation::best_codes;
use crate::ops::runs_on_host;
use crate::prior::{Condition, Prior, PriorConfig};
use crate::recipe::{Override, SampleSection};
use crate::sampling::{Request, SamplingConfig};
use crate::training::Event;

/// The flags of `sample`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which models to use.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Total images [default: the recipe's sample.count]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,

    /// Sample this class; repeat for several classes in turn
    #[arg(long, value_name = "NAME")]
    pub class: Vec<String>,

    /// Sample what this says; repeat for several rows. Without -n, one row of images each
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,

    /// More prompts, from a text file with one a line
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,

    /// Below 1 sharper, above 1 flatter, 0 is greedy [default: the recipe's]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f64>,

    /// Sample from the K most probable codes only, 0 from all [default: the recipe's]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Sample from the most probable codes that together reach probability P, 1 from all [default: the recipe's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f64>,

    /// Sample from codes at least P times as probable as the most probable one, 0 from all [default: the recipe's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f64>,

    /// Draw each image N times and keep the one that the prior finds most probable [default: the recipe's, 1]
    #[arg(long, value_name = "N")]
    pub best_of: Option<usize>,

    /// Classifier-free guidance: 1 is none, above 1 exaggerates the class or the prompt [default: the recipe's]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub guidance: Option<f64>,

    /// Keep a part of this image and sample the rest; all but the upper rows needs a masked prior
    #[arg(long, value_name = "IMAGE")]
    pub complete: Option<PathBuf>,

    /// With --complete: how many rows of codes to keep [default: half of them]
    #[arg(long, value_name = "N", requires = "complete")]
    pub keep_rows: Option<usize>,

    /// With --complete: how many columns of codes to keep, besides the rows
    #[arg(long, value_name = "N", requires = "complete")]
    pub keep_columns: Option<usize>,

    /// With --complete: draw what is white in this image anew
    #[arg(long, value_name = "MASK", requires = "complete", conflicts_with_all = ["keep_rows", "keep_columns"])]
    pub mask: Option<PathBuf>,

    /// With --complete: reduce the image to half its size and draw what is around it
    #[arg(long, requires = "complete", conflicts_with_all = ["keep_rows", "keep_columns", "mask"])]
    pub outpaint: bool,

    /// Draw again what this picture shows, with the run, seed and settings that it names; other flags change one of them
    #[arg(long, value_name = "IMAGE", conflicts_with = "complete")]
    pub like: Option<PathBuf>,

    /// What `like` holds.
    #[arg(skip)]
    repeated: Option<Box<Note>>,

    /// Also write each image to its own file; without a grid if it would be too large
    #[arg(long)]
    pub separate: bool,

    /// Where to write the grid: a file (png, jpg, webp, bmp, tif), a folder, or - for stdout [default: in generations/<run>]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Args {
    /// The flags, and those of every subcommand, with what `like` says.
    ///
    /// # Errors
    /// A picture that does not say what made it.
    pub fn resolved(&self, global: &GlobalArgs) -> anyhow::Result<(Self, GlobalArgs)> {
        let Some(path) = &self.like else { return Ok((self.clone(), global.clone())) };
        let note = Note::of_picture(path)?;
        // A flag that names other models comes first.
        let is_named =
            self.model.name().is_some() || global.run.is_some() || global.config.is_some();
        let model =
            if is_named { self.model.clone() } else { ModelArgs { model: note.model.clone() } };
        let global = note.applied_to(global, is_named || model.name().is_some())?;
        Ok((Self { model, repeated: Some(Box::new(note)), ..self.clone() }, global))
    }

    /// The only image of a grid to draw, where `like` shows a single one.
    fn only(&self) -> Option<usize> {
        self.repeated.as_ref().and_then(|note| note.image).filter(|_| self.count.is_none())
    }

    /// The recipe overrides of these flags.
    pub fn overrides(&self) -> Vec<Override> {
        let count = self.count.map(|n| Override::of_flag("--count", "sample.count", n));
        let temperature =
            self.temperature.map(|t| Override::of_flag("--temperature", "sample.temperature", t));
        let top_k = self.top_k.map(|k| Override::of_flag("--top-k", "sample.top_k", k));
        let top_p = self.top_p.map(|p| Override::of_flag("--top-p", "sample.top_p", p));
        let guidance = self.guidance.map(|g| Override::of_flag("--guidance", "sample.guidance", g));
        let min_p = self.min_p.map(|p| Override::of_flag("--min-p", "sample.min_p", p));
        let best_of = self.best_of.map(|n| Override::of_flag("--best-of", "sample.best_of", n));
        [count, temperature, top_k, top_p, min_p, best_of, guidance].into_iter().flatten().collect()
    }
}

/// Images per batch on the CPU device, which computes as many rows as there are images: enough that arithmetic, not
/// reading the weights from memory, limits the speed.
const HOST_LANES: usize = 64;

/// Positions per pass of a masked prior on the CPU device, where every pass computes all lanes: enough for the GEMM, and as
/// few as possible wasted on lanes without an image.
const HOST_POSITIONS: usize = 512;

/// Samples from the prior of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let device = context.session.open_device()?;
    sample(args, context, &device)
}

/// Samples on an opened device.
pub(super) fn sample(args: &Args, context: &Context, device: &Device) -> anyhow::Result<()> {
    context.require_models()?;
    let tokenizer = context.load_tokenizer(device)?;
    let codec = tokenizer.codec(device);
    let prior = context.load_prior(device)?;
    check_prior("sample", &prior.file, &tokenizer.file)?;
    let section = &context.recipe.sample;
    let rows = Rows::new(args, &prior, section.columns)?;
    let is_asked = args.guidance.is_some() || args.repeated.is_some();
    let is_guided = !prior.classes.is_empty() || rows.has_prompts() || is_asked;
    let config = sampling_config(section, is_guided, prior.model.config(), device);
    for prompt in &rows.cut {
        context.session.warn(format_args!(
            "of the prompt `{prompt}` only the first {} tokens count, as in training",
            prior.model.config().caption_length
        ));
    }
    let class_dropout = prior.class_dropout()?.unwrap_or(context.recipe.prior.class_dropout);
    if config.guidance != 1.0 && class_dropout == 0.0 {
        context.session.warn(
            "guidance compares with samples of no class, which this prior never learned: it was trained with \
             prior.class_dropout 0 (--guidance 1 leaves it out)",
        );
    }
    let given = match (&args.complete, &args.repeated) {
        (Some(image), _) => given_codes(args, image, context, codec)?,
        (None, Some(note)) => note.given_codes.clone(),
        (None, None) => Vec::new(),
    };
    // A row for each prompt, unless another number of images was asked for.
    let is_counted = args.count.is_some() || args.repeated.is_some();
    let count = if rows.has_prompts() && !is_counted { rows.images() } else { section.count };
    let (images, n) = match args.only() {
        Some(image) => (image..image + 1, 1),
        None => (0..count, count),
    };
    let requests: Vec<_> = images
        .map(|index| Request {
            index: index as u64,
            condition: rows.of_image(index).condition.clone(),
            given: given.clone(),
        })
        .collect();
    let name = name(args, &prior.classes, &rows, context.recipe.seed)?;
    let default_path = context.run.generations.join(&name);
    let inputs = args.complete.iter().chain(&args.mask).chain(&args.prompt_file).chain(&args.like);
    let data = [PathBuf::from(&context.recipe.data.path)];
    let inputs: Vec<PathBuf> = inputs.cloned().chain(data).collect();
    let output = Output::prepare(args.output.as_ref().unwrap_or(&default_path), &name, &inputs)?;
    let note_path = output.note_path()?;
    let separate = args.separate.then(|| output.separate(n, &inputs)).transpose()?;
    let shape = tokenizer.model.config();
    let layout = Layout { columns: section.columns, scale: section.scale, ..Layout::default() };
    let layout = if args.only().is_some() { single(&layout) } else { layout };
    let has_grid = match layout.size(n, [shape.image_size, shape.image_size]) {
        Err(error) if separate.is_some() => {
            context.session.warn(format_args!("only the single images are written: {error}"));
            false
        }
        size => size.map(|_| true)?,
    };

    let codes = draw(&prior.model, &requests, &config, context)?;
    let made = note(args, context, (&tokenizer, &prior), &config, (&rows, count, &given));
    if let Some(warning) = args.repeated.as_ref().and_then(|note| made.differs_from(note)) {
        context.session.warn(warning);
    }
    let drawn = write(&codes, codec, &layout, has_grid, separate.as_ref(), &made)?;
    if let Some(picture) = drawn {
        output.write(&picture, Some(&made.text()))?;
    }
    if let Some(path) = note_path {
        write_json(path, &serde_json::to_value(&made)?)?;
    }
    match (has_grid, separate) {
        (false, Some(separate)) => {
            let (first, last) = (separate.path(0), separate.path(n - 1));
            context.session.result(format_args!("{} to {}", first.display(), last.display()))
        }
        _ => output.shown().map_or(Ok(()), |path| context.session.result(path)),
    }
}

/// Decodes images and writes them to their own files if requested; returns the grid of all of them, if wanted.
/// Otherwise only one batch is in memory at a time.
fn write(
    codes: &[Vec<u16>],
    codec: Codec<'_>,
    layout: &Layout,
    has_grid: bool,
    separate: Option<&Separate<'_>>,
    note: &Note,
) -> anyhow::Result<Option<Picture>> {
    let config = codec.config();
    let (size, channels) = (config.image_size, config.channels);
    fn tiles(pixels: &[u8], size: usize, channels: usize) -> Tiles<'_> {
        Tiles { pixels, height: size, width: size, channels }
    }
    let first = note.image.unwrap_or(0);
    let (mut pixels, mut index) = (Vec::new(), 0);
    for part in codes.chunks(IMAGES_PER_PASS) {
        let decoded = codec.decode(&part.concat());
        if let Some(separate) = separate {
            for image in decoded.chunks_exact(size * size * channels) {
                let picture = grid(&tiles(image, size, channels), &single(layout))?;
                separate.write(index, &picture, Some(&note.of_image(first + index).text()))?;
                index += 1;
            }
        }
        if has_grid {
            pixels.extend(decoded);
        }
    }
    has_grid.then(|| Ok(grid(&tiles(&pixels, size, channels), layout)?)).transpose()
}

/// The layout of a picture of one image.
fn single(layout: &Layout) -> Layout {
    Layout { columns: 1, padding: 0, ..*layout }
}

/// What made a grid of `count` images.
fn note(
    args: &Args,
    context: &Context,
    (tokenizer, prior): (&LoadedTokenizer, &LoadedPrior),
    config: &SamplingConfig,
    (rows, count, given): (&Rows, usize, &[Option<u16>]),
) -> Note {
    let section = &context.recipe.sample;
    let repeated = args.repeated.as_ref();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let complete = args.complete.as_ref().and_then(name);
    Note {
        vqgen: env!("CARGO_PKG_VERSION").to_owned(),
        run: context.run.name.clone(),
        model: context.bundled.map(|bundled| bundled.name.to_owned()),
        tokenizer: tokenizer.file.fingerprint().to_owned(),
        prior: prior.file.fingerprint().to_owned(),
        seed: context.recipe.seed,
        precision: context.recipe.precision,
        count,
        columns: section.columns,
        scale: section.scale,
        temperature: section.temperature,
        top_k: section.top_k,
        top_p: section.top_p,
        min_p: section.min_p,
        best_of: section.best_of,
        guidance: config.guidance,
        guidance_schedule: section.guidance_schedule,
        passes: config.passes,
        images_a_pass: config.lanes,
        rows: rows.note(&prior.classes),
        complete: complete.or_else(|| repeated.and_then(|note| note.complete.clone())),
        given_codes: given.to_vec(),
        image: args.only(),
    }
}

/// The sampling settings of the recipe, with its guidance where images have classes or captions.
pub(super) fn config_of_recipe(
    context: &Context,
    is_guided: bool,
    prior: &PriorConfig,
    device: &Device,
) -> SamplingConfig {
    sampling_config(&context.recipe.sample, is_guided, prior, device)
}

/// The recipe's guidance applies to priors with classes; without classes, a guidance flag is refused.
fn sampling_config(
    section: &SampleSection,
    is_guided: bool,
    prior: &PriorConfig,
    device: &Device,
) -> SamplingConfig {
    let lanes = match (runs_on_host(device), prior.is_masked()) {
        (true, true) => (HOST_POSITIONS / prior.n_codes()).clamp(1, HOST_LANES),
        (true, false) => HOST_LANES,
        (false, _) => SamplingConfig::default().lanes,
    };
    SamplingConfig {
        temperature: section.temperature,
        top_k: (section.top_k > 0).then_some(section.top_k),
        top_p: (section.top_p < 1.0).then_some(section.top_p),
        min_p: (section.min_p > 0.0).then_some(section.min_p),
        guidance_schedule: section.guidance_schedule,
        guidance: if is_guided { section.guidance } else { 1.0 },
        passes: section.passes,
        lanes,
    }
}

/// Draws the codes of images.
pub(super) fn draw(
    prior: &Prior,
    requests: &[Request<Condition>],
    config: &SamplingConfig,
    context: &Context,
) -> anyhow::Result<Vec<Vec<u16>>> {
    let mut progress = context.session.progress();
    let is_masked = prior.config().is_masked();
    let given = requests.first().map_or(0, |request| request.given.len());
    let given = if is_masked { 0 } else { given.min(prior.config().n_codes()) };
    let best_of = context.recipe.sample.best_of;
    let steps = best_of * requests.len() * (prior.config().n_codes() - given);
    let name = context.run.name.clone();
    progress.handle(&Event::Started { stage: "sample", name, step: 0, steps, training: None });
    let begun = Instant::now();
    let seed = context.recipe.seed;
    let codes = best_codes(prior, requests, best_of, config, seed, &mut |step, _| {
        progress.handle(&Event::Stepped { step });
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(codes)
}

/// The default name of the output file.
fn name(args: &Args, known: &[String], rows: &Rows, seed: u64) -> anyhow::Result<String> {
    if let Some(like) = &args.like {
        let stem = like.file_stem().unwrap_or_default().to_string_lossy();
        return Ok(format!("{}-again.png", file_name_part(&stem)));
    }
    let what = if args.complete.is_some() { "completions" } else { "samples" };
    let classes = match args.class.is_empty() {
        true => Vec::new(),
        false => chosen_classes(&args.class, known)?,
    };
    let classes: Vec<_> = classes.into_iter().map(|class| (class, known[class].as_str())).collect();
    Ok(default_name(what, &classes, &rows.prompts(), seed))
}
