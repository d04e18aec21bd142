//! GPU runtimes report some failures of their initialisation only by a panic. This turns it into an error, without the
//! panic's text on the terminal.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Runs `set_up`; a panic in it becomes an error that begins with `failed`. Only for opening devices: it silences the
/// panics of all threads meanwhile.
pub(super) fn without_panic<T>(failed: &str, set_up: impl FnOnce() -> T) -> Result<T> {
    // The panic hook is global: two calls at once would restore each other's.
    static HOOK: Mutex<()> = Mutex::new(());
    let _guard = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(set_up));
    set_hook(hook);
    result.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("the driver gave no reason");
        let first_line = text.lines().next().unwrap_or_default();
        Error::invalid(format!("{failed}: {first_line}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_first_line() {
        let result: Result<()> = without_panic("cannot start x", || panic!("no driver\nat line 3"));
        assert_eq!(result.unwrap_err().to_string(), "cannot start x: no driver");
        assert_eq!(without_panic("cannot start x", || 7).unwrap(), 7);
    }
}
