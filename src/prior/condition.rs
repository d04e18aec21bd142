//! What a sequence is conditioned on: a prefix of embeddings before its codes, the tokens of a caption and that of the
//! class.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::prior::{Gpt, PriorConfig};

/// What one sequence is conditioned on; unconditional by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The class; `None` for any.
    pub class: Option<usize>,
    /// The tokens of the caption, as many as count; empty for none.
    pub caption: Vec<u32>,
}

impl Condition {
    /// Conditions on `class` alone.
    pub fn of_class(class: Option<usize>) -> Self {
        Self { class, caption: Vec::new() }
    }

    /// Refuses a condition that a prior of this configuration was not trained on.
    pub(crate) fn check(&self, config: &PriorConfig) -> Result<()> {
        if let Some(class) = self.class
            && class >= config.n_classes
        {
            return Err(Error::invalid(format!(
                "cannot sample class {class}: the prior knows {} classes",
                config.n_classes
            )));
        }
        if !self.caption.is_empty() && !config.has_captions() {
            return Err(Error::invalid("cannot sample a caption: the prior was trained without"));
        }
        let unknown = |token: &&u32| **token as usize >= config.caption_tokens;
        match self.caption.iter().find(unknown) {
            Some(token) => Err(Error::invalid(format!(
                "cannot sample token {token}: the prior knows {} tokens",
                config.caption_tokens
            ))),
            None => Ok(()),
        }
    }
}

/// The conditions of a batch, on a device.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Class tokens, `[batch]`.
    classes: Tensor<1, Int>,
    /// Caption tokens, `[batch, caption_length]`; `None` for a prior without captions.
    captions: Option<Tensor<2, Int>>,
}

impl Conditions {
    /// One per sequence. Of a longer caption the first [`PriorConfig::caption_length`] tokens count.
    pub fn new(conditions: &[Condition], config: &PriorConfig, device: &Device) -> Self {
        let token = |condition: &Condition| config.class_token(condition.class) as i32;
        let tokens: Vec<i32> = conditions.iter().map(token).collect();
        let length = config.caption_length;
        let captions = config.has_captions().then(|| {
            // After the end of a caption comes a token of its own.
            let padded = |condition: &Condition| {
                let tokens = condition.caption.clone().into_iter();
                tokens.chain(std::iter::repeat(config.caption_tokens as u32)).take(length)
            };
            let tokens: Vec<i32> =
                conditions.iter().flat_map(padded).map(|token| token as i32).collect();
            Tensor::from_data(TensorData::new(tokens, [conditions.len(), length]), device)
        });
        Self { classes: Tensor::from_data(tokens.as_slice(), device), captions }
    }

    /// The embeddings of the captions.
    ///
    /// # Shapes
    /// - output: `[batch, caption_length, width]`; `None` for a prior without captions
    pub(super) fn embed_captions(&self, gpt: &Gpt) -> Option<Tensor<3>> {
        let (table, captions) = (gpt.caption.as_ref()?, self.captions.clone()?);
        let [batch, length] = captions.dims();
        let tokens = table.token.forward(captions.reshape([batch * length]));
        let [_, width] = tokens.dims();
        Some(tokens.reshape([batch, length, width]) + table.position.val().unsqueeze())
    }

    /// The embeddings of the classes, without their position.
    ///
    /// # Shapes
    /// - output: `[batch, 1, width]`
    pub(super) fn embed_classes(&self, gpt: &Gpt) -> Tensor<3> {
        gpt.token.forward(self.classes.clone()).unsqueeze_dim(1)
    }
}
