//! `vqgen eval`: metrics of a run, as a table or as JSON.

use std::str::FromStr;
use std::time::Instant;

use clap::Args as ClapArgs;
use serde_json::Value;

use super::Context;
use super::stages::LoadedPrior;
use crate::checkpoint::{Stage, check_classes, check_held_out, check_prior};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::evaluation::{TokenizerScores, bits_per_pixel, nats_per_code, psnr_db, score_tokenizer};
use crate::prior::Condition;
use crate::training::Event;
use crate::training::prior::SequenceBatch;

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

/// Evaluates the tokenizer and, if there is one, the prior of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let device = context.session.open_device()?;
    let dataset = context.open_dataset()?;
    let split = Split::from_str(&args.split)?;
    anyhow::ensure!(
        !dataset.is_empty(split),
        "the {split} split holds no image (choose another --split)"
    );
    let tokenizer = context.load_tokenizer(&device)?;
    context.check_images_fit(&dataset, tokenizer.model.config())?;
    check_held_out("evaluate the tokenizer", &tokenizer.file, dataset.provenance(), split)?;
    let prior = if context.run.dir.model_path(Stage::Prior).exists() {
        let prior = context.load_prior(&device)?;
        check_prior("evaluate the prior", &prior.file, &tokenizer.file)?;
        check_classes("evaluate the prior", &prior.file, dataset.classes())?;
        check_held_out("evaluate the prior", &prior.file, dataset.provenance(), split)?;
        Some(prior)
    } else {
        context.session.note("there is no prior: the likelihood is left out");
        None
    };

    let scores = score(tokenizer.codec(&device), &dataset, split, context)?;
    let nats = prior.map(|prior| nats(&prior, &scores.codes, &dataset, split, &device));
    let config = tokenizer.model.config();
    let bits = nats
        .map(|nats| bits_per_pixel(nats, config.n_codes(), config.image_size, config.image_size));
    let mut line = serde_json::json!({
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
    if config.depth > 1 {
        line["depth"] = config.depth.into();
        line["perplexity_by_level"] = scores.perplexities().into();
    }
    if args.json {
        return context.session.result(line);
    }
    for row in table(&line) {
        context.session.result(row)?;
    }
    Ok(())
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
    let scores = score_tokenizer(codec, dataset, split, IMAGES_PER_PASS, true, &mut |step| {
        progress.handle(&Event::Stepped { step });
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(scores)
}

/// Nats per code of the split's images under the prior. The codes are those just computed, not those of the code file,
/// whose splits may differ.
fn nats(
    prior: &LoadedPrior,
    codes: &[u16],
    dataset: &Dataset,
    split: Split,
    device: &Device,
) -> f64 {
    let config = prior.model.config();
    let has_classes = !dataset.classes().is_empty();
    let condition_of =
        |index| Condition::of_class(has_classes.then(|| usize::from(dataset.label(split, index))));
    let images = codes.chunks(IMAGES_PER_PASS * config.n_codes());
    let batches = images.enumerate().map(|(part, codes)| {
        let from = part * IMAGES_PER_PASS;
        let images = from..from + codes.len() / config.n_codes();
        let conditions: Vec<_> = images.map(condition_of).collect();
        let batch = SequenceBatch::new(&conditions, codes.iter().copied(), config, device);
        (batch.conditions, batch.codes)
    });
    nats_per_code(&prior.model, batches)
}

/// Name and value, one per line; what was not measured is left out.
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
