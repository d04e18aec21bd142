//! The Inception-v3 of the Fréchet inception distance, with the deviations of PyPI `pytorch-fid`, whose weights come from TensorFlow's net of 2015-12-05: average pools leave padding out of their means,
//! and the last block has a max pool where all others have an average.
//!
//! Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision"; Heusel et al. 2017, "GANs Trained by
//! a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium".

mod blocks;
mod layers;
mod resize;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::PooledNet;
use super::rgb::normalised;
use crate::ops::init::WeightInit;
use crate::ops::resample::max_pool;
use blocks::{BlockA, BlockB, BlockC, BlockD, BlockE, Pool};
use layers::BasicConv2d;
use resize::resized;

/// Height and width that images are resized to.
const SIZE: usize = 299;

/// The net up to its last pool, of 2,048 numbers an image.
#[derive(Module, Debug)]
pub struct Inception {
    conv2d_1a_3x3: BasicConv2d,
    conv2d_2a_3x3: BasicConv2d,
    conv2d_2b_3x3: BasicConv2d,
    conv2d_3b_1x1: BasicConv2d,
    conv2d_4a_3x3: BasicConv2d,
    mixed_5b: BlockA,
    mixed_5c: BlockA,
    mixed_5d: BlockA,
    mixed_6a: BlockB,
    mixed_6b: BlockC,
    mixed_6c: BlockC,
    mixed_6d: BlockC,
    mixed_6e: BlockC,
    mixed_7a: BlockD,
    mixed_7b: BlockE,
    mixed_7c: BlockE,
}

impl Inception {
    /// What the files of `pytorch-fid` call the parameter `name`.
    pub fn name_in_file(name: &str) -> String {
        let mut letters = name.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    }

    /// A net whose weights are to be loaded.
    pub fn new(device: &Device) -> Self {
        let mut init = WeightInit::new(0, device);
        let init = &mut init;
        Self {
            conv2d_1a_3x3: BasicConv2d::new(3, 32, [3, 3], init).strided(2).unpadded(),
            conv2d_2a_3x3: BasicConv2d::new(32, 32, [3, 3], init).unpadded(),
            conv2d_2b_3x3: BasicConv2d::new(32, 64, [3, 3], init),
            conv2d_3b_1x1: BasicConv2d::new(64, 80, [1, 1], init),
            conv2d_4a_3x3: BasicConv2d::new(80, 192, [3, 3], init).unpadded(),
            mixed_5b: BlockA::new(192, 32, init),
            mixed_5c: BlockA::new(256, 64, init),
            mixed_5d: BlockA::new(288, 64, init),
            mixed_6a: BlockB::new(288, init),
            mixed_6b: BlockC::new(768, 128, init),
            mixed_6c: BlockC::new(768, 160, init),
            mixed_6d: BlockC::new(768, 160, init),
            mixed_6e: BlockC::new(768, 192, init),
            mixed_7a: BlockD::new(768, init),
            mixed_7b: BlockE::new(1280, Pool::Average, init),
            mixed_7c: BlockE::new(2048, Pool::Maximum, init),
        }
        .no_grad()
    }
}

impl PooledNet for Inception {
    fn n_features(&self) -> usize {
        2048
    }

    fn pooled(&self, images: Tensor<4>) -> Tensor<2> {
        let h = normalised(images, [0.0; 3], [0.5; 3]); // [-1, 1]
        let h = resized(h, SIZE); // [batch, 299, 299, 3]
        let h = self.conv2d_1a_3x3.forward(h); // [batch, 149, 149, 32]
        let h = self.conv2d_2a_3x3.forward(h);
        let h = self.conv2d_2b_3x3.forward(h); // [batch, 147, 147, 64]
        let h = max_pool(h, 3, 2, 0);
        let h = self.conv2d_3b_1x1.forward(h); // [batch, 73, 73, 80]
        let h = self.conv2d_4a_3x3.forward(h);
        let h = max_pool(h, 3, 2, 0); // [batch, 35, 35, 192]
        let h = self.mixed_5b.forward(h);
        let h = self.mixed_5c.forward(h);
        let h = self.mixed_5d.forward(h);
        let h = self.mixed_6a.forward(h); // [batch, 17, 17, 768]
        let h = self.mixed_6b.forward(h);
        let h = self.mixed_6c.forward(h);
        let h = self.mixed_6d.forward(h);
        let h = self.mixed_6e.forward(h);
        let h = self.mixed_7a.forward(h); // [batch, 8, 8, 1280]
        let h = self.mixed_7b.forward(h);
        let h = self.mixed_7c.forward(h); // [batch, 8, 8, 2048]
        h.mean_dims(&[1, 2]).flatten(0, 2) // [batch, 2048]
    }
}
