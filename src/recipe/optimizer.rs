//! What changes the weights, in either stage.

use serde::{Deserialize, Serialize};

/// The optimizer of the matrices of a model; whatever else it has is AdamW's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixOptimizer {
    /// AdamW (Loshchilov and Hutter 2019), as for the others.
    Adamw,
    /// Muon (Jordan et al. 2024), whose changes move all directions of a matrix alike.
    Muon,
}
