//! Initial weights, drawn on the host from counter-based streams: the same seed gives the same model on
//! every device, and a parameter's values do not depend on those created before it in another way than by
//! its place.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Purpose, stream};

/// Hands out initial parameters, each from its own stream.
#[derive(Debug)]
pub struct WeightInit<'a> {
    seed: u64,
    next: u64,
    device: &'a Device,
}

impl<'a> WeightInit<'a> {
    /// Parameters of the model of `seed`, created on `device`.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self { seed, next: 0, device }
    }

    /// Where the parameters are created.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f32) -> Param<Tensor<D>> {
        self.drawn(shape, |rng| (2.0 * rng.uniform() - 1.0) * bound)
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(
        &mut self,
        shape: [usize; D],
        deviation: f32,
    ) -> Param<Tensor<D>> {
        self.drawn(shape, |rng| rng.normal() * deviation)
    }

    /// The same value everywhere.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.drawn(shape, |_| value)
    }

    fn drawn<const D: usize>(
        &mut self,
        shape: [usize; D],
        mut draw: impl FnMut(&mut crate::rng::Stream) -> f32,
    ) -> Param<Tensor<D>> {
        let mut rng = stream(self.seed, Purpose::Weights, 0, self.next);
        self.next += 1;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(&mut rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
}
