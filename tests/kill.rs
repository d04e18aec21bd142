//! `kill -9` at random moments over both stages, and each time resumed to the end: the same bytes as an uninterrupted
//! run, and no unreadable file at any moment.
//!
//! The number of threads changes no byte either.
//!
//! A few kills by default; `VQGEN_KILLS=200 cargo test --release --test kill -- --nocapture` makes that many and prints
//! what it saw.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "support/log.rs"]
mod log;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use vqgen::checkpoint::{Codes, Kind, ModelFile, ResumeState, RunDir, Stage};
use vqgen::rng::{Purpose, Stream, stream};

const DEFAULT_KILLS: usize = 6;
const SETTINGS: [&str; 37] = [
    "data.image_size=16",
    "data.crop=1",
    "vqvae.width=16",
    "vqvae.residual_width=8",
    "vqvae.codebook_size=32",
    "vqvae.code_dim=8",
    "vqvae.batch_size=8",
    "vqvae.steps=90",
    "vqvae.quantizer=residual",
    "vqvae.depth=2",
    "vqvae.ema_weights=0.95",
    "vqvae.perceptual.net=builtin",
    "vqvae.adversarial.loss=hinge",
    "vqvae.adversarial.start_step=20",
    "vqvae.adversarial.ramp_steps=15",
    "vqvae.restart_after=7",
    "vqvae.log_every=4",
    "vqvae.validate_every=11",
    "vqvae.checkpoint_every=6",
    "prior.layers=2",
    "prior.heads=2",
    "prior.width=32",
    "prior.batch_size=8",
    "prior.accumulate=2",
    "prior.norm=rms",
    "prior.activation=squared-relu",
    "prior.qk_norm=true",
    "prior.ema_weights=0.9",
    "prior.optimizer=muon",
    "prior.order=annealed",
    "prior.word_dropout=0.2",
    "prior.code_noise=0.1",
    "prior.steps=90",
    "prior.log_every=4",
    "prior.validate_every=11",
    "prior.checkpoint_every=6",
    "sample.count=4",
];

fn run(dir: &Path, name: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vqgen"));
    command.current_dir(dir).args(["run", "--device", "cpu", "--data", "pictures", "--quiet"]);
    command.args(["--run", name]).args(SETTINGS.iter().flat_map(|set| ["--set", set]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn draw_pictures(dir: &Path) {
    let folder = dir.join("pictures");
    for i in 0..60u32 {
        let name = ["dots", "stripes"][i as usize % 2];
        let class = folder.join(name);
        fs::create_dir_all(&class).unwrap();
        let image = image::RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(x * (i + 3)) as u8, (y * (2 * i + 5)) as u8, (i * 4) as u8])
        });
        image.save(class.join(format!("{i:02}.png"))).unwrap();
        fs::write(class.join(format!("{i:02}.txt")), format!("{name} of kind {}\n", i % 7))
            .unwrap();
    }
}

/// The outputs of a run that must be bitwise the same; the log without timings.
fn results(run: &RunDir) -> Vec<(String, Vec<u8>)> {
    let files = [Stage::Vqvae, Stage::Prior]
        .into_iter()
        .flat_map(|stage| [run.model_path(stage), run.resume_path(stage)])
        .chain([run.codes_path()]);
    let mut results: Vec<(String, Vec<u8>)> = files
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    results.push(("metrics.jsonl".to_owned(), log::timeless(run)));
    results
}

/// Every existing file can be read.
fn assert_readable(run: &RunDir) {
    for (stage, kind) in [(Stage::Vqvae, Kind::Tokenizer), (Stage::Prior, Kind::Prior)] {
        if run.model_path(stage).exists() {
            ModelFile::load(run.model_path(stage), kind).unwrap();
        }
        for path in [run.resume_path(stage), run.previous_resume_path(stage)] {
            if path.exists() {
                ResumeState::load(path, stage).unwrap();
            }
        }
    }
    if run.codes_path().exists() {
        Codes::load(run.codes_path()).unwrap();
    }
    if run.recipe_path().exists() {
        run.load_recipe::<serde_json::Value>().unwrap();
    }
}

/// Kills the run repeatedly until it finishes; returns how often it was killed at work, before the codes existed and
/// after.
fn kill_until_done(
    dir: &Path,
    name: &str,
    whole: Duration,
    most: usize,
    rng: &mut Stream,
) -> [usize; 2] {
    let mut kills = [0, 0];
    let run_dir = RunDir::new(dir.join(name));
    loop {
        let mut child = run(dir, name).spawn().unwrap();
        if kills[0] + kills[1] < most {
            thread::sleep(whole.mul_f32(0.05 + 0.5 * rng.uniform()));
            let ended = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            if !ended {
                child.wait().unwrap();
                kills[usize::from(run_dir.codes_path().exists())] += 1;
                assert_readable(&run_dir);
                continue;
            }
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return kills;
    }
}

#[test]
fn killed_at_random_moments_a_run_ends_in_the_same_bytes() {
    let wanted = env::var("VQGEN_KILLS").map_or(DEFAULT_KILLS, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    draw_pictures(dir.path());
    let begun = Instant::now();
    assert!(run(dir.path(), "whole").status().unwrap().success());
    let whole = begun.elapsed();
    let expected = results(&RunDir::new(dir.path().join("whole")));

    let mut rng = stream(9, Purpose::Shuffle, 0, 0);
    let (mut kills, mut runs) = ([0, 0], 0);
    while kills[0] + kills[1] < wanted {
        runs += 1;
        // The same name, so that the recipe and everything derived from it are the same.
        let name = format!("try-{runs}/whole");
        let most = (wanted - kills[0] - kills[1]).min(8);
        let made = kill_until_done(dir.path(), &name, whole, most, &mut rng);
        (kills[0], kills[1]) = (kills[0] + made[0], kills[1] + made[1]);
        let found = results(&RunDir::new(dir.path().join(&name)));
        for ((file, expected), (_, found)) in expected.iter().zip(&found) {
            assert!(expected == found, "{file} differs after {made:?} kills");
        }
        fs::remove_dir_all(dir.path().join(format!("try-{runs}"))).unwrap();
    }
    let [first, second] = kills;
    eprintln!(
        "{first} kills before the codes were there and {second} after, over {runs} runs of {whole:?}: all ended \
         in the same bytes"
    );
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    draw_pictures(dir.path());
    let with_threads = |threads: &str| {
        let name = format!("{threads}/run");
        let output = run(dir.path(), &name).args(["--threads", threads]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        results(&RunDir::new(dir.path().join(&name)))
    };
    let one = with_threads("1");
    for threads in ["2", "3", "7"] {
        for ((file, one), (_, more)) in one.iter().zip(&with_threads(threads)) {
            assert!(one == more, "{file} differs with {threads} threads");
        }
    }
}
