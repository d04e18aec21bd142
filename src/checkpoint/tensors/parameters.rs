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
mod tests;
