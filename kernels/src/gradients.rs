//! Which gradients of an operation with weights are wanted, and those that were computed: a frozen module skips its
//! weight gradients, the first module of a model its input gradient.

use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::grads::Gradients;

use crate::slices::tensor;

/// Which gradients are wanted: those of the tracked operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) input: bool,
    pub(super) weight: bool,
    pub(super) bias: bool,
}

impl Wanted {
    /// From the parents of an operation: input, weight and bias.
    pub(super) fn by<Node>(parents: [&Option<Node>; 3]) -> Self {
        let [input, weight, bias] = parents.map(Option::is_some);
        Self { input, weight, bias }
    }

    /// Whether none is wanted.
    pub(super) fn is_nothing(self) -> bool {
        !(self.input || self.weight || self.bias)
    }
}

/// Gradients of the operands; `None` where not wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MapGradients {
    pub(super) input: Option<Vec<f32>>,
    pub(super) weight: Option<Vec<f32>>,
    pub(super) bias: Option<Vec<f32>>,
}

impl MapGradients {
    /// Registers each with its parent, in the shape of that operand; a bias has one axis.
    pub(super) fn register<const I: usize, const W: usize>(
        self,
        grads: &mut Gradients,
        parents: [Option<NodeId>; 3],
        input_shape: [usize; I],
        weight_shape: [usize; W],
    ) {
        let [input, weight, bias] = parents;
        if let (Some(parent), Some(by_input)) = (input, self.input) {
            grads.register::<Flex>(parent, tensor(by_input, input_shape));
        }
        if let (Some(parent), Some(by_weight)) = (weight, self.weight) {
            grads.register::<Flex>(parent, tensor(by_weight, weight_shape));
        }
        if let (Some(parent), Some(by_bias)) = (bias, self.bias) {
            let size = by_bias.len();
            grads.register::<Flex>(parent, tensor(by_bias, [size]));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Checks that `gradients` returns what is wanted and nothing else, and the same bits whatever else is wanted.
    pub(crate) fn check_what_is_wanted(gradients: impl Fn(Wanted) -> MapGradients) {
        let all = gradients(Wanted { input: true, weight: true, bias: true });
        assert!([&all.input, &all.weight, &all.bias].into_iter().all(Option::is_some));
        for choice in 0..8 {
            let [input, weight, bias] = [1, 2, 4].map(|bit| choice & bit != 0);
            let all = all.clone();
            let wanted = MapGradients {
                input: all.input.filter(|_| input),
                weight: all.weight.filter(|_| weight),
                bias: all.bias.filter(|_| bias),
            };
            let choice = Wanted { input, weight, bias };
            assert!(gradients(choice) == wanted, "{choice:?}");
        }
    }

    #[test]
    fn the_tracked_parents_are_those_that_are_wanted() {
        let wanted = Wanted::by([&Some(()), &None, &Some(())]);
        assert_eq!(wanted, Wanted { input: true, weight: false, bias: true });
        assert!(Wanted::by::<()>([&None; 3]).is_nothing());
    }
}
