//! Decoding with tensors, on any device.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::ops::{KeyValues, cached_attention, causal_attention};
use crate::prior::seeds::Dropouts;
use crate::prior::{Condition, Conditions, Gpt};

/// A network and its KV cache: `2 · layers · batch · n_positions · width` elements.
#[derive(Debug)]
pub struct DeviceDecoder<'a> {
    gpt: &'a Gpt,
    /// The KV cache, one per layer; empty before the first sequence.
    layers: Vec<KeyValues>,
    position: usize,
}

impl<'a> DeviceDecoder<'a> {
    /// The network must not be tracking gradients (`.valid()`).
    pub fn new(gpt: &'a Gpt) -> Self {
        Self { gpt, layers: Vec::new(), position: 0 }
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.gpt.device()
    }

    /// Resets the cache and feeds the start of every sequence; returns the logits of the next code.
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - given: `[batch, n]`, the known codes
    /// - output: `[batch, codebook_size]`
    pub fn start(&mut self, conditions: &[Condition], given: &[usize]) -> Tensor<2> {
        let (gpt, config, device) = (self.gpt, self.gpt.config(), self.device());
        let batch = conditions.len();
        let (heads, head_dim) = (config.heads, config.width / config.heads);
        let layer = |_| KeyValues::new(batch, heads, config.n_positions(), head_dim, &device);
        self.layers = (0..config.layers).map(layer).collect();
        self.position = 0;

        let codes = (!given.is_empty()).then(|| {
            let codes: Vec<i32> = given.iter().map(|&code| code as i32).collect();
            let shape = [batch, given.len() / batch];
            Tensor::from_data(TensorData::new(codes, shape), &device)
        });
        let x = gpt.embed(&Conditions::new(conditions, config, &device), codes, None);
        let [batch, sequence, width] = x.dims();
        let mask = gpt.mask(sequence);
        let x = self.through_blocks(x.reshape([batch * sequence, width]), sequence, |qkv, _| {
            causal_attention(qkv, gpt.heads(), &mask, None)
        });
        let last = x
            .reshape([batch, sequence, width])
            .slice([0..batch, sequence - 1..sequence, 0..width])
            .reshape([batch, width]);
        gpt.logits(last)
    }

    /// Appends a code to every sequence; returns the logits of the next one.
    ///
    /// # Shapes
    /// - codes: `[batch]`
    /// - output: `[batch, codebook_size]`
    pub fn next(&mut self, codes: Tensor<1, Int>) -> Tensor<2> {
        let (gpt, position) = (self.gpt, self.position);
        let x = gpt.at_positions(gpt.token.forward(codes).unsqueeze_dim(1), position);
        let [batch, _, width] = x.dims();
        let x = self.through_blocks(x.reshape([batch, width]), 1, |qkv, seen| {
            cached_attention(qkv, seen, position, gpt.heads())
        });
        gpt.logits(x)
    }

    /// # Shapes
    /// - x, output: `[batch * added, width]`
    fn through_blocks(
        &mut self,
        mut x: Tensor<2>,
        added: usize,
        attend: impl Fn(Tensor<2>, &KeyValues) -> Tensor<2>,
    ) -> Tensor<2> {
        let (gpt, position) = (self.gpt, self.position);
        // Each layer's buffers are moved out and back: they are written in place only while they have a single owner.
        for (block, seen) in gpt.blocks.iter().zip(std::mem::take(&mut self.layers)) {
            x = block.forward(x, &mut Dropouts::none(), |qkv, _| {
                let seen = seen.append(qkv.clone(), position, added, gpt.heads());
                let attended = attend(qkv, &seen);
                self.layers.push(seen);
                attended
            });
        }
        self.position += added;
        x
    }
}
