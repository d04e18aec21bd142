//! Files with the weights of other projects, made of numbers that `drawn.py` drew too.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde::Deserialize;
use vqgen::checkpoint::NamedTensor;

use super::support::Reference;

/// A tensor of a file.
#[derive(Deserialize)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    /// Middle and half width of its values; none for a counter, which is an integer and 0.
    range: Option<(f64, f64)>,
}

/// 32 random bits for each number: lowbias32 by C. Wellons, as in `drawn.py`.
fn bits(index: u32) -> u32 {
    let x = (index ^ (index >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The tensors that `list` of the metadata names, in its order; `last` are the last numbers of each, to tell a wrong draw
/// from a wrong model. Counters have no numbers.
fn draw(reference: &Reference, list: &str, last: &str) -> Vec<(Stored, Option<Vec<f32>>)> {
    let mut index = 0..;
    let mut last_values = Vec::new();
    let mut numbers_of = |stored: &Stored| {
        let (middle, half_width) = stored.range?;
        let size: usize = stored.shape.iter().product();
        let numbers = index.by_ref().take(size).map(|i| {
            let unit = f64::from(bits(i) >> 8) / f64::from(1 << 24);
            (middle + half_width * (2.0 * unit - 1.0)) as f32
        });
        let numbers: Vec<f32> = numbers.collect();
        last_values.push(numbers[size - 1]);
        Some(numbers)
    };
    let tensors = reference.metadata::<Vec<Stored>>(list).into_iter();
    let tensors = tensors.map(|stored| {
        let numbers = numbers_of(&stored);
        (stored, numbers)
    });
    let tensors = tensors.collect();
    assert_eq!(last_values, reference.values(last), "the numbers are not Python's");
    tensors
}

/// The weights that `list` of the metadata names.
pub(crate) fn drawn_weights(reference: &Reference, list: &str, last: &str) -> Vec<NamedTensor> {
    let tensors = draw(reference, list, last).into_iter();
    let weights = tensors.filter_map(|(Stored { name, shape, .. }, numbers)| {
        Some(NamedTensor::new(name, shape, numbers?).unwrap())
    });
    weights.collect()
}

/// Writes the file whose tensors `list` of the metadata names.
pub(crate) fn write_drawn(reference: &Reference, list: &str, last: &str, path: &Path) {
    let tensors = draw(reference, list, last).into_iter();
    let tensors = tensors.map(|(Stored { name, shape, .. }, numbers)| match numbers {
        Some(numbers) => {
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (name, Dtype::F32, shape, bytes)
        }
        None => (name, Dtype::I64, shape, 0i64.to_le_bytes().to_vec()),
    });
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors.collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}
