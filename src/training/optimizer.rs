//! AdamW (Loshchilov and Hutter 2019), and Muon (Jordan et al. 2024) for the matrices that the caller selects, as it selects
//! the parameters with weight decay. The state is keyed by parameter path, so that it can be saved to a file without
//! parameter ids.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::gradients::NamedGradients;
use crate::checkpoint::Place;
use crate::ops::{AdamWStep, Moving, adamw_step, lerp, orthogonalised};

/// Decay of Muon's momentum.
const MOMENTUM: f64 = 0.95;
/// The root mean square of AdamW's changes, about: with it the same learning rate and weight decay suit Muon (Liu et al.
/// 2025, "Muon is scalable for LLM training").
const ADAMW_CHANGE: f64 = 0.2;

/// The hyperparameters of AdamW.
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

/// The state of all parameters, by path.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// Of AdamW's parameters.
    pub moments: BTreeMap<String, Moments>,
    /// The running means of the gradients of Muon's matrices, flat.
    pub momenta: BTreeMap<String, Tensor<1>>,
    /// Updates made.
    pub steps: u64,
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct Optimizer {
    config: AdamWConfig,
    decays: fn(&Place) -> bool,
    by_muon: fn(&Place) -> bool,
    state: OptimizerState,
}

impl Optimizer {
    /// AdamW; `decays` selects the parameters with weight decay.
    pub fn new(config: AdamWConfig, decays: fn(&Place) -> bool) -> Self {
        Self { config, decays, by_muon: |_| false, state: OptimizerState::default() }
    }

    /// With Muon for the parameters that `by_muon` selects: matrices, and kernels of convolutions, which it takes as matrices
    /// from what an output sees to its channels.
    pub fn with_muon(self, by_muon: fn(&Place) -> bool) -> Self {
        Self { by_muon, ..self }
    }

    /// Whether Muon changes the parameter at `place`.
    pub(super) fn is_by_muon(&self, place: &Place) -> bool {
        (self.by_muon)(place)
    }

    /// Restores saved state.
    pub fn restore(&mut self, state: OptimizerState) {
        self.state = state;
    }

    /// What it keeps between updates.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// One update of every parameter that has a gradient.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        mut gradients: NamedGradients,
        learning_rate: f64,
    ) -> M {
        self.state.steps += 1;
        let orthogonal = self.orthogonal_directions(&module, &mut gradients);
        let power = self.state.steps as f64;
        let mut update = Update {
            place: Place::default(),
            gradients,
            orthogonal,
            learning_rate,
            correction1: 1.0 - self.config.beta1.powf(power),
            correction2: 1.0 - self.config.beta2.powf(power),
            optimizer: self,
        };
        module.map(&mut update)
    }

    /// The directions in which Muon moves its matrices, with Nesterov's momentum, by path.
    fn orthogonal_directions<M: Module>(
        &mut self,
        module: &M,
        gradients: &mut NamedGradients,
    ) -> BTreeMap<String, Tensor<2>> {
        let mut matrices =
            Matrices { place: Place::default(), by_muon: self.by_muon, found: Vec::new() };
        module.visit(&mut matrices);
        let (mut paths, mut directions) = (Vec::new(), Vec::new());
        for (path, shape) in matrices.found {
            let Some(gradient) = gradients.take(&path) else { continue };
            let momentum = self.state.momenta.remove(&path);
            let momentum = momentum.unwrap_or_else(|| gradient.zeros_like());
            let momentum = lerp(momentum, gradient.clone(), 1.0 - MOMENTUM);
            directions.push(lerp(gradient, momentum.clone(), MOMENTUM).reshape(shape));
            self.state.momenta.insert(path.clone(), momentum);
            paths.push(path);
        }
        paths.into_iter().zip(orthogonalised(directions)).collect()
    }
}

/// Finds Muon's matrices, with their shapes.
struct Matrices {
    place: Place,
    by_muon: fn(&Place) -> bool,
    found: Vec<(String, [usize; 2])>,
}

impl ModuleVisitor for Matrices {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let [rows @ .., columns] = &param.dims()[..]
            && (self.by_muon)(&self.place)
        {
            self.found.push((self.place.name(), [rows.iter().product(), *columns]));
        }
    }
}

struct Update<'a> {
    place: Place,
    gradients: NamedGradients,
    /// Of Muon's matrices.
    orthogonal: BTreeMap<String, Tensor<2>>,
    learning_rate: f64,
    correction1: f64,
    correction2: f64,
    optimizer: &'a mut Optimizer,
}

impl Update<'_> {
    /// What is left of a parameter after weight decay.
    fn kept(&self) -> f64 {
        let decays = (self.optimizer.decays)(&self.place);
        1.0 - if decays { self.learning_rate * self.optimizer.config.weight_decay } else { 0.0 }
    }

    /// The new value of a parameter by AdamW, flat.
    fn by_adamw(&mut self, path: String, value: Tensor<1>, gradient: Tensor<1>) -> Tensor<1> {
        let AdamWConfig { beta1, beta2, epsilon, .. } = self.optimizer.config;
        let zeros = || Tensor::zeros(gradient.dims(), &gradient.device());
        let moments = self.optimizer.state.moments.remove(&path);
        let Moments { mean, square } =
            moments.unwrap_or_else(|| Moments { mean: zeros(), square: zeros() });
        let step = AdamWStep {
            beta1,
            beta2,
            epsilon,
            learning_rate: self.learning_rate,
            kept: self.kept(),
            correction1: self.correction1,
            correction2: self.correction2,
        };
        let Moving { value, mean, square } =
            adamw_step(Moving { value, mean, square }, gradient, step);
        self.optimizer.state.moments.insert(path, Moments { mean, square });
        value
    }

    /// The new value of a matrix by Muon.
    fn by_muon(&self, value: Tensor<1>, direction: Tensor<2>) -> Tensor<1> {
        let [rows, columns] = direction.dims();
        let rate = self.learning_rate * ADAMW_CHANGE * (rows.max(columns) as f64).sqrt();
        value.mul_scalar(self.kept()) - direction.flatten(0, 1).mul_scalar(rate)
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
        let direction = self.orthogonal.remove(&path);
        let gradient = self.gradients.take(&path);
        if direction.is_none() && gradient.is_none() {
            return param;
        }
        param.map(|value| {
            let shape = value.dims();
            let value = value.inner().flatten(0, D - 1);
            let value = match (direction, gradient) {
                (Some(direction), _) => self.by_muon(value, direction),
                (None, Some(gradient)) => self.by_adamw(path, value, gradient),
                (None, None) => value,
            };
            Tensor::from_inner(value.reshape(shape)).require_grad()
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
        let mut optimizer = Optimizer::new(config, |place| place.name() == "weight");
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
