//! What can and cannot be done in a sandbox: each test in a process of its own, since nobody gets out of one, and without the
//! threads that a test otherwise has beside it.

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
