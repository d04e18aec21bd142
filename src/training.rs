//! Training: the loops of both stages. Placeholder until they are written.

pub mod event;
