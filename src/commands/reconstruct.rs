//! `vqgen reconstruct`: encodes and decodes images, originals beside reconstructions.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args as ClapArgs;

use super::output::Output;
use super::stages::{LoadedTokenizer, pairs};
use super::{Context, ModelArgs};
use crate::checkpoint::check_held_out;
use crate::data::{Dataset, Layout, Split, Target, Tiles, View, decode_file, grid, image_paths};
use crate::device::Device;

/// The flags of `reconstruct`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which models to use.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Images, or folders of images [default: images held out from training]
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,

    /// Maximum number of images [default: 32]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,

    /// Also write each reconstruction to its own file
    #[arg(long)]
    pub separate: bool,

    /// Where to write the grid: a file (png, jpg, webp, bmp, tif), a folder, or - for stdout [default: in
    /// reconstructions/<run>]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Args {
    /// Maximum number of images.
    fn most(&self) -> usize {
        self.count.unwrap_or(32).max(1)
    }
}

/// Reconstructs images with the tokenizer of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let device = context.session.open_device()?;
    if args.paths.is_empty() {
        let dataset = context.open_dataset()?;
        return held_out(args, context, &dataset, &device);
    }
    let tokenizer = context.load_tokenizer(&device)?;
    let paths = find(args, context)?;
    let n = paths.len().min(args.most());
    let places = prepare(args, context, &format!("images-{n}.png"), n, &paths)?;
    let config = tokenizer.model.config();
    let target = Target {
        image_size: config.image_size,
        channels: config.channels,
        background: context.recipe.data.background,
    };
    let originals = read(args, context, &paths, &target)?;
    write(args, context, &tokenizer, &originals, &device, &places)
}

/// Reconstructs images of the test split, or, if that is empty, of validation or train.
pub(super) fn held_out(
    args: &Args,
    context: &Context,
    dataset: &Dataset,
    device: &Device,
) -> anyhow::Result<()> {
    let tokenizer = context.load_tokenizer(device)?;
    context.check_images_fit(dataset, tokenizer.model.config())?;
    let splits = [Split::Test, Split::Validation, Split::Train];
    let split = splits.into_iter().find(|split| !dataset.is_empty(*split));
    let split = split.context("the data set holds no image")?;
    check_held_out("show held-out images", &tokenizer.file, dataset.provenance(), split)?;
    let n = dataset.len(split).min(args.most());
    let originals = dataset.pixels(split, &dataset.spread(split, n), View::AS_IS)?;
    let places = prepare(args, context, &format!("{split}.png"), n, &[])?;
    write(args, context, &tokenizer, &originals, device, &places)
}

/// Checks the destination of the grid, called `name` by default, and that neither it nor any of `n` single images would
/// replace one of `inputs`.
fn prepare(
    args: &Args,
    context: &Context,
    name: &str,
    n: usize,
    inputs: &[PathBuf],
) -> anyhow::Result<Output> {
    let default_path = context.run.reconstructions.join(name);
    let output = Output::prepare(args.output.as_ref().unwrap_or(&default_path), name, inputs)?;
    if args.separate {
        output.separate(n, inputs)?;
    }
    Ok(output)
}

/// The image files at or below the paths; reports what is left out.
fn find(args: &Args, context: &Context) -> anyhow::Result<Vec<PathBuf>> {
    let found = image_paths(&args.paths)?;
    for unusable in &found.unusable {
        anyhow::ensure!(!context.session.strict, "with --strict none may be skipped: {unusable}");
        context.session.warn(format_args!("skipped: {unusable}"));
    }
    for note in &found.notes {
        context.session.note(format_args!("note: {note}"));
    }
    Ok(found.images)
}

/// The pixels of the first images; what cannot be read is reported and left out.
fn read(
    args: &Args,
    context: &Context,
    paths: &[PathBuf],
    target: &Target,
) -> anyhow::Result<Vec<u8>> {
    let mut pixels = Vec::new();
    let mut n = 0;
    for path in paths {
        if n == args.most() {
            break;
        }
        match decode_file(path, target) {
            Ok(image) => {
                pixels.extend(image);
                n += 1;
            }
            Err(error) if context.session.strict => return Err(error.into()),
            Err(error) => context.session.warn(format_args!("skipped: {error}")),
        }
    }
    anyhow::ensure!(n > 0, "none of the files could be read as an image");
    Ok(pixels)
}

fn write(
    args: &Args,
    context: &Context,
    tokenizer: &LoadedTokenizer,
    originals: &[u8],
    device: &Device,
    output: &Output,
) -> anyhow::Result<()> {
    let config = tokenizer.model.config();
    let (size, channels) = (config.image_size, config.channels);
    let codec = tokenizer.codec(device);
    let decoded = codec.decode(&codec.encode(originals));
    output
        .write(&pairs(originals, &decoded, size, channels, context.recipe.sample.scale)?, None)?;
    if args.separate {
        let images = decoded.chunks_exact(size * size * channels);
        let separate = output.separate(images.len(), &[])?;
        for (index, image) in images.enumerate() {
            let tiles = Tiles { pixels: image, height: size, width: size, channels };
            let single = Layout { columns: 1, padding: 0, ..Layout::default() };
            separate.write(index, &grid(&tiles, &single)?, None)?;
        }
    }
    output.shown().map_or(Ok(()), |path| context.session.result(path))
}
