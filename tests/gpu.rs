//! A smoke test of the GPU device: one tiny step of each stage and a short cached sampling agree with the CPU.
//! Any adapter will do, a software rasteriser (Mesa's lavapipe) included; without one it is skipped and says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]
#![cfg(feature = "wgpu")]

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use vqgen::device::{self, Kind};
use vqgen::generation::PriorCodes;
use vqgen::prior::{Gpt, Positions, PriorConfig};
use vqgen::recipe::Recipe;
use vqgen::rng::{Purpose, stream};
use vqgen::sampling::{Request, SamplingConfig, generate};
use vqgen::training::prior::{PriorTrainer, SequenceBatch};
use vqgen::training::vqvae::VqvaeTrainer;

/// The first GPU of any kind.
fn gpu() -> Option<Device> {
    let found = device::list().into_iter().find(|one| one.kind != Kind::Cpu)?;
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
    let mut trainer = VqvaeTrainer::new(&config, &recipe.vqvae, 0.1, 3, &device.clone().autodiff());
    let mut rng = stream(3, Purpose::Augment, 0, 0);
    let pixels: Vec<f32> = (0..2 * 8 * 8 * 3).map(|_| rng.uniform() - 0.5).collect();
    let images = Tensor::<4>::from_data(TensorData::new(pixels, [2, 8, 8, 3]), device);
    let done = trainer.step(0, Tensor::from_inner(images.clone()), 1e-3, true).unwrap();
    let tokenizer = trainer.tokenizer.valid();
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
        dropout: 0.0,
        positions: Positions::Learned,
        tie_weights: false,
    }
}

/// Loss and gradient norm of one step of stage 2, and the logits after it.
fn prior_step(device: &Device) -> (Vec<Vec<f32>>, Gpt) {
    let recipe = Recipe::parse("{}", "the test", &["prior.dropout=0".parse().unwrap()]).unwrap();
    let config = prior_config();
    let mut trainer = PriorTrainer::new(&config, &recipe.prior, 5, &device.clone().autodiff());
    let codes = TensorData::new(vec![1, 7, 0, 3, 2, 2, 5, 6], [2, 4]);
    let batch = SequenceBatch {
        classes: Tensor::<1, Int>::from_data([8, 10], device),
        codes: Tensor::<2, Int>::from_data(codes, device),
    };
    let tokens = Tensor::cat(
        vec![batch.classes.clone().reshape([2, 1]), batch.codes.clone().narrow(1, 0, 3)],
        1,
    );
    let terms = trainer.step(0, std::iter::once(batch), 1e-3, true).unwrap();
    let gpt = trainer.gpt.valid();
    let logits = floats(gpt.forward(tokens, None));
    (vec![floats(terms), logits], gpt)
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

    // Sampling with the cache: the likeliest codes, which rounding does not change here, and drawn ones.
    let requests = [Request { index: 0, class: Some(0), prompt: vec![3] }];
    for temperature in [0.0, 1.0] {
        let config = SamplingConfig { temperature, lanes: 1, ..SamplingConfig::default() };
        let sample = |gpt: &Gpt| {
            generate(&mut PriorCodes::new(gpt), &requests, &config, 11, &mut |_, _| {}).unwrap()
        };
        assert_eq!(sample(&gpu_prior), sample(&cpu_prior), "temperature {temperature}");
    }
}
