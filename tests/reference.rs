//! The models and metrics against PyTorch and scikit-image, whose outputs `tests/reference/make_reference.py` and
//! `quantizers.py` wrote to `tests/reference/*.safetensors`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "reference/support.rs"]
mod support;

#[path = "reference/drawn.rs"]
mod drawn;

#[path = "reference/tokenizer.rs"]
mod tokenizer;

#[path = "reference/quantizers.rs"]
mod quantizers;

#[path = "reference/resnet34.rs"]
mod resnet34;

#[path = "reference/prior.rs"]
mod prior;

#[path = "reference/similarity.rs"]
mod similarity;

#[path = "reference/features.rs"]
mod features;

#[path = "reference/foreign_nets.rs"]
mod foreign_nets;

#[path = "reference/discriminator.rs"]
mod discriminator;

#[path = "reference/sets.rs"]
mod sets;

#[path = "reference/imported.rs"]
mod imported;
