//! Which weights of a prior AdamW pulls towards zero.

/// Whether the parameter of this path and rank gets weight decay: the matrices of linears do; biases,
/// norms, embeddings and positions do not (as in GPT-2's successors; decaying a table pulls on rows
/// that a batch never touched). A tied head is the token table, and goes with it.
pub fn decays(path: &str, rank: usize) -> bool {
    rank == 2 && !path.starts_with("token.") && path != "position"
}
