//! Properties of the pure functions over all inputs: schedules, grids, overrides, sampling.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "properties/schedule.rs"]
mod schedule;

#[path = "properties/grids.rs"]
mod grids;

#[path = "properties/overrides.rs"]
mod overrides;

#[path = "properties/sampler.rs"]
mod sampler;

#[path = "properties/splits.rs"]
mod splits;
