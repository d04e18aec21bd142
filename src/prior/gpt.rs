//! The whole network: tokens to logits, and the loss of code sequences.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::ops::init::WeightInit;
use crate::ops::{
    CausalMask, Embedding, Heads, Linear, Norm, RotaryTables, causal_attention, embedding,
    token_losses,
};
use crate::prior::block::{Block, DEVIATION};
use crate::prior::seeds::Dropouts;
use crate::prior::{CodeBatch, Conditions, DropoutSeeds, Positions, PriorConfig, PriorNorm};

/// A GPT over codes.
#[derive(Module, Debug)]
pub struct Gpt {
    /// Embeddings of the whole vocabulary, codes first.
    pub token: Embedding,
    /// Of the class and the codes, `[n_positions - caption_length, width]`, with one more row where codes may come in any
    /// order; absent with rotary positions.
    pub position: Option<Param<Tensor<2>>>,
    /// Of the next code's place, `[n_codes, width]`; absent where codes have one order.
    pub target_position: Option<Param<Tensor<2>>>,
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
        // In other orders than the raster's its last code is an input, too.
        let inputs = config.n_positions() - config.caption_length;
        let inputs = inputs + usize::from(config.target_positions);
        let position = learned.then(|| init.normal([inputs, width], DEVIATION));
        let blocks = (0..layers).map(|_| Block::new(config, &mut init)).collect();
        let head = (!config.tie_weights)
            .then(|| Linear { weight: init.normal([width, codebook_size], DEVIATION), bias: None });
        let caption = config.has_captions().then(|| CaptionEmbedding {
            token: Embedding { weight: init.normal([config.caption_tokens + 1, width], DEVIATION) },
            position: init.normal([config.caption_length, width], DEVIATION),
        });
        let target_position =
            config.target_positions.then(|| init.normal([config.n_codes(), width], DEVIATION));
        let grid = [grid_height, grid_width];
        let tables = if config.is_masked() { RotaryTables::at } else { RotaryTables::after };
        let rotary = (!learned).then(|| tables(config.prefix(), grid, width / heads, device));
        Self {
            token,
            position,
            target_position,
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

    /// Logits of each code given the condition and the codes before it in raster order. `dropout` is for training; `None`
    /// drops nothing.
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
        self.next_logits(self.embed(conditions, known, None), dropout)
    }

    /// # Shapes
    /// - x: `[batch, prefix + n, width]`
    /// - output: `[batch * (n + 1), codebook_size]`
    fn next_logits(&self, x: Tensor<3>, dropout: Option<DropoutSeeds>) -> Tensor<2> {
        let x = self.through_blocks(x, dropout);
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

    /// Negative log-likelihood of each code given the condition and the codes before it in raster order, in nats.
    ///
    /// # Shapes
    /// - codes, output: `[batch, n_codes]`
    pub fn code_losses(
        &self,
        conditions: &Conditions,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        self.losses_of(conditions, CodeBatch::of(codes), dropout)
    }

    /// As [`Self::code_losses`], of what `batch` lets the model see and predict, in its order.
    pub fn losses_of(
        &self,
        conditions: &Conditions,
        batch: CodeBatch,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        let CodeBatch { targets, seen, order } = batch;
        let [batch, n_codes] = targets.dims();
        let known = (n_codes > 1).then(|| seen.slice([0..batch, 0..n_codes - 1]));
        let logits = self.next_logits(self.embed(conditions, known, order), dropout);
        token_losses(logits, targets.reshape([batch * n_codes])).reshape([batch, n_codes])
    }

    /// Embeddings of the condition's prefix followed by the codes, in raster order or in `order`.
    ///
    /// # Shapes
    /// - codes: `[batch, n]`; `None` for none
    /// - order: `[batch, n + 1]`, that of the codes and of the next
    /// - output: `[batch, prefix + n, width]`
    pub(super) fn embed(
        &self,
        conditions: &Conditions,
        codes: Option<Tensor<2, Int>>,
        order: Option<Tensor<2, Int>>,
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
        let after_caption = match order {
            None => self.at_positions(after_caption, self.config.caption_length),
            Some(order) => self.in_order(after_caption, order),
        };
        match conditions.embed_captions(self) {
            None => after_caption,
            Some(caption) => Tensor::cat(vec![caption, after_caption], 1),
        }
    }

    /// Adds the learned embeddings of the positions of the class and of codes in `order`, and of the position of each next
    /// code.
    ///
    /// # Shapes
    /// - x, output: `[batch, n_codes, width]`
    /// - order: `[batch, n_codes]`
    fn in_order(&self, x: Tensor<3>, order: Tensor<2, Int>) -> Tensor<3> {
        let (Some(position), Some(target)) = (&self.position, &self.target_position) else {
            unreachable!("an order for a prior without target positions")
        };
        let [batch, n_codes, width] = x.dims();
        let rows = |table: &Param<Tensor<2>>, places: Tensor<2, Int>| {
            let rows = embedding(table.val(), places.reshape([batch * n_codes]));
            rows.reshape([batch, n_codes, width])
        };
        let class = Tensor::zeros([batch, 1], &order.device());
        let own = match n_codes - 1 {
            0 => class,
            known => {
                let codes = order.clone().slice([0..batch, 0..known]).add_scalar(1);
                Tensor::cat(vec![class, codes], 1)
            }
        };
        x + rows(position, own) + rows(target, order)
    }

    /// The learned position embeddings of the class and the codes in raster order, `[n_positions - caption_length,
    /// width]`; `None` with rotary positions.
    pub(super) fn raster_positions(&self) -> Option<Tensor<2>> {
        let own = self.position.as_ref()?.val();
        Some(match &self.target_position {
            // Code i stands in row i + 1, where the next is code i + 1.
            Some(target) => {
                let [n_codes, width] = target.dims();
                own.slice([0..n_codes, 0..width]) + target.val()
            }
            None => own,
        })
    }

    /// Adds the learned position embeddings of the class and the codes, from position `position` of the sequence on.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, width]`
    pub(super) fn at_positions(&self, x: Tensor<3>, position: usize) -> Tensor<3> {
        let [_, sequence, width] = x.dims();
        let (end, n_positions) = (position + sequence, self.config.n_positions());
        assert!(end <= n_positions, "position {end} of a prior of {n_positions}");
        let Some(mut table) = self.raster_positions() else { return x };
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
