//! The two memory layouts of a weight: PyTorch's in files, and that of the kernels in memory. Which parameter has which
//! is decided by the type name of the layer that owns it; this file only knows axes.
//!
//! | layer | in memory | in files |
//! |---|---|---|
//! | `Linear` | `[in, out]` | `[out, in]` |
//! | `Conv2d`, `Depthwise` | `[kh, kw, c_in, c_out]` | `[c_out, c_in, kh, kw]` |
//! | `ConvTranspose2d` | `[c_in, kh, kw, c_out]` | `[c_in, c_out, kh, kw]` |
//! | all others, and every bias | as it is | the same |

/// Axis order of a parameter in files, compared with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Layout {
    Same,
    Linear,
    Conv2d,
    ConvTranspose2d,
}

impl Layout {
    /// The layout of the parameter `field` of a container that Burn calls `container` ("Struct:Linear").
    pub(in crate::checkpoint) fn of(container: &str, field: &str) -> Self {
        match (container, field) {
            ("Struct:Linear", "weight") => Self::Linear,
            ("Struct:Conv2d" | "Struct:Depthwise", "weight") => Self::Conv2d,
            ("Struct:ConvTranspose2d", "weight") => Self::ConvTranspose2d,
            _ => Self::Same,
        }
    }

    /// Axis `i` in a file is axis `to_file()[i]` in memory. Empty: no change.
    fn to_file(self) -> &'static [usize] {
        match self {
            Self::Same => &[],
            Self::Linear => &[1, 0],
            Self::Conv2d => &[3, 2, 0, 1],
            Self::ConvTranspose2d => &[0, 3, 1, 2],
        }
    }

    /// Axis `i` in memory is axis `to_memory()[i]` in a file. Empty: no change.
    fn to_memory(self) -> &'static [usize] {
        match self {
            Self::Same => &[],
            Self::Linear => &[1, 0],
            Self::Conv2d => &[2, 3, 1, 0],
            Self::ConvTranspose2d => &[0, 2, 3, 1],
        }
    }

    /// The rank that the parameter must have; `None` for any.
    pub(in crate::checkpoint) fn rank(self) -> Option<usize> {
        match self {
            Self::Same => None,
            _ => Some(self.to_file().len()),
        }
    }

    /// The shape in a file of a parameter with `shape` in memory.
    pub(in crate::checkpoint) fn file_shape(self, shape: &[usize]) -> Vec<usize> {
        permuted_shape(shape, self.to_file())
    }

    /// From memory to file: the values and their new shape.
    pub(in crate::checkpoint) fn into_file(
        self,
        data: Vec<f32>,
        shape: Vec<usize>,
    ) -> (Vec<f32>, Vec<usize>) {
        permute(data, shape, self.to_file())
    }

    /// From file to memory: the values and their new shape.
    pub(in crate::checkpoint) fn into_memory(
        self,
        data: Vec<f32>,
        shape: Vec<usize>,
    ) -> (Vec<f32>, Vec<usize>) {
        permute(data, shape, self.to_memory())
    }
}

fn permuted_shape(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    if axes.is_empty() { shape.to_vec() } else { axes.iter().map(|axis| shape[*axis]).collect() }
}

/// Reorders row-major values so that axis `i` of the result is axis `axes[i]` of the input. `shape` must have as many
/// axes as `axes` and match `data`; callers check both.
fn permute(data: Vec<f32>, shape: Vec<usize>, axes: &[usize]) -> (Vec<f32>, Vec<usize>) {
    if axes.is_empty() {
        return (data, shape);
    }
    assert_eq!(shape.len(), axes.len(), "{shape:?} has other axes than {axes:?}");
    assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?} does not hold the data");
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let new_shape = permuted_shape(&shape, axes);
    let mut permuted = Vec::with_capacity(data.len());
    gather(&data, &new_shape, &permuted_shape(&strides, axes), 0, &mut permuted);
    (permuted, new_shape)
}

/// Appends the block at `offset`, in row-major order of `shape`, with `strides` into `data`.
fn gather(data: &[f32], shape: &[usize], strides: &[usize], offset: usize, out: &mut Vec<f32>) {
    match (shape, strides) {
        ([extent], [stride]) => {
            out.extend((0..*extent).map(|i| data[offset + i * stride]));
        }
        ([extent, inner_shape @ ..], [stride, inner_strides @ ..]) => {
            for i in 0..*extent {
                gather(data, inner_shape, inner_strides, offset + i * stride, out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn counting(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn a_linear_weight_is_transposed() {
        // in = 2, out = 3: row i in memory holds the weights from input i to the three outputs.
        let (data, shape) = Layout::Linear.into_file(counting(6), vec![2, 3]);
        assert_eq!(shape, [3, 2]);
        assert_eq!(data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_convolution_weight_moves_channels_to_the_front() {
        // kh = 1, kw = 2, c_in = 2, c_out = 3; memory index of (0, x, i, o) is x * 6 + i * 3 + o.
        let (data, shape) = Layout::Conv2d.into_file(counting(12), vec![1, 2, 2, 3]);
        assert_eq!(shape, [3, 2, 1, 2]);
        assert_eq!(data, [0.0, 6.0, 3.0, 9.0, 1.0, 7.0, 4.0, 10.0, 2.0, 8.0, 5.0, 11.0]);
    }

    #[test]
    fn a_transposed_convolution_weight_keeps_its_input_channels_in_front() {
        // c_in = 2, kh = 1, kw = 2, c_out = 3; memory index of (i, 0, x, o) is i * 6 + x * 3 + o.
        let (data, shape) = Layout::ConvTranspose2d.into_file(counting(12), vec![2, 1, 2, 3]);
        assert_eq!(shape, [2, 3, 1, 2]);
        assert_eq!(data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    }

    #[test]
    fn memory_to_file_to_memory_changes_nothing() {
        for (layout, shape) in [
            (Layout::Same, vec![3, 5, 2]),
            (Layout::Same, vec![]),
            (Layout::Linear, vec![3, 5]),
            (Layout::Conv2d, vec![4, 3, 2, 5]),
            (Layout::ConvTranspose2d, vec![4, 3, 2, 5]),
            (Layout::Conv2d, vec![4, 0, 2, 5]),
        ] {
            let data = counting(shape.iter().product());
            let (file, file_shape) = layout.into_file(data.clone(), shape.clone());
            assert_eq!(file_shape, layout.file_shape(&shape));
            assert_eq!(layout.into_memory(file, file_shape), (data, shape), "{layout:?}");
        }
    }

    #[test]
    fn only_weights_of_linear_layers_and_convolutions_are_permuted() {
        assert_eq!(Layout::of("Struct:Depthwise", "weight"), Layout::Conv2d);
        assert_eq!(Layout::of("Struct:Linear", "weight"), Layout::Linear);
        assert_eq!(Layout::of("Struct:Linear", "bias"), Layout::Same);
        assert_eq!(Layout::of("Struct:Embedding", "weight"), Layout::Same);
        assert_eq!(Layout::of("Vec", "0"), Layout::Same);
    }
}
