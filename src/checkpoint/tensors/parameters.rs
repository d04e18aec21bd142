//! Between a Burn module and named tensors in file layout. A name is the path of fields to a parameter, joined by dots,
//! with the index within a `Vec`; the variant of an enum is left out, so that `encoder.conv.weight` does not change
//! when a preset becomes an enum. Files are not known here, except by name in errors.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::named_tensor::NamedTensor;
use super::place::Place;
use crate::error::{Error, Result};

/// Every float parameter of `module`, sorted by name, in file layout (PyTorch's), whether trained or not: an EMA
/// codebook is among them. Synchronises with the device once per parameter.
///
/// # Errors
/// A parameter that cannot be read back or holds integers or booleans (files hold floats), or a `weight` of `Linear`,
/// `Conv2d` or `ConvTranspose2d` of the wrong rank.
pub fn named<M: Module>(module: &M) -> Result<Vec<NamedTensor>> {
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    if let Some(error) = visitor.error {
        return Err(error);
    }
    let mut tensors = visitor.tensors;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Parameter count of `module`, frozen ones included, from their shapes: none of them is initialised. Saturates at
/// `u64::MAX`, for a shape that lies.
pub fn count<M: Module>(module: &M) -> u64 {
    struct Count(u64);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape();
            let numbers = shape.iter().fold(1, |n: u64, extent| n.saturating_mul(*extent as u64));
            self.0 = self.0.saturating_add(numbers);
        }
    }
    let mut visitor = Count(0);
    module.visit(&mut visitor);
    visitor.0
}

/// Name and shape in files of every float parameter of `module`, in the order of its fields: none is initialised.
///
/// # Errors
/// A `weight` of `Linear`, `Conv2d` or `ConvTranspose2d` of the wrong rank.
pub fn shapes<M: Module>(module: &M) -> Result<Vec<(String, Vec<usize>)>> {
    #[derive(Default)]
    struct Shapes(Place, Vec<Result<(String, Vec<usize>)>>);
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let layout = self.0.layout(D).map_err(Error::invalid);
            let shape = param.lazy_shape();
            let in_file = layout.map(|layout| layout.file_shape(shape.as_slice()));
            self.1.push(in_file.map(|shape| (self.0.name(), shape)));
        }
    }
    let mut visitor = Shapes::default();
    module.visit(&mut visitor);
    visitor.1.into_iter().collect()
}

/// Replaces every float parameter of `module` with the tensor of its name. Parameters keep their id, their device and
/// whether they are trained. `source` is the file the tensors came from, for messages.
///
/// # Errors
/// A parameter without a tensor, a tensor without a parameter, another shape, or a value that is not finite.
pub fn load<M: Module>(module: M, tensors: Vec<NamedTensor>, source: &Path) -> Result<M> {
    let mut by_name = BTreeMap::new();
    for tensor in tensors {
        if let Some(twice) = by_name.insert(tensor.name.clone(), tensor) {
            return Err(Error::file(source, format!("tensor {} appears twice", twice.name)));
        }
    }
    let mut mapper = Mapper { place: Place::default(), tensors: by_name, problems: Vec::new() };
    let module = module.map(&mut mapper);
    let mut problems = mapper.problems;
    problems.extend(
        mapper.tensors.keys().map(|name| format!("tensor {name} is not a parameter of this model")),
    );
    match problems.as_slice() {
        [] => Ok(module),
        [only] => Err(Error::file(source, only.as_str())),
        [first, rest @ ..] => {
            Err(Error::file(source, format!("{first} (and {} more such problems)", rest.len())))
        }
    }
}

#[derive(Default)]
struct Visitor {
    place: Place,
    tensors: Vec<NamedTensor>,
    error: Option<Error>,
}

impl Visitor {
    fn read<const D: usize>(&self, param: &Param<Tensor<D>>) -> Result<NamedTensor> {
        let layout = self.place.layout(D).map_err(Error::invalid)?;
        let NamedTensor { name, shape, data } =
            NamedTensor::from_tensor(self.place.name(), &param.val())?;
        let (data, shape) = layout.into_file(data, shape);
        Ok(NamedTensor { name, shape, data })
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn refuse(&mut self, kind: &str) {
        let name = self.place.name();
        self.fail(Error::invalid(format!("parameter {name} holds {kind}, files hold floats")));
    }
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.read(param) {
            Ok(tensor) => self.tensors.push(tensor),
            Err(error) => self.fail(error),
        }
    }

    fn visit_int<const D: usize>(&mut self, _param: &Param<Tensor<D, Int>>) {
        self.refuse("integers");
    }

    fn visit_bool<const D: usize>(&mut self, _param: &Param<Tensor<D, Bool>>) {
        self.refuse("booleans");
    }
}

struct Mapper {
    place: Place,
    tensors: BTreeMap<String, NamedTensor>,
    problems: Vec<String>,
}

impl Mapper {
    /// The values for the current parameter, in memory layout.
    fn take(&mut self, memory_shape: &[usize]) -> Result<TensorData, String> {
        let name = self.place.name();
        let layout = self.place.layout(memory_shape.len())?;
        let tensor =
            self.tensors.remove(&name).ok_or_else(|| format!("tensor {name} is missing"))?;
        let wanted = layout.file_shape(memory_shape);
        if tensor.shape != wanted {
            return Err(format!(
                "tensor {name} has shape {:?}, the model needs {wanted:?}",
                tensor.shape
            ));
        }
        if let Some(value) = tensor.first_non_finite() {
            return Err(format!("tensor {name} holds {value}, allowed are finite numbers"));
        }
        let (data, shape) = layout.into_memory(tensor.data, tensor.shape);
        Ok(TensorData::new(data, shape))
    }
}

impl ModuleMapper for Mapper {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.take(param.lazy_shape().as_slice()) {
            Ok(data) => {
                let tensor = Tensor::from_data(data, &param.lazy_device());
                let id = param.id;
                // Keeps the device and the gradient requirement of the parameter it replaces.
                param.transform_for_load(tensor, id)
            }
            Err(problem) => {
                self.problems.push(problem);
                param
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::Device;

    use super::*;

    /// Id and name of every float parameter, in Burn's visiting order.
    fn names<M: Module>(module: &M) -> Vec<(ParamId, String)> {
        struct Names(Place, Vec<(ParamId, String)>);
        impl ModuleVisitor for Names {
            fn enter_module(&mut self, name: &str, container: &str) {
                self.0.enter(name, container);
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.exit();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.1.push((param.id, self.0.name()));
            }
        }
        let mut visitor = Names(Place::default(), Vec::new());
        module.visit(&mut visitor);
        visitor.1
    }

    #[derive(Module, Debug)]
    struct Linear {
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
    }

    #[derive(Module, Debug)]
    struct Conv2d {
        weight: Param<Tensor<4>>,
    }

    #[derive(Module, Debug)]
    enum Body {
        Convolution(Conv2d),
        Dense(Linear),
    }

    #[derive(Module, Debug)]
    struct Net {
        layers: Vec<Linear>,
        body: Body,
        codebook: Param<Tensor<2>>,
        width: usize,
    }

    fn net(device: &Device) -> Net {
        let dense = |bias: Option<[f32; 3]>| Linear {
            weight: Param::from_data([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], device),
            bias: bias.map(|values| Param::from_data(values, device)),
        };
        Net {
            layers: vec![dense(Some([7.0, 8.0, 9.0])), dense(None)],
            body: Body::Convolution(Conv2d {
                weight: Param::from_tensor(
                    Tensor::<1, Int>::arange(0..12, device).float().reshape([1, 2, 2, 3]),
                ),
            }),
            codebook: Param::from_data([[0.5, 0.25]], device).set_require_grad(false),
            width: 3,
        }
    }

    fn zeros(module: Net) -> Net {
        struct Zero;
        impl ModuleMapper for Zero {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|tensor| tensor.zeros_like())
            }
        }
        module.map(&mut Zero)
    }

    fn error(tensors: Vec<NamedTensor>) -> String {
        let result = load(net(&Device::flex()), tensors, Path::new("m.safetensors"));
        result.unwrap_err().to_string()
    }

    #[test]
    fn names_are_dotted_paths_and_weights_are_in_file_layout() {
        let tensors = named(&net(&Device::flex())).unwrap();
        let shapes: Vec<_> =
            tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        assert_eq!(
            shapes,
            [
                ("body.weight", &[3, 2, 1, 2][..]),
                ("codebook", &[1, 2]),
                ("layers.0.bias", &[3]),
                ("layers.0.weight", &[3, 2]),
                ("layers.1.weight", &[3, 2]),
            ]
        );
        assert_eq!(tensors[3].data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(tensors[1].data, [0.5, 0.25]);
    }

    #[test]
    fn ids_and_names_come_in_the_same_order_as_burn_visits() {
        let module = net(&Device::flex());
        let names = names(&module);
        assert_eq!(names[0], (module.layers[0].weight.id, "layers.0.weight".to_owned()));
        assert_eq!(names[4], (module.codebook.id, "codebook".to_owned()));
    }

    #[test]
    fn loading_restores_values_and_keeps_ids_and_gradient_flags() {
        let device = Device::flex().autodiff();
        let module = net(&device);
        let tensors = named(&module).unwrap();
        let ids = names(&module);
        let loaded = load(zeros(module), tensors.clone(), Path::new("m.safetensors")).unwrap();
        assert_eq!(named(&loaded).unwrap(), tensors);
        assert_eq!(names(&loaded), ids);
        assert!(loaded.layers[0].weight.val().is_require_grad());
        assert!(!loaded.codebook.val().is_require_grad());
        assert_eq!(loaded.codebook.val().device(), device);
        assert_eq!(loaded.width, 3);
    }

    #[test]
    fn a_model_loaded_without_autodiff_can_be_switched_to_training() {
        let module = net(&Device::flex());
        let tensors = named(&module).unwrap();
        let loaded = load(module, tensors, Path::new("m.safetensors")).unwrap().train();
        assert!(loaded.layers[0].weight.val().is_require_grad());
        assert!(!loaded.codebook.val().is_require_grad());
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut tensors = named(&net(&Device::flex())).unwrap();
        tensors.remove(1);
        assert_eq!(error(tensors), "m.safetensors: tensor codebook is missing");
    }

    #[test]
    fn an_extra_tensor_is_named() {
        let mut tensors = named(&net(&Device::flex())).unwrap();
        tensors.push(NamedTensor::new("layers.2.weight", vec![1], vec![0.0]).unwrap());
        let message = "m.safetensors: tensor layers.2.weight is not a parameter of this model";
        assert_eq!(error(tensors), message);
    }

    #[test]
    fn a_wrong_shape_is_named_with_the_one_wanted() {
        let mut tensors = named(&net(&Device::flex())).unwrap();
        tensors[3].shape = vec![2, 3];
        let message =
            "m.safetensors: tensor layers.0.weight has shape [2, 3], the model needs [3, 2]";
        assert_eq!(error(tensors), message);
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut tensors = named(&net(&Device::flex())).unwrap();
            tensors[1].data[1] = value;
            let message = error(tensors);
            assert!(message.contains("tensor codebook holds"), "{message}");
        }
    }

    #[test]
    fn several_problems_are_counted() {
        let message = error(Vec::new());
        assert!(message.contains("is missing (and 4 more such problems)"), "{message}");
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let mut tensors = named(&net(&Device::flex())).unwrap();
        tensors.push(tensors[0].clone());
        assert_eq!(error(tensors), "m.safetensors: tensor body.weight appears twice");
    }

    #[test]
    fn a_layer_with_the_wrong_number_of_axes_is_an_error_not_a_wrong_file() {
        #[derive(Module, Debug)]
        struct ConvTranspose2d {
            weight: Param<Tensor<2>>,
        }
        let module = ConvTranspose2d { weight: Param::from_data([[1.0f32, 2.0]], &Device::flex()) };
        let message = named(&module).unwrap_err().to_string();
        assert!(message.contains("of a ConvTranspose2d has 2 axes, expected 4"), "{message}");
    }

    #[test]
    fn integer_parameters_are_refused_rather_than_dropped() {
        #[derive(Module, Debug)]
        struct Counted {
            counts: Param<Tensor<1, Int>>,
        }
        let counts = Tensor::<1, Int>::from_data([1, 2], &Device::flex());
        let module = Counted { counts: Param::initialized(ParamId::new(), counts) };
        let message = named(&module).unwrap_err().to_string();
        assert!(message.contains("parameter counts holds integers"), "{message}");
    }

    #[test]
    fn another_variant_of_an_enum_has_other_tensors() {
        let device = Device::flex();
        let mut module = net(&device);
        let tensors = named(&module).unwrap();
        module.body =
            Body::Dense(Linear { weight: Param::from_data([[1.0f32]], &device), bias: None });
        let result = load(module, tensors, Path::new("m.safetensors"));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("body.weight has shape [3, 2, 1, 2]"), "{message}");
    }
}
