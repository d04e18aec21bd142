//! Dropout whose mask is never stored: a hash of the seed and the index of an activation decides whether it is kept,
//! and the backward pass recomputes it.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::elementwise::map_places;
use super::slices::Values;

/// Which activations are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    key: [u32; 2],
    /// A hash below it drops.
    threshold: u32,
    /// Scale of a kept activation, 1 / (1 - p).
    kept: f32,
}

impl Mask {
    /// Drops with `probability`; equal seeds drop equal indices.
    pub fn new(probability: f64, seed: u64) -> Self {
        let steps = (1u64 << 32) as f64;
        // At least one in 2^32 is kept, whatever the probability: the cast saturates.
        let threshold = (probability * steps).round() as u32;
        let kept = (steps / (steps - f64::from(threshold))) as f32;
        Self { key: [seed as u32, (seed >> 32) as u32], threshold, kept }
    }

    /// The factor of the activation at index `place`. The pattern repeats after 2^32.
    #[inline(always)]
    pub(super) fn factor(&self, place: usize) -> f32 {
        let hash = mix(mix(place as u32 ^ self.key[0]) ^ self.key[1]);
        if hash >= self.threshold { self.kept } else { 0.0 }
    }
}

/// Wellons' `lowbias32`: a permutation in which every bit of the input flips every bit of the output in almost
/// exactly half of the cases.
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// `x` where `mask` keeps it, scaled, and 0 elsewhere.
pub fn dropout<const D: usize>(x: Tensor<D>, mask: Mask) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::vqgen_dropout(x.into_dispatch(), mask))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait DropoutOps: Backend {
    /// See [`dropout`].
    fn vqgen_dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self>;
}

impl DropoutOps for Flex {
    fn vqgen_dropout(x: FlexTensor, mask: Mask) -> FlexTensor {
        masked(Values::of(x), mask)
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn vqgen_dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let out = masked(Values::of(x), mask);
        match DropoutBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(mask, out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

/// Both passes: the map is linear and diagonal, so the backward pass is the same.
fn masked(x: Values, mask: Mask) -> FlexTensor {
    map_places(x, |place, value| value * mask.factor(place))
}

#[derive(Debug)]
struct DropoutBackward;

impl Backward<Flex, 1> for DropoutBackward {
    type State = Mask;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, masked(gradient, ops.state));
        }
    }
}
