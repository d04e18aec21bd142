//! Single-head self-attention over all positions of a feature map, as at VQGAN's coarsest level.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use crate::ops::init::WeightInit;
use crate::ops::linear::Linear;
use crate::ops::norm::GroupNorm;

/// `x + out(softmax(q k^T / sqrt(channels)) v)` of the normalised input.
#[derive(Module, Debug)]
pub(super) struct SpatialAttention {
    norm: GroupNorm,
    qkv: Linear,
    out: Linear,
}

impl SpatialAttention {
    pub(super) fn new(channels: usize, groups: usize, init: &mut WeightInit) -> Self {
        let bound = 1.0 / (channels as f32).sqrt();
        let mut linear = |out| Linear {
            weight: init.uniform([channels, out], bound),
            bias: Some(init.uniform([out], bound)),
        };
        let (qkv, out) = (linear(3 * channels), linear(channels));
        Self { norm: GroupNorm::new(groups, channels, init.device()), qkv, out }
    }

    /// # Shapes
    /// - `x`, output: `[batch, height, width, channels]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        let positions = height * width;
        let rows = self.norm.forward(x.clone()).reshape([batch * positions, channels]);
        let qkv = self.qkv.forward(rows).reshape([batch, positions, 3 * channels]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.clone().narrow(2, i * channels, channels));
        let scores = q.matmul(k.transpose()).mul_scalar(1.0 / (channels as f64).sqrt());
        let mixed = softmax(scores, 2).matmul(v); // [batch, positions, channels]
        let out = self.out.forward(mixed.reshape([batch * positions, channels]));
        x + out.reshape([batch, height, width, channels])
    }

    pub(super) fn activations(&self, positions: usize) -> usize {
        let [channels, qkv] = self.qkv.widths();
        // Norm, queries to values, the weights of all positions, what they mix, and the sum.
        positions * (channels + qkv + positions + channels + channels)
    }
}
