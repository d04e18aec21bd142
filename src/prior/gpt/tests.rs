//! Tests of the network, cached decoding included.

use burn::module::{Module, ModuleVisitor};
use burn::tensor::{TensorData, Tolerance};

use super::*;
use crate::prior::{Decoder, decays};
use crate::rng::{Purpose, stream};

fn config(layers: usize, positions: Positions, tie_weights: bool) -> PriorConfig {
    PriorConfig {
        codebook_size: 11,
        n_classes: 2,
        grid_height: 2,
        grid_width: 3,
        depth: 1,
        layers,
        heads: 2,
        width: 16,
        dropout: 0.1,
        positions,
        tie_weights,
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

fn sequences(batch: usize, config: &PriorConfig, device: &Device) -> Tensor<2, Int> {
    let mut rng = stream(5, Purpose::Shuffle, 0, 0);
    let tokens: Vec<i32> = (0..batch)
        .flat_map(|i| {
            let class = config.class_token((i % 3 < 2).then_some(i % 3)) as i32;
            let codes = (1..config.n_codes()).map(|_| rng.below(config.codebook_size) as i32);
            std::iter::once(class).chain(codes).collect::<Vec<_>>()
        })
        .collect();
    Tensor::from_data(TensorData::new(tokens, [batch, config.n_codes()]), device)
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

const SHAPES: [(Positions, bool); 3] =
    [(Positions::Learned, false), (Positions::Rotary, false), (Positions::Learned, true)];

#[test]
fn logits_cover_every_code_of_every_position() {
    let device = Device::flex();
    for (positions, tie) in SHAPES {
        let config = config(2, positions, tie);
        let tokens = sequences(4, &config, &device);
        assert_eq!(gpt(&config, &device).forward(tokens, None).dims(), [4 * 6, 11]);
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
}

#[test]
fn only_matrices_of_linears_decay() {
    let model = gpt(&config(1, Positions::Learned, false), &Device::flex());
    let decayed: Vec<String> = parameters(&model)
        .into_iter()
        .filter(|(path, dims, _)| decays(path, dims.len()))
        .map(|(path, ..)| path)
        .collect();
    let block = |name: &str| format!("blocks.0.{name}.weight");
    let mut expected = ["attention.qkv", "attention.out", "mlp.up", "mlp.down"].map(block).to_vec();
    expected.push("head.weight".to_string());
    assert_eq!(decayed, expected);
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
    let tokens = sequences(8, &config, &device);
    let classes = tokens.clone().slice([0..8, 0..1]).reshape([8]);
    let codes = Tensor::cat(vec![tokens.slice([0..8, 1..6]), Tensor::zeros([8, 1], &device)], 1);
    let loss: f32 = model.loss(classes, codes, None).into_scalar();
    assert!((loss - 11f32.ln()).abs() < 0.02, "loss {loss}, a guess costs {}", 11f32.ln());
}

#[test]
fn the_loss_is_the_mean_of_the_losses_of_the_right_codes() {
    let device = Device::flex();
    let config = config(1, Positions::Learned, false);
    let model = gpt(&config, &device);
    let tokens = sequences(2, &config, &device);
    let classes = tokens.clone().slice([0..2, 0..1]).reshape([2]);
    let codes = Tensor::cat(
        vec![tokens.clone().slice([0..2, 1..6]), Tensor::from_ints([[7], [3]], &device)],
        1,
    );
    let losses = model.code_losses(classes.clone(), codes.clone(), None);
    let logits: Vec<f32> = model.forward(tokens, None).into_data().try_into_vec().unwrap();
    let targets: Vec<i32> = codes.clone().into_data().try_into_vec().unwrap();
    let expected: Vec<f32> = logits
        .chunks(11)
        .zip(targets)
        .map(|(row, target)| row.iter().map(|x| x.exp()).sum::<f32>().ln() - row[target as usize])
        .collect();
    losses.into_data().assert_approx_eq::<f32>(
        &TensorData::new(expected.clone(), [2, 6]),
        Tolerance::absolute(1e-4),
    );
    let mean: f32 = model.loss(classes, codes, None).into_scalar();
    assert!((mean - expected.iter().sum::<f32>() / 12.0).abs() < 1e-4);
}

#[test]
fn a_gradient_reaches_every_parameter() {
    let device = Device::flex().autodiff();
    for (positions, tie) in SHAPES {
        let config = config(2, positions, tie);
        let model = Gpt::new(&config, 3, &device);
        let tokens = sequences(12, &config, &device);
        let classes = tokens.clone().slice([0..12, 0..1]).reshape([12]);
        let known = tokens.slice([0..12, 1..6]);
        let codes = Tensor::cat(vec![known, Tensor::ones([12, 1], &device)], 1);
        let seeds = DropoutSeeds::new(stream(0, Purpose::Dropout, 0, 0));
        let grads = model.loss(classes, codes, Some(seeds)).backward();
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
fn a_later_token_changes_no_earlier_logits() {
    let device = Device::flex();
    for (positions, tie) in SHAPES {
        let config = config(2, positions, tie);
        let model = gpt(&config, &device);
        let tokens = sequences(1, &config, &device);
        let changed = tokens.clone().slice_fill([0..1, 4..5], 10);
        let [before, after] = [tokens, changed].map(|tokens| model.forward(tokens, None));
        let earlier = [0..4, 0..11];
        before
            .clone()
            .slice(earlier.clone())
            .into_data()
            .assert_eq(&after.clone().slice(earlier).into_data(), true);
        let later: f32 = (before - after).slice([4..6, 0..11]).abs().sum().into_scalar();
        assert!(later > 0.01, "{positions:?}: {later}");
    }
}

#[test]
fn dropout_repeats_with_its_stream_and_is_off_without_one() {
    let device = Device::flex();
    let config = config(2, Positions::Learned, false);
    let model = gpt(&config, &device);
    let run = |step: Option<u64>| {
        let seeds = step.map(|step| DropoutSeeds::new(stream(0, Purpose::Dropout, step, 0)));
        model.forward(sequences(2, &config, &device), seeds).into_data()
    };
    run(Some(1)).assert_eq(&run(Some(1)), true);
    run(None).assert_eq(&run(None), true);
    assert_ne!(run(Some(1)), run(Some(2)));
    assert_ne!(run(Some(1)), run(None));
}

#[test]
fn cached_logits_are_those_of_the_full_forward_pass() {
    let device = Device::flex();
    for layers in 1..=3 {
        for (positions, tie) in SHAPES {
            let config = config(layers, positions, tie);
            let model = gpt(&config, &device);
            let batch = 3;
            let tokens = sequences(batch, &config, &device);
            let full = model.forward(tokens.clone(), None).reshape([batch, 6, 11]);
            for given in [1, 4, 6] {
                let mut cache = model.cache(batch);
                let first = tokens.clone().slice([0..batch, 0..given]);
                let mut logits = vec![model.prefill(first, &mut cache)];
                for position in given..6 {
                    let token = tokens.clone().slice([0..batch, position..position + 1]);
                    logits.push(model.step(token.reshape([batch]), &mut cache));
                }
                assert_eq!(cache.position(), 6);
                let cached = Tensor::stack::<3>(logits, 1);
                let expected = full.clone().slice([0..batch, given - 1..6]);
                cached
                    .into_data()
                    .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
            }
        }
    }
}

#[test]
fn the_decoder_of_the_cpu_gives_the_logits_of_the_full_forward_pass() {
    let device = Device::flex();
    for layers in 1..=3 {
        for (positions, tie) in SHAPES {
            let config = config(layers, positions, tie);
            let model = gpt(&config, &device);
            let tokens = sequences(3, &config, &device);
            let full = model.forward(tokens.clone(), None).into_data();
            let full: Vec<f32> = full.try_into_vec().unwrap(); // [3, 6, 11]
            let tokens: Vec<usize> =
                tokens.into_data().iter::<i64>().map(|token| token as usize).collect();
            let mut decoder = Decoder::new(&model);
            for _ in 0..2 {
                decoder.start(3);
                for position in 0..6 {
                    let column: Vec<usize> = (0..3).map(|row| tokens[row * 6 + position]).collect();
                    let logits = decoder.step(&column);
                    for (row, logits) in logits.chunks(11).enumerate() {
                        let wanted = &full[(row * 6 + position) * 11..][..11];
                        for (logit, wanted) in logits.iter().zip(wanted) {
                            assert!((logit - wanted).abs() < 1e-4, "{logit}, not {wanted}");
                        }
                    }
                    // A sequence alone gets the same logits, to the last bit.
                    if position == 0 {
                        let mut alone = Decoder::new(&model);
                        alone.start(1);
                        assert_eq!(alone.step(&column[1..2]), logits[11..22]);
                    }
                }
            }
        }
    }
}

#[test]
fn sequences_split_among_threads_get_the_same_logits() {
    let config = config(1, Positions::Learned, false);
    let model = gpt(&config, &Device::flex());
    let tokens: Vec<usize> = (0..25).map(|row| row % 11).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut decoder = Decoder::new(&model);
            decoder.start(25);
            (0..3).flat_map(|_| decoder.step(&tokens)).collect::<Vec<f32>>()
        })
    };
    let together = on(1);
    // Groups of 13 and 12, of 9 and 7, and all at once.
    for threads in [2, 3, 7] {
        assert_eq!(on(threads), together, "{threads} threads");
    }
}

#[test]
fn a_model_taken_out_of_training_decodes_too() {
    for positions in [Positions::Learned, Positions::Rotary] {
        let config = config(1, positions, false);
        let model = gpt(&config, &Device::flex().autodiff()).valid();
        let device = model.device();
        let mut cache = model.cache(2);
        let first = sequences(2, &config, &device).slice([0..2, 0..2]);
        model.prefill(first, &mut cache);
        let logits = model.step(Tensor::from_ints([1, 2], &device), &mut cache);
        assert!(!logits.is_require_grad() && logits.dims() == [2, 11]);
    }
}
