//! Optimizer state to and from the tensors of a resume file.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::adamw::{AdamW, Moments};
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::{Error, Result};

const MEAN: &str = "adamw.m.";
const SQUARE: &str = "adamw.v.";

/// Adds the optimizer's moments. Waits for the device.
pub(super) fn insert_moments(state: &mut ResumeState, optimizer: &AdamW) -> Result<()> {
    let of = |pick: fn(&Moments) -> &burn::tensor::Tensor<1>| -> Result<Vec<NamedTensor>> {
        let moments = optimizer.moments().iter();
        moments.map(|(path, m)| NamedTensor::from_tensor(path.as_str(), pick(m))).collect()
    };
    state.insert(MEAN, of(|moments| &moments.mean)?)?;
    state.insert(SQUARE, of(|moments| &moments.square)?)
}

/// Takes the optimizer's moments out; `steps` are the updates they stand for.
pub(super) fn take_moments(
    state: &mut ResumeState,
    optimizer: &mut AdamW,
    steps: u64,
    device: &Device,
) -> Result<()> {
    let mut squares: BTreeMap<String, NamedTensor> =
        state.take(SQUARE).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut moments = BTreeMap::new();
    for mean in state.take(MEAN) {
        let square = squares.remove(&mean.name).filter(|square| square.shape == mean.shape);
        let square = square.ok_or_else(|| {
            Error::invalid(format!("the checkpoint has no {SQUARE}{} of its shape", mean.name))
        })?;
        let value = Moments { mean: mean.to_tensor(device)?, square: square.to_tensor(device)? };
        moments.insert(mean.name, value);
    }
    optimizer.restore(moments, steps);
    Ok(())
}
