//! What the queries and keys of each head pass through before attention: a norm to unit root mean square ("QK-norm",
//! Henry et al. 2020, here as a root mean square without a gain), then the rotary embedding of their position.

use std::sync::Arc;

use super::decode::RotaryRows;
use super::math::{sum, sum_pairs};

/// Added to the mean square of a query or a key.
pub const HEAD_EPSILON: f32 = 1e-6;

/// The map of a head's queries and keys.
#[derive(Debug, Clone, Default)]
pub struct HeadMap {
    /// Whether each is divided by its root mean square.
    pub normalise: bool,
    /// The rotary embedding.
    pub rotary: Option<Arc<RotaryRows>>,
}

/// Of which of the two a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Query,
    Key,
}

impl HeadMap {
    /// Whether nothing changes.
    pub(super) fn is_identity(&self) -> bool {
        !self.normalise && self.rotary.is_none()
    }

    /// Maps a head's query or key at a position, in place.
    #[inline(always)]
    pub(super) fn apply(&self, head: &mut [f32], side: Side, position: usize) {
        if self.normalise {
            let scale = inverse_norm(head);
            head.iter_mut().for_each(|value| *value *= scale);
        }
        if let Some(rotary) = &self.rotary {
            let [cos, sin] = rotary.at(side, position, head.len());
            turn(head, cos, sin, 1.0);
        }
    }

    /// Turns the gradient w.r.t. a mapped query or key into that w.r.t. `head`, from which it was mapped.
    #[inline(always)]
    pub(super) fn gradient(&self, head: &[f32], by: &mut [f32], side: Side, position: usize) {
        if let Some(rotary) = &self.rotary {
            let [cos, sin] = rotary.at(side, position, by.len());
            turn(by, cos, sin, -1.0);
        }
        if self.normalise {
            let scale = inverse_norm(head);
            let along = sum_pairs(by, head, |by, value| by * value) / head.len() as f32;
            let along = along * scale * scale;
            for (by, value) in by.iter_mut().zip(head) {
                *by = scale * (*by - value * along);
            }
        }
    }
}

/// 1 / root mean square.
#[inline(always)]
fn inverse_norm(head: &[f32]) -> f32 {
    1.0 / (sum(head, |value| value * value) / head.len() as f32 + HEAD_EPSILON).sqrt()
}

/// Rotates the pairs of a head by their angles, or back where `direction` is -1. In either half of a head, of `m`
/// dimensions, `i` and `i + m/2` form a pair.
#[inline(always)]
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let half = head.len() / 2;
    for ((head, cos), sin) in
        head.chunks_exact_mut(half).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half))
    {
        let (first, second) = head.split_at_mut(half / 2);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let sin = direction * sin;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
