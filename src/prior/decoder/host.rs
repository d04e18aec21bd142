//! Decoding on the CPU device: what [`super::DeviceDecoder`] does with tensors, on slices and with weights packed once.

use rayon::prelude::*;

use crate::ops::{HeadCache, HeadMap, PackedLinear, RowNorm, Share, Then, packed_linear, values};
use crate::prior::block::Block;
use crate::prior::{Condition, Conditions, Gpt, PriorActivation, PriorConfig};

/// Fewest sequences that are worth a thread of their own: on two cores, 8 each take a tenth less time than 16 together.
const LEAST_ALONE: usize = 8;

/// A network with packed weights, and its KV cache.
#[derive(Debug)]
pub struct HostDecoder<'a> {
    gpt: &'a Gpt,
    /// `[vocabulary, width]`.
    token: Vec<f32>,
    /// Of the class and the codes, `[n_codes, width]`; empty with rotary positions.
    position: Vec<f32>,
    map: HeadMap,
    layers: Vec<Layer>,
    norm: RowNorm,
    head: PackedLinear,
    /// The KV cache, in groups of sequences that are decoded together.
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Layer {
    norm1: RowNorm,
    qkv: PackedLinear,
    out: PackedLinear,
    norm2: RowNorm,
    up: PackedLinear,
    activation: PriorActivation,
    down: PackedLinear,
}

/// The KV cache of a group of sequences.
#[derive(Debug)]
struct Seen {
    /// One per layer.
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
            activation: block.mlp.activation,
            down: block.mlp.down.packed(),
        }
    }
}

impl Layer {
    /// [`Block::forward`] at one or more positions of every sequence, in place.
    ///
    /// # Shapes
    /// - x: `[rows, width]`
    fn forward(
        &self,
        x: &mut [f32],
        rows: &mut Rows,
        attend: impl FnOnce(&mut [f32], &mut [f32]),
        share: Share,
    ) {
        let Rows { normed, attended, after_attention, wide } = rows;
        let (qkv, _) = wide.split_at_mut(3 * x.len());
        self.norm1.apply(x, normed, share);
        self.qkv.apply(normed, qkv, Then::Nothing, share);
        attend(qkv, attended);
        self.out.apply(attended, after_attention, Then::Add(x), share);
        self.norm2.apply(after_attention, normed, share);
        let activation = match self.activation {
            PriorActivation::Gelu => Then::Gelu,
            PriorActivation::SquaredRelu => Then::SquaredRelu,
        };
        self.up.apply(normed, wide, activation, share);
        self.down.apply(wide, x, Then::Add(after_attention), share);
    }
}

/// Scratch buffers that the layers of a pass share.
struct Rows {
    /// `[rows, width]`.
    normed: Vec<f32>,
    attended: Vec<f32>,
    after_attention: Vec<f32>,
    /// `[rows, 4 * width]`: queries, keys and values, then the hidden layer.
    wide: Vec<f32>,
}

impl Rows {
    fn new(len: usize) -> Self {
        let empty = || vec![0.0; len];
        Self {
            normed: empty(),
            attended: empty(),
            after_attention: empty(),
            wide: vec![0.0; 4 * len],
        }
    }
}

impl<'a> HostDecoder<'a> {
    /// Copies and packs the weights of a network on the CPU device.
    pub fn new(gpt: &'a Gpt) -> Self {
        let config = gpt.config();
        let head = match &gpt.head {
            Some(head) => head.packed(),
            None => {
                let codes = [0..config.codebook_size, 0..config.width];
                packed_linear(gpt.token.weight.val().slice(codes).transpose(), None)
            }
        };
        Self {
            token: values(gpt.token.weight.val()),
            position: gpt.raster_positions().map_or_else(Vec::new, values),
            map: gpt.heads().map(),
            layers: gpt.blocks.iter().map(Layer::new).collect(),
            norm: gpt.norm.to_rows(),
            head,
            gpt,
            seen: Vec::new(),
        }
    }

    /// As [`DeviceDecoder::start`](super::DeviceDecoder::start).
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - given: `[batch, n]`, the known codes
    /// - output: `[batch, codebook_size]`
    pub fn start(&mut self, conditions: &[Condition], given: &[usize]) -> Vec<f32> {
        let config = self.gpt.config();
        let batch = conditions.len();
        self.forget(batch);
        let conditions = Conditions::new(conditions, config, &self.gpt.device());
        if let Some(captions) = conditions.embed_captions(self.gpt) {
            self.read(values(captions));
        }
        let mut logits = self.advance(values(conditions.embed_classes(self.gpt)));
        let n = given.len() / batch.max(1);
        for position in 0..n {
            let codes: Vec<usize> = given.iter().skip(position).step_by(n).copied().collect();
            logits = self.next(&codes);
        }
        logits
    }

    /// Appends a code to every sequence; returns the logits of the next one.
    ///
    /// # Shapes
    /// - codes: `[batch]`
    /// - output: `[batch, codebook_size]`
    ///
    /// # Panics
    /// With another number of codes than there are sequences, a code beyond the codebook, or more positions than the
    /// network has.
    pub fn next(&mut self, codes: &[usize]) -> Vec<f32> {
        let width = self.gpt.config().width;
        let mut x = Vec::with_capacity(codes.len() * width);
        for code in codes {
            x.extend_from_slice(&self.token[code * width..(code + 1) * width]);
        }
        self.advance(x)
    }

    /// An empty cache for `sequences` new sequences.
    fn forget(&mut self, sequences: usize) {
        let config = self.gpt.config();
        let &PriorConfig { heads, width, layers, .. } = config;
        let n_positions = config.n_positions();
        // With few sequences, all threads share each GEMM, so that weights are read from memory once; many are split
        // among the threads, which then synchronise once per position.
        let threads = rayon::current_num_threads();
        let per_thread = sequences.div_ceil(threads);
        let group = if per_thread >= LEAST_ALONE { per_thread } else { sequences };
        let seen = |first: usize| {
            let sequences = group.min(sequences - first);
            let cache = |_| HeadCache::new(sequences, n_positions, heads, width / heads);
            Seen { caches: (0..layers).map(cache).collect(), sequences, position: 0 }
        };
        self.seen = (0..sequences).step_by(group.max(1)).map(seen).collect();
    }

    /// Fills the first positions with captions.
    ///
    /// # Shapes
    /// - x: `[sequences, caption_length, width]`, their embeddings
    fn read(&mut self, x: Vec<f32>) {
        self.in_groups(x, |decoder, Seen { caches, position, .. }, x, share| {
            let n = decoder.gpt.config().caption_length;
            let mut rows = Rows::new(x.len());
            for (layer, cache) in decoder.layers.iter().zip(caches) {
                let attend = |qkv: &mut [f32], attended: &mut [f32]| {
                    cache.attend_prefix(qkv, n, &decoder.map, attended, share);
                };
                layer.forward(x, &mut rows, attend, share);
            }
            *position = n;
            Vec::new()
        });
    }

    /// # Shapes
    /// - x: `[sequences, width]`, their embeddings at one more position
    /// - output: `[sequences, codebook_size]`
    fn advance(&mut self, x: Vec<f32>) -> Vec<f32> {
        let sequences = self.seen.iter().map(|seen| seen.sequences).sum::<usize>();
        let width = self.gpt.config().width;
        assert_eq!(x.len(), sequences * width, "embeddings of {sequences} sequences");
        self.in_groups(x, Self::advance_group)
    }

    /// The results of `pass` over each group of sequences and its rows of `x`, one after another.
    fn in_groups(
        &mut self,
        mut x: Vec<f32>,
        pass: impl Fn(&Self, &mut Seen, &mut [f32], Share) -> Vec<f32> + Sync,
    ) -> Vec<f32> {
        let mut groups = std::mem::take(&mut self.seen);
        let sequences = groups.iter().map(|seen| seen.sequences).sum::<usize>();
        let results = match groups.as_mut_slice() {
            [seen] => pass(self, seen, &mut x, Share::All),
            groups => {
                let first = groups.first().map_or(1, |seen| seen.sequences);
                let len = x.len() / sequences.max(1) * first;
                let groups = groups.par_iter_mut().zip(x.par_chunks_mut(len.max(1)));
                let pass = |(seen, x): (&mut Seen, &mut [f32])| pass(self, seen, x, Share::Alone);
                groups.map(pass).collect::<Vec<_>>().concat()
            }
        };
        self.seen = groups;
        results
    }

    fn advance_group(&self, seen: &mut Seen, x: &mut [f32], share: Share) -> Vec<f32> {
        let config = self.gpt.config();
        let Seen { caches, sequences, position } = seen;
        let (n_positions, width) = (config.n_positions(), config.width);
        assert!(*position < n_positions, "position {position} of a prior of {n_positions}");
        if !self.position.is_empty() {
            let row = *position - config.caption_length;
            let table = &self.position[row * width..(row + 1) * width];
            for row in x.chunks_exact_mut(width) {
                row.iter_mut().zip(table).for_each(|(x, position)| *x += position);
            }
        }
        let mut rows = Rows::new(x.len());
        for (layer, cache) in self.layers.iter().zip(caches) {
            let attend = |qkv: &mut [f32], attended: &mut [f32]| {
                cache.attend(qkv, *position, &self.map, attended, share);
            };
            layer.forward(x, &mut rows, attend, share);
        }
        *position += 1;
        self.norm.apply(x, &mut rows.normed, share);
        let mut logits = vec![0.0; *sequences * config.codebook_size];
        self.head.apply(&rows.normed, &mut logits, Then::Nothing, share);
        logits
    }
}
