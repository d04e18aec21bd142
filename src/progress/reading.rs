//! Progress of reading a data set: a bar on a terminal, otherwise a line now and then, and nothing for one that is read
//! quickly, to avoid flicker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::HumanCount;

use super::text::{duration, printable};
use super::{Progress, View, new_bar};

/// Delay before anything is shown: most data sets are read by then.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Interval of lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Interval of bar updates.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Shows how many images of a data set have been read. Shared by the threads that read them.
pub(crate) struct Reading {
    name: String,
    begun: Instant,
    /// Milliseconds after `begun` of the next update.
    due: AtomicU64,
    progress: Mutex<Progress>,
}

impl Reading {
    /// Shows the progress of the data set `name` in the manner of `progress`; dropping this removes the bar.
    pub(crate) fn new(progress: Progress, name: &str) -> Self {
        let due = AtomicU64::new(FIRST_AFTER.as_millis() as u64);
        Self { name: name.to_owned(), begun: Instant::now(), due, progress: Mutex::new(progress) }
    }

    /// `done` of `all` images have been read.
    pub(crate) fn count(&self, done: usize, all: usize) {
        self.count_at(self.begun.elapsed(), done, all);
    }

    fn count_at(&self, elapsed: Duration, done: usize, all: usize) {
        if (elapsed.as_millis() as u64) < self.due.load(Ordering::Relaxed) {
            return;
        }
        // Another thread that is drawing shows this count too, or nearly.
        let Ok(mut progress) = self.progress.try_lock() else { return };
        let every = match &mut progress.view {
            View::Quiet(_) => LINE_EVERY,
            View::Bar(bar) => {
                let bar = bar.get_or_insert_with(|| {
                    let bar = new_bar("data", done, all);
                    bar.set_message(format!("  images of {}", printable(&self.name)));
                    bar
                });
                bar.set_position(done as u64);
                BAR_EVERY
            }
            view @ View::Lines(_) => {
                let left = all.saturating_sub(done);
                let seconds = elapsed.as_secs_f64() / done.max(1) as f64 * left as f64;
                view.print(&format!(
                    "data   {} of {} images of {} are read  eta {}",
                    HumanCount(done as u64),
                    HumanCount(all as u64),
                    self.name,
                    duration(seconds)
                ));
                LINE_EVERY
            }
        };
        self.due.store((elapsed + every).as_millis() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::tests::Written;
    use super::*;

    fn drawn(quiet: bool, counts: &[(u64, usize)]) -> String {
        let written = Written::default();
        let reading = Reading::new(Progress::lines(written.clone(), quiet), "pictures");
        for (milliseconds, done) in counts {
            reading.count_at(Duration::from_millis(*milliseconds), *done, 5000);
        }
        written.text()
    }

    #[test]
    fn a_set_that_is_read_at_once_shows_nothing() {
        assert_eq!(drawn(false, &[(10, 1), (900, 4999), (990, 5000)]), "");
    }

    #[test]
    fn a_long_reading_is_a_line_now_and_then_and_none_when_quiet() {
        let counts = [(10, 1), (2000, 1000), (2010, 1010), (11_900, 2000), (12_100, 2500)];
        assert_eq!(
            drawn(false, &counts),
            "data   1,000 of 5,000 images of pictures are read  eta 8 seconds\n\
             data   2,500 of 5,000 images of pictures are read  eta 12 seconds\n"
        );
        assert_eq!(drawn(true, &counts), "");
    }
}
