//! How many CPU threads compute, and the program's place among them.

use crate::error::{Error, Result};

/// Most threads that `--threads` may ask for.
pub const MOST_THREADS: usize = 1024;

/// Room for deep graphs: the 2 MiB that threads get otherwise are the main thread's 8 MiB on no system.
const STACK_BYTES: usize = 16 << 20;

/// How many threads run at once here, as the system says (control groups and affinity included).
pub(super) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads compute.
pub fn thread_count() -> usize {
    rayon::current_num_threads()
}

/// Sizes the pool of compute threads, `threads` of them or one a core, and runs `program` inside it.
///
/// A parallel region entered from a thread outside the pool costs a wake-up and a sleep; training has thousands
/// of small ones a second.
///
/// With one thread `program` stays outside: it would fill the pool, and a second thread that asks the pool for
/// work while `program` waits for that thread would wait forever.
///
/// # Errors
/// `threads` out of range, or the pool exists already (this is for `main`, once).
pub fn in_pool<T: Send>(threads: Option<usize>, program: impl FnOnce() -> T + Send) -> Result<T> {
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
