//! The prior against PyTorch: logits, losses and every gradient of the models in `tests/reference/gpt_*.safetensors`,
//! which `tests/reference/make_reference.py` wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use vqgen::checkpoint::{NamedTensor, parameters};
use vqgen::prior::{Gpt, PriorConfig};

struct Reference {
    config: PriorConfig,
    /// Shape and values of every tensor, integers too.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Reference {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &header.metadata().as_ref().unwrap()["config"];
        let config = serde_json::from_str(config).unwrap();
        let number = |dtype: Dtype, bytes: &[u8]| match dtype {
            Dtype::F32 => f32::from_le_bytes(bytes.try_into().unwrap()),
            Dtype::I32 => i32::from_le_bytes(bytes.try_into().unwrap()) as f32,
            other => panic!("a reference of type {other:?}"),
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().map(|(name, view)| {
            let values = view.data().chunks(4).map(|bytes| number(view.dtype(), bytes)).collect();
            (name.to_string(), (view.shape().to_vec(), values))
        });
        Self { config, tensors: tensors.collect() }
    }

    fn model(&self, device: &Device) -> Gpt {
        let is_weight = |name: &str| !name.starts_with("input.") && !name.starts_with("expected.");
        let weights = self.tensors.iter().filter(|(name, _)| is_weight(name));
        let weights = weights.map(|(name, (shape, values))| {
            NamedTensor::new(name, shape.clone(), values.clone()).unwrap()
        });
        let model = Gpt::new(&self.config, 0, device);
        parameters::load(model, weights.collect(), Path::new("the reference")).unwrap()
    }

    fn integers<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let (shape, values) = &self.tensors[name];
        let values: Vec<i32> = values.iter().map(|&x| x as i32).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), device)
    }

    /// Compares to within a part in 50,000 of the largest value.
    fn compare(&self, name: &str, actual: &[f32]) {
        let (_, expected) = &self.tensors[name];
        assert_eq!(actual.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
            assert!((a - e).abs() <= 2e-5 * largest, "{name}[{index}] is {a}, PyTorch has {e}");
        }
    }
}

/// The gradients of a model in file layout: computed by handing them to a copy of it as its weights.
fn gradients(model: &Gpt, gradients: &Gradients) -> Vec<NamedTensor> {
    struct Collect<'a>(&'a Gradients, BTreeMap<burn::module::ParamId, TensorData>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).expect("every parameter has a gradient");
            self.1.insert(param.id, gradient.into_data());
        }
    }
    struct Replace(BTreeMap<burn::module::ParamId, TensorData>);
    impl burn::module::ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let data = self.0.remove(&param.id).unwrap();
            param.map(|weight| Tensor::from_data(data, &weight.device()))
        }
    }
    let mut collect = Collect(gradients, BTreeMap::new());
    model.visit(&mut collect);
    parameters::named(&model.valid().map(&mut Replace(collect.1))).unwrap()
}

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let model = reference.model(&device);
    let values = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };

    let tokens = reference.integers::<2>("input.tokens", &device);
    reference.compare("expected.logits", &values(model.forward(tokens, None)));

    let classes = reference.integers::<1>("input.classes", &device);
    let codes = reference.integers::<2>("input.codes", &device);
    let losses = model.code_losses(classes.clone(), codes.clone(), None);
    reference.compare("expected.losses", &values(losses));

    let loss = model.loss(classes, codes, None);
    reference.compare("expected.loss", &[loss.clone().into_scalar()]);

    for gradient in gradients(&model, &loss.backward()) {
        reference.compare(&format!("expected.gradient.{}", gradient.name), &gradient.data);
    }
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
