//! The rotation trick (Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick"), with its
//! gradient in one pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::elementwise::BLOCK;
use super::fresh::in_blocks;
use super::math::{sum, sum_pairs};
use super::slices::{Values, tensor};
use super::wide::vectorised;

/// Lower bound of a norm that divides.
const FLOOR: f32 = 1e-6;

/// The values of `vectors`; the gradient reaches `latents` as if each had been rotated and scaled onto its vector, by a
/// constant map.
///
/// # Shapes
/// - `latents`, `vectors`, output: `[n, dim]`
pub fn rotation(latents: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
    let (latents, vectors) = (latents.into_dispatch(), vectors.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_rotation(latents, vectors))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait RotationOps: Backend {
    /// See [`rotation`].
    fn vqgen_rotation(latents: FloatTensor<Self>, vectors: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl RotationOps for Flex {
    fn vqgen_rotation(_latents: FlexTensor, vectors: FlexTensor) -> FlexTensor {
        vectors
    }
}

impl<C: CheckpointStrategy> RotationOps for Autodiff<Flex, C> {
    fn vqgen_rotation(latents: FloatTensor<Self>, vectors: FloatTensor<Self>) -> FloatTensor<Self> {
        let (latents, latents_node) = latents.into_parts();
        let (vectors, _) = vectors.into_parts();
        match RotationBackward.prepare::<C>([latents_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let state = (Values::of(latents), Values::of(vectors.clone()));
                step.finish(state, vectors)
            }
            OpsKind::UnTracked(step) => step.finish(vectors),
        }
    }
}

#[derive(Debug)]
struct RotationBackward;

impl Backward<Flex, 1> for RotationBackward {
    type State = (Values, Values);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let (latents, vectors) = ops.state;
        let [_, dim] = latents.dims();
        let (gradient, from, to) = (gradient.slice(), latents.slice(), vectors.slice());
        let block_len = (BLOCK / dim.max(1)).max(1) * dim.max(1);
        let by_latents = in_blocks(from.len(), block_len, |index, out| {
            let part = index * block_len..index * block_len + out.len();
            turn_back(out, &gradient[part.clone()], &from[part.clone()], &to[part], dim);
        });
        grads.register::<Flex>(parent.id, tensor(by_latents, latents.shape()));
    }
}

vectorised! {
    /// The gradient of each latent of `from` from that of its vector in `to`: with `u` and `v` their directions and `w`
    /// that of `u + v`, the map is `x -> (x - 2 w (w . x) + 2 v (u . x)) |to| / |from|`, and this its transpose.
    fn turn_back(out: &mut [f32], gradient: &[f32], from: &[f32], to: &[f32], dim: usize) {
        let rows = out.chunks_exact_mut(dim).zip(gradient.chunks_exact(dim));
        let pairs = from.chunks_exact(dim).zip(to.chunks_exact(dim));
        for ((out, gradient), (from, to)) in rows.zip(pairs) {
            let norm = |row: &[f32]| sum(row, |x| x * x).sqrt();
            let (long_from, long_to) = (norm(from), norm(to));
            let (by_from, by_to) = (1.0 / long_from.max(FLOOR), 1.0 / long_to.max(FLOOR));
            let middle = sum_pairs(from, to, |u, v| {
                let both = u * by_from + v * by_to;
                both * both
            });
            let by_middle = 1.0 / middle.sqrt().max(FLOOR);
            let along_u = sum_pairs(gradient, from, |g, u| g * u) * by_from;
            let along_v = sum_pairs(gradient, to, |g, v| g * v) * by_to;
            let along_w = (along_u + along_v) * by_middle;
            let scale = long_to * by_from;
            // w is (u + v) by_middle: one factor for each of u and v.
            let of_w = -2.0 * along_w * by_middle;
            let (of_u, of_v) = ((of_w + 2.0 * along_v) * by_from, of_w * by_to);
            for (index, out) in out.iter_mut().enumerate() {
                *out = (gradient[index] + of_u * from[index] + of_v * to[index]) * scale;
            }
        }
    }
}
