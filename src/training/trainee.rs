//! A module with its optimizer, and their part of a checkpoint: weights under `model.`, AdamW's moments under `adamw.m.` and
//! `adamw.v.` and Muon's momenta under `muon.m.` in the shape and layout of their weights, all under the trainee's prefix.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Gradients};

use super::gradients::NamedGradients;
use super::optimizer::{Moments, Optimizer, OptimizerState};
use crate::checkpoint::{NamedTensor, ResumeState, parameter};
use crate::error::{Error, Result};

const MODEL: &str = "model.";
const MEAN: &str = "adamw.m.";
const SQUARE: &str = "adamw.v.";
const MOMENTUM: &str = "muon.m.";

/// A module and its optimizer.
#[derive(Debug)]
pub struct Trainee<M> {
    /// The module; its frozen parameters require no gradient.
    pub module: M,
    /// Its optimizer.
    pub optimizer: Optimizer,
    prefix: &'static str,
}

/// A trainee of any module.
pub(super) trait Trained {
    /// Parameter count, frozen ones included.
    fn n_parameters(&self) -> usize;
    /// Saves weights and moments. Synchronises with the device.
    fn save(&self, state: &mut ResumeState) -> Result<()>;
    /// Restores them, as they were after `updates` optimizer steps.
    fn restore(&mut self, state: &mut ResumeState, updates: u64, device: &Device) -> Result<()>;
}

impl<M: Module> Trainee<M> {
    /// `prefix` distinguishes the trainees of a stage in its checkpoints; the first has none.
    pub fn new(module: M, optimizer: Optimizer, prefix: &'static str) -> Self {
        Self { module, optimizer, prefix }
    }

    /// The gradients of this module from a backward pass.
    pub fn gradients_of(&self, backward: Gradients) -> NamedGradients {
        NamedGradients::of(&self.module, backward)
    }

    /// One update of every parameter that has a gradient.
    pub fn apply(&mut self, gradients: NamedGradients, learning_rate: f64) {
        self.module = self.optimizer.step(self.module.clone(), gradients, learning_rate);
    }

    fn named(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }
}

impl<M: Module> Trained for Trainee<M> {
    fn n_parameters(&self) -> usize {
        self.module.num_params()
    }

    fn save(&self, state: &mut ResumeState) -> Result<()> {
        state.insert_module(&self.named(MODEL), &self.module)?;
        let (mut means, mut squares, mut momenta) = (Vec::new(), Vec::new(), Vec::new());
        let of_optimizer = self.optimizer.state();
        for parameter in parameter::list(&self.module)? {
            let name = &parameter.place.name();
            if let Some(Moments { mean, square }) = of_optimizer.moments.get(name) {
                means.push(parameter.to_file(mean)?);
                squares.push(parameter.to_file(square)?);
            }
            if let Some(momentum) = of_optimizer.momenta.get(name) {
                momenta.push(parameter.to_file(momentum)?);
            }
        }
        state.insert(&self.named(MEAN), means)?;
        state.insert(&self.named(SQUARE), squares)?;
        state.insert(&self.named(MOMENTUM), momenta)
    }

    fn restore(&mut self, state: &mut ResumeState, updates: u64, device: &Device) -> Result<()> {
        self.module = state.take_module(&self.named(MODEL), self.module.clone())?;
        let source = state.source().to_path_buf();
        let source = source.as_path();
        let mut of_file = |part: &str| {
            let prefix = self.named(part);
            let tensors = state.take(&prefix).into_iter();
            (prefix, tensors.map(|tensor| (tensor.name.clone(), tensor)).collect())
        };
        let mut files: [(String, BTreeMap<String, NamedTensor>); 3] =
            [MEAN, SQUARE, MOMENTUM].map(&mut of_file);
        let [means, squares, momenta] = &mut files;
        let mut restored = OptimizerState { steps: updates, ..OptimizerState::default() };
        // Before the first update there are no moments.
        let all = if updates == 0 { Vec::new() } else { parameter::list(&self.module)? };
        for parameter in all.into_iter().filter(|parameter| parameter.is_trained) {
            let name = parameter.place.name();
            let take = |(prefix, tensors): &mut (String, BTreeMap<String, NamedTensor>)| {
                let missing = || Error::file(source, format!("has no {prefix}{name}"));
                let tensor = tensors.remove(&name).ok_or_else(missing)?;
                parameter.to_memory(tensor, source, device)
            };
            if self.optimizer.is_by_muon(&parameter.place) {
                restored.momenta.insert(name.clone(), take(momenta)?);
            } else {
                let moments = Moments { mean: take(means)?, square: take(squares)? };
                restored.moments.insert(name.clone(), moments);
            }
        }
        if let Some(name) = files.iter().flat_map(|(_, tensors)| tensors.keys()).next() {
            return Err(Error::file(
                source,
                format!("holds moments of {name}, which its optimizer does not keep"),
            ));
        }
        self.optimizer.restore(restored);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::Param;
    use burn::tensor::Tensor;

    use super::*;
    use crate::checkpoint::Stage;
    use crate::training::optimizer::AdamWConfig;

    #[derive(Module, Debug)]
    struct Two {
        weight: Param<Tensor<2>>,
        fixed: Param<Tensor<1>>,
    }

    fn two() -> Two {
        let device = Device::flex().autodiff();
        let weight = Param::from_tensor(Tensor::from_floats([[1.0, -2.0]], &device));
        let fixed = Param::from_tensor(Tensor::from_floats([3.0], &device));
        Two { weight, fixed: fixed.set_require_grad(false) }
    }

    fn take(prefix: &'static str, tensors: &[(&str, usize)], steps: u64) -> Result<usize> {
        Ok(restored(trainee(prefix), prefix, tensors, steps)?.moments.len())
    }

    /// What the optimizer of `trainee` keeps after it was restored from a checkpoint of these tensors.
    fn restored(
        mut trainee: Trainee<Two>,
        prefix: &'static str,
        tensors: &[(&str, usize)],
        steps: u64,
    ) -> Result<OptimizerState> {
        let mut state = ResumeState::new(Stage::Prior, &())?;
        for (name, size) in tensors {
            state.insert(prefix, vec![NamedTensor::new(*name, vec![*size], vec![0.5; *size])?])?;
        }
        state.insert_module(&format!("{prefix}model."), &trainee.module)?;
        trainee.restore(&mut state, steps, &Device::flex())?;
        let OptimizerState { moments, momenta, steps } = trainee.optimizer.state();
        Ok(OptimizerState { moments: moments.clone(), momenta: momenta.clone(), steps: *steps })
    }

    fn trainee(prefix: &'static str) -> Trainee<Two> {
        let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        Trainee::new(two(), Optimizer::new(config, |_| false), prefix)
    }

    #[test]
    fn two_trainees_share_a_checkpoint() {
        let mut state = ResumeState::new(Stage::Vqvae, &()).unwrap();
        trainee("").save(&mut state).unwrap();
        trainee("discriminator.").save(&mut state).unwrap();
        for prefix in ["discriminator.", ""] {
            trainee(prefix).restore(&mut state, 0, &Device::flex()).unwrap();
        }
        state.expect_empty().unwrap();
    }

    #[test]
    fn the_moments_of_trained_parameters_are_taken_and_no_others_are_there() {
        let both = [("adamw.m.weight", 2), ("adamw.v.weight", 2)];
        assert_eq!(take("", &both, 1).unwrap(), 1);
        assert_eq!(take("discriminator.", &both, 1).unwrap(), 1);
        assert_eq!(take("", &[], 0).unwrap(), 0);
        let more = |name| [both[0], both[1], (name, 1)];
        for (tensors, steps, expected) in [
            (&both[..1], 1, "has no adamw.v.weight"),
            (&both[1..], 1, "has no adamw.m.weight"),
            (&[], 1, "has no adamw.m.weight"),
            (&both[..], 0, "holds moments of weight"),
            (&more("adamw.m.fixed"), 1, "holds moments of fixed"),
            (&more("adamw.v.other"), 1, "holds moments of other"),
            (&more("muon.m.weight"), 1, "holds moments of weight"),
            (&[both[0], ("adamw.v.weight", 3)], 1, "weight has shape [3], expected [1, 2]"),
        ] {
            let message = take("", tensors, steps).unwrap_err().to_string();
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
    }

    #[test]
    fn a_matrix_of_muon_has_one_moment_and_no_other() {
        let by_muon = || {
            let Trainee { module, optimizer, prefix } = trainee("");
            let optimizer = optimizer.with_muon(|place| place.name() == "weight");
            Trainee::new(module, optimizer, prefix)
        };
        let momentum = ("muon.m.weight", 2);
        let state = restored(by_muon(), "", &[momentum], 7).unwrap();
        assert_eq!((state.moments.len(), state.momenta.len(), state.steps), (0, 1, 7));
        let of_adamw = [("adamw.m.weight", 2), ("adamw.v.weight", 2)];
        for (tensors, expected) in [
            (&of_adamw[..], "has no muon.m.weight"),
            (&[momentum, of_adamw[0]], "holds moments of weight"),
            (&[("muon.m.weight", 3)], "weight has shape [3], expected [1, 2]"),
        ] {
            let message = restored(by_muon(), "", tensors, 7).unwrap_err().to_string();
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
    }
}
