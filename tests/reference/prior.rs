//! The prior: logits, losses and every gradient.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use vqgen::checkpoint::parameters;
use vqgen::prior::{CodeBatch, Condition, Conditions, Gpt, MaskedDecoder, Prior, PriorConfig};

use super::support::{Reference, values};

/// The conditions of a case: class tokens of the vocabulary, and captions that end in -1.
fn conditions(reference: &Reference, config: &PriorConfig) -> Vec<Condition> {
    let device = Device::flex();
    let class = |token: i64| {
        let class = token as usize - config.codebook_size;
        (class < config.n_classes).then_some(class)
    };
    let classes = reference.integers::<1>("input.classes", &device).into_data();
    let classes: Vec<Option<usize>> = classes.iter::<i64>().map(class).collect();
    let captions: Vec<Vec<u32>> = match config.has_captions() {
        false => vec![Vec::new(); classes.len()],
        true => {
            let captions = reference.integers::<2>("input.captions", &device).into_data();
            let captions: Vec<i64> = captions.iter::<i64>().collect();
            let tokens = |row: &[i64]| -> Vec<u32> {
                row.iter().map_while(|token| (*token).try_into().ok()).collect()
            };
            captions.chunks(4).map(tokens).collect()
        }
    };
    classes.into_iter().zip(captions).map(|(class, caption)| Condition { class, caption }).collect()
}

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let config: PriorConfig = reference.config();
    let model = reference.load_into(Gpt::new(&config, 0, &device));
    let conditions = Conditions::new(&conditions(&reference, &config), &config, &device);

    let tokens = reference.integers::<2>("input.tokens", &device);
    let [batch, sequence] = tokens.dims();
    let known = tokens.slice([0..batch, 1..sequence]);
    let logits = model.forward(&conditions, Some(known), None);
    reference.compare("expected.logits", &values(logits));

    let codes = reference.integers::<2>("input.codes", &device);
    let losses = model.code_losses(&conditions, codes, None);
    reference.compare("expected.losses", &values(losses.clone()));
    compare_gradients(&reference, losses.mean(), &model);
}

fn check_masked(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let config: PriorConfig = reference.config();
    let model = reference.load_into(Gpt::new(&config, 0, &device));
    let of_case = conditions(&reference, &config);

    let seen: Tensor<2, Int> = reference.integers("input.seen", &device);
    let known = |token: i64| (token as usize != config.mask_token()).then_some(token as u16);
    let known: Vec<Option<u16>> = seen.to_data().iter::<i64>().map(known).collect();
    let plain = model.valid();
    let logits = MaskedDecoder::new(&plain).logits(&of_case, &known).unwrap();
    reference.compare("expected.logits", &logits);

    let conditions = Conditions::new(&of_case, &config, &device);
    let codes = reference.integers::<2>("input.codes", &device);
    let prior = Prior::Masked(model);
    compare_gradients(
        &reference,
        prior.loss(&conditions, CodeBatch { targets: codes, seen, order: None }, None),
        &prior,
    );
}

fn compare_gradients<M: Module>(reference: &Reference, loss: Tensor<1>, model: &M) {
    reference.compare("expected.loss", &[loss.clone().into_scalar()]);
    let compared = reference.compare_gradients(model, &loss.backward());
    assert_eq!(compared, parameters::named(model).unwrap().len());
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

#[test]
fn a_prior_with_captions_agrees_with_pytorch() {
    check("gpt_captions.safetensors");
    check("gpt_captions_rotary.safetensors");
}

#[test]
fn a_prior_of_rms_norms_squared_relu_and_normalised_queries_and_keys_agrees_with_pytorch() {
    check("gpt_blocks.safetensors");
    check("gpt_blocks_rotary.safetensors");
}

#[test]
fn a_prior_of_codes_in_any_order_agrees_with_pytorch() {
    let reference = Reference::read("gpt_order.safetensors");
    let device = Device::flex().autodiff();
    let config: PriorConfig = reference.config();
    let model = reference.load_into(Gpt::new(&config, 0, &device));
    let conditions = Conditions::new(&conditions(&reference, &config), &config, &device);
    // In the file they are in their order.
    let codes = reference.integers::<2>("input.codes", &device);
    let order = Some(reference.integers::<2>("input.order", &device));
    let batch = CodeBatch { seen: codes.clone(), targets: codes, order };
    let losses = model.losses_of(&conditions, batch, None);
    reference.compare("expected.losses", &values(losses.clone()));
    compare_gradients(&reference, losses.mean(), &model);
}

#[test]
fn a_masked_prior_agrees_with_pytorch() {
    check_masked("masked.safetensors");
    check_masked("masked_rotary.safetensors");
}
