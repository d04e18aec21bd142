//! A parameter as files know it, and values that belong to it element by element, such as the moments of its optimizer:
//! they have its shape and its layout.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::layout::Layout;
use super::named_tensor::NamedTensor;
use super::place::Place;
use crate::error::{Error, Result};

/// Place and layout of a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// Where it is in its module, which gives its name in files.
    pub place: Place,
    /// Whether it requires a gradient.
    pub is_trained: bool,
    layout: Layout,
    /// In memory.
    shape: Vec<usize>,
}

impl Parameter {
    /// `values` in the file layout of the parameter. Synchronises with the device.
    ///
    /// # Shapes
    /// - values: the flattened parameter
    ///
    /// # Errors
    /// Values that cannot be read back.
    pub(crate) fn to_file(&self, values: &Tensor<1>) -> Result<NamedTensor> {
        let NamedTensor { name, data, .. } = NamedTensor::from_tensor(self.place.name(), values)?;
        let (data, shape) = self.layout.into_file(data, self.shape.clone());
        NamedTensor::new(name, shape, data)
    }

    /// The reverse of [`Self::to_file`]; `source` is the file, for messages. A file of an older vqgen holds the flattened
    /// parameter as it is in memory.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub(crate) fn to_memory(
        &self,
        tensor: NamedTensor,
        source: &Path,
        device: &Device,
    ) -> Result<Tensor<1>> {
        let size: usize = self.shape.iter().product();
        let data = if tensor.shape == [size] {
            tensor.data
        } else {
            tensor.expect_shape(&self.layout.file_shape(&self.shape), source)?;
            self.layout.into_memory(tensor.data, tensor.shape).0
        };
        Ok(Tensor::from_data(TensorData::new(data, [size]), device))
    }
}

/// Every float parameter of `module`, in Burn's visiting order.
///
/// # Errors
/// A `weight` of `Linear`, `Conv2d` or `ConvTranspose2d` of the wrong rank.
pub(crate) fn list<M: Module>(module: &M) -> Result<Vec<Parameter>> {
    #[derive(Default)]
    struct Parameters(Place, Vec<Result<Parameter, String>>);
    impl ModuleVisitor for Parameters {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(self.0.layout(D).map(|layout| Parameter {
                place: self.0.clone(),
                is_trained: param.val().is_require_grad(),
                layout,
                shape: param.dims().to_vec(),
            }));
        }
    }
    let mut visitor = Parameters::default();
    module.visit(&mut visitor);
    visitor.1.into_iter().collect::<Result<_, _>>().map_err(Error::invalid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ops::Linear;

    #[test]
    fn moments_have_the_layout_of_their_weight() {
        let device = Device::flex();
        let weight = Tensor::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        let linear = Linear { weight: Param::from_tensor(weight), bias: None };
        let parameter = list(&linear).unwrap().remove(0);
        let values = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &device);

        let file = parameter.to_file(&values).unwrap();
        assert_eq!((file.name.as_str(), file.shape.as_slice()), ("weight", &[3, 2][..]));
        assert_eq!(file.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let source = Path::new("resume/prior.safetensors");
        let again = parameter.to_memory(file, source, &device).unwrap();
        again.into_data().assert_eq(&values.clone().into_data(), true);

        // As files of older versions have them.
        let flat = NamedTensor::from_tensor("weight", &values).unwrap();
        let again = parameter.to_memory(flat, source, &device).unwrap();
        again.into_data().assert_eq(&values.into_data(), true);

        let other = NamedTensor::new("weight", vec![2, 3], vec![0.0; 6]).unwrap();
        let error = parameter.to_memory(other, source, &device).unwrap_err().to_string();
        assert!(error.ends_with("weight has shape [2, 3], expected [3, 2]"), "{error}");
    }
}
