//! A module with its optimizer, and their part of a checkpoint: weights under `model.`, moments under `adamw.m.` and
//! `adamw.v.` in the shape and layout of their weights, all under the trainee's prefix.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Gradients};

use super::adamw::{AdamW, Moments};
use super::gradients::NamedGradients;
use crate::checkpoint::{NamedTensor, ResumeState, parameter};
use crate::error::{Error, Result};

const MODEL: &str = "model.";
const MEAN: &str = "adamw.m.";
const SQUARE: &str = "adamw.v.";

/// A module and its optimizer.
#[derive(Debug)]
pub struct Trainee<M> {
    /// The module; its frozen parameters require no gradient.
    pub module: M,
    /// Its optimizer.
    pub optimizer: AdamW,
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
    pub fn new(module: M, optimizer: AdamW, prefix: &'static str) -> Self {
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
        let (mut means, mut squares) = (Vec::new(), Vec::new());
        for parameter in parameter::list(&self.module)? {
            if let Some(Moments { mean, square }) = self.optimizer.moments().get(&parameter.name) {
                means.push(parameter.to_file(mean)?);
                squares.push(parameter.to_file(square)?);
            }
        }
        state.insert(&self.named(MEAN), means)?;
        state.insert(&self.named(SQUARE), squares)
    }

    fn restore(&mut self, state: &mut ResumeState, updates: u64, device: &Device) -> Result<()> {
        self.module = state.take_module(&self.named(MODEL), self.module.clone())?;
        let source = state.source().to_path_buf();
        let source = source.as_path();
        let of_file = |tensors: Vec<NamedTensor>| -> BTreeMap<String, NamedTensor> {
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
        };
        let (mean_prefix, square_prefix) = (self.named(MEAN), self.named(SQUARE));
        let mut means = of_file(state.take(&mean_prefix));
        let mut squares = of_file(state.take(&square_prefix));
        let mut moments = BTreeMap::new();
        // Before the first update there are no moments.
        let all = if updates == 0 { Vec::new() } else { parameter::list(&self.module)? };
        for parameter in all.into_iter().filter(|parameter| parameter.is_trained) {
            let name = &parameter.name;
            let take = |prefix: &str, from: &mut BTreeMap<String, NamedTensor>| {
                let tensor = from.remove(name);
                let tensor =
                    tensor.ok_or_else(|| Error::file(source, format!("has no {prefix}{name}")))?;
                parameter.to_memory(tensor, source, device)
            };
            let (mean, square) =
                (take(&mean_prefix, &mut means)?, take(&square_prefix, &mut squares)?);
            moments.insert(parameter.name.clone(), Moments { mean, square });
        }
        if let Some(name) = means.keys().chain(squares.keys()).next() {
            return Err(Error::file(
                source,
                format!("holds moments of {name}, which is not trained"),
            ));
        }
        self.optimizer.restore(moments, updates);
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
    use crate::training::adamw::AdamWConfig;

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
        let mut state = ResumeState::new(Stage::Prior, &())?;
        for (name, size) in tensors {
            state.insert(prefix, vec![NamedTensor::new(*name, vec![*size], vec![0.5; *size])?])?;
        }
        let mut trainee = trainee(prefix);
        state.insert_module(&format!("{prefix}model."), &trainee.module)?;
        trainee.restore(&mut state, steps, &Device::flex())?;
        Ok(trainee.optimizer.moments().len())
    }

    fn trainee(prefix: &'static str) -> Trainee<Two> {
        let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        Trainee::new(two(), AdamW::new(config, |_| false), prefix)
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
            (&[both[0], ("adamw.v.weight", 3)], 1, "weight has shape [3], expected [1, 2]"),
        ] {
            let message = take("", tensors, steps).unwrap_err().to_string();
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
    }
}
