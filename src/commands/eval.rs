//! `vqgen eval`: metrics of a run, as a table or as JSON.

mod likelihood;
mod nearest;
mod pictures;
mod samples;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::Args as ClapArgs;
use serde_json::{Map, Value};

use self::likelihood::Likelihood;
use super::stages::{LoadedPrior, LoadedTokenizer};
use super::{Context, ModelArgs, sample};
use crate::checkpoint::{check_classes, check_held_out, check_prior};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::evaluation::{TokenizerScores, bits_per_pixel, psnr_db, score_tokenizer};
use crate::tokenizer::TokenizerConfig;
use crate::training::Event;

/// Samples without which there is no covariance, and as many as `sample` draws.
const SAMPLES: std::ops::RangeInclusive<i64> = 2..=1_000_000;

/// The flags of `eval`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which models to use.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Which images: train, validation or test
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "validation", "test"], default_value = "test", hide_possible_values = true)]
    pub split: String,

    /// Also draw N images from the prior, with the sampling settings of the recipe, and score them against the split
    #[arg(long, value_name = "N", value_parser = sample_count)]
    pub samples: Option<usize>,

    /// With --samples: write the samples nearest to a training image, each above that image, and report whether they
    /// are copies [default: in generations/<run>]
    #[arg(long, value_name = "FILE", num_args = 0..=1, requires = "samples")]
    pub nearest: Option<Option<PathBuf>>,

    /// Also LPIPS, with the weights of torchvision's vgg16 and of lpips' vgg.pth (.pth or safetensors)
    #[arg(long, value_names = ["VGG", "LINEAR"], num_args = 2)]
    pub lpips: Vec<PathBuf>,

    /// Also FID and KID, with the Inception weights of pytorch-fid (.pth or safetensors)
    #[arg(long, value_name = "WEIGHTS")]
    pub fid: Option<PathBuf>,

    /// One JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

fn sample_count(text: &str) -> Result<usize, String> {
    match text.parse::<i64>() {
        Ok(n) if SAMPLES.contains(&n) => Ok(n as usize),
        _ => Err(format!("allowed are {} to {}", SAMPLES.start(), SAMPLES.end())),
    }
}

/// Evaluates the tokenizer and, if there is one, the prior of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let split = Split::from_str(&args.split)?;
    anyhow::ensure!(
        !dataset.is_empty(split),
        "the {split} split holds no image (choose another --split)"
    );
    let (tokenizer, prior) = models(args, context, &dataset, split, &device)?;
    if let (Some(_), Some(prior)) = (args.samples, &prior) {
        let is_guided = likelihood::has_conditions(prior, &dataset);
        let config = sample::config_of_recipe(context, is_guided, prior.model.config(), &device);
        config.validate(tokenizer.model.config().codebook_size)?;
    }
    let judges = pictures::judges(args, &dataset, &device)?;
    let sheet = nearest::prepare(args, context, &dataset)?;

    let codec = tokenizer.codec(&device);
    let scores = score(codec, &dataset, split, context)?;
    let of_split = (&*dataset, split);
    let likelihood = prior.as_ref();
    let likelihood = likelihood
        .map(|prior| likelihood::likelihood(prior, &scores.codes, of_split, &device))
        .transpose()?;
    let mut line = coding_line(&scores, likelihood, codec.config(), split);
    let seen = pictures::see_split(&judges, codec, &scores.codes, &dataset, split, context)?;
    line.extend(seen.line(&judges));
    if let (Some(n), Some(prior)) = (args.samples, &prior) {
        let drawn = samples::draw(n, prior, codec, &judges, of_split, context)?;
        line.extend(pictures::set_line("sample_", n, drawn.set.distances(&seen.originals)));
        if let Some(sheet) = &sheet {
            let originals = (&seen.originals, split);
            let judged = (codec, &judges);
            line.extend(nearest::search(sheet, &drawn, originals, judged, &dataset, context)?);
        }
    }
    if args.json {
        context.session.result(Value::from(line))?;
    } else {
        for row in table(&line) {
            context.session.result(row)?;
        }
    }
    if let Some(path) = sheet.as_ref().and_then(|sheet| sheet.shown()) {
        context.session.note(format_args!("wrote {path}"));
    }
    Ok(())
}

/// The tokenizer, and the prior where there is one or samples need it; checks that they belong together and did not
/// train on the split.
fn models(
    args: &Args,
    context: &Context,
    dataset: &Dataset,
    split: Split,
    device: &Device,
) -> anyhow::Result<(LoadedTokenizer, Option<LoadedPrior>)> {
    let tokenizer = context.load_tokenizer(device)?;
    context.check_images_fit(dataset, tokenizer.model.config())?;
    check_held_out("evaluate the tokenizer", &tokenizer.file, dataset.provenance(), split)?;
    if !context.has_prior() && args.samples.is_none() {
        context.session.note("there is no prior: the likelihood is left out");
        return Ok((tokenizer, None));
    }
    let prior = context.load_prior(device)?;
    check_prior("evaluate the prior", &prior.file, &tokenizer.file)?;
    check_classes("evaluate the prior", &prior.file, dataset.classes())?;
    check_held_out("evaluate the prior", &prior.file, dataset.provenance(), split)?;
    Ok((tokenizer, Some(prior)))
}

/// The metrics of single pixels and codes.
fn coding_line(
    scores: &TokenizerScores,
    likelihood: Option<Likelihood>,
    config: &TokenizerConfig,
    split: Split,
) -> Map<String, Value> {
    let nats = likelihood.map(|likelihood| likelihood.nats);
    let bits = nats
        .map(|nats| bits_per_pixel(nats, config.n_codes(), config.image_size, config.image_size));
    let values: [(&str, Value); 12] = [
        ("split", split.name().into()),
        ("images", scores.n_images.into()),
        ("mse", scores.mse.into()),
        ("nmse", scores.nmse.into()),
        ("psnr_db", scores.psnr_db.into()),
        ("psnr_db_of_mean_mse", psnr_db(scores.mse).into()),
        ("ssim", scores.ssim.into()),
        ("codes_used", scores.codes_used().into()),
        ("codebook_size", config.codebook_size.into()),
        ("perplexity", scores.perplexity().into()),
        ("nats_per_code", nats.into()),
        ("bits_per_pixel", bits.into()),
    ];
    let mut line: Map<String, Value> =
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let Some(captions) = likelihood.and_then(|likelihood| likelihood.captions) {
        line.insert("nats_per_code_other_caption".into(), captions.of_another.into());
        line.insert("nats_per_code_no_caption".into(), captions.without.into());
    }
    if config.depth > 1 {
        line.insert("depth".into(), config.depth.into());
        line.insert("perplexity_by_level".into(), scores.perplexities().into());
    }
    line
}

fn score(
    codec: Codec<'_>,
    dataset: &Dataset,
    split: Split,
    context: &Context,
) -> anyhow::Result<TokenizerScores> {
    let mut progress = context.session.progress();
    let steps = dataset.len(split);
    let name = context.run.name.clone();
    progress.handle(&Event::Started { stage: "eval", name, step: 0, steps, training: None });
    let begun = Instant::now();
    let mut each = |step| progress.handle(&Event::Stepped { step });
    let scores = score_tokenizer(codec, dataset, split, IMAGES_PER_PASS, true, None, &mut each)?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(scores)
}

/// Name and value, one per line; what was not measured is left out.
fn table(line: &Map<String, Value>) -> Vec<String> {
    let rows = line.iter().filter(|(_, value)| !value.is_null());
    rows.map(|(name, value)| match value {
        Value::Number(number) if number.is_f64() => {
            format!("{name:20} {:.5}", number.as_f64().unwrap_or_default())
        }
        Value::String(text) => format!("{name:20} {text}"),
        other => format!("{name:20} {other}"),
    })
    .collect()
}
