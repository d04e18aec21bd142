//! One transformer block: attention and an MLP, each pre-normed and added to the residual stream.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::ops::init::WeightInit;
use crate::ops::{Dropout, Linear, Norm};
use crate::prior::seeds::Dropouts;
use crate::prior::{PriorActivation, PriorConfig, PriorNorm};

/// A pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: Norm,
    /// Across positions.
    pub attention: Attention,
    /// Before the MLP.
    pub norm2: Norm,
    /// Across features.
    pub mlp: Mlp,
}

/// The weights of causal multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// Projection to queries, keys and values, concatenated: `[width, 3 * width]`.
    pub qkv: Linear,
    /// Output projection: `[width, width]`.
    pub out: Linear,
}

/// The weights of the MLP.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[width, 4 * width]`.
    pub up: Linear,
    /// `[4 * width, width]`.
    pub down: Linear,
    /// Between the two.
    #[module(skip)]
    pub activation: PriorActivation,
}

impl Mlp {
    fn hidden(&self, x: Tensor<2>) -> Tensor<2> {
        match self.activation {
            PriorActivation::Gelu => self.up.forward_gelu(x),
            PriorActivation::SquaredRelu => self.up.forward_squared_relu(x),
        }
    }
}

/// GPT-2's standard deviation of initial weights.
pub(super) const DEVIATION: f32 = 0.02;

fn linear(shape: [usize; 2], deviation: f32, init: &mut WeightInit<'_>) -> Linear {
    let [_, width_out] = shape;
    let bias = Some(init.constant([width_out], 0.0));
    Linear { weight: init.normal(shape, deviation), bias }
}

impl Block {
    pub(super) fn new(config: &PriorConfig, init: &mut WeightInit<'_>) -> Self {
        let width = config.width;
        // GPT-2: each block adds to the residual stream twice; scaled so that its variance does not grow with depth.
        let residual = DEVIATION / (2.0 * config.layers as f32).sqrt();
        let mut linear = |shape, deviation| linear(shape, deviation, init);
        let attention = Attention {
            qkv: linear([width, 3 * width], DEVIATION),
            out: linear([width, width], residual),
        };
        let mlp = Mlp {
            up: linear([width, 4 * width], DEVIATION),
            down: linear([4 * width, width], residual),
            activation: config.activation,
        };
        let norm = || Norm::new(width, config.norm == PriorNorm::Layer, init.device());
        Self { norm1: norm(), attention, norm2: norm(), mlp }
    }

    /// The block in every kind of pass: training, prefill and one more position differ in `attend` alone, which applies
    /// attention to queries, keys and values. [`super::HostDecoder`] computes the same on slices.
    ///
    /// # Shapes
    /// - x, output: `[rows, width]`
    /// - `attend`: `[rows, 3 * width]` to `[rows, width]`
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        dropouts: &mut Dropouts,
        attend: impl FnOnce(Tensor<2>, Option<Dropout>) -> Tensor<2>,
    ) -> Tensor<2> {
        let qkv = self.attention.qkv.forward(self.norm1.forward(x.clone()));
        let attended = attend(qkv, dropouts.draw());
        let x = self.attention.out.forward_onto(attended, x, dropouts.draw());
        let hidden = self.mlp.hidden(self.norm2.forward(x.clone()));
        self.mlp.down.forward_onto(hidden, x, dropouts.draw())
    }

    /// Activations that [`Block::forward`] keeps per position for the backward pass. The CPU device keeps no attention
    /// weights.
    pub(super) fn activations(&self) -> usize {
        let [width, qkv] = self.attention.qkv.widths();
        let [_, hidden] = self.mlp.up.widths();
        let attention = width + qkv + width + width; // norm, queries to values, heads, sum
        let mlp = width + 2 * hidden + width; // norm, both sides of the activation, sum
        attention + mlp
    }
}
