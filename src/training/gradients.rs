//! The gradients of a module by parameter path, flattened, with the operations that gradient accumulation and clipping
//! need.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

use crate::checkpoint::Place;
use crate::ops::{scaled_by, square_sum};

/// Keeps the scale finite when all gradients are 0; PyTorch's value.
const NORM_FLOOR: f64 = 1e-6;

/// Gradients by parameter path (`encoder.down.0.weight`), each flattened to one dimension.
#[derive(Debug, Default)]
pub struct NamedGradients {
    by_path: BTreeMap<String, Tensor<1>>,
}

impl NamedGradients {
    /// Takes the gradients of `module` from a backward pass.
    pub fn of<M: Module>(module: &M, gradients: Gradients) -> Self {
        let mut collector = Collector {
            place: Place::default(),
            gradients: GradientsParams::from_grads(gradients, module),
            by_path: BTreeMap::new(),
        };
        module.visit(&mut collector);
        Self { by_path: collector.by_path }
    }

    /// Adds the gradients of another micro batch.
    pub fn add(&mut self, other: Self) {
        for (path, gradient) in other.by_path {
            let sum = match self.by_path.remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.by_path.insert(path, sum);
        }
    }

    /// The global Euclidean norm, `[1]`; `None` without gradients.
    pub fn norm(&self) -> Option<Tensor<1>> {
        let squares = self.by_path.values().map(|gradient| square_sum(gradient.clone()));
        squares.reduce(|sum, square| sum + square).map(Tensor::sqrt)
    }

    /// Clips the global norm to `limit` (Pascanu et al. 2013), without synchronising with the device.
    pub fn clip(&mut self, norm: Tensor<1>, limit: f64) {
        let scale = norm.add_scalar(NORM_FLOOR).recip().mul_scalar(limit).clamp_max(1.0); // [1]
        for (path, gradient) in std::mem::take(&mut self.by_path) {
            self.by_path.insert(path, scaled_by(gradient, scale.clone()));
        }
    }

    /// Takes the gradient of one parameter, if it got one.
    pub fn take(&mut self, path: &str) -> Option<Tensor<1>> {
        self.by_path.remove(path)
    }
}

struct Collector {
    place: Place,
    gradients: GradientsParams,
    by_path: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let size = gradient.shape().num_elements();
            self.by_path.insert(self.place.name(), gradient.reshape([size]));
        }
    }
}
