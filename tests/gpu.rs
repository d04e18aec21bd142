//! A smoke test of the GPU device: one tiny step of each stage and a short sampling with the KV cache agree with the
//! CPU, and a run that began there resumes on the CPU. Any adapter will do, including a software rasteriser (Mesa's
//! lavapipe); without one it is skipped with a message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]
#![cfg(feature = "wgpu")]

use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use vqgen::checkpoint::{Codes, Kind, ModelFile, RunDir, Stage};
use vqgen::data::{Split, View};
use vqgen::device;
use vqgen::generation::sample_codes;
use vqgen::prior::{Condition, Prior, PriorConfig};
use vqgen::recipe::Recipe;
use vqgen::rng::{Purpose, stream};
use vqgen::sampling::{Request, SamplingConfig};
use vqgen::training::prior::{PriorTrainer, SequenceBatch, train_prior};
use vqgen::training::vqvae::VqvaeTrainer;
use vqgen::training::{Begin, Job};

/// The first GPU of any kind.
fn gpu() -> Option<Device> {
    let found = device::list().into_iter().find(|one| one.kind != device::Kind::Cpu)?;
    Some(device::open(found.spec).expect("an adapter that is listed can be opened").device)
}

fn assert_near(name: &str, gpu: &[f32], cpu: &[f32]) {
    assert_eq!(gpu.len(), cpu.len(), "{name}");
    let largest = cpu.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    for (gpu, cpu) in gpu.iter().zip(cpu) {
        assert!((gpu - cpu).abs() <= 2e-3 * largest, "{name}: GPU {gpu}, CPU {cpu}");
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().iter::<f32>().collect()
}

/// The terms of one step of stage 1, and the reconstruction after it.
fn vqvae_step(device: &Device) -> Vec<Vec<f32>> {
    let set = |key: &str| key.parse().unwrap();
    let overrides = [
        "data.image_size=8",
        "vqvae.width=8",
        "vqvae.residual_width=4",
        "vqvae.residual_blocks=1",
        "vqvae.codebook_size=8",
        "vqvae.code_dim=4",
        "vqvae.batch_size=2",
    ];
    let recipe = Recipe::parse("{}", "the test", &overrides.map(set)).unwrap();
    let config = recipe.vqvae.tokenizer_config(&recipe.data);
    let mut trainer =
        VqvaeTrainer::new(&config, &recipe.vqvae, 0.1, 3, &device.clone().autodiff()).unwrap();
    let mut rng = stream(3, Purpose::Augment, 0, 0);
    let pixels: Vec<f32> = (0..2 * 8 * 8 * 3).map(|_| rng.uniform() - 0.5).collect();
    let images = Tensor::<4>::from_data(TensorData::new(pixels, [2, 8, 8, 3]), device);
    let done = trainer.step(0, Tensor::from_inner(images.clone()), 1e-3, true).unwrap();
    let tokenizer = trainer.tokenizer.module.valid();
    vec![
        floats(done.terms),
        floats(done.counts),
        floats(tokenizer.latents(images.clone())),
        floats(tokenizer.decode(tokenizer.encode(images))),
    ]
}

fn prior_config() -> PriorConfig {
    PriorConfig {
        codebook_size: 8,
        n_classes: 2,
        grid_height: 2,
        grid_width: 2,
        layers: 1,
        heads: 2,
        width: 8,
        ..PriorConfig::default()
    }
}

/// Loss and gradient norm of one step of stage 2, and the nats of each code after it.
fn prior_step(device: &Device) -> (Vec<Vec<f32>>, Prior) {
    let recipe = Recipe::parse("{}", "the test", &["prior.dropout=0".parse().unwrap()]).unwrap();
    let config = prior_config();
    let mut trainer = PriorTrainer::new(&config, &recipe.prior, 5, &device.clone().autodiff());
    let conditions = [Some(0), None].map(Condition::of_class);
    let codes = [1, 7, 0, 3, 2, 2, 5, 6];
    let batch = SequenceBatch::new(&conditions, codes.into_iter(), &config, device);
    let terms = trainer.step(0, std::iter::once(batch.clone()), 1e-3, true).unwrap();
    let prior = trainer.prior.module.valid();
    let nats = floats(prior.score(&batch.conditions, batch.codes.targets));
    (vec![floats(terms), nats], prior)
}

#[test]
fn a_gpu_computes_what_the_cpu_does() {
    let Some(gpu) = gpu() else {
        eprintln!("skipped: there is no GPU adapter, not even a software one");
        return;
    };
    let cpu = Device::flex();

    for (i, (gpu, cpu)) in vqvae_step(&gpu).iter().zip(&vqvae_step(&cpu)).enumerate() {
        assert_near(&format!("value {i} of stage 1"), gpu, cpu);
    }

    let (on_gpu, gpu_prior) = prior_step(&gpu);
    let (on_cpu, cpu_prior) = prior_step(&cpu);
    for (i, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
        assert_near(&format!("value {i} of stage 2"), gpu, cpu);
    }

    // Sampling with the KV cache: greedy codes, which rounding does not change here, and random ones.
    let requests =
        [Request { index: 0, condition: Condition::of_class(Some(0)), given: vec![Some(3)] }];
    for temperature in [0.0, 1.0] {
        let config = SamplingConfig { temperature, lanes: 1, ..SamplingConfig::default() };
        let sample =
            |prior: &Prior| sample_codes(prior, &requests, &config, 11, &mut |_, _| {}).unwrap();
        assert_eq!(sample(&gpu_prior), sample(&cpu_prior), "temperature {temperature}");
    }
}

/// 8 images of 2x2 codes in two classes.
fn codes() -> Codes {
    Codes {
        height: 2,
        width: 2,
        depth: 1,
        codebook_size: 8,
        codes: (0..32).map(|i| (i * 5 % 8) as u16).collect(),
        labels: (0..8).map(|i| i % 2).collect(),
        splits: vec![Split::Train; 8],
        views: vec![View::AS_IS; 8],
        names: Vec::new(),
        captions: Vec::new(),
        classes: vec!["a".to_owned(), "b".to_owned()],
        tokenizer: "0123456789abcdef".to_owned(),
        data: None,
        image_size: 8,
        channels: 3,
    }
}

#[test]
fn a_run_made_on_a_gpu_goes_on_on_the_cpu() {
    let Some(gpu) = gpu() else {
        eprintln!("skipped: there is no GPU adapter, not even a software one");
        return;
    };
    let settings = ["layers=1", "heads=2", "width=8", "batch_size=2", "dropout=0", "views=none"];
    let settings = settings.map(|set| format!("prior.{set}").parse().unwrap());
    let with_steps = |steps: usize| {
        let steps = format!("prior.steps={steps}").parse().unwrap();
        Recipe::parse("{}", "the test", &[&settings[..], &[steps]].concat()).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str, device: &Device, steps: usize| {
        let run = RunDir::new(folder.path().join(name));
        let stop = AtomicBool::new(false);
        let job =
            Job { run: &run, begin: Begin::Either, from: None, stop: &stop, emit: &mut |_| {} };
        train_prior(&with_steps(steps), &codes(), device, job).unwrap();
        let weights = ModelFile::load(run.model_path(Stage::Prior), Kind::Prior).unwrap();
        weights.tensors().to_vec()
    };
    train("moved", &gpu, 1);
    let moved = train("moved", &Device::flex(), 2);
    let stayed = train("stayed", &Device::flex(), 2);
    for (moved, stayed) in moved.iter().zip(&stayed) {
        assert_near(&moved.name, &moved.data, &stayed.data);
    }
}
