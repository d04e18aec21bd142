//! `vqgen sample`: code sequences from the prior, decoded to images, in one grid.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;

use super::stages::{decode, prepare_parent, separate_path, write_picture};
use super::{Context, Outcome};
use crate::checkpoint::{check_prior, write_json};
use crate::data::{Layout, Target, Tiles, decode_file, grid, pixel_size};
use crate::device::Device;
use crate::evaluation::images_on;
use crate::generation::PriorCodes;
use crate::ops::runs_on_host;
use crate::prior::Gpt;
use crate::recipe::{Override, SampleSection};
use crate::sampling::{Request, SamplingConfig, generate};
use crate::tokenizer::Tokenizer;
use crate::training::Event;

/// The flags of `sample`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Images in all [default: the recipe's sample.count]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,

    /// Draw this class; several times for several classes in turn
    #[arg(long, value_name = "NAME")]
    pub class: Vec<String>,

    /// Below 1 safer, above 1 wilder, 0 always the likeliest code [default: the recipe's]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f64>,

    /// Draw from the K likeliest codes only, 0 from all [default: the recipe's]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Draw from the likeliest codes that together have probability P, 1 from all [default: the recipe's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f64>,

    /// Classifier-free guidance: 1 is none, above 1 exaggerates the class [default: the recipe's]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub guidance: Option<f64>,

    /// Keep the upper rows of this image and let the prior draw the rest
    #[arg(long, value_name = "IMAGE")]
    pub complete: Option<PathBuf>,

    /// With --complete: how many rows of codes to keep [default: half of them]
    #[arg(long, value_name = "N", requires = "complete")]
    pub keep_rows: Option<usize>,

    /// Also write each image as a file of its own
    #[arg(long)]
    pub separate: bool,

    /// Where to write the grid, a PNG file [default: in generations/<run>]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Args {
    /// The recipe keys that these flags stand for.
    pub fn overrides(&self) -> Vec<Override> {
        let count = self.count.map(|n| Override::of_flag("--count", "sample.count", n));
        let temperature =
            self.temperature.map(|t| Override::of_flag("--temperature", "sample.temperature", t));
        let top_k = self.top_k.map(|k| Override::of_flag("--top-k", "sample.top_k", k));
        let top_p = self.top_p.map(|p| Override::of_flag("--top-p", "sample.top_p", p));
        let guidance = self.guidance.map(|g| Override::of_flag("--guidance", "sample.guidance", g));
        [count, temperature, top_k, top_p, guidance].into_iter().flatten().collect()
    }
}

/// Images a pass on the CPU device, which computes as many rows as there are images: enough to read the weights from
/// memory less often than to multiply them.
const HOST_LANES: usize = 64;

/// Samples from the prior of the run.
pub fn run(args: &Args, context: &Context) -> Outcome {
    let device = context.session.open_device()?;
    sample(args, context, &device)
}

/// Samples on a device that is open already.
pub(super) fn sample(args: &Args, context: &Context, device: &Device) -> Outcome {
    let tokenizer = context.load_tokenizer(device)?;
    let prior = context.load_prior(device)?;
    check_prior("sample", &prior.file, &tokenizer.file)?;
    let section = &context.recipe.sample;
    let lanes = if runs_on_host(device) { HOST_LANES } else { SamplingConfig::default().lanes };
    let config = SamplingConfig { lanes, ..sampling_config(section, args, &prior.classes) };
    let classes = chosen_classes(&args.class, &prior.classes)?;
    if config.guidance != 1.0 && context.recipe.prior.class_dropout == 0.0 {
        context.session.warn(
            "guidance compares with samples of no class, which prior.class_dropout 0 never trained (--guidance 1 \
             leaves it out)",
        );
    }
    let prompt = match &args.complete {
        Some(image) => prompt(args, image, context, &tokenizer.model, device)?,
        None => Vec::new(),
    };
    let requests: Vec<Request> = (0..section.count)
        .map(|index| Request {
            index: index as u64,
            class: class_of(index, section.columns, &classes),
            prompt: prompt.clone(),
        })
        .collect();
    let path = args.output.clone().unwrap_or_else(|| default_path(args, context));
    anyhow::ensure!(
        path.extension().is_none_or(|extension| extension != "json"),
        "-o is {}, but what made the picture is written to a .json beside it: name a .png",
        path.display()
    );
    let shape = tokenizer.model.config();
    let (size, channels) = (shape.image_size, shape.channels);
    let layout = Layout { columns: section.columns, scale: section.scale, ..Layout::default() };
    layout.size(section.count, [size, size])?;
    prepare_parent(&path)?;

    let codes = draw(&prior.model, &requests, &config, context)?;
    let pixels = decode(&tokenizer.model, &codes, device);
    let tiles = |pixels| Tiles { pixels, height: size, width: size, channels };
    write_picture(&path, &grid(&tiles(&pixels), &layout)?)?;
    if args.separate {
        for (index, image) in pixels.chunks_exact(size * size * channels).enumerate() {
            let single = Layout { columns: 1, padding: 0, ..layout };
            write_picture(&separate_path(&path, index), &grid(&tiles(image), &single)?)?;
        }
    }
    let made_by = serde_json::json!({
        "vqgen": env!("CARGO_PKG_VERSION"),
        "run": context.run.name,
        "tokenizer": tokenizer.file.fingerprint(),
        "prior": prior.file.fingerprint(),
        "seed": context.recipe.seed,
        "count": section.count,
        "columns": section.columns,
        "temperature": section.temperature,
        "top_k": section.top_k,
        "top_p": section.top_p,
        "guidance": config.guidance,
        "images_a_pass": config.lanes,
        "classes": requests.iter().map(|one| one.class.map(|c| &prior.classes[c])).collect::<Vec<_>>(),
        "complete": args.complete,
        "given_codes": prompt,
    });
    write_json(path.with_extension("json"), &made_by)?;
    context.session.result(path.display())
}

fn sampling_config(section: &SampleSection, args: &Args, classes: &[String]) -> SamplingConfig {
    // The recipe's guidance is for priors with classes; asked for by flag, it is refused without them.
    let is_guided = !classes.is_empty() || args.guidance.is_some();
    SamplingConfig {
        temperature: section.temperature,
        top_k: (section.top_k > 0).then_some(section.top_k),
        top_p: (section.top_p < 1.0).then_some(section.top_p),
        guidance: if is_guided { section.guidance } else { 1.0 },
        ..SamplingConfig::default()
    }
}

/// The classes asked for, or all there are, by index.
fn chosen_classes(wanted: &[String], known: &[String]) -> anyhow::Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok((0..known.len()).collect());
    }
    let index = |name: &String| {
        let same = |known: &String| known.to_lowercase() == name.to_lowercase();
        known.iter().position(same).ok_or_else(|| {
            let there = match known {
                [] => "the prior was trained without classes (leave out --class)".to_owned(),
                _ => format!("the classes are {}", known.join(", ")),
            };
            anyhow::anyhow!("cannot sample class {name}: {there}")
        })
    };
    wanted.iter().map(index).collect()
}

/// One class a row of the grid, in turn. It depends on nothing but the image's number and the columns.
fn class_of(index: usize, columns: usize, classes: &[usize]) -> Option<usize> {
    (!classes.is_empty()).then(|| classes[index / columns % classes.len()])
}

/// The codes of the upper rows of an image.
fn prompt(
    args: &Args,
    image: &Path,
    context: &Context,
    tokenizer: &Tokenizer,
    device: &Device,
) -> anyhow::Result<Vec<u16>> {
    let config = tokenizer.config();
    let grid = config.grid_size();
    let keep_rows = args.keep_rows.unwrap_or(grid / 2);
    anyhow::ensure!(
        (1..grid).contains(&keep_rows),
        "--keep-rows is {keep_rows}, the image is {grid} rows of codes: allowed are 1 to {}",
        grid - 1
    );
    let (size, channels) = (config.image_size, config.channels);
    let background = context.recipe.data.background;
    let target = Target { image_size: size, channels, background };
    let pixels = decode_file(image, &target)?;
    if let Some([width, height]) = pixel_size(image)
        && [width, height] != [size, size]
    {
        context.session.warn(format_args!(
            "{} is {width}x{height} pixels, the tokenizer is for {size}x{size}: it is resized and \
             centre-cropped",
            image.display()
        ));
    }
    let images = images_on(device, crate::data::pixels::to_model(&pixels), size, channels);
    let codes = tokenizer.encode(images).into_data(); // sync
    Ok(codes.iter::<i64>().take(keep_rows * grid).map(|code| code as u16).collect())
}

fn draw(
    gpt: &Gpt,
    requests: &[Request],
    config: &SamplingConfig,
    context: &Context,
) -> anyhow::Result<Vec<Vec<u16>>> {
    let mut progress = context.session.progress();
    let given = requests.first().map_or(0, |request| request.prompt.len());
    let steps = requests.len() * (gpt.config().n_codes() - given);
    let name = context.run.name.clone();
    progress.handle(&Event::Started { stage: "sample", name, step: 0, steps, training: None });
    let begun = Instant::now();
    let seed = context.recipe.seed;
    let codes = generate(&mut PriorCodes::new(gpt), requests, config, seed, &mut |step, _| {
        progress.handle(&Event::Stepped { step });
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(codes)
}

fn default_path(args: &Args, context: &Context) -> PathBuf {
    let seed = context.recipe.seed;
    let what = if args.complete.is_some() { "completions" } else { "samples" };
    let classes = args.class.iter().map(|class| format!("-{}", class.to_lowercase()));
    let classes = file_name_part(&classes.collect::<String>());
    context.run.generations.join(format!("{what}{classes}-seed-{seed}.png"))
}

/// `text` as a part of a file name: class names come from files, and may be of any length and hold anything.
fn file_name_part(text: &str) -> String {
    /// Most file systems allow 255 bytes a name, and the rest needs some.
    const MOST_BYTES: usize = 120;
    let plain = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let ends = |(at, c): (usize, char)| at + c.len_utf8() <= MOST_BYTES;
    text.char_indices().take_while(|place| ends(*place)).map(|(_, c)| plain(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_an_image_does_not_depend_on_how_many_there_are() {
        let classes = [0, 1, 2];
        let rows: Vec<_> = (0..8).map(|index| class_of(index, 2, &classes)).collect();
        assert_eq!(rows, [0, 0, 1, 1, 2, 2, 0, 0].map(Some));
        assert_eq!(class_of(5, 2, &[]), None);
    }

    #[test]
    fn an_unknown_class_lists_those_there_are() {
        let known = ["Cats".to_owned(), "Dogs".to_owned()];
        assert!(chosen_classes(&["dogs".to_owned()], &known).is_ok_and(|found| found == [1]));
        let Err(error) = chosen_classes(&["birds".to_owned()], &known) else { panic!("accepted") };
        assert_eq!(error.to_string(), "cannot sample class birds: the classes are Cats, Dogs");
    }

    #[test]
    fn class_names_of_any_kind_stay_inside_the_folder() {
        assert_eq!(file_name_part("-../../etc\\x:\0\n"), "-.._.._etc_x___");
        assert_eq!(file_name_part("-größer 2"), "-größer 2");
        let long = file_name_part(&"ö".repeat(5_000));
        assert!(long.len() <= 120 && long.chars().all(|c| c == 'ö'), "{long}");
    }
}
