//! Memory available for training on the CPU.

use sysinfo::{MemoryRefreshKind, System};

/// Bytes that the system, or the container around this process, can still provide; `None` where unknown.
pub(crate) fn available_memory() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let of_system = Some(system.available_memory()).filter(|bytes| *bytes > 0);
    let of_container = system.cgroup_limits().map(|limits| limits.free_memory);
    match (of_system, of_container) {
        (Some(system), Some(container)) => Some(system.min(container)),
        (system, container) => system.or(container),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_this_test_has_memory_left() {
        assert!(available_memory().is_none_or(|bytes| bytes > 1 << 20));
    }
}
