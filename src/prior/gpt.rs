//! The whole network: tokens to logits, and the loss of code sequences.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::ops::init::WeightInit;
use crate::ops::{
    CausalMask, Embedding, LayerNorm, Linear, RotaryTables, runs_on_host, token_losses,
};
use crate::prior::block::{Block, DEVIATION, Pass};
use crate::prior::{DropoutSeeds, Positions, PriorConfig};

/// A GPT over codes.
#[derive(Module, Debug)]
pub struct Gpt {
    /// Of the whole vocabulary, codes first.
    pub token: Embedding,
    /// `[n_codes, width]`; absent with rotary positions.
    pub position: Option<Param<Tensor<2>>>,
    /// In the order they are applied.
    pub blocks: Vec<Block>,
    /// Before the head.
    pub norm: LayerNorm,
    /// `[width, codebook_size]`, without bias; absent when the code embeddings serve as weights.
    pub head: Option<Linear>,
    /// Angles of the rotary positions: a constant, in no file.
    pub(super) rotary: Option<RotaryTables>,
    #[module(skip)]
    config: PriorConfig,
}

impl Gpt {
    /// A network with GPT-2's initial weights; the same on every device.
    ///
    /// # Panics
    /// If `config` is one that [`PriorConfig::validate`] refuses.
    pub fn new(config: &PriorConfig, seed: u64, device: &Device) -> Self {
        let &PriorConfig { codebook_size, layers, heads, width, grid_height, grid_width, .. } =
            config;
        let mut init = WeightInit::new(seed, device);
        let token = Embedding { weight: init.normal([config.vocabulary_size(), width], DEVIATION) };
        let learned = config.positions == Positions::Learned;
        let position = learned.then(|| init.normal([config.n_codes(), width], DEVIATION));
        let blocks = (0..layers).map(|_| Block::new(config, &mut init)).collect();
        let head = (!config.tie_weights)
            .then(|| Linear { weight: init.normal([width, codebook_size], DEVIATION), bias: None });
        let rotary =
            (!learned).then(|| RotaryTables::new(grid_height, grid_width, width / heads, device));
        Self {
            token,
            position,
            blocks,
            norm: LayerNorm::new(width, device),
            head,
            rotary,
            config: config.clone(),
        }
    }

    /// The shape it was built with.
    pub fn config(&self) -> &PriorConfig {
        &self.config
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.norm.weight.val().device()
    }

    /// Whether its weights are on the CPU device, where a [`super::Decoder`] samples from it.
    pub fn is_on_host(&self) -> bool {
        runs_on_host(&self.device())
    }

    /// Logits of the code that follows each token. `dropout` is for training; `None` drops nothing.
    ///
    /// # Shapes
    /// - tokens: `[batch, sequence]`, the class token first, at most `n_codes` of them
    /// - output: `[batch * sequence, codebook_size]`
    pub fn forward(&self, tokens: Tensor<2, Int>, dropout: Option<DropoutSeeds>) -> Tensor<2> {
        let [batch, sequence] = tokens.dims();
        let x = self.embed(tokens.reshape([batch * sequence]), 0, sequence);
        let mut pass = Pass {
            mask: CausalMask::new(sequence, &self.device()),
            rotary: self.rotary.as_ref(),
            dropout: dropout.map(|seeds| (seeds, self.config.dropout)),
        };
        let x = pass.drop(x);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &mut pass));
        self.logits(x)
    }

    /// Mean loss of whole code sequences, in nats per code.
    ///
    /// # Shapes
    /// - classes: `[batch]`, class tokens
    /// - codes: `[batch, n_codes]`
    /// - output: `[1]`
    pub fn loss(
        &self,
        classes: Tensor<1, Int>,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<1> {
        self.code_losses(classes, codes, dropout).mean()
    }

    /// Loss of each code given the class and the codes before it, in nats.
    ///
    /// # Shapes
    /// - classes: `[batch]`, class tokens
    /// - codes, output: `[batch, n_codes]`
    pub fn code_losses(
        &self,
        classes: Tensor<1, Int>,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        let [batch, n_codes] = codes.dims();
        let known = codes.clone().slice([0..batch, 0..n_codes - 1]);
        let tokens = Tensor::cat(vec![classes.reshape([batch, 1]), known], 1); // [batch, n_codes]
        let logits = self.forward(tokens, dropout);
        token_losses(logits, codes.reshape([batch * n_codes])).reshape([batch, n_codes])
    }

    /// # Shapes
    /// - tokens: `[batch * sequence]`, the first of each sequence standing at `position`
    /// - output: `[batch * sequence, width]`
    pub(super) fn embed(
        &self,
        tokens: Tensor<1, Int>,
        position: usize,
        sequence: usize,
    ) -> Tensor<2> {
        let [rows] = tokens.dims();
        let (n_codes, width) = (self.config.n_codes(), self.config.width);
        let end = position + sequence;
        assert!(end <= n_codes, "position {end} of a prior of {n_codes} codes");
        let x = self.token.forward(tokens);
        let Some(table) = &self.position else {
            return x;
        };
        let mut table = table.val();
        if sequence < n_codes {
            table = table.slice([position..end, 0..width]);
        }
        let x = x.reshape([rows / sequence, sequence, width]) + table.unsqueeze();
        x.reshape([rows, width])
    }

    /// # Shapes
    /// - x: `[rows, width]`
    /// - output: `[rows, codebook_size]`
    pub(super) fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.norm.forward(x);
        match &self.head {
            Some(head) => head.forward(x),
            None => {
                let codes = [0..self.config.codebook_size, 0..self.config.width];
                x.matmul(self.token.weight.val().slice(codes).transpose())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
