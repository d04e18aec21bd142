//! The convolutions of VGG16 (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image
//! Recognition", configuration D) with the parameter names of torchvision's `vgg16`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::init::WeightInit;
use crate::ops::relu;
use crate::ops::resample::max_pool;

/// Channels of each stage and its number of convolutions; a stage begins with half the height and width of the one
/// before.
const STAGES: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// The five stages of VGG16.
#[derive(Module, Debug)]
pub struct Vgg16 {
    /// Torchvision's list, in which ReLU and pooling have places and no parameters.
    features: Vec<Option<Conv2d>>,
}

impl Vgg16 {
    /// Channels of the outputs of the stages.
    pub const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

    /// The smallest height or width of which the last stage has an output.
    pub const SMALLEST: usize = 16;

    /// A net whose weights are to be loaded.
    pub fn new(device: &Device) -> Self {
        let mut init = WeightInit::new(0, device);
        let mut features = Vec::new();
        let mut c_in = 3;
        for (stage, (channels, convolutions)) in STAGES.into_iter().enumerate() {
            if stage > 0 {
                features.push(None); // the maxima
            }
            for _ in 0..convolutions {
                features.push(Some(Conv2d::new(ConvShape::same(c_in, channels, 3), &mut init)));
                features.push(None); // ReLU
                c_in = channels;
            }
        }
        Self { features }.no_grad()
    }

    /// Activations that [`Self::stages`] keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, size: usize) -> usize {
        let stages = STAGES.iter().enumerate();
        let of_stages = stages.map(|(stage, (channels, n))| (size >> stage).pow(2) * channels * n);
        3 * size * size + of_stages.sum::<usize>()
    }

    /// The outputs of the stages, after their last ReLU.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, 3]`, normalised as the user of the net wants it, at least
    ///   [`Self::SMALLEST`] pixels high and wide
    /// - output `i`: `[batch, height / 2^i, width / 2^i, CHANNELS[i]]`
    pub fn stages(&self, images: Tensor<4>) -> [Tensor<4>; 5] {
        let mut convolutions = self.features.iter().flatten();
        let mut h = images;
        STAGES.map(|(channels, n)| {
            if channels > STAGES[0].0 {
                h = max_pool(h.clone(), 2, 2, 0);
            }
            for (i, convolution) in convolutions.by_ref().take(n).enumerate() {
                let x = h.clone();
                // The first has the maxima, which are not negative, or the images.
                h = if i == 0 { convolution.forward(x) } else { convolution.forward_relu(x) };
            }
            h = relu(h.clone());
            h.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_halve_the_image_and_have_the_published_number_of_parameters() {
        let device = Device::flex();
        let vgg = Vgg16::new(&device);
        // torchvision: sum(p.numel() for p in vgg16().features.parameters())
        assert_eq!(vgg.num_params(), 14_714_688);
        let stages = vgg.stages(Tensor::zeros([2, 17, 35, 3], &device));
        let sizes = [(17, 35), (8, 17), (4, 8), (2, 4), (1, 2)];
        for ((stage, (height, width)), channels) in
            stages.into_iter().zip(sizes).zip(Vgg16::CHANNELS)
        {
            assert_eq!(stage.dims(), [2, height, width, channels]);
        }
    }
}
