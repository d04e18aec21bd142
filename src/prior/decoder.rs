//! Decoding on the CPU device: what [`super::KvCache`] does with tensors, on slices and with weights packed once.

use rayon::prelude::*;

use crate::ops::{
    HeadCache, PackedLinear, RotaryRows, RotaryTables, RowNorm, Share, Then, packed_linear, values,
};
use crate::prior::{Block, Gpt, PriorConfig};

/// Fewest sequences a thread takes through the network on its own: on two cores, 8 each take a tenth less time alone than
/// together.
const LEAST_ALONE: usize = 8;

/// A network ready to be asked for one position after the other, and the sequences it has seen.
#[derive(Debug)]
pub struct Decoder {
    config: PriorConfig,
    /// `[vocabulary, width]`.
    token: Vec<f32>,
    /// `[n_codes, width]`; empty with rotary positions.
    position: Vec<f32>,
    rotary: Option<RotaryRows>,
    layers: Vec<Layer>,
    norm: RowNorm,
    head: PackedLinear,
    /// Groups of sequences that are decoded together.
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Layer {
    norm1: RowNorm,
    qkv: PackedLinear,
    out: PackedLinear,
    norm2: RowNorm,
    up: PackedLinear,
    down: PackedLinear,
}

/// Sequences so far.
#[derive(Debug)]
struct Seen {
    /// One a layer.
    caches: Vec<HeadCache>,
    sequences: usize,
    position: usize,
}

impl Layer {
    fn new(block: &Block) -> Self {
        Self {
            norm1: block.norm1.to_rows(),
            qkv: block.attention.qkv.packed(),
            out: block.attention.out.packed(),
            norm2: block.norm2.to_rows(),
            up: block.mlp.up.packed(),
            down: block.mlp.down.packed(),
        }
    }
}

impl Decoder {
    /// Copies and packs the weights of a network on the CPU device.
    pub fn new(gpt: &Gpt) -> Self {
        let config = gpt.config().clone();
        let head = match &gpt.head {
            Some(head) => head.packed(),
            None => {
                let codes = [0..config.codebook_size, 0..config.width];
                packed_linear(gpt.token.weight.val().slice(codes).transpose(), None)
            }
        };
        Self {
            token: values(gpt.token.weight.val()),
            position: gpt.position.as_ref().map_or_else(Vec::new, |table| values(table.val())),
            rotary: gpt.rotary.as_ref().map(RotaryTables::to_rows),
            layers: gpt.blocks.iter().map(Layer::new).collect(),
            norm: gpt.norm.to_rows(),
            head,
            config,
            seen: Vec::new(),
        }
    }

    /// Forgets what it has seen; as many sequences begin.
    pub fn start(&mut self, sequences: usize) {
        let PriorConfig { heads, width, layers, .. } = self.config;
        let n_codes = self.config.n_codes();
        // Few sequences share the work on each weight, which is read from memory once; many are split among the threads,
        // which then wait for each other once a position.
        let threads = rayon::current_num_threads();
        let per_thread = sequences.div_ceil(threads);
        let group = if per_thread >= LEAST_ALONE { per_thread } else { sequences };
        let seen = |first: usize| {
            let sequences = group.min(sequences - first);
            let cache = |_| HeadCache::new(sequences, n_codes, heads, width / heads);
            Seen { caches: (0..layers).map(cache).collect(), sequences, position: 0 }
        };
        self.seen = (0..sequences).step_by(group.max(1)).map(seen).collect();
    }

    /// Adds one token to every sequence and returns the logits of the code that follows.
    ///
    /// # Shapes
    /// - tokens: `[sequences]`
    /// - output: `[sequences, codebook_size]`
    ///
    /// # Panics
    /// With another number of tokens than there are sequences, a token beyond the vocabulary, or more positions than
    /// the network has.
    pub fn step(&mut self, tokens: &[usize]) -> Vec<f32> {
        let mut groups = std::mem::take(&mut self.seen);
        assert_eq!(tokens.len(), groups.iter().map(|seen| seen.sequences).sum::<usize>(), "tokens");
        let logits = match groups.as_mut_slice() {
            [seen] => self.step_group(seen, tokens, Share::All),
            groups => {
                let len = groups.first().map_or(1, |seen| seen.sequences);
                let groups = groups.par_iter_mut().zip(tokens.par_chunks(len));
                let step = |(seen, tokens)| self.step_group(seen, tokens, Share::Alone);
                groups.map(step).collect::<Vec<_>>().concat()
            }
        };
        self.seen = groups;
        logits
    }

    fn step_group(&self, seen: &mut Seen, tokens: &[usize], share: Share) -> Vec<f32> {
        let Seen { caches, sequences, position } = seen;
        let (rows, width) = (*sequences, self.config.width);
        assert!(*position < self.config.n_codes(), "position {position} of a prior");
        let mut x = Vec::with_capacity(rows * width);
        for token in tokens {
            x.extend_from_slice(&self.token[token * width..(token + 1) * width]);
        }
        if !self.position.is_empty() {
            let table = &self.position[*position * width..(*position + 1) * width];
            for row in x.chunks_exact_mut(width) {
                row.iter_mut().zip(table).for_each(|(x, position)| *x += position);
            }
        }
        let mut next = vec![0.0; rows * width];
        let mut normed = vec![0.0; rows * width];
        let mut attended = vec![0.0; rows * width];
        let mut wide = vec![0.0; rows * 4 * width];
        for (layer, cache) in self.layers.iter().zip(caches) {
            layer.norm1.apply(&x, &mut normed, share);
            let qkv = &mut wide[..rows * 3 * width];
            layer.qkv.apply(&normed, qkv, Then::Nothing, share);
            cache.attend(qkv, *position, self.rotary.as_ref(), &mut attended, share);
            layer.out.apply(&attended, &mut next, Then::Add(&x), share);
            layer.norm2.apply(&next, &mut normed, share);
            layer.up.apply(&normed, &mut wide, Then::Gelu, share);
            layer.down.apply(&wide, &mut x, Then::Add(&next), share);
        }
        *position += 1;
        self.norm.apply(&x, &mut normed, share);
        let mut logits = vec![0.0; rows * self.config.codebook_size];
        self.head.apply(&normed, &mut logits, Then::Nothing, share);
        logits
    }
}
