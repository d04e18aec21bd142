//! vqgen learns to draw: it trains a VQ-VAE on images, turns every image into a small grid of discrete
//! codes, trains a GPT on those code sequences, then samples new sequences and decodes them.
//!
//! ```text
//! images ──data──▶ tokenizer.encode ──▶ codes ──▶ prior (GPT) ──▶ sampling ──▶ tokenizer.decode ──▶ image grid
//! [B,H,W,C]        [B,h,w] ids          u16 file   [B,T,K] logits   [B,h·w]      [B,H,W,C]            PNG
//! ```
//!
//! # Layers
//! A lower layer never imports a higher one; `tests/layers.rs` enforces it. Every layer may use [`error`] and [`rng`].
//!
//! | layer | modules | job |
//! |---|---|---|
//! | below | `vqgen_kernels` | the CPU kernels, a crate that knows nothing of this one |
//! | 0 | [`ops`], [`tokenizer`], [`features`], [`discriminator`], [`prior`], [`sampling`] | the mathematics: tensors in, tensors out |
//! | 1 | [`keys`], [`data`], [`vocabulary`], [`device`], [`recipe`] | files to pixels, captions to tokens, device selection, recipes |
//! | 2 | [`codec`], [`generation`], [`checkpoint`], [`perceptual`], [`evaluation`], [`training`], [`bench`] | pixels to codes and back; runs: their files, numbers and loops |
//! | 3 | [`commands`], [`progress`] | one file per subcommand, and progress display |
//! | 4 | [`cli`], `main` | arguments |
//!
//! # Invariants
//! - Images are f32 `[batch, height, width, channels]` in [-0.5, 0.5]; only [`data::pixels`] converts from and to u8.
//! - Weights are in PyTorch's layout in files and in matrix layout in memory; only [`checkpoint`] converts.
//! - Randomness comes from [`rng::stream`], keyed by what it is for; no generator has a state to save.
//! - Only [`device`] and the kernels name a backend; everything else takes a `&Device`.
//! - Only [`ops`] calls the kernels, and all unsafe code is theirs.

#![forbid(unsafe_code)]
#![recursion_limit = "256"]

pub mod error;
pub mod rng;

pub mod ops;

pub mod tokenizer;

pub mod features;

pub mod discriminator;

pub mod prior;

pub mod sampling;

pub mod generation;

pub mod keys;

pub mod data;

pub mod vocabulary;

pub mod device;

pub mod recipe;

pub mod checkpoint;

pub mod import;

mod codec;

pub mod perceptual;

pub mod evaluation;

pub mod training;

mod bench;

mod progress;

pub mod commands;

pub mod cli;
