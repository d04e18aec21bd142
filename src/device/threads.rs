//! The number of compute threads, and running the program inside their pool.

use crate::error::{Error, Result};

/// Upper limit of `--threads`.
pub(crate) const MOST_THREADS: usize = 1024;

/// Stack size, for deep autodiff graphs: the default of 2 MiB is less than the 8 MiB of the main thread.
const STACK_BYTES: usize = 16 << 20;

/// How many threads can run at once, as reported by the system (including control groups and affinity).
pub(super) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number of compute threads.
pub(crate) fn thread_count() -> usize {
    rayon::current_num_threads()
}

/// Creates the pool of compute threads, `threads` of them or one per core, and runs `program` inside it.
///
/// Entering a parallel region from a thread outside the pool costs a wake-up and a sleep; training enters thousands of
/// small ones per second.
///
/// With one thread `program` stays outside: it would occupy the pool, and if it waited for a second thread that needs
/// the pool, both would deadlock.
///
/// # Errors
/// `threads` out of range, or the pool exists already (this is for `main`, once).
pub(crate) fn in_pool<T: Send>(
    threads: Option<usize>,
    program: impl FnOnce() -> T + Send,
) -> Result<T> {
    let threads = threads.unwrap_or_else(available);
    if !(1..=MOST_THREADS).contains(&threads) {
        return Err(Error::invalid(format!(
            "--threads is {threads}, allowed are 1 to {MOST_THREADS}"
        )));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK_BYTES)
        .thread_name(|index| format!("compute {index}"))
        .build_global()
        .map_err(|error| Error::invalid(format!("cannot start {threads} threads: {error}")))?;
    if threads == 1 {
        return Ok(program());
    }
    Ok(rayon::scope(|_| program()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_out_of_range_are_refused_before_a_pool_exists() {
        for threads in [0, MOST_THREADS + 1] {
            let message = in_pool(Some(threads), || ()).unwrap_err().to_string();
            assert!(message.contains("--threads is"), "{message}");
        }
    }
}
