//! GPT-2's initial weights, drawn on the host so that every device starts from the same ones.

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops::Linear;
use crate::rng::{Purpose, stream};

/// GPT-2's standard deviation.
pub(super) const DEVIATION: f64 = 0.02;

/// The deviation of the layers that write into the residual stream: each layer writes twice, and the sum
/// of their outputs shall not grow with depth.
pub(super) fn residual_deviation(layers: usize) -> f64 {
    DEVIATION / (2.0 * layers as f64).sqrt()
}

/// Draws the matrices of one model.
pub(super) struct Init<'a> {
    pub(super) seed: u64,
    pub(super) device: &'a Device,
}

impl Init<'_> {
    /// A matrix of normal numbers; `index` is the parameter's place in the model and keys the stream.
    pub(super) fn matrix(&self, shape: [usize; 2], deviation: f64, index: usize) -> Tensor<2> {
        let mut rng = stream(self.seed, Purpose::Weights, 0, index as u64);
        let [rows, columns] = shape;
        let values: Vec<f32> =
            (0..rows * columns).map(|_| rng.normal() * deviation as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// A linear with biases of 0.
    pub(super) fn linear(&self, shape: [usize; 2], deviation: f64, index: usize) -> Linear {
        let [_, width_out] = shape;
        let bias = Tensor::zeros([width_out], self.device);
        Linear::new(self.matrix(shape, deviation, index), Some(bias))
    }
}
