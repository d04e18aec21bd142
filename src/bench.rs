//! How fast a machine is at the work of this program, on shapes with names, so that it can be compared with
//! another program on the same machine, or with itself before a change. It measures and prints nothing.

mod cases;
mod files;
mod quickstart;
mod shapes;
mod timing;

pub use cases::{Case, PRECISION, cases};
pub use timing::{Timing, measure};
