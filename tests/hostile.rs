//! Hostile input: every format the program reads, damaged at every byte and forged with valid checksums. Each must be
//! an error that names the file; a panic fails the test by itself. Memory use is tested by `hostile_memory.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "hostile/damage.rs"]
mod damage;

#[path = "hostile/forge.rs"]
mod forge;

#[path = "hostile/samples.rs"]
mod samples;

#[path = "hostile/tensor_files.rs"]
mod tensor_files;

#[path = "hostile/recipes.rs"]
mod recipes;

#[path = "hostile/images.rs"]
mod images;

#[path = "hostile/packed.rs"]
mod packed;

#[path = "hostile/containers.rs"]
mod containers;

#[path = "hostile/metrics.rs"]
mod metrics;

#[path = "hostile/lies.rs"]
mod lies;

#[path = "hostile/run_folder.rs"]
mod run_folder;

#[path = "hostile/corpus.rs"]
mod corpus;
