//! `vqgen eval`: the honest numbers of a run, as a table and as JSON.

use std::str::FromStr;
use std::time::Instant;

use clap::Args as ClapArgs;
use serde_json::Value;

use super::stages::{ENCODE_BATCH, LoadedTokenizer};
use super::{Context, Outcome};
use crate::checkpoint::{Codes, Stage, check_classes, check_codes, check_prior};
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::evaluation::{TokenizerScores, bits_per_pixel, nats_per_code, psnr_db, score_tokenizer};
use crate::tokenizer::Tokenizer;
use crate::training::Event;
use crate::training::prior::Sequences;

/// The flags of `eval`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Which images: train, validation or test
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "validation", "test"], default_value = "test", hide_possible_values = true)]
    pub split: String,

    /// One JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Measures the tokenizer and, where there is one, the prior of the run.
pub fn run(args: &Args, context: &Context) -> Outcome {
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let split = Split::from_str(&args.split)?;
    anyhow::ensure!(
        !dataset.is_empty(split),
        "the {split} split holds no image (choose another --split)"
    );
    let tokenizer = context.load_tokenizer(&device)?;
    context.check_images_fit(&dataset, tokenizer.model.config())?;

    let scores = score(&tokenizer.model, &dataset, split, &device, context)?;
    let nats = if context.run.dir.model_path(Stage::Prior).exists() {
        Some(nats(context, &tokenizer, split, &device)?)
    } else {
        context.session.note("there is no prior: the likelihood is left out");
        None
    };
    let config = tokenizer.model.config();
    let bits = nats
        .map(|nats| bits_per_pixel(nats, config.n_codes(), config.image_size, config.image_size));
    let line = serde_json::json!({
        "split": split.name(),
        "images": scores.n_images,
        "mse": scores.mse,
        "nmse": scores.nmse,
        "psnr_db": scores.psnr_db,
        "psnr_db_of_mean_mse": psnr_db(scores.mse),
        "ssim": scores.ssim,
        "codes_used": scores.codes_used(),
        "codebook_size": config.codebook_size,
        "perplexity": scores.perplexity(),
        "nats_per_code": nats,
        "bits_per_pixel": bits,
    });
    if args.json {
        return context.session.result(line);
    }
    for row in table(&line) {
        context.session.result(row)?;
    }
    Ok(())
}

fn score(
    tokenizer: &Tokenizer,
    dataset: &Dataset,
    split: Split,
    device: &Device,
    context: &Context,
) -> anyhow::Result<TokenizerScores> {
    let mut progress = context.session.progress();
    let steps = dataset.len(split);
    let name = context.run.name.clone();
    progress.handle(&Event::Started { stage: "eval", name, step: 0, steps, training: None });
    let begun = Instant::now();
    let scores =
        score_tokenizer(tokenizer, dataset, split, ENCODE_BATCH, true, device, &mut |step| {
            progress.handle(&Event::Stepped { step });
        })?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(scores)
}

/// Nats per code of the split's own views under the prior.
fn nats(
    context: &Context,
    tokenizer: &LoadedTokenizer,
    split: Split,
    device: &Device,
) -> anyhow::Result<f64> {
    let prior = context.load_prior(device)?;
    check_prior("evaluate the prior", &prior.file, &tokenizer.file)?;
    let path = context.run.dir.codes_path();
    let codes = Codes::load(&path)?;
    check_codes("evaluate the prior", &codes, &path, &tokenizer.file)?;
    check_classes("evaluate the prior", &prior.file, &codes, &path)?;
    let sequences = Sequences::new(&codes, split as u8, false)?;
    let config = prior.model.config();
    let batches = (0..sequences.len()).step_by(ENCODE_BATCH).map(|from| {
        let range = from..(from + ENCODE_BATCH).min(sequences.len());
        let batch = sequences.plain_batch(range, config, device);
        (batch.classes, batch.codes)
    });
    Ok(nats_per_code(&prior.model, batches))
}

/// Name and value, a line each; what was not measured is left out.
fn table(line: &Value) -> Vec<String> {
    let rows = line.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    rows.map(|(name, value)| match value {
        Value::Number(number) if number.is_f64() => {
            format!("{name:20} {:.5}", number.as_f64().unwrap_or_default())
        }
        Value::String(text) => format!("{name:20} {text}"),
        other => format!("{name:20} {other}"),
    })
    .collect()
}
