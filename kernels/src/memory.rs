//! What the allocator does with freed memory.

/// Keeps freed memory in the process instead of returning it to the system: every training step allocates the same
/// buffers again, and each fresh page costs a page fault and zeroing. To be called once, in a process whose allocator
/// is mimalloc.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay`: milliseconds until unused pages are returned to the system.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: sets an option that the allocator reads.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER);
    }
}
