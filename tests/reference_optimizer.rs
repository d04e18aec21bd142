//! The optimizer and gradient clipping against PyTorch: `tests/reference/adamw.safetensors`, `muon.safetensors` and
//! `clip.safetensors`, which `tests/reference/make_reference.py` wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use vqgen::training::{AdamWConfig, NamedGradients, Optimizer, OptimizerState};

#[derive(Module, Debug)]
struct Two {
    matrix: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

struct Reference(Vec<u8>);

impl Reference {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
        Self(std::fs::read(path).unwrap())
    }

    fn data(&self, name: &str) -> TensorData {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let values =
            tensor.data().chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        TensorData::new(values.collect::<Vec<f32>>(), tensor.shape().to_vec())
    }

    /// `{prefix}.matrix` and `{prefix}.bias`.
    fn two(&self, prefix: &str) -> Two {
        let device = Device::flex().autodiff();
        let (matrix, bias) = (format!("{prefix}.matrix"), format!("{prefix}.bias"));
        Two {
            matrix: Param::from_tensor(Tensor::from_data(self.data(&matrix), &device)),
            bias: Param::from_tensor(Tensor::from_data(self.data(&bias), &device)),
        }
    }

    /// The gradients `{prefix}.*` of `two`: those of its products with them.
    fn gradients(&self, two: &Two, prefix: &str) -> NamedGradients {
        let factors = self.two(prefix);
        let matrix = (two.matrix.val() * factors.matrix.val().detach()).sum();
        let loss = matrix + (two.bias.val() * factors.bias.val().detach()).sum();
        NamedGradients::of(two, loss.backward())
    }

    /// Compares to within a few units in the last place.
    fn compare(&self, name: &str, actual: TensorData) {
        let actual = actual.try_into_vec::<f32>().unwrap();
        let expected = self.data(name).try_into_vec::<f32>().unwrap();
        assert_eq!(actual.len(), expected.len(), "{name}");
        for (index, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert!(
                (a - e).abs() <= 1e-6 * e.abs() + 1e-9,
                "{name}[{index}] is {a}, PyTorch has {e}"
            );
        }
    }
}

#[test]
fn five_steps_of_muon_are_those_of_pytorch_in_more_digits() {
    let reference = Reference::read("muon.safetensors");
    let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let optimizer = Optimizer::new(config, |place| place.name() == "matrix");
    let mut optimizer = optimizer.with_muon(|place| place.name() == "matrix");
    let device = Device::flex().autodiff();
    let of = |name: &str| Tensor::<2>::from_data(reference.data(name), &device);
    let mut two = Two {
        matrix: Param::from_tensor(of("input.matrix")),
        bias: Param::from_tensor(Tensor::zeros([5], &device)),
    };
    for step in 0..5 {
        let gradient = of(&format!("input.{step}.gradient.matrix")).detach();
        let loss = (two.matrix.val() * gradient).sum() + two.bias.val().sum();
        let gradients = NamedGradients::of(&two, loss.backward());
        two = optimizer.step(two, gradients, 3e-3);
        let actual = two.matrix.val().into_data().try_into_vec::<f32>().unwrap();
        let name = format!("expected.{step}.matrix");
        let expected = reference.data(&name).try_into_vec::<f32>().unwrap();
        for (a, e) in actual.iter().zip(&expected) {
            assert!((a - e).abs() <= 1e-5 * e.abs() + 1e-6, "{name}: {a}, PyTorch has {e}");
        }
    }
    let OptimizerState { moments, momenta, steps } = optimizer.state();
    assert_eq!((moments.len(), momenta.len(), *steps), (1, 1, 5));
    reference.compare("expected.momentum.matrix", momenta["matrix"].clone().into_data());
}

#[test]
fn five_steps_are_those_of_pytorch() {
    let reference = Reference::read("adamw.safetensors");
    let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let mut optimizer = Optimizer::new(config, |place| place.name() == "matrix");
    let mut two = reference.two("input");
    for step in 0..5 {
        let gradients = reference.gradients(&two, &format!("input.{step}.gradient"));
        two = optimizer.step(two, gradients, 3e-4);
        reference.compare(&format!("expected.{step}.matrix"), two.matrix.val().into_data());
        reference.compare(&format!("expected.{step}.bias"), two.bias.val().into_data());
    }
    for (name, moments) in &optimizer.state().moments {
        reference.compare(&format!("expected.moment1.{name}"), moments.mean.clone().into_data());
        reference.compare(&format!("expected.moment2.{name}"), moments.square.clone().into_data());
    }
}

#[test]
fn clipping_is_that_of_pytorch_above_the_limit_and_below() {
    let reference = Reference::read("clip.safetensors");
    for case in ["large", "small"] {
        let two = reference.two(&format!("input.{case}"));
        let mut gradients = reference.gradients(&two, &format!("input.{case}"));
        let norm = gradients.norm().unwrap();
        reference.compare(&format!("expected.{case}.norm"), norm.clone().into_data());
        gradients.clip(norm, 1.0);
        for name in ["matrix", "bias"] {
            let clipped = gradients.take(name).unwrap();
            reference.compare(&format!("expected.{case}.{name}"), clipped.into_data());
        }
    }
}
