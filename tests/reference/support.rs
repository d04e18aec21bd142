//! Reads the fixtures and compares with them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use vqgen::checkpoint::{NamedTensor, parameters};

/// One file of `tests/reference`.
pub(crate) struct Reference {
    metadata: BTreeMap<String, String>,
    /// Shape and values of every tensor, integers too.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Reference {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
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
        let metadata = header.metadata().clone().unwrap().into_iter().collect();
        Self { metadata, tensors: tensors.collect() }
    }

    /// A value of the metadata.
    pub(crate) fn metadata<T: DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_str(&self.metadata[key]).unwrap()
    }

    /// The configuration of the model.
    pub(crate) fn config<C: DeserializeOwned>(&self) -> C {
        self.metadata("config")
    }

    /// The weights of the file.
    pub(crate) fn weights(&self) -> Vec<NamedTensor> {
        let is_weight = |name: &str| !name.starts_with("input.") && !name.starts_with("expected.");
        let weights = self.tensors.iter().filter(|(name, _)| is_weight(name));
        let weights = weights.map(|(name, (shape, values))| {
            NamedTensor::new(name, shape.clone(), values.clone()).unwrap()
        });
        weights.collect()
    }

    /// `module` with the weights of the file.
    pub(crate) fn load_into<M: Module>(&self, module: M) -> M {
        parameters::load(module, self.weights(), Path::new("the reference")).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn values(&self, name: &str) -> &[f32] {
        &self.tensors[name].1
    }

    pub(crate) fn floats<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.tensors[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    pub(crate) fn integers<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let (shape, values) = &self.tensors[name];
        let values: Vec<i32> = values.iter().map(|&x| x as i32).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), device)
    }

    /// Compares to within a part in 50,000 of the largest value.
    pub(crate) fn compare(&self, name: &str, actual: &[f32]) {
        self.compare_within(name, actual, 2e-5);
    }

    /// Compares to within a share of the largest value.
    pub(crate) fn compare_within(&self, name: &str, actual: &[f32], share: f32) {
        let expected = self.values(name);
        assert_eq!(actual.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
            assert!((a - e).abs() <= share * largest, "{name}[{index}] is {a}, the reference {e}");
        }
    }

    /// Compares the gradients of `model` with those that the file has, all of which must be the model's.
    pub(crate) fn compare_gradients<M: Module>(&self, model: &M, gradients: &Gradients) -> usize {
        self.compare_gradients_of("expected.gradient.", model, gradients)
    }

    /// The same with another prefix of their names.
    pub(crate) fn compare_gradients_of<M: Module>(
        &self,
        prefix: &str,
        model: &M,
        gradients: &Gradients,
    ) -> usize {
        let mut compared = 0;
        for gradient in in_file_layout(model, gradients) {
            let name = format!("{prefix}{}", gradient.name);
            if self.has(&name) {
                self.compare(&name, &gradient.data);
                compared += 1;
            }
        }
        let names = self.tensors.keys();
        let in_file = names.filter(|name| name.starts_with(prefix)).count();
        assert_eq!(compared, in_file, "the file has gradients of other parameters");
        compared
    }
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// The gradients of a model in file layout, 0 for untrained parameters: computed by loading them as weights into a copy
/// of the model.
fn in_file_layout<M: Module>(model: &M, gradients: &Gradients) -> Vec<NamedTensor> {
    struct Collect<'a>(&'a Gradients, BTreeMap<ParamId, TensorData>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let weight = param.val();
            let gradient = weight.grad(self.0);
            let is_trained = weight.is_require_grad();
            assert_eq!(gradient.is_some(), is_trained, "only the trained have gradients, and all");
            let gradient = gradient.unwrap_or_else(|| weight.inner().zeros_like());
            self.1.insert(param.id, gradient.into_data());
        }
    }
    struct Replace(BTreeMap<ParamId, TensorData>);
    impl ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let data = self.0.remove(&param.id).unwrap();
            param.map(|weight| Tensor::from_data(data, &weight.device()))
        }
    }
    let mut collect = Collect(gradients, BTreeMap::new());
    model.visit(&mut collect);
    parameters::named(&model.valid().map(&mut Replace(collect.1))).unwrap()
}
