//! The prior: logits, losses and every gradient.

use burn::tensor::{Device, Int, Tensor};
use vqgen::checkpoint::parameters;
use vqgen::prior::{Condition, Conditions, Gpt, PriorConfig};

use super::support::{Reference, values};

/// The classes that tokens of the vocabulary stand for.
fn conditions(tokens: Tensor<1, Int>, config: &PriorConfig) -> Conditions {
    let device = tokens.device();
    let class = |token: i64| {
        let class = token as usize - config.codebook_size;
        Condition::of_class((class < config.n_classes).then_some(class))
    };
    let conditions: Vec<_> = tokens.into_data().iter::<i64>().map(class).collect();
    Conditions::new(&conditions, config, &device)
}

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let config: PriorConfig = reference.config();
    let model = reference.load_into(Gpt::new(&config, 0, &device));

    let tokens = reference.integers::<2>("input.tokens", &device);
    let [batch, sequence] = tokens.dims();
    let classes = tokens.clone().slice([0..batch, 0..1]).reshape([batch]);
    let known = tokens.slice([0..batch, 1..sequence]);
    let logits = model.forward(&conditions(classes, &config), Some(known), None);
    reference.compare("expected.logits", &values(logits));

    let conditions = conditions(reference.integers::<1>("input.classes", &device), &config);
    let codes = reference.integers::<2>("input.codes", &device);
    let losses = model.code_losses(&conditions, codes, None);
    reference.compare("expected.losses", &values(losses.clone()));

    let loss = losses.mean();
    reference.compare("expected.loss", &[loss.clone().into_scalar()]);

    let compared = reference.compare_gradients(&model, &loss.backward());
    assert_eq!(compared, parameters::named(&model).unwrap().len());
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
