//! Flex tensors as contiguous slices and back.

use burn::backend::TensorMetadata;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// A contiguous f32 tensor.
#[derive(Debug, Clone)]
pub(super) struct Values(FlexTensor);

impl Values {
    /// Copies only where the tensor is strided.
    pub(super) fn of(tensor: FlexTensor) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "the CPU kernels are for f32");
        Self(if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() })
    }

    /// All values, row-major.
    pub(super) fn slice(&self) -> &[f32] {
        // An invariant of `of`: contiguous and f32.
        self.0.as_slice::<f32>().unwrap_or_else(|| unreachable!("a contiguous f32 tensor"))
    }

    /// The values to write to, unless the buffer is shared.
    pub(super) fn slice_mut(&mut self) -> Option<&mut [f32]> {
        let (start, end) = self.0.layout().contiguous_offsets()?;
        Some(&mut self.0.try_storage_mut::<f32>()?[start..end])
    }

    /// Back to a tensor, without a copy.
    pub(super) fn into_tensor(self) -> FlexTensor {
        self.0
    }

    /// The shape, of any rank.
    pub(super) fn shape(&self) -> Shape {
        self.0.shape()
    }

    /// The shape, which must have rank `D`.
    pub(super) fn dims<const D: usize>(&self) -> [usize; D] {
        self.0.shape().dims()
    }
}

/// A tensor of `values` in row-major order.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// Values of an integer tensor as indices.
pub(super) fn indices(tensor: &FlexTensor) -> Vec<usize> {
    let tensor = tensor.to_contiguous();
    let found = match tensor.dtype() {
        DType::I64 => tensor.as_slice::<i64>().map(all),
        DType::I32 => tensor.as_slice::<i32>().map(all),
        DType::U32 => tensor.as_slice::<u32>().map(all),
        DType::U16 => tensor.as_slice::<u16>().map(all),
        DType::U8 => tensor.as_slice::<u8>().map(all),
        other => unreachable!("indices of type {other:?}"),
    };
    found.unwrap_or_else(|| unreachable!("a contiguous tensor"))
}

fn all<T: Copy + std::fmt::Display + TryInto<usize>>(values: &[T]) -> Vec<usize> {
    // Ids and tokens are checked at their source: a file, a sampler, the nearest code.
    let index = |&value: &T| value.try_into().unwrap_or_else(|_| panic!("an index of {value}"));
    values.iter().map(index).collect()
}
