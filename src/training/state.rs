//! Optimizer state to and from the tensors of a resume file.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use super::adamw::{AdamW, Moments};
use super::gradients::ParameterPath;
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::{Error, Result};

const MEAN: &str = "adamw.m.";
const SQUARE: &str = "adamw.v.";

/// Adds the optimizer's moments. Waits for the device.
pub(super) fn insert_moments(state: &mut ResumeState, optimizer: &AdamW) -> Result<()> {
    let of = |pick: fn(&Moments) -> &Tensor<1>| -> Result<Vec<NamedTensor>> {
        let moments = optimizer.moments().iter();
        moments.map(|(path, m)| NamedTensor::from_tensor(path.as_str(), pick(m))).collect()
    };
    state.insert(MEAN, of(|moments| &moments.mean)?)?;
    state.insert(SQUARE, of(|moments| &moments.square)?)
}

/// Takes the optimizer's moments out, two of every trained parameter of `module`; `steps` are the updates they stand
/// for.
pub(super) fn take_moments<M: Module>(
    state: &mut ResumeState,
    optimizer: &mut AdamW,
    module: &M,
    steps: u64,
    device: &Device,
) -> Result<()> {
    let source = state.source().to_path_buf();
    let source = source.as_path();
    let of_file = |tensors: Vec<NamedTensor>| -> BTreeMap<String, NamedTensor> {
        tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
    };
    let (mut means, mut squares) = (of_file(state.take(MEAN)), of_file(state.take(SQUARE)));
    let mut moments = BTreeMap::new();
    // Without an update there are no moments.
    let trained = if steps == 0 { Vec::new() } else { trained_parameters(module) };
    for (path, size) in trained {
        let take = |prefix: &str, from: &mut BTreeMap<String, NamedTensor>| {
            let tensor = from.remove(&path);
            let tensor =
                tensor.ok_or_else(|| Error::file(source, format!("has no {prefix}{path}")))?;
            tensor.expect_shape(&[size], source)?;
            tensor.to_tensor(device)
        };
        let (mean, square) = (take(MEAN, &mut means)?, take(SQUARE, &mut squares)?);
        moments.insert(path, Moments { mean, square });
    }
    if let Some(name) = means.keys().chain(squares.keys()).next() {
        return Err(Error::file(source, format!("holds moments of {name}, which is not trained")));
    }
    optimizer.restore(moments, steps);
    Ok(())
}

/// Path and size of every trained parameter.
fn trained_parameters<M: Module>(module: &M) -> Vec<(String, usize)> {
    #[derive(Default)]
    struct Trained(ParameterPath, Vec<(String, usize)>);
    impl ModuleVisitor for Trained {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            self.0.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if value.is_require_grad() {
                self.1.push((self.0.join(), value.shape().num_elements()));
            }
        }
    }
    let mut visitor = Trained::default();
    module.visit(&mut visitor);
    visitor.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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

    fn take(tensors: &[(&str, usize)], steps: u64) -> Result<usize> {
        let mut state = ResumeState::new(Stage::Prior, &())?;
        for (name, size) in tensors {
            state.insert("", vec![NamedTensor::new(*name, vec![*size], vec![0.5; *size])?])?;
        }
        let config = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        let mut optimizer = AdamW::new(config, |_, _| false);
        take_moments(&mut state, &mut optimizer, &two(), steps, &Device::flex())?;
        Ok(optimizer.moments().len())
    }

    #[test]
    fn the_moments_of_trained_parameters_are_taken_and_no_others_are_there() {
        let both = [("adamw.m.weight", 2), ("adamw.v.weight", 2)];
        assert_eq!(take(&both, 1).unwrap(), 1);
        assert_eq!(take(&[], 0).unwrap(), 0);
        let more = |name| [both[0], both[1], (name, 1)];
        for (tensors, steps, expected) in [
            (&both[..1], 1, "has no adamw.v.weight"),
            (&both[1..], 1, "has no adamw.m.weight"),
            (&[], 1, "has no adamw.m.weight"),
            (&both[..], 0, "holds moments of weight"),
            (&more("adamw.m.fixed"), 1, "holds moments of fixed"),
            (&more("adamw.v.other"), 1, "holds moments of other"),
            (&[both[0], ("adamw.v.weight", 3)], 1, "weight has shape [3], wanted is [2]"),
        ] {
            let message = take(tensors, steps).unwrap_err().to_string();
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
    }
}
