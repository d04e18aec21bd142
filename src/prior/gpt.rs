//! The whole network: tokens to logits, and the loss of code sequences.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::ops::init::WeightInit;
use crate::ops::{
    CausalMask, Embedding, Heads, Linear, Norm, RotaryTables, causal_attention, token_losses,
};
use crate::prior::block::{Block, DEVIATION};
use crate::prior::seeds::Dropouts;
use crate::prior::{Conditions, DropoutSeeds, Positions, PriorConfig, PriorNorm};

/// A GPT over codes.
#[derive(Module, Debug)]
pub struct Gpt {
    /// Embeddings of the whole vocabulary, codes first.
    pub token: Embedding,
    /// Of the class and the codes, `[n_positions - caption_length, width]`; absent with rotary positions.
    pub position: Option<Param<Tensor<2>>>,
    /// In the order of the forward pass.
    pub blocks: Vec<Block>,
    /// The final norm.
    pub norm: Norm,
    /// `[width, codebook_size]`, without bias; absent with tied weights.
    pub head: Option<Linear>,
    /// Absent without captions.
    pub caption: Option<CaptionEmbedding>,
    /// Tables of the rotary embeddings: constants, not in files.
    pub(super) rotary: Option<RotaryTables>,
    #[module(skip)]
    config: PriorConfig,
}

/// The embeddings of captions.
#[derive(Module, Debug)]
pub struct CaptionEmbedding {
    /// `[caption_tokens + 1, width]`; the last stands after the end of a caption.
    pub token: Embedding,
    /// `[caption_length, width]`.
    pub position: Param<Tensor<2>>,
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
        let position = learned
            .then(|| init.normal([config.n_positions() - config.caption_length, width], DEVIATION));
        let blocks = (0..layers).map(|_| Block::new(config, &mut init)).collect();
        let head = (!config.tie_weights)
            .then(|| Linear { weight: init.normal([width, codebook_size], DEVIATION), bias: None });
        let caption = config.has_captions().then(|| CaptionEmbedding {
            token: Embedding { weight: init.normal([config.caption_tokens + 1, width], DEVIATION) },
            position: init.normal([config.caption_length, width], DEVIATION),
        });
        let grid = [grid_height, grid_width];
        let tables = if config.is_masked() { RotaryTables::at } else { RotaryTables::after };
        let rotary = (!learned).then(|| tables(config.prefix(), grid, width / heads, device));
        Self {
            token,
            position,
            blocks,
            norm: Norm::new(width, config.norm == PriorNorm::Layer, device),
            head,
            caption,
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

    /// Logits of each code given the condition and the codes before it. `dropout` is for training; `None` drops nothing.
    ///
    /// # Shapes
    /// - known: `[batch, n]`, the first codes of each sequence, at most all but one; `None` for none
    /// - output: `[batch * (n + 1), codebook_size]`
    pub fn forward(
        &self,
        conditions: &Conditions,
        known: Option<Tensor<2, Int>>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        let x = self.through_blocks(self.embed(conditions, known), dropout);
        let [batch, sequence, width] = x.dims();
        let first = self.config.prefix() - 1;
        let predicting = match first {
            0 => x,
            first => x.slice([0..batch, first..sequence, 0..width]),
        };
        self.logits(predicting.reshape([batch * (sequence - first), width]))
    }

    /// # Shapes
    /// - x, output: `[batch, sequence, width]`
    pub(super) fn through_blocks(&self, x: Tensor<3>, dropout: Option<DropoutSeeds>) -> Tensor<3> {
        let shape = x.dims();
        let [batch, sequence, width] = shape;
        let mask = self.mask(sequence);
        let attend = |qkv, dropped| causal_attention(qkv, self.heads(), &mask, dropped);
        let mut dropouts = Dropouts::new(dropout, self.config.dropout);
        let x = dropouts.apply(x.reshape([batch * sequence, width]));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &mut dropouts, attend));
        x.reshape(shape)
    }

    /// How its attention treats queries and keys.
    pub(super) fn heads(&self) -> Heads<'_> {
        let &PriorConfig { heads, qk_norm, .. } = &self.config;
        Heads { n: heads, normalise: qk_norm, rotary: self.rotary.as_ref() }
    }

    /// Activations that the forward pass keeps per sequence for the backward pass: an estimate of training memory.
    pub fn activations(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Block::activations).sum();
        // The embedding and the last norm, the logits and their softmax.
        let ends = 2 * self.config.width + 2 * self.config.codebook_size;
        self.config.n_positions() * blocks + self.config.n_codes() * ends
    }

    /// Which positions see which in sequences of this length: those of a caption see each other, and in a masked prior
    /// all do.
    pub(super) fn mask(&self, sequence: usize) -> CausalMask {
        let open = if self.config.is_masked() { sequence } else { self.config.caption_length };
        CausalMask::with_prefix(open, sequence, &self.device())
    }

    /// Negative log-likelihood of each code given the condition and the codes before it, in nats.
    ///
    /// # Shapes
    /// - codes, output: `[batch, n_codes]`
    pub fn code_losses(
        &self,
        conditions: &Conditions,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        self.losses_seeing(conditions, codes.clone(), codes, dropout)
    }

    /// As [`Self::code_losses`], for a model that sees the codes `seen` and predicts `codes`.
    pub fn losses_seeing(
        &self,
        conditions: &Conditions,
        seen: Tensor<2, Int>,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        let [batch, n_codes] = codes.dims();
        let known = (n_codes > 1).then(|| seen.slice([0..batch, 0..n_codes - 1]));
        let logits = self.forward(conditions, known, dropout);
        token_losses(logits, codes.reshape([batch * n_codes])).reshape([batch, n_codes])
    }

    /// Embeddings of the condition's prefix followed by the codes.
    ///
    /// # Shapes
    /// - codes: `[batch, n]`; `None` for none
    /// - output: `[batch, prefix + n, width]`
    pub(super) fn embed(
        &self,
        conditions: &Conditions,
        codes: Option<Tensor<2, Int>>,
    ) -> Tensor<3> {
        let class = conditions.embed_classes(self);
        let after_caption = match codes {
            None => class,
            Some(codes) => {
                let [batch, n] = codes.dims();
                let codes = self.token.forward(codes.reshape([batch * n]));
                Tensor::cat(vec![class, codes.reshape([batch, n, self.config.width])], 1)
            }
        };
        let after_caption = self.at_positions(after_caption, self.config.caption_length);
        match conditions.embed_captions(self) {
            None => after_caption,
            Some(caption) => Tensor::cat(vec![caption, after_caption], 1),
        }
    }

    /// Adds the learned position embeddings of the class and the codes, from position `position` of the sequence on.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, width]`
    pub(super) fn at_positions(&self, x: Tensor<3>, position: usize) -> Tensor<3> {
        let [_, sequence, width] = x.dims();
        let (end, n_positions) = (position + sequence, self.config.n_positions());
        assert!(end <= n_positions, "position {end} of a prior of {n_positions}");
        let Some(table) = &self.position else { return x };
        let mut table = table.val();
        let before = self.config.caption_length;
        if sequence < n_positions - before {
            table = table.slice([position - before..end - before, 0..width]);
        }
        x + table.unsqueeze()
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
