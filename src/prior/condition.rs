//! What a sequence is asked to show: a prefix of embeddings before its codes. Today that is one token, the class.

use burn::tensor::{Device, Int, Tensor};

use crate::error::{Error, Result};
use crate::ops::Embedding;
use crate::prior::PriorConfig;

/// What one sequence is asked to show; the default asks for nothing in particular.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The class; `None` is the unconditional token.
    pub class: Option<usize>,
}

impl Condition {
    /// Asks for `class`, or for nothing.
    pub fn of_class(class: Option<usize>) -> Self {
        Self { class }
    }

    /// Refuses what a prior of this configuration has not learned.
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
    /// Tokens of the vocabulary, `[batch]`.
    classes: Tensor<1, Int>,
}

impl Conditions {
    /// One a sequence.
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
