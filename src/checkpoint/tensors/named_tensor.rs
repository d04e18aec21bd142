//! A named float tensor on the host: what files hold and modules are loaded from.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};

/// A named f32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Dotted path, as in `encoder.down.0.weight`.
    pub name: String,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The values in row-major order, as many as the shape holds.
    pub data: Vec<f32>,
}

impl NamedTensor {
    /// Combines the parts.
    ///
    /// # Errors
    /// A shape that does not match `data`.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        let name = name.into();
        if element_count(&shape) != Some(data.len()) {
            return Err(Error::invalid(format!(
                "tensor {name} of shape {shape:?} cannot hold {} values",
                data.len()
            )));
        }
        Ok(Self { name, shape, data })
    }

    /// Copies a tensor to the host, keeping its layout.
    ///
    /// # Errors
    /// Errors of the device on reading.
    pub fn from_tensor<const D: usize>(
        name: impl Into<String>,
        tensor: &Tensor<D>,
    ) -> Result<Self> {
        let name = name.into();
        let shape = tensor.dims().to_vec();
        let data = tensor.clone().try_into_data(); // sync
        let data = data.map_err(|e| Error::invalid(format!("cannot read {name} back: {e}")))?;
        let data = data
            .try_into_vec_as::<f32>()
            .map_err(|e| Error::invalid(format!("cannot read {name} as f32: {e}")))?;
        Self::new(name, shape, data)
    }

    /// Copies the values to a tensor on `device`, keeping their layout.
    ///
    /// # Errors
    /// A rank other than `D`.
    pub fn to_tensor<const D: usize>(&self, device: &Device) -> Result<Tensor<D>> {
        if self.shape.len() != D {
            return Err(Error::invalid(format!(
                "tensor {} has shape {:?}, expected {D} axes",
                self.name, self.shape
            )));
        }
        Ok(Tensor::from_data(TensorData::new(self.data.clone(), self.shape.clone()), device))
    }

    /// Refuses any shape but `wanted`; `source` is the file it came from.
    ///
    /// # Errors
    /// Gives both shapes and the file.
    pub fn expect_shape(&self, wanted: &[usize], source: &Path) -> Result<()> {
        if self.shape == wanted {
            return Ok(());
        }
        let Self { name, shape, .. } = self;
        Err(Error::file(source, format!("{name} has shape {shape:?}, expected {wanted:?}")))
    }

    /// The first value that is not finite, if any.
    pub fn first_non_finite(&self) -> Option<f32> {
        self.data.iter().copied().find(|value| !value.is_finite())
    }
}

/// The number of elements, `None` where it overflows.
pub(in crate::checkpoint) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_survives_the_way_to_the_host_and_back() {
        let device = Device::flex();
        let tensor = Tensor::<2>::from_data([[1.0, -2.0, 3.5], [0.0, 1e-40, 5.0]], &device);
        let named = NamedTensor::from_tensor("x", &tensor).unwrap();
        assert_eq!(named.shape, [2, 3]);
        assert_eq!(named.data, [1.0, -2.0, 3.5, 0.0, 1e-40, 5.0]);
        let back = NamedTensor::from_tensor("x", &named.to_tensor::<2>(&device).unwrap()).unwrap();
        assert_eq!(back, named);
        assert!(named.to_tensor::<3>(&device).is_err());
    }

    #[test]
    fn a_transposed_view_is_read_in_row_major_order() {
        let device = Device::flex();
        let tensor = Tensor::<2>::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        let named = NamedTensor::from_tensor("x", &tensor.transpose()).unwrap();
        assert_eq!(named.shape, [3, 2]);
        assert_eq!(named.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn a_shape_that_does_not_fit_the_values_is_refused() {
        assert!(NamedTensor::new("x", vec![2, 2], vec![0.0; 3]).is_err());
        assert!(NamedTensor::new("x", vec![usize::MAX, 2], vec![0.0; 3]).is_err());
    }
}
