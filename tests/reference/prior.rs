//! The prior: logits, losses and every gradient.

use burn::tensor::Device;
use vqgen::checkpoint::parameters;
use vqgen::prior::{Gpt, PriorConfig};

use super::support::{Reference, values};

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let config: PriorConfig = reference.config();
    let model = reference.load_into(Gpt::new(&config, 0, &device));

    let tokens = reference.integers::<2>("input.tokens", &device);
    reference.compare("expected.logits", &values(model.forward(tokens, None)));

    let classes = reference.integers::<1>("input.classes", &device);
    let codes = reference.integers::<2>("input.codes", &device);
    let losses = model.code_losses(classes.clone(), codes.clone(), None);
    reference.compare("expected.losses", &values(losses));

    let loss = model.loss(classes, codes, None);
    reference.compare("expected.loss", &[loss.clone().into_scalar()]);

    let compared = reference.compare_gradients(&model, &loss.backward());
    assert_eq!(compared, parameters::names(&model).len());
}

#[test]
fn a_prior_with_learned_positions_agrees_with_pytorch() {
    check("gpt_learned.safetensors");
}

#[test]
fn a_prior_with_rotary_positions_agrees_with_pytorch() {
    check("gpt_rotary.safetensors");
}

#[test]
fn a_prior_with_tied_weights_agrees_with_pytorch() {
    check("gpt_tied.safetensors");
}
