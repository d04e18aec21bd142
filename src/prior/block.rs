//! One transformer block: attention and a two-layer perceptron, each behind a norm and added to the stream.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::ops::init::WeightInit;
use crate::ops::{
    CausalMask, Dropout, KeyValues, LayerNorm, Linear, RotaryTables, cached_attention,
    causal_attention, dropout,
};
use crate::prior::{DropoutSeeds, PriorConfig};

/// A pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Mixes positions.
    pub attention: Attention,
    /// Before the perceptron.
    pub norm2: LayerNorm,
    /// Mixes features.
    pub mlp: Mlp,
}

/// The weights of causal multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// To queries, keys and values, side by side: `[width, 3 * width]`.
    pub qkv: Linear,
    /// Back into the stream: `[width, width]`.
    pub out: Linear,
    heads: usize,
}

/// The weights of the perceptron.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[width, 4 * width]`.
    pub up: Linear,
    /// `[4 * width, width]`.
    pub down: Linear,
}

/// GPT-2's standard deviation of initial weights.
pub(super) const DEVIATION: f32 = 0.02;

fn linear(shape: [usize; 2], deviation: f32, init: &mut WeightInit<'_>) -> Linear {
    let [_, width_out] = shape;
    let bias = Some(init.constant([width_out], 0.0));
    Linear { weight: init.normal(shape, deviation), bias }
}

/// What a block needs beside its input and is the same for every block of a training pass.
pub(super) struct Pass<'a> {
    pub(super) mask: CausalMask,
    pub(super) rotary: Option<&'a RotaryTables>,
    /// Seeds and probability; `None` drops nothing.
    pub(super) dropout: Option<(DropoutSeeds, f64)>,
}

impl Pass<'_> {
    pub(super) fn drop(&mut self, x: Tensor<2>) -> Tensor<2> {
        match self.draw() {
            Some(drop) => dropout(x, drop),
            None => x,
        }
    }

    /// Dropout for the next place.
    fn draw(&mut self) -> Option<Dropout> {
        let (seeds, probability) = self.dropout.as_mut()?;
        Some(seeds.draw(*probability))
    }
}

impl Block {
    pub(super) fn new(config: &PriorConfig, init: &mut WeightInit<'_>) -> Self {
        let width = config.width;
        // GPT-2: each layer writes into the stream twice, and the sum shall not grow with depth.
        let residual = DEVIATION / (2.0 * config.layers as f32).sqrt();
        let mut linear = |shape, deviation| linear(shape, deviation, init);
        let attention = Attention {
            qkv: linear([width, 3 * width], DEVIATION),
            out: linear([width, width], residual),
            heads: config.heads,
        };
        let mlp = Mlp {
            up: linear([width, 4 * width], DEVIATION),
            down: linear([4 * width, width], residual),
        };
        let norm = || LayerNorm::new(width, init.device());
        Self { norm1: norm(), attention, norm2: norm(), mlp }
    }

    /// # Shapes
    /// - x, output: `[batch * sequence, width]`
    pub(super) fn forward(&self, x: Tensor<2>, pass: &mut Pass<'_>) -> Tensor<2> {
        let qkv = self.attention.qkv.forward(self.norm1.forward(x.clone()));
        let weight_dropout = pass.draw();
        let attended =
            causal_attention(qkv, self.attention.heads, &pass.mask, pass.rotary, weight_dropout);
        let x = self.attention.out.forward_onto(attended, x, pass.draw());
        let normed = self.norm2.forward(x.clone());
        self.mlp.forward_onto(normed, x, pass.draw())
    }

    /// [`Block::forward`] of the first positions without dropout, keeping their keys and values.
    ///
    /// # Shapes
    /// - x, output: `[batch * sequence, width]`
    pub(super) fn prefill(
        &self,
        x: Tensor<2>,
        cache: KeyValues,
        mask: &CausalMask,
        rotary: Option<&RotaryTables>,
    ) -> (Tensor<2>, KeyValues) {
        let qkv = self.attention.qkv.forward(self.norm1.forward(x.clone()));
        let cache = cache.append(qkv.clone(), 0, mask.sequence(), rotary);
        let attended = causal_attention(qkv, self.attention.heads, mask, rotary, None);
        (self.after_attention(x, attended), cache)
    }

    /// [`Block::forward`] of the one position after those in the cache.
    ///
    /// # Shapes
    /// - x, output: `[batch, width]`
    pub(super) fn step(
        &self,
        x: Tensor<2>,
        cache: KeyValues,
        position: usize,
        rotary: Option<&RotaryTables>,
    ) -> (Tensor<2>, KeyValues) {
        let qkv = self.attention.qkv.forward(self.norm1.forward(x.clone()));
        let cache = cache.append(qkv.clone(), position, 1, rotary);
        let attended = cached_attention(qkv, &cache, position, rotary);
        (self.after_attention(x, attended), cache)
    }

    fn after_attention(&self, x: Tensor<2>, attended: Tensor<2>) -> Tensor<2> {
        let x = self.attention.out.forward_onto(attended, x, None);
        let normed = self.norm2.forward(x.clone());
        self.mlp.forward_onto(normed, x, None)
    }
}

impl Mlp {
    /// `residual` plus the perceptron of `x`.
    fn forward_onto(&self, x: Tensor<2>, residual: Tensor<2>, drop: Option<Dropout>) -> Tensor<2> {
        self.down.forward_onto(self.up.forward_gelu(x), residual, drop)
    }
}
