//! Initial weights, drawn on the host from counter-based streams: the same seed gives the same model on
//! every device, and a parameter's values depend on its index alone.
//!
//! They are drawn lazily, when a parameter is first used. Until then a model takes no memory for its parameters, knows
//! their shapes, and can load the weights of a file in their place.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Purpose, Stream, stream};

/// Makes initial parameters, each from its own stream.
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
        self.drawn(shape, move |rng| (2.0 * rng.uniform() - 1.0) * bound)
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(
        &mut self,
        shape: [usize; D],
        deviation: f32,
    ) -> Param<Tensor<D>> {
        self.drawn(shape, move |rng| rng.normal() * deviation)
    }

    /// The same value everywhere.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        // A constant draws nothing, but counts: the index of later parameters is part of their stream.
        self.next += 1;
        filled(shape, value, self.device)
    }

    fn drawn<const D: usize>(
        &mut self,
        shape: [usize; D],
        mut draw: impl FnMut(&mut Stream) -> f32 + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let (seed, index) = (self.seed, self.next);
        self.next += 1;
        made_when_used(shape, self.device, move |device| {
            let mut rng = stream(seed, Purpose::Weights, 0, index);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(&mut rng)).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }
}

/// A constant parameter.
pub(super) fn filled<const D: usize>(
    shape: [usize; D],
    value: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    made_when_used(shape, device, move |device| Tensor::full(shape, value, device))
}

/// A trainable parameter, lazily initialised by `make`.
fn made_when_used<const D: usize>(
    shape: [usize; D],
    device: &Device,
    make: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let init = move |device: &Device, trained| make(device).set_require_grad(trained);
    Param::uninitialized(ParamId::new(), init, device.clone(), true, shape.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::Module;

    use super::*;

    #[test]
    fn values_are_drawn_when_a_parameter_is_used_and_not_before() {
        let device = Device::flex();
        let mut init = WeightInit::new(3, &device);
        // No memory holds so many numbers.
        let huge = init.uniform([1 << 20, 1 << 20], 1.0);
        let (zeros, normal) = (init.constant([2], 0.5), init.normal([2, 2], 1.0));
        assert!(!huge.is_initialized() && !zeros.is_initialized() && !normal.is_initialized());
        assert_eq!(huge.lazy_shape().as_slice(), [1 << 20, 1 << 20]);
        // The third parameter has the third stream, whatever was used before it.
        let mut rng = stream(3, Purpose::Weights, 0, 2);
        let expected: Vec<f32> = (0..4).map(|_| rng.normal()).collect();
        normal.val().into_data().assert_eq(&TensorData::new(expected, [2, 2]), true);
        zeros.val().into_data().assert_eq(&TensorData::from([0.5f32, 0.5]), true);
        assert!(!huge.is_initialized());
    }

    #[test]
    fn a_parameter_is_trained_where_its_device_tracks_gradients() {
        let tracking = WeightInit::new(0, &Device::flex().autodiff()).normal([3], 1.0);
        assert!(tracking.val().is_require_grad());
        assert!(!tracking.clone().set_require_grad(false).val().is_require_grad());
        let plain = WeightInit::new(0, &Device::flex()).normal([3], 1.0);
        assert!(!plain.val().is_require_grad());
        assert!(plain.train().val().is_require_grad());
    }
}
