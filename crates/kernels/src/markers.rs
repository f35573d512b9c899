//! Marks that tell a counter of executed instructions where to begin and where to end.
//!
//! On aarch64 they are hints that no CPU gives a meaning to, and that the emulator's plugin in `benches/instructions`
//! looks for; elsewhere they are nothing. They are no part of any result.

/// From here on, instructions count.
#[inline]
pub fn open() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint without a meaning does nothing.
    unsafe {
        core::arch::asm!("hint #120", options(nostack, preserves_flags));
    }
}

/// From here on, they no longer do.
#[inline]
pub fn close() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint without a meaning does nothing.
    unsafe {
        core::arch::asm!("hint #121", options(nostack, preserves_flags));
    }
}
