//! Moving averages of the weights, which generalise better than the last ones and suffer less from a discriminator's
//! noise. It knows no module.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::checkpoint::ResumeState;
use crate::error::Result;
use crate::ops::lerp;

/// Name of the averages in a checkpoint.
const PREFIX: &str = "average.";

/// A module whose every parameter, frozen ones too, is the moving average of another's.
#[derive(Debug)]
pub(super) struct Averaged<M> {
    module: M,
    decay: f64,
}

impl<M: Module> Averaged<M> {
    /// Starts with the weights of `module`, without autodiff. `decay` is that of a step.
    pub(super) fn new(module: M, decay: f64) -> Self {
        Self { module, decay }
    }

    /// The averages.
    pub(super) fn module(&self) -> &M {
        &self.module
    }

    /// Follows `module`, without autodiff, after optimizer step `step` (from 0). As in TensorFlow the decay rises from
    /// .1 at first, so that the initial weights are soon forgotten.
    pub(super) fn update(&mut self, module: &M, step: u64) {
        let mut values = Values::default();
        module.visit(&mut values);
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        let mut follow = Follow { values: values.0.into_iter(), decay };
        self.module = self.module.clone().map(&mut follow);
    }

    /// Saves the averages to a checkpoint.
    pub(super) fn save(&self, state: &mut ResumeState) -> Result<()> {
        state.insert_module(PREFIX, &self.module)
    }

    /// Restores them.
    pub(super) fn restore(&mut self, state: &mut ResumeState) -> Result<()> {
        self.module = state.take_module(PREFIX, self.module.clone())?;
        Ok(())
    }
}

/// The values of a module's parameters in the order of a traversal, flat.
#[derive(Default)]
struct Values(Vec<Tensor<1>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().flatten(0, D - 1));
    }
}

/// Takes the values in the same order.
struct Follow {
    values: std::vec::IntoIter<Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Follow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.next() else { return param };
        let decay = self.decay;
        param.map(|average| {
            let shape = average.dims();
            lerp(average.flatten(0, D - 1), value, 1.0 - decay).reshape(shape)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::checkpoint::Stage;

    #[derive(Module, Debug)]
    struct Two {
        weight: Param<Tensor<2>>,
        fixed: Param<Tensor<1>>,
    }

    fn two(weight: [f32; 2], fixed: f32) -> Two {
        let device = Device::flex();
        let fixed = Param::from_tensor(Tensor::from_floats([fixed], &device));
        Two {
            weight: Param::from_tensor(Tensor::from_floats([weight], &device)),
            fixed: fixed.set_require_grad(false),
        }
    }

    #[test]
    fn every_parameter_is_averaged_and_the_averages_resume() {
        let mut averaged = Averaged::new(two([1.0, 2.0], 4.0), 0.5);
        let near = |averaged: &Averaged<Two>, weight: [f32; 2], fixed: f32| {
            let Two { weight: found, fixed: found_fixed } = averaged.module();
            let tolerance = Tolerance::relative(1e-6);
            let (weight, fixed) = (TensorData::from([weight]), TensorData::from([fixed]));
            found.val().into_data().assert_approx_eq::<f32>(&weight, tolerance);
            found_fixed.val().into_data().assert_approx_eq::<f32>(&fixed, tolerance);
        };
        // Step 0: a decay of .1.
        averaged.update(&two([11.0, 2.0], 14.0), 0);
        near(&averaged, [10.0, 2.0], 13.0);
        // Late: .5.
        averaged.update(&two([0.0, 0.0], 1.0), 1000);
        near(&averaged, [5.0, 1.0], 7.0);
        let mut state = ResumeState::new(Stage::Vqvae, &()).unwrap();
        averaged.save(&mut state).unwrap();
        let mut other = Averaged::new(two([0.0, 0.0], 0.0), 0.5);
        other.restore(&mut state).unwrap();
        state.expect_empty().unwrap();
        let weights = |averaged: &Averaged<Two>| averaged.module().weight.val().into_data();
        assert_eq!(weights(&other), weights(&averaged));
    }
}
