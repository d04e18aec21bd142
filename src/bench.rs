//! Benchmarks of named shapes, to compare a machine with another program on it, or with itself before a change. It
//! measures and prints nothing.

mod cases;
mod files;
mod quickstart;
mod shapes;
mod timing;

pub(crate) use cases::{PRECISION, cases};
pub(crate) use timing::measure;
