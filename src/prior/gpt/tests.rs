//! Tests of the network.

mod captions;
mod decoding;
mod order;

use burn::module::{Module, ModuleVisitor};
use burn::tensor::{TensorData, Tolerance};

use super::*;
use crate::prior::{Condition, Prior, PriorActivation, PriorKind};
use crate::rng::{Purpose, stream};

fn config(layers: usize, positions: Positions, tie_weights: bool) -> PriorConfig {
    PriorConfig {
        codebook_size: 11,
        n_classes: 2,
        grid_height: 2,
        grid_width: 3,
        layers,
        heads: 2,
        width: 16,
        dropout: 0.1,
        positions,
        tie_weights,
        ..PriorConfig::default()
    }
}

fn gpt(config: &PriorConfig, device: &Device) -> Gpt {
    // Weights of deviation 0.02 make logits of nearly 0, which would agree by accident.
    struct Grow;
    impl burn::module::ModuleMapper for Grow {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D == 2 { param.map(|x| x * 12.0) } else { param }
        }
    }
    Gpt::new(config, 3, device).map(&mut Grow)
}

/// Conditions of every kind in turn, and random codes.
fn sequences(batch: usize, config: &PriorConfig) -> (Vec<Condition>, Vec<usize>) {
    let mut rng = stream(5, Purpose::Shuffle, 0, 0);
    // Captions of 0 to 4 tokens: some shorter, some longer than what counts.
    let caption = |i: usize| match config.has_captions() {
        true => (0..i % 5).map(|at| ((2 * i + at) % config.caption_tokens) as u32).collect(),
        false => Vec::new(),
    };
    let condition = |i| Condition { class: (i % 3 < 2).then_some(i % 3), caption: caption(i) };
    let codes = (0..batch * config.n_codes()).map(|_| rng.below(config.codebook_size));
    ((0..batch).map(condition).collect(), codes.collect())
}

/// The same on a device.
fn batch(batch: usize, config: &PriorConfig, device: &Device) -> (Conditions, Tensor<2, Int>) {
    let (conditions, codes) = sequences(batch, config);
    let codes: Vec<i32> = codes.into_iter().map(|code| code as i32).collect();
    let codes = Tensor::from_data(TensorData::new(codes, [batch, config.n_codes()]), device);
    (Conditions::new(&conditions, config, device), codes)
}

/// The logits of every code of `rows` sequences, `[rows * n_codes, codebook_size]`.
fn logits_of(model: &Gpt, rows: usize, dropout: Option<DropoutSeeds>) -> Tensor<2> {
    let (conditions, codes) = batch(rows, model.config(), &model.device());
    let known = codes.slice([0..rows, 0..model.config().n_codes() - 1]);
    model.forward(&conditions, Some(known), dropout)
}

/// Calls a function with the path and the value of every parameter.
struct Visit<F: FnMut(&str, Vec<usize>, TensorData)> {
    path: Vec<String>,
    each: F,
}

impl<F: FnMut(&str, Vec<usize>, TensorData)> ModuleVisitor for Visit<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.each)(&self.path.join("."), param.dims().to_vec(), param.val().into_data());
    }
}

fn parameters(model: &Gpt) -> Vec<(String, Vec<usize>, TensorData)> {
    let mut found = Vec::new();
    let each = |path: &str, dims, data| found.push((path.to_string(), dims, data));
    model.visit(&mut Visit { path: Vec::new(), each });
    found
}

/// Every kind of prior: both kinds of positions, tied weights, and captions.
fn configs(layers: usize) -> Vec<PriorConfig> {
    let plain = |(positions, tie)| config(layers, positions, tie);
    let captioned = |positions| PriorConfig {
        caption_tokens: 5,
        caption_length: 3,
        ..config(layers, positions, false)
    };
    let without =
        [(Positions::Learned, false), (Positions::Rotary, false), (Positions::Learned, true)];
    let with = [Positions::Learned, Positions::Rotary].map(captioned);
    let other_blocks = |config| PriorConfig {
        norm: PriorNorm::Rms,
        activation: PriorActivation::SquaredRelu,
        qk_norm: true,
        ..config
    };
    let any_order = |config| PriorConfig { target_positions: true, ..config };
    let with_targets =
        [captioned(Positions::Learned), plain((Positions::Learned, true))].map(any_order);
    let all = without.map(plain).into_iter().chain(with).chain(with_targets);
    all.chain([captioned(Positions::Rotary), plain((Positions::Learned, false))].map(other_blocks))
        .collect()
}

#[test]
fn logits_cover_every_code_of_every_position() {
    let device = Device::flex();
    for config in configs(2) {
        let model = gpt(&config, &device);
        assert_eq!(logits_of(&model, 4, None).dims(), [4 * 6, 11]);
        let (conditions, _) = batch(4, &config, &device);
        assert_eq!(model.forward(&conditions, None, None).dims(), [4, 11]);
    }
}

#[test]
fn parameter_names_and_shapes_are_stable() {
    let names = |positions, tie| -> Vec<String> {
        parameters(&gpt(&config(1, positions, tie), &Device::flex()))
            .into_iter()
            .map(|(path, dims, _)| format!("{path} {dims:?}"))
            .collect()
    };
    let block = [
        "blocks.0.norm1.weight [16]",
        "blocks.0.norm1.bias [16]",
        "blocks.0.attention.qkv.weight [16, 48]",
        "blocks.0.attention.qkv.bias [48]",
        "blocks.0.attention.out.weight [16, 16]",
        "blocks.0.attention.out.bias [16]",
        "blocks.0.norm2.weight [16]",
        "blocks.0.norm2.bias [16]",
        "blocks.0.mlp.up.weight [16, 64]",
        "blocks.0.mlp.up.bias [64]",
        "blocks.0.mlp.down.weight [64, 16]",
        "blocks.0.mlp.down.bias [16]",
        "norm.weight [16]",
        "norm.bias [16]",
    ];
    assert_eq!(
        names(Positions::Learned, false),
        [&["token.weight [14, 16]", "position [6, 16]"], &block[..], &["head.weight [16, 11]"]]
            .concat()
    );
    assert_eq!(names(Positions::Rotary, true), [&["token.weight [14, 16]"], &block[..]].concat());
    let captioned = configs(1).into_iter().find(PriorConfig::has_captions).unwrap();
    let captioned = parameters(&gpt(&captioned, &Device::flex()));
    let added = captioned.iter().filter(|(path, ..)| path.starts_with("caption."));
    let added: Vec<String> = added.map(|(path, dims, _)| format!("{path} {dims:?}")).collect();
    assert_eq!(added, ["caption.token.weight [6, 16]", "caption.position [3, 16]"]);
    assert_eq!(captioned.len(), 2 + block.len() + 1 + 2);
}

#[test]
fn what_a_training_pass_keeps_is_16_widths_a_block_and_the_ends() {
    let model = Gpt::new(&config(3, Positions::Learned, false), 0, &Device::flex());
    // 6 positions: norm, queries to values, heads, sum, norm, both sides of GELU, sum; embedding and norm; logits twice.
    let block = 16 * (1 + 3 + 1 + 1 + 1 + 2 * 4 + 1);
    assert_eq!(model.activations(), 6 * (3 * block + 2 * 16 + 2 * 11));
}

#[test]
fn initial_weights_are_those_of_gpt_2_and_depend_on_the_seed_alone() {
    let mut config = config(2, Positions::Learned, false);
    config.width = 64;
    let device = Device::flex();
    let first = parameters(&Gpt::new(&config, 1, &device));
    for (path, dims, data) in &first {
        let values = data.as_slice::<f32>().unwrap();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / values.len() as f32;
        let expected = match (dims.len(), path.as_str()) {
            (1, _) => 0.0,
            (_, path) if path.ends_with("out.weight") || path.ends_with("down.weight") => 0.01,
            _ => 0.02,
        };
        assert!((square.sqrt() - expected).abs() < 0.15 * 0.02, "{path}: {}", square.sqrt());
        let is_gain = path.contains("norm") && path.ends_with("weight");
        assert!((mean - f32::from(u8::from(is_gain))).abs() < 0.003, "{path}: mean {mean}");
    }
    let again = parameters(&Gpt::new(&config, 1, &device));
    let other = parameters(&Gpt::new(&config, 2, &device));
    assert!(first.iter().zip(&again).all(|(a, b)| a.2 == b.2));
    assert_ne!(first[0].2, other[0].2);
}

#[test]
fn a_fresh_network_knows_nothing() {
    let device = Device::flex();
    let config = config(2, Positions::Learned, false);
    let model = Gpt::new(&config, 0, &device);
    let (conditions, codes) = batch(8, &config, &device);
    let loss: f32 = model.code_losses(&conditions, codes, None).mean().into_scalar();
    assert!((loss - 11f32.ln()).abs() < 0.02, "loss {loss}, a guess costs {}", 11f32.ln());
}

#[test]
fn the_loss_is_the_mean_of_the_losses_of_the_right_codes() {
    let device = Device::flex();
    let config = config(1, Positions::Learned, false);
    let model = gpt(&config, &device);
    let logits: Vec<f32> = logits_of(&model, 2, None).into_data().try_into_vec().unwrap();
    let (conditions, codes) = batch(2, &config, &device);
    let expected: Vec<f32> = logits
        .chunks(11)
        .zip(sequences(2, &config).1)
        .map(|(row, code)| row.iter().map(|x| x.exp()).sum::<f32>().ln() - row[code])
        .collect();
    let prior = Prior::Autoregressive(model);
    let score = prior.score(&conditions, codes.clone());
    score.into_data().assert_approx_eq::<f32>(
        &TensorData::new(expected.clone(), [2, 6]),
        Tolerance::absolute(1e-4),
    );
    let mean: f32 = prior.loss(&conditions, CodeBatch::of(codes), None).into_scalar();
    assert!((mean - expected.iter().sum::<f32>() / 12.0).abs() < 1e-4);
}

#[test]
fn a_gradient_reaches_every_parameter() {
    let device = Device::flex().autodiff();
    for config in configs(2) {
        let model = Gpt::new(&config, 3, &device);
        let (conditions, codes) = batch(12, &config, &device);
        let seeds = DropoutSeeds::new(stream(0, Purpose::Dropout, 0, 0));
        let grads = model.code_losses(&conditions, codes, Some(seeds)).mean().backward();
        struct Reach<'a>(&'a burn::tensor::Gradients, usize);
        impl ModuleVisitor for Reach<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let grad = param.val().grad(self.0).expect("every parameter has a gradient");
                let size: f32 = grad.abs().sum().into_scalar();
                assert!(size > 0.0 && size.is_finite(), "parameter {}: {size}", self.1);
                self.1 += 1;
            }
        }
        let mut reach = Reach(&grads, 0);
        model.visit(&mut reach);
        assert_eq!(reach.1, parameters(&model).len());
    }
}

#[test]
fn a_later_code_changes_no_earlier_logits() {
    let device = Device::flex();
    for config in configs(2) {
        let model = gpt(&config, &device);
        let (conditions, codes) = batch(1, &config, &device);
        let changed = codes.clone().slice_fill([0..1, 3..4], 10);
        let [before, after] = [codes, changed].map(|codes| {
            let known = codes.slice([0..1, 0..5]);
            model.forward(&conditions, Some(known), None)
        });
        let earlier = [0..4, 0..11];
        before
            .clone()
            .slice(earlier.clone())
            .into_data()
            .assert_eq(&after.clone().slice(earlier).into_data(), true);
        let later: f32 = (before - after).slice([4..6, 0..11]).abs().sum().into_scalar();
        assert!(later > 0.01, "{config:?}: {later}");
    }
}

#[test]
fn dropout_repeats_with_its_stream_and_is_off_without_one() {
    let device = Device::flex();
    let config = config(2, Positions::Learned, false);
    let model = gpt(&config, &device);
    let run = |step: Option<u64>| {
        let seeds = step.map(|step| DropoutSeeds::new(stream(0, Purpose::Dropout, step, 0)));
        logits_of(&model, 2, seeds).into_data()
    };
    run(Some(1)).assert_eq(&run(Some(1)), true);
    run(None).assert_eq(&run(None), true);
    assert_ne!(run(Some(1)), run(Some(2)));
    assert_ne!(run(Some(1)), run(None));
}

#[test]
fn a_condition_that_was_not_learned_is_refused() {
    let without = config(1, Positions::Learned, false);
    let with = PriorConfig { caption_tokens: 5, caption_length: 3, ..without.clone() };
    let refused = |config: &PriorConfig, class, caption: &[u32]| {
        let condition = Condition { class, caption: caption.to_vec() };
        condition.check(config).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&without, None, &[]), None);
    assert_eq!(refused(&with, Some(1), &[4, 0, 1, 2]), None);
    let class = "cannot sample class 2: the prior knows 2 classes";
    assert_eq!(refused(&without, Some(2), &[]).unwrap(), class);
    let caption = "cannot sample a caption: the prior was trained without";
    assert_eq!(refused(&without, None, &[0]).unwrap(), caption);
    let token = "cannot sample token 5: the prior knows 5 tokens";
    assert_eq!(refused(&with, None, &[0, 5]).unwrap(), token);
}
