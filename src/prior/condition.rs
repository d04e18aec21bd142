//! What a sequence is conditioned on: a prefix of embeddings before its codes. Today that is one token, the class.

use burn::tensor::{Device, Int, Tensor};

use crate::error::{Error, Result};
use crate::ops::Embedding;
use crate::prior::PriorConfig;

/// What one sequence is conditioned on; unconditional by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The class; `None` for unconditional.
    pub class: Option<usize>,
}

impl Condition {
    /// Conditions on `class`.
    pub fn of_class(class: Option<usize>) -> Self {
        Self { class }
    }

    /// Refuses a condition that a prior of this configuration was not trained on.
    pub(crate) fn check(&self, config: &PriorConfig) -> Result<()> {
        match self.class {
            Some(class) if class >= config.n_classes => Err(Error::invalid(format!(
                "cannot sample class {class}: the prior knows {} classes",
                config.n_classes
            ))),
            _ => Ok(()),
        }
    }
}

/// The conditions of a batch, on a device.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Class tokens, `[batch]`.
    classes: Tensor<1, Int>,
}

impl Conditions {
    /// One per sequence.
    pub fn new(conditions: &[Condition], config: &PriorConfig, device: &Device) -> Self {
        let token = |condition: &Condition| config.class_token(condition.class) as i32;
        let tokens: Vec<i32> = conditions.iter().map(token).collect();
        Self { classes: Tensor::from_data(tokens.as_slice(), device) }
    }

    /// The embeddings that a sequence starts with.
    ///
    /// # Shapes
    /// - output: `[batch, prefix, width]`, where `prefix` is [`PriorConfig::prefix`]
    pub(super) fn embed(&self, tokens: &Embedding) -> Tensor<3> {
        tokens.forward(self.classes.clone()).unsqueeze_dim(1)
    }
}
