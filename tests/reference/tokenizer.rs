//! The tokenizer: latents, codes, reconstructions, the loss terms and gradients; nearest codes; averages.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor};
use vqgen::evaluation::perplexity;
use vqgen::ops::nearest::nearest_code;
use vqgen::tokenizer::{Codebook, EmaCodebook, GradientEstimator, Tokenizer, TokenizerConfig};

use super::support::{Reference, values};

fn ids<const D: usize>(codes: Tensor<D, Int>) -> Vec<f32> {
    codes.into_data().iter::<i64>().map(|id| id as f32).collect()
}

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let config: TokenizerConfig = reference.config();
    config.validate().unwrap();
    compare(&reference, &reference.load_into(Tokenizer::new(&config, 0, &device)), &device);
}

/// Compares all that the file expects of a tokenizer with what `model` gives.
pub(crate) fn compare(reference: &Reference, model: &Tokenizer, device: &Device) {
    let images = reference.floats::<4>("input.images", device);

    reference.compare("expected.latents", &values(model.latents(images.clone())));
    let codes = model.encode(images.clone());
    assert_eq!(ids(codes.clone()), reference.values("expected.codes"));
    reference.compare("expected.reconstruction", &values(model.decode(codes)));

    let output = model.forward(images.clone(), GradientEstimator::StraightThrough);
    let quantized = output.quantized;
    reference.compare("expected.quantized", &values(quantized.straight_through.clone()));
    reference.compare("expected.reconstruction", &values(output.reconstruction.clone()));
    let reconstruction = (output.reconstruction - images).square().mean().mul_scalar(1.0 / 0.06);
    let terms: Vec<_> = quantized.terms.into_iter().map(|term| term.value).collect();
    let [codebook, commitment]: [Tensor<1>; 2] = terms.try_into().unwrap();
    reference.compare("expected.loss.reconstruction", &values(reconstruction.clone()));
    reference.compare("expected.loss.codebook", &values(codebook.clone()));
    reference.compare("expected.loss.commitment", &values(commitment.clone()));
    let loss = reconstruction + codebook + commitment.mul_scalar(0.25);
    reference.compare("expected.loss.total", &values(loss.clone()));
    assert!(reference.compare_gradients(model, &loss.backward()) >= 10);

    let mut counts = vec![0u64; model.config().codebook_size];
    for id in reference.values("expected.codes") {
        counts[*id as usize] += 1;
    }
    reference.compare("expected.perplexity", &[perplexity(&counts) as f32]);
}

#[test]
fn the_plain_and_the_wide_tokenizer_agree_with_pytorch() {
    check("plain.safetensors");
    check("plain_one_halving.safetensors");
    check("plain_normalized.safetensors");
    check("wide.safetensors");
}

#[test]
fn the_resnet_tokenizer_agrees_with_pytorch() {
    check("resnet.safetensors");
    check("resnet_attention.safetensors");
    check("resnet_normalized.safetensors");
    check("resnet_folded.safetensors");
}

#[test]
fn nearest_codes_are_those_of_the_full_distance_matrix() {
    let reference = Reference::read("nearest.safetensors");
    let device = Device::flex();
    let latents = reference.floats::<2>("input.latents", &device);
    let weight = reference.floats::<2>("input.codebook", &device);
    let codes = nearest_code(latents.clone(), weight.clone());
    assert_eq!(ids(codes), reference.values("expected.codes"));
    let codebook = Codebook::of_vectors(Param::from_tensor(weight), true);
    assert_eq!(ids(codebook.assign(latents)), reference.values("expected.codes_normalized"));
}

#[test]
fn moving_averages_follow_sonnet() {
    for name in ["ema.safetensors", "ema_unused.safetensors"] {
        let reference = Reference::read(name);
        let device = Device::flex();
        let weight = reference.floats::<2>("input.codebook", &device);
        let mut codebook = Codebook::of_vectors(Param::from_tensor(weight), false);
        let mut ema = EmaCodebook::new(&codebook, 0.9);
        for step in 0..3 {
            let latents = reference.floats::<2>(&format!("input.{step}.latents"), &device);
            let codes = codebook.assign(latents.clone());
            assert_eq!(ids(codes.clone()), reference.values(&format!("expected.{step}.codes")));
            let (vectors, _) = ema.update(latents, codes, codebook.weight.val().zeros_like());
            reference
                .compare(&format!("expected.{step}.hidden_counts"), &values(ema.counts.clone()));
            reference.compare(&format!("expected.{step}.hidden_sums"), &values(ema.sums.clone()));
            reference.compare(&format!("expected.{step}.codebook"), &values(vectors.clone()));
            codebook.weight = Param::from_tensor(vectors);
        }
    }
}
