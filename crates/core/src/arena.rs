//! Carving one block of memory into typed regions, without unsafe code.

use bytemuck::Pod;

/// Every region begins at a multiple of this: a cache line, enough for every type and kernel.
pub const ALIGNMENT: usize = 64;

/// What is left of the arena.
pub struct Carver<'a>(&'a mut [u8]);

impl<'a> Carver<'a> {
    /// A carver over `arena`, if it begins at a multiple of [`ALIGNMENT`].
    pub fn new(arena: &'a mut [u8]) -> Option<Self> {
        arena.as_ptr().addr().is_multiple_of(ALIGNMENT).then_some(Self(arena))
    }

    /// The next `len` values of type `T`, as they are; nothing when too little is left.
    pub fn take<T: Pod>(&mut self, len: usize) -> Option<&'a mut [T]> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let whole = bytes.checked_next_multiple_of(ALIGNMENT)?;
        let (region, rest) = core::mem::take(&mut self.0).split_at_mut_checked(whole)?;
        self.0 = rest;
        bytemuck::try_cast_slice_mut(&mut region[..bytes]).ok()
    }
}
