//! AdamW (Loshchilov and Hutter 2019), with its state keyed by parameter path, so that it can be saved to a file
//! without parameter ids, and with weight decay for the parameters that the caller selects.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::gradients::NamedGradients;
use crate::checkpoint::Place;
use crate::ops::{AdamWStep, Moving, adamw_step};

/// The hyperparameters of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, times the learning rate, for the parameters that `decays` selects.
    pub weight_decay: f64,
}

/// The moments of a parameter, flat.
#[derive(Debug, Clone)]
pub struct Moments {
    /// First moment: the running mean of the gradient.
    pub mean: Tensor<1>,
    /// Second moment: the running mean of the squared gradient.
    pub square: Tensor<1>,
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    decays: fn(&Place) -> bool,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

impl AdamW {
    /// A new optimizer; `decays` selects the parameters with weight decay.
    pub fn new(config: AdamWConfig, decays: fn(&Place) -> bool) -> Self {
        Self { config, decays, moments: BTreeMap::new(), steps: 0 }
    }

    /// Restores saved state.
    pub fn restore(&mut self, moments: BTreeMap<String, Moments>, steps: u64) {
        self.moments = moments;
        self.steps = steps;
    }

    /// Moments by parameter path.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// One update of every parameter that has a gradient.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: NamedGradients,
        learning_rate: f64,
    ) -> M {
        self.steps += 1;
        let power = self.steps as f64;
        let mut update = Update {
            place: Place::default(),
            gradients,
            learning_rate,
            correction1: 1.0 - self.config.beta1.powf(power),
            correction2: 1.0 - self.config.beta2.powf(power),
            optimizer: self,
        };
        module.map(&mut update)
    }
}

struct Update<'a> {
    place: Place,
    gradients: NamedGradients,
    learning_rate: f64,
    correction1: f64,
    correction2: f64,
    optimizer: &'a mut AdamW,
}

impl Update<'_> {
    /// The new value of a parameter, flat.
    fn apply(
        &mut self,
        path: &str,
        value: Tensor<1>,
        gradient: Tensor<1>,
        decays: bool,
    ) -> Tensor<1> {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.optimizer.config;
        let zeros = || Tensor::zeros(gradient.dims(), &gradient.device());
        let Moments { mean, square } = match self.optimizer.moments.remove(path) {
            Some(moments) => moments,
            None => Moments { mean: zeros(), square: zeros() },
        };
        let kept = 1.0 - if decays { self.learning_rate * weight_decay } else { 0.0 };
        let step = AdamWStep {
            beta1,
            beta2,
            epsilon,
            learning_rate: self.learning_rate,
            kept,
            correction1: self.correction1,
            correction2: self.correction2,
        };
        let Moving { value, mean, square } =
            adamw_step(Moving { value, mean, square }, gradient, step);
        self.optimizer.moments.insert(path.to_owned(), Moments { mean, square });
        value
    }
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.name();
        let Some(gradient) = self.gradients.take(&path) else { return param };
        let decays = (self.optimizer.decays)(&self.place);
        param.map(|value| {
            let shape = value.dims();
            let size = shape.iter().product::<usize>();
            let flat = value.inner().reshape([size]);
            let new = self.apply(&path, flat, gradient, decays).reshape(shape);
            Tensor::from_inner(new).require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    #[test]
    fn the_first_step_moves_each_parameter_by_the_learning_rate_against_its_gradient() {
        let device = Device::flex().autodiff();
        let two = Two {
            weight: Param::from_tensor(Tensor::from_floats([[1.0, -2.0]], &device)),
            bias: Param::from_tensor(Tensor::from_floats([3.0], &device)),
        };
        let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        let mut optimizer = AdamW::new(config, |place| place.name() == "weight");
        // d/dw of 2 w0 - w1 + 5 b
        let factors = Tensor::<2>::from_floats([[2.0, -1.0]], &device);
        let loss = (two.weight.val() * factors).sum() + two.bias.val().mul_scalar(5.0).sum();
        let gradients = NamedGradients::of(&two, loss.backward());
        let two = optimizer.step(two, gradients, 0.01);
        // The bias-corrected moments of a first step are g and g^2: a step of lr * sign(g), after decay by 1 - lr *
        // 0.1.
        let weight = TensorData::from([[0.999 - 0.01, -1.998 + 0.01f32]]);
        let near = Tolerance::absolute(1e-6);
        two.weight.val().into_data().assert_approx_eq::<f32>(&weight, near);
        two.bias.val().into_data().assert_approx_eq::<f32>(&TensorData::from([2.99f32]), near);
        assert!(two.weight.val().is_require_grad());
    }

    #[test]
    fn clipping_bounds_the_norm_over_all_parameters() {
        let device = Device::flex().autodiff();
        let two = Two {
            weight: Param::from_tensor(Tensor::from_floats([[1.0, 1.0]], &device)),
            bias: Param::from_tensor(Tensor::from_floats([1.0], &device)),
        };
        let factors = Tensor::<2>::from_floats([[3.0, 0.0]], &device);
        let loss = (two.weight.val() * factors).sum() + two.bias.val().mul_scalar(4.0).sum();
        let mut gradients = NamedGradients::of(&two, loss.backward());
        let Some(norm) = gradients.norm() else { panic!("no gradients") };
        assert!((norm.clone().into_scalar::<f32>() - 5.0).abs() < 1e-5);
        gradients.clip(norm, 1.0);
        let Some(weight) = gradients.take("weight") else { panic!("no weight") };
        let near = Tolerance::absolute(1e-5);
        weight.into_data().assert_approx_eq::<f32>(&TensorData::from([0.6f32, 0.0]), near);
    }
}
