//! The first five stages of EfficientNet-Lite0 (Tan and Le 2019; the Lite variant has ReLU6 for SiLU and no
//! squeeze-and-excitation), with batch normalisation folded into the convolutions.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::depthwise::Depthwise;
use crate::ops::init::WeightInit;

/// Channels, blocks, kernel size, stride and expansion of each stage.
const STAGES: [Stage; 5] = [
    Stage { width: 16, blocks: 1, kernel: 3, stride: 1, expansion: 1 },
    Stage { width: 24, blocks: 2, kernel: 3, stride: 2, expansion: 6 },
    Stage { width: 40, blocks: 2, kernel: 5, stride: 2, expansion: 6 },
    Stage { width: 80, blocks: 3, kernel: 3, stride: 2, expansion: 6 },
    Stage { width: 112, blocks: 3, kernel: 5, stride: 1, expansion: 6 },
];
/// Channels of the stem.
const STEM: usize = 32;

struct Stage {
    width: usize,
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
}

/// The network, without its last two stages and its classifier.
#[derive(Module, Debug)]
pub struct EfficientNet {
    stem: Conv2d,
    blocks: Vec<InvertedResidual>,
}

impl EfficientNet {
    /// The stages.
    pub const STAGES: usize = STAGES.len();

    /// Random weights, to be replaced by those of a file.
    pub fn new(init: &mut WeightInit) -> Self {
        // As `SAME` padding pads an even size at its end only, the kernel of 3 x 3 is stored with a zero row and
        // column in front, which makes its padding symmetric.
        let stem = Conv2d::new(ConvShape::same(3, STEM, 4).strided(2, 1), init);
        let mut c_in = STEM;
        let mut blocks = Vec::new();
        for Stage { width, blocks: n_blocks, kernel, stride, expansion } in STAGES {
            for index in 0..n_blocks {
                let stride = if index == 0 { stride } else { 1 };
                let shape = BlockShape { c_in, c_out: width, kernel, stride, expansion };
                blocks.push(InvertedResidual::new(shape, init));
                c_in = width;
            }
        }
        Self { stem, blocks }
    }

    /// The output of each of the first `n_stages` stages.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, 3]` of even height and width, as ImageNet's after its usual normalisation
    /// - output: `[batch, height / s, width / s, channels]`, rounded up, with s = 2, 4, 8, 16 and 16, and 16, 24, 40, 80
    ///   and 112 channels
    pub fn stages(&self, images: Tensor<4>, n_stages: usize) -> Vec<Tensor<4>> {
        let mut blocks = self.blocks.iter();
        // Up to the first ReLU6, which the first block applies.
        let mut h = self.stem.forward(images);
        let mut outputs = Vec::with_capacity(n_stages);
        for stage in STAGES.iter().take(n_stages) {
            h = blocks.by_ref().take(stage.blocks).fold(h, |h, block| block.forward(h));
            outputs.push(h.clone());
        }
        outputs
    }

    /// Activations that [`Self::stages`] keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, size: usize, n_stages: usize) -> usize {
        let mut size = size.div_ceil(2);
        let [c_in, stem] = self.stem.channels();
        let mut n = 4 * size * size * c_in + size * size * stem;
        let n_blocks = STAGES.iter().take(n_stages).map(|stage| stage.blocks).sum();
        for block in self.blocks.iter().take(n_blocks) {
            n += block.activations(&mut size);
        }
        n
    }

    /// The output of the last stage, as [`Self::stages`].
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        self.blocks.iter().fold(self.stem.forward(images), |h, block| block.forward(h))
    }
}

#[derive(Debug, Clone, Copy)]
struct BlockShape {
    c_in: usize,
    c_out: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
}

/// 1x1 expansion, depthwise convolution, 1x1 projection; with a residual connection where the shape stays.
#[derive(Module, Debug)]
struct InvertedResidual {
    /// Absent in the first stage, whose input is then before ReLU6.
    expand: Option<Conv2d>,
    depthwise: Depthwise,
    project: Conv2d,
}

impl InvertedResidual {
    fn new(shape: BlockShape, init: &mut WeightInit) -> Self {
        let BlockShape { c_in, c_out, kernel, stride, expansion } = shape;
        let inner = c_in * expansion;
        Self {
            expand: (expansion > 1).then(|| Conv2d::new(ConvShape::same(c_in, inner, 1), init)),
            depthwise: Depthwise::new(inner, kernel, stride, init),
            project: Conv2d::new(ConvShape::same(inner, c_out, 1), init),
        }
    }

    /// What it keeps of an image of `size` pixels a side, which becomes that of its output.
    fn activations(&self, size: &mut usize) -> usize {
        let [inner, c_out] = self.project.channels();
        let expanded = if self.expand.is_some() { *size * *size * inner } else { 0 };
        *size = size.div_ceil(self.depthwise.stride());
        expanded + *size * *size * (inner + c_out)
    }

    /// # Shapes
    /// - x: `[batch, height, width, c_in]`
    /// - output: `[batch, height / stride, width / stride, c_out]`, rounded up
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.expand.as_ref().map_or(x.clone(), |expand| expand.forward(x.clone()));
        let inner = self.depthwise.forward_between_relu6(inner);
        let [c_inner, c_out] = self.project.channels();
        let [_, _, _, c_in] = x.dims();
        // The first stage keeps neither: its 32 channels become 16.
        if self.depthwise.stride() == 1 && c_in == c_out && c_inner != c_in {
            return self.project.forward_onto(inner, x);
        }
        self.project.forward(inner)
    }
}
