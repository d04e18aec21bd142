//! Decoding one code at a time: each position is computed once, and later ones read its keys and values.

use burn::tensor::{Int, Tensor};

use crate::ops::{CausalMask, KeyValues};
use crate::prior::Gpt;

/// The keys and values of the positions a batch of sequences has been through.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<KeyValues>,
    position: usize,
}

impl KvCache {
    /// Positions it holds.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Gpt {
    /// An empty cache for `batch` sequences: `2 · layers · batch · n_codes · width` numbers. The network
    /// must not be tracking gradients (`.valid()`), or every step would be kept in memory.
    pub fn cache(&self, batch: usize) -> KvCache {
        let config = self.config();
        let (heads, n_codes) = (config.heads, config.n_codes());
        let device = self.device();
        let layer = || KeyValues::new(batch, heads, n_codes, config.width / heads, &device);
        KvCache { layers: (0..config.layers).map(|_| layer()).collect(), position: 0 }
    }

    /// Reads the first tokens of every sequence into an empty cache: the class token, and the codes that
    /// are given. Returns the logits of the code that follows.
    ///
    /// # Shapes
    /// - tokens: `[batch, sequence]`
    /// - output: `[batch, codebook_size]`
    pub fn prefill(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<2> {
        let [batch, sequence] = tokens.dims();
        assert_eq!(cache.position, 0, "prefill starts from an empty cache");
        let mask = CausalMask::new(sequence, &self.device());
        let rotary = self.rotary.as_ref();
        let x = self.embed(tokens.reshape([batch * sequence]), 0, sequence);
        let x = self.through_blocks(x, cache, sequence, |block, x, layer| {
            block.prefill(x, layer, &mask, rotary)
        });
        let width = self.config().width;
        let last = x
            .reshape([batch, sequence, width])
            .slice([0..batch, sequence - 1..sequence, 0..width])
            .reshape([batch, width]);
        self.logits(last)
    }

    /// Adds one token to every sequence and returns the logits of the code that follows.
    ///
    /// # Shapes
    /// - tokens: `[batch]`
    /// - output: `[batch, codebook_size]`
    pub fn step(&self, tokens: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        let position = cache.position;
        let rotary = self.rotary.as_ref();
        let x = self.embed(tokens, position, 1);
        let x = self
            .through_blocks(x, cache, 1, |block, x, layer| block.step(x, layer, position, rotary));
        self.logits(x)
    }

    fn through_blocks(
        &self,
        mut x: Tensor<2>,
        cache: &mut KvCache,
        added: usize,
        run: impl Fn(&super::Block, Tensor<2>, KeyValues) -> (Tensor<2>, KeyValues),
    ) -> Tensor<2> {
        // Each layer's buffers are moved out and back: written in place only while they have one owner.
        let layers = std::mem::take(&mut cache.layers);
        for (block, layer) in self.blocks.iter().zip(layers) {
            let (output, layer) = run(block, x, layer);
            x = output;
            cache.layers.push(layer);
        }
        cache.position += added;
        x
    }
}
