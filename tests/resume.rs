//! A run that was interrupted and resumed ends in the same bytes as an uninterrupted one: the checkpoint, the model
//! file, and every line of the log except its speeds. Both stages, wherever the interruption falls.
//!
//! Stops are requested from inside the loop, at a chosen event, as SIGINT does at any moment. A killed process is
//! equivalent to a resume from its last checkpoint, with newer files on disk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/log.rs"]
mod log;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use vqgen::checkpoint::{Codes, RunDir, Stage};
use vqgen::data::{Dataset, Split, View};
use vqgen::device::Device;
use vqgen::error::{Error, Result};
use vqgen::recipe::Recipe;
use vqgen::training::prior::train_prior;
use vqgen::training::vqvae::train_vqvae;
use vqgen::training::{Begin, Event, Job, StageOutcome};

const STEPS: usize = 14;
const TINY: [&str; 12] = [
    "data.image_size=16",
    "vqvae.width=8",
    "vqvae.residual_width=4",
    "vqvae.codebook_size=16",
    "vqvae.code_dim=4",
    "vqvae.batch_size=5",
    "vqvae.steps=14",
    "prior.steps=14",
    "prior.layers=2",
    "prior.heads=2",
    "prior.width=16",
    "prior.batch_size=5",
];
/// Intervals that never coincide for long with an epoch (5 and 12 batches) or with each other.
const CADENCE: [&str; 3] = ["log_every=3", "validate_every=4", "checkpoint_every=5"];

/// When a run is stopped.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Never,
    /// After this step: within an epoch, a log interval, a warm-up.
    Step(usize),
    /// While the validation after this step runs.
    Validation(usize),
}

/// A stage that can be trained in any folder.
trait Training {
    const STAGE: Stage;
    fn train(&self, recipe: &Recipe, job: Job) -> Result<StageOutcome>;
}

struct Tokenizer(Arc<Dataset>);
struct Prior(Codes);

impl Training for Tokenizer {
    const STAGE: Stage = Stage::Vqvae;
    fn train(&self, recipe: &Recipe, job: Job) -> Result<StageOutcome> {
        train_vqvae(recipe, &self.0, &Device::flex(), job)
    }
}

impl Training for Prior {
    const STAGE: Stage = Stage::Prior;
    fn train(&self, recipe: &Recipe, job: Job) -> Result<StageOutcome> {
        train_prior(recipe, &self.0, &Device::flex(), job)
    }
}

/// A recipe with the tiny settings, the intervals for both stages, and `more`.
fn recipe(more: &[&str]) -> Recipe {
    recipe_without("", more)
}

/// The same without one of the tiny settings.
fn recipe_without(left_out: &str, more: &[&str]) -> Recipe {
    let cadence = ["vqvae", "prior"].map(|section| CADENCE.map(|key| format!("{section}.{key}")));
    let tiny = TINY
        .iter()
        .filter(|setting| **setting != left_out)
        .map(ToString::to_string)
        .chain(cadence.into_iter().flatten());
    let all: Vec<_> = tiny.chain(more.iter().map(ToString::to_string)).collect();
    let overrides: Vec<_> = all.iter().map(|text| text.parse().unwrap()).collect();
    Recipe::parse("{}", "the test", &overrides).unwrap()
}

/// 30 pictures of stripes, all different.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..30u32 {
        let image = image::RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(x * (i + 3)) as u8, (y * (2 * i + 5)) as u8, (i * 8) as u8])
        });
        image.save(folder.path().join(format!("{i:02}.png"))).unwrap();
    }
    folder
}

fn tokenizer(recipe: &Recipe) -> (TempDir, Tokenizer) {
    let folder = pictures();
    let mut config = recipe.data.clone();
    config.path = folder.path().to_str().unwrap().to_owned();
    let dataset = Arc::new(Dataset::open(&config, true).unwrap());
    (folder, Tokenizer(dataset))
}

/// Some images have none, some two.
fn captions_of(image: usize) -> Vec<String> {
    let words = ["red", "green", "round", "small"];
    let caption = |n: usize| format!("{} {}", words[(image + n) % 4], words[image / 3 % 4]);
    (0..image % 3).map(caption).collect()
}

/// 30 images of 4x4 codes with their horizontal flips, in three classes.
fn prior() -> Prior {
    let (n, n_codes) = (60, 16);
    Prior(Codes {
        height: 4,
        width: 4,
        depth: 1,
        codebook_size: 16,
        codes: (0..n * n_codes).map(|i| (i * i / 7 % 16) as u16).collect(),
        labels: (0..n).map(|i| (i % 3) as u16).collect(),
        splits: (0..n)
            .map(|i| if i % 10 == 0 { Split::Validation } else { Split::Train })
            .collect(),
        views: (0..n).map(|i| if i < 30 { View::AS_IS } else { View::FLIPPED }).collect(),
        names: Vec::new(),
        captions: (0..n).map(captions_of).collect(),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        tokenizer: "0123456789abcdef".to_owned(),
        data: None,
        image_size: 16,
        channels: 3,
    })
}

/// Trains in `dir`, resumes where there is a checkpoint, and stops as requested.
fn go<T: Training>(
    training: &T,
    recipe: &Recipe,
    dir: &RunDir,
    stop_at: Stop,
) -> Result<StageOutcome> {
    let stop = AtomicBool::new(false);
    let mut emit = |event: Event| {
        let reached = match (stop_at, &event) {
            (Stop::Step(wanted), Event::Stepped { step }) => *step == wanted,
            (Stop::Validation(wanted), Event::Validated { step, .. }) => *step == wanted,
            _ => false,
        };
        stop.fetch_or(reached, Ordering::Relaxed);
    };
    training.train(
        recipe,
        Job { run: dir, begin: Begin::Either, from: None, stop: &stop, emit: &mut emit },
    )
}

/// Everything that must be the same: the checkpoint, the model, the log without timings.
fn result(dir: &RunDir, stage: Stage) -> [Vec<u8>; 3] {
    let read = |path: &Path| fs::read(path).unwrap();
    [read(&dir.resume_path(stage)), read(&dir.model_path(stage)), log::timeless(dir)]
}

/// Compares an uninterrupted run with one stopped at each of `stops` in turn, in a new process each time.
fn check<T: Training>(training: &T, recipe: &Recipe, stops: &[Stop]) {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| RunDir::new(folder.path().join(name)));
    let outcome = go(training, recipe, &whole, Stop::Never).unwrap();
    for stop in stops {
        let error = go(training, recipe, &parts, *stop).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{stop:?}: {error}");
    }
    assert_eq!(go(training, recipe, &parts, Stop::Never).unwrap(), outcome);
    let names = ["checkpoint", "model", "log"];
    let pairs = result(&whole, T::STAGE).into_iter().zip(result(&parts, T::STAGE));
    for (name, (whole, parts)) in names.into_iter().zip(pairs) {
        assert!(whole == parts, "the {name} differs after {stops:?}");
    }
}

/// Stops at every step in turn, and in validations.
fn check_everywhere<T: Training>(training: &T, recipe: &Recipe) {
    for step in 1..STEPS {
        check(training, recipe, &[Stop::Step(step)]);
    }
    check(training, recipe, &[Stop::Validation(4), Stop::Step(6), Stop::Validation(12)]);
}

#[test]
fn a_tokenizer_stopped_anywhere_ends_in_the_same_bytes() {
    // Augmented, with restarts of dead codes between the checkpoints.
    let recipe = recipe(&["data.flip=true", "data.crop=2", "vqvae.restart_after=3"]);
    let (_pictures, tokenizer) = tokenizer(&recipe);
    check_everywhere(&tokenizer, &recipe);
}

#[test]
fn a_tokenizer_with_a_gradient_codebook_does_too() {
    let more = ["vqvae.codebook=gradient", "vqvae.restart_after=4", "vqvae.normalize_codes=true"];
    let recipe = recipe(&[&more[..], &["vqvae.preset=plain", "vqvae.loss=l1"]].concat());
    let (_pictures, tokenizer) = tokenizer(&recipe);
    check(&tokenizer, &recipe, &[Stop::Step(2), Stop::Step(3), Stop::Validation(8)]);
}

#[test]
fn every_kind_of_quantizer_does_too() {
    for keys in [
        &["vqvae.quantizer=fsq", "vqvae.levels=[4,3]"][..],
        &["vqvae.quantizer=residual", "vqvae.depth=3", "vqvae.restart_after=3"],
        &["vqvae.quantizer=residual", "vqvae.depth=2", "vqvae.codebook=gradient"],
        &["vqvae.quantizer=residual", "vqvae.codebook=simvq", "vqvae.gradient_estimator=rotation"],
        &["vqvae.codebook=simvq", "vqvae.normalize_codes=true"],
        &["vqvae.gradient_estimator=rotation", "vqvae.restart_after=3"],
        &["vqvae.normalize_codes=true", "vqvae.restart_after=3"],
    ] {
        let is_fsq = keys[0] == "vqvae.quantizer=fsq";
        let recipe = recipe_without(if is_fsq { "vqvae.code_dim=4" } else { "" }, keys);
        let (_pictures, tokenizer) = tokenizer(&recipe);
        check(&tokenizer, &recipe, &[Stop::Step(2), Stop::Step(6), Stop::Validation(8)]);
    }
}

#[test]
fn every_term_of_the_loss_and_averaged_weights_do_too() {
    for keys in [
        // Both start between the first two stops.
        &["vqvae.ema_weights=0.9", "vqvae.perceptual.net=builtin", "vqvae.perceptual.start_step=4"]
            [..],
        &[
            "vqvae.adversarial.loss=hinge",
            "vqvae.adversarial.start_step=4",
            "vqvae.adversarial.ramp_steps=3",
        ],
        &[
            "vqvae.adversarial.loss=non-saturating",
            "vqvae.adversarial.start_step=0",
            "vqvae.adversarial.augment=false",
            "vqvae.ema_weights=0.99",
        ],
        &[
            "vqvae.loss=huber",
            "vqvae.focal_frequency=0.5",
            "vqvae.quantizer=residual",
            "vqvae.ema_weights=0.5",
        ],
    ] {
        let recipe = recipe(keys);
        let (_pictures, tokenizer) = tokenizer(&recipe);
        check(&tokenizer, &recipe, &[Stop::Step(2), Stop::Step(6), Stop::Validation(8)]);
    }
}

#[test]
fn a_prior_of_several_codes_a_position_does_too() {
    let prior = Prior(Codes { width: 2, depth: 2, ..prior().0 });
    check(&prior, &recipe(&[]), &[Stop::Step(3), Stop::Validation(8)]);
    check(&prior, &recipe(&["prior.order=annealed"]), &[Stop::Step(3), Stop::Validation(8)]);
}

#[test]
fn a_masked_prior_does_too() {
    let recipe = recipe(&["prior.kind=masked", "prior.ema_weights=0.9", "prior.dropout=0.1"]);
    check(&prior(), &recipe, &[Stop::Step(3), Stop::Validation(8)]);
}

#[test]
fn a_prior_trained_by_muon_on_codes_in_random_orders_does_too() {
    let recipe = recipe(&["prior.optimizer=muon", "prior.order=annealed"]);
    check(&prior(), &recipe, &[Stop::Step(1), Stop::Step(6), Stop::Validation(8)]);
}

#[test]
fn a_prior_stopped_anywhere_ends_in_the_same_bytes() {
    // With dropout of all kinds, noise, averages and gradient accumulation.
    check_everywhere(
        &prior(),
        &recipe(&[
            "prior.accumulate=3",
            "prior.dropout=0.2",
            "prior.word_dropout=0.3",
            "prior.code_noise=0.2",
            "prior.ema_weights=0.9",
        ]),
    );
}

#[test]
fn a_prior_that_ends_early_does_too() {
    // So high a learning rate, and so many validations, that one of them is worse and patience runs out.
    let hasty = ["prior.learning_rate=0.5", "prior.warmup_steps=0", "prior.validate_every=1"];
    let recipe = recipe(&[&hasty[..], &["prior.patience=2"]].concat());
    let prior = prior();
    let folder = tempfile::tempdir().unwrap();
    let outcome = go(&prior, &recipe, &RunDir::new(folder.path()), Stop::Never).unwrap();
    assert!(outcome.step < STEPS as u64, "it did not end early");
    for step in 1..outcome.step as usize {
        check(&prior, &recipe, &[Stop::Step(step)]);
    }
}

#[test]
fn the_last_weights_are_kept_on_request_whatever_their_score() {
    let hasty = ["prior.learning_rate=0.5", "prior.warmup_steps=0", "prior.validate_every=1"];
    let recipe = recipe(&[&hasty[..], &["prior.patience=2", "prior.keep=last"]].concat());
    let prior = prior();
    let folder = tempfile::tempdir().unwrap();
    let outcome = go(&prior, &recipe, &RunDir::new(folder.path()), Stop::Never).unwrap();
    assert_eq!((outcome.step, outcome.best_step), (STEPS as u64, STEPS as u64));
    check(&prior, &recipe, &[Stop::Step(2), Stop::Step(STEPS - 1)]);
}

#[test]
fn steps_that_are_passed_over_are_remembered() {
    // The learning rate is far too high, without clipping: the weights grow until a loss overflows.
    let diverging = ["vqvae.learning_rate=10", "vqvae.warmup_steps=0", "vqvae.gradient_clip=0"];
    let strict = recipe(&diverging);
    let (_pictures, tokenizer) = tokenizer(&strict);
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::new(folder.path().join("strict"));
    let error = go(&tokenizer, &strict, &dir, Stop::Never).unwrap_err().to_string();
    for part in ["became inf at step 2", "learning rate 9.87e0", "vqvae.skip_non_finite"] {
        assert!(error.contains(part), "{error}");
    }
    // A skipped step changes no weight, so all 13 after the first are.
    let with_budget =
        |n: usize| recipe(&[&diverging[..], &[&format!("vqvae.skip_non_finite={n}")]].concat());
    for step in [6, 9, 11] {
        check(&tokenizer, &with_budget(13), &[Stop::Step(step)]);
    }
    let dir = RunDir::new(folder.path().join("short of one"));
    go(&tokenizer, &with_budget(12), &dir, Stop::Step(6)).unwrap_err();
    let error = go(&tokenizer, &with_budget(12), &dir, Stop::Never).unwrap_err().to_string();
    assert!(error.contains("at step 14"), "{error}");
}

#[test]
fn what_was_written_after_the_last_checkpoint_does_not_matter() {
    // A killed process leaves a newer model and more log lines than its checkpoint.
    let recipe = recipe(&["vqvae.checkpoint_every=5"]);
    let (_pictures, tokenizer) = tokenizer(&recipe);
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| RunDir::new(folder.path().join(name)));
    go(&tokenizer, &recipe, &whole, Stop::Never).unwrap();
    go(&tokenizer, &recipe, &killed, Stop::Step(5)).unwrap_err();
    let checkpoint = fs::read(killed.resume_path(Stage::Vqvae)).unwrap();
    go(&tokenizer, &recipe, &killed, Stop::Step(9)).unwrap_err();
    fs::write(killed.resume_path(Stage::Vqvae), checkpoint).unwrap();
    // Stopping at once shows how the resume itself changes the files.
    go(&tokenizer, &recipe, &killed, Stop::Step(6)).unwrap_err();
    go(&tokenizer, &recipe, &killed, Stop::Never).unwrap();
    assert!(result(&whole, Stage::Vqvae) == result(&killed, Stage::Vqvae));
}

#[test]
fn the_checkpoint_before_the_newest_leads_to_the_same_end() {
    let recipe = recipe(&[]);
    let prior = prior();
    let folder = tempfile::tempdir().unwrap();
    let [whole, hurt] = ["whole", "hurt"].map(|name| RunDir::new(folder.path().join(name)));
    go(&prior, &recipe, &whole, Stop::Never).unwrap();
    go(&prior, &recipe, &hurt, Stop::Step(7)).unwrap_err();
    let path = hurt.resume_path(Stage::Prior);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    go(&prior, &recipe, &hurt, Stop::Never).unwrap();
    assert!(result(&whole, Stage::Prior) == result(&hurt, Stage::Prior));
}

#[test]
fn a_changed_learning_rate_goes_on_and_a_changed_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::new(folder.path());
    let prior = prior();
    go(&prior, &recipe(&[]), &dir, Stop::Step(7)).unwrap_err();
    let saved = fs::read(dir.recipe_path()).unwrap();
    let wider = recipe(&["prior.width=32", "prior.batch_size=4"]);
    let error = go(&prior, &wider, &dir, Stop::Never).unwrap_err().to_string();
    assert!(error.contains("prior.width was 16 and is now 32"), "{error}");
    assert!(error.contains("prior.batch_size was 5 and is now 4"), "{error}");
    assert_eq!(fs::read(dir.recipe_path()).unwrap(), saved, "a refusal changes nothing");
    let slower = recipe(&["prior.learning_rate=0.0005", "prior.steps=16"]);
    assert_eq!(go(&prior, &slower, &dir, Stop::Never).unwrap().step, 16);
}
