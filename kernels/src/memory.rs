//! What the allocator does with memory that is freed.

/// Keeps freed memory in the process instead of handing it back to the system: every training step asks for the same
/// buffers again, and each page of a fresh one is a fault and a pass of zeros. For a process whose allocator is mimalloc,
/// once.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay`, milliseconds until unused pages go back to the system.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: sets a number that the allocator reads.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER);
    }
}
