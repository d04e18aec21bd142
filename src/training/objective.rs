//! The training loss: a weighted sum of named terms. The step sums tensors and the log sums means by the same list, so
//! that the two agree.

use burn::tensor::Tensor;

use crate::tokenizer::LossTerm;

/// Names and weights of the terms, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective(Vec<(&'static str, f64)>);

impl Objective {
    /// A term of weight 0 is measured but not minimised.
    pub fn new(weights: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        Self(weights.into_iter().collect())
    }

    /// The names of the terms.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// The weighted sum, `[1]`; `None` where no term has a weight. The terms must be those of [`Self::names`].
    pub fn total(&self, terms: &[LossTerm]) -> Option<Tensor<1>> {
        debug_assert!(self.names().eq(terms.iter().map(|term| term.name)));
        let weighted = self.0.iter().zip(terms).filter(|((_, weight), _)| *weight != 0.0);
        let weighted = weighted.map(|((_, weight), term)| match *weight {
            1.0 => term.value.clone(),
            weight => term.value.clone().mul_scalar(weight),
        });
        weighted.reduce(|sum, term| sum + term)
    }

    /// The weighted sum of the means of the terms, in their order.
    pub fn total_of_means(&self, means: &[(&'static str, f64)]) -> f64 {
        self.0.iter().zip(means).map(|((_, weight), (_, mean))| weight * mean).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn tensors_and_means_add_up_to_the_same_number() {
        let objective = Objective::new([("a", 1.0), ("b", 0.0), ("c", 0.25)]);
        let values = [("a", 2.0), ("b", 100.0), ("c", 8.0)];
        let device = Device::flex();
        let terms = values
            .map(|(name, value)| LossTerm { name, value: Tensor::from_floats([value], &device) });
        assert_eq!(objective.total(&terms).unwrap().into_scalar::<f32>(), 4.0);
        assert_eq!(objective.total_of_means(&values), 4.0);
        assert!(Objective::new([("a", 0.0)]).total(&terms[..1]).is_none());
    }
}
