//! The clock: warm-up, repeats, the median.

use std::time::Instant;

use crate::error::Result;

/// Untimed runs before measuring: caches fill, kernels are tuned, memory is faulted in.
const WARM_UP: usize = 3;

/// The time of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Timing {
    /// The median over the repeats, in milliseconds.
    pub median_ms: f64,
    /// The fastest repeat, in milliseconds: the time without disturbances.
    pub least_ms: f64,
}

/// Times `run`, which must not return before the device has finished.
///
/// # Errors
/// Errors of `run`.
pub(crate) fn measure(run: &mut dyn FnMut() -> Result<()>, repeats: usize) -> Result<Timing> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let mut times = Vec::with_capacity(repeats.max(1));
    for _ in 0..repeats.max(1) {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Timing { median_ms: times[times.len() / 2], least_ms: times[0] })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_median_leaves_out_warm_up_and_stragglers() {
        let mut runs = 0;
        let mut run = || {
            runs += 1;
            let slow = runs <= WARM_UP || runs == WARM_UP + 2;
            sleep(Duration::from_millis(if slow { 60 } else { 2 }));
            Ok(())
        };
        let timing = measure(&mut run, 3).unwrap();
        assert!((2.0..50.0).contains(&timing.median_ms), "{timing:?}");
        assert!(timing.least_ms <= timing.median_ms);
        assert_eq!(runs, WARM_UP + 3);
    }
}
