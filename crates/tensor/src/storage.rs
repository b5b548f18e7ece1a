//! Reference-counted memory: 64-byte aligned, recycled through a pool.
//!
//! Fresh memory from the operating system costs a page fault per 4 KiB, as much as the arithmetic
//! of a small layer. So large buffers are kept when they are released and handed out again.
//! Recycled memory is never cleared unless asked: every bit pattern of the numeric types is a
//! value, so old contents are unspecified but sound.

mod kept;
mod limit;
mod pool;

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::element::Element;
use crate::error::Result;
pub(crate) use kept::Kept;
pub(crate) use limit::reserve;
use limit::too_large;
pub use limit::{memory_limit, set_memory_limit, vec_with_capacity};
use pool::{Pool, Taken};

/// Eight-byte words inside a buffer: numbers and other tiny tensors need no memory elsewhere.
const INLINE_WORDS: usize = 2;
/// Alignment of pooled buffers: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// Buffers from this size on ask for pages of 2 MiB (see [`ask_for_huge_pages`]).
const SMALLEST_HUGE: usize = 4 << 20;
/// Size of a huge page on x86-64, and on AArch64 with ordinary pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;
/// Buffers below this size come straight from the allocator, which is faster than a lock. All do where
/// a sanitizer shall see their ends.
const SMALLEST_POOLED: usize = if cfg!(exact_memory) { usize::MAX } else { 2048 };

/// An owned block of `len` initialised elements.
pub(crate) struct Buffer<T: Element> {
    len: usize,
    memory: Memory<T>,
    kept: Kept,
    owns: PhantomData<T>,
}

/// Where a buffer's elements are, and so where their memory goes back to.
enum Memory<T> {
    /// In the buffer itself; also if there are none.
    Inline([u64; INLINE_WORDS]),
    /// In `bytes` from the allocator or the pool, by `layout_of(bytes)`.
    Pool { start: NonNull<T>, bytes: usize },
    /// In a `Vec` of this capacity.
    Vec { start: NonNull<T>, capacity: usize },
}

// SAFETY: a buffer owns its memory exclusively, like `Vec<T>`, and `Element` is `Send + Sync`.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// `len` elements of unspecified (but valid) value.
    pub(crate) fn unspecified(operation: &str, len: usize) -> Result<Self> {
        let (mut buffer, fresh) = Self::allocate(operation, len)?;
        if !T::ANY_BITS && !fresh {
            buffer.clear();
        }
        Ok(buffer)
    }

    /// `len` elements of zero (`false`).
    pub(crate) fn zeroed(operation: &str, len: usize) -> Result<Self> {
        let (mut buffer, fresh) = Self::allocate(operation, len)?;
        if !fresh {
            buffer.clear();
        }
        Ok(buffer)
    }

    /// Sets all bytes to zero, whatever they were.
    fn clear(&mut self) {
        let (start, len) = (self.start_mut(), self.len);
        // SAFETY: all-zero bytes are a value of every element type; the range is owned.
        unsafe { start.write_bytes(0, len) };
    }

    /// Takes over the memory of `vec`.
    pub(crate) fn from_vec(vec: Vec<T>) -> Self {
        let mut vec = std::mem::ManuallyDrop::new(vec);
        let (len, capacity) = (vec.len(), vec.capacity());
        // SAFETY: a `Vec`'s pointer is never null.
        let start = unsafe { NonNull::new_unchecked(vec.as_mut_ptr()) };
        Self::over(Memory::Vec { start, capacity }, len)
    }

    /// Memory for `len` elements, initialised to some bytes; `true` if those are fresh zeros.
    fn allocate(operation: &str, len: usize) -> Result<(Self, bool)> {
        if len <= INLINE_WORDS * size_of::<u64>() / size_of::<T>() {
            const {
                // The words must hold elements at their alignment, and elements must not be empty.
                assert!(align_of::<T>() <= align_of::<u64>() && size_of::<T>() > 0);
            }
            return Ok((Self::over(Memory::Inline([0; INLINE_WORDS]), len), true));
        }
        let requested = len.checked_mul(size_of::<T>());
        let short = || {
            too_large(operation, requested)
                .with("elements", len)
                .with("element type", T::DTYPE)
        };
        let fits = |&bytes: &usize| bytes <= isize::MAX as usize / 2;
        let bytes = size_class(requested.filter(fits).ok_or_else(short)?);
        let (start, bytes, fresh) = match pool().take(bytes) {
            Taken::Released(start, bytes) => (start, bytes, false),
            Taken::Room => {
                let Some(start) = fresh_zeros(bytes) else {
                    pool().give_up(bytes);
                    return Err(short());
                };
                (start, bytes, true)
            }
            Taken::Nothing => return Err(short()),
        };
        let start = start.cast();
        Ok((Self::over(Memory::Pool { start, bytes }, len), fresh))
    }

    /// The `len` elements in `memory`.
    fn over(memory: Memory<T>, len: usize) -> Self {
        Buffer {
            len,
            memory,
            kept: Kept::nothing(),
            owns: PhantomData,
        }
    }

    #[inline]
    fn start(&self) -> *const T {
        match &self.memory {
            Memory::Inline(words) => words.as_ptr().cast(),
            Memory::Pool { start, .. } | Memory::Vec { start, .. } => start.as_ptr(),
        }
    }

    /// Where to write: what is kept of the contents is forgotten.
    #[inline]
    fn start_mut(&mut self) -> *mut T {
        self.kept.forget();
        match &mut self.memory {
            Memory::Inline(words) => words.as_mut_ptr().cast(),
            Memory::Pool { start, .. } | Memory::Vec { start, .. } => start.as_ptr(),
        }
    }

    /// Room for what is computed from the contents, until they are written.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: there are `len` initialised elements at `start` as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let (start, len) = (self.start_mut(), self.len);
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.memory {
            Memory::Inline(_) => {}
            Memory::Pool { start, bytes } => pool().put(start.cast(), bytes),
            Memory::Vec { start, capacity } => {
                // SAFETY: pointer, length and capacity are those that `from_vec` took apart.
                drop(unsafe { Vec::from_raw_parts(start.as_ptr(), self.len, capacity) });
            }
        }
    }
}

/// Rounds up to one of 32 sizes per power of two, so that similar requests share buffers at a cost
/// of at most a thirty-second.
fn size_class(bytes: usize) -> usize {
    if bytes < SMALLEST_POOLED {
        return bytes;
    }
    let step = (bytes.next_power_of_two() >> 6).max(ALIGNMENT);
    bytes.div_ceil(step) * step
}

/// `bytes`, which are not 0, of zeros from the allocator.
fn fresh_zeros(bytes: usize) -> Option<NonNull<u8>> {
    let layout = layout_of(bytes);
    if (SMALLEST_POOLED..SMALLEST_HUGE).contains(&bytes) {
        // SAFETY: the layout has a non-zero size.
        return NonNull::new(unsafe { alloc_zeroed(layout) });
    }
    // Allocators hand out small blocks faster if they need not clear them.
    // SAFETY: as above.
    let start = NonNull::new(unsafe { alloc(layout) })?;
    if bytes >= SMALLEST_HUGE {
        ask_for_huge_pages(start, bytes);
    }
    // SAFETY: the block has `bytes` bytes and is owned here.
    unsafe { start.as_ptr().write_bytes(0, bytes) };
    Some(start)
}

/// Asks Linux to back a block by huge pages: its first use then faults once in 2 MiB instead of
/// once in 4 KiB, and walks across the rows of a large matrix find their pages. Elsewhere, and
/// where the system declines, nothing changes.
fn ask_for_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is owned by the caller, and the advice changes no contents.
    unsafe {
        libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

fn layout_of(bytes: usize) -> Layout {
    let alignment = if bytes < SMALLEST_POOLED {
        16
    } else if bytes < SMALLEST_HUGE {
        ALIGNMENT
    } else {
        HUGE_PAGE
    };
    // Sizes above `isize::MAX / 2` were refused, so rounding up to the alignment cannot overflow.
    Layout::from_size_align(bytes, alignment).unwrap_or(Layout::new::<[u64; 8]>())
}

/// What the buffers of all tensors take at this moment, and how often memory was asked for.
///
/// Counts buffers of 2 KiB and more; smaller ones come straight from the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatistics {
    /// Bytes that tensors hold.
    pub live_bytes: usize,
    /// The most that `live_bytes` has been.
    pub peak_live_bytes: usize,
    /// Bytes that were released and are kept for reuse.
    pub cached_bytes: usize,
    /// Buffers that were asked of the operating system so far.
    pub fresh: u64,
    /// Buffers that were served from released memory so far.
    pub recycled: u64,
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Stateless front of the pool; small sizes never take its lock.
struct PoolHandle;

fn pool() -> PoolHandle {
    PoolHandle
}

fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PoolHandle {
    fn take(&self, bytes: usize) -> Taken {
        match bytes < SMALLEST_POOLED {
            true => Taken::Room,
            false => {
                let limit = memory_limit();
                lock().take(bytes, limit)
            }
        }
    }

    fn give_up(&self, bytes: usize) {
        if bytes >= SMALLEST_POOLED {
            lock().give_up(bytes);
        }
    }

    fn put(&self, start: NonNull<u8>, bytes: usize) {
        if bytes >= SMALLEST_POOLED {
            lock().put(start, bytes);
        } else {
            // SAFETY: allocated with this layout, and owned by the caller.
            unsafe { dealloc(start.as_ptr(), layout_of(bytes)) };
        }
    }
}

/// What tensors take and have asked for so far.
///
/// ```
/// let before = tensor::memory_statistics();
/// let x = tensor::Tensor::<f32>::zeros([1024, 1024])?;
/// assert!(tensor::memory_statistics().live_bytes >= before.live_bytes + 4 * 1024 * 1024);
/// # drop(x);
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn memory_statistics() -> MemoryStatistics {
    lock().statistics()
}

/// Returns all released memory that is kept for reuse to the operating system.
pub fn release_cached_memory() {
    let mut pool = lock();
    while pool.release_oldest() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_a_thirty_second() {
        for bytes in [2048, 2049, 5000, 65_536, 65_537, 1_000_000, 123_456_789] {
            let class = size_class(bytes);
            assert!(
                class >= bytes && class <= bytes + bytes / 32 + ALIGNMENT,
                "{bytes} {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }

    #[test]
    fn zeroed_memory_is_zero_after_recycling() {
        for _ in 0..3 {
            let mut buffer = Buffer::<f32>::zeroed("zeros", 10_000).unwrap();
            assert!(buffer.as_slice().iter().all(|&x| x == 0.0));
            buffer.as_mut_slice().fill(7.0);
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(Buffer::<f64>::zeroed("zeros", usize::MAX / 8).is_err());
        assert!(Buffer::<f64>::zeroed("zeros", usize::MAX / 32).is_err());
    }
}
