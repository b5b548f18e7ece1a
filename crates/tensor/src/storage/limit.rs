//! How much memory tensors may take together.
//!
//! An operating system that hands out more memory than there is ("overcommits") finds out only when
//! the memory is written, and then ends a process of its choice. So whether a result can be had is
//! decided here, before anything is asked of the system.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::lock;
use crate::error::{Error, Result};

/// Bytes; 0 until somebody asks.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that the buffers of all tensors may take together.
///
/// Unless [`set_memory_limit`] sets another, it is what the system has: on Linux its physical memory
/// (or what the process's control group may use, if that is less) and its swap space, read once;
/// elsewhere half the address space, so that only the allocator refuses. What other programs use is
/// not taken off.
///
/// ```
/// use tensor::{Tensor, memory_limit};
/// // A view of 2⁵⁰ elements takes no memory, but a sum for each of them would.
/// let view = Tensor::scalar(1.0).broadcast_to([1 << 50])?;
/// assert!(memory_limit() > 0);
/// assert!(view.add(&view).is_err());
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn memory_limit() -> usize {
    match LIMIT.load(Relaxed) {
        0 => {
            let limit = system_memory().unwrap_or(isize::MAX as usize);
            // Whoever set one meanwhile has set it.
            LIMIT
                .compare_exchange(0, limit.max(1), Relaxed, Relaxed)
                .map_or_else(|set| set, |_| limit.max(1))
        }
        limit => limit,
    }
}

/// Sets the most bytes that the buffers of all tensors may take together, memory that is kept for
/// reuse included: an operation that needs more is an error of
/// [`ErrorKind::Size`](crate::ErrorKind::Size), or a panic with its text if the function returns no
/// `Result`. What is taken already stays.
///
/// Leave room for what else the process holds: buffers below 2 KiB and elements that came in a
/// `Vec` are not counted, nor are models' own tables and the program itself.
///
/// ```
/// use tensor::{ErrorKind, Tensor, set_memory_limit};
/// set_memory_limit(1 << 30);
/// let error = Tensor::<f32>::zeros([1 << 29]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Size);
/// assert!(error.to_string().contains("limit"));
/// ```
pub fn set_memory_limit(bytes: usize) {
    LIMIT.store(bytes.max(1), Relaxed);
}

/// A `Vec` with room for `count` items, or an error of `operation` where [`memory_limit`] or the
/// allocator does not allow it: `Vec::with_capacity` for counts that come from outside.
///
/// ```
/// let list: Vec<u64> = tensor::vec_with_capacity("squares", 3)?;
/// assert!(list.is_empty() && list.capacity() >= 3);
/// assert!(tensor::vec_with_capacity::<u64>("squares", 1 << 60).is_err());
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Size`](crate::ErrorKind::Size) if memory is short.
pub fn vec_with_capacity<A>(operation: &str, count: usize) -> Result<Vec<A>> {
    let mut list = Vec::new();
    reserve(operation, &mut list, count)?;
    Ok(list)
}

/// Room for `count` more items, exactly if there is none yet.
pub(crate) fn reserve<A>(operation: &str, list: &mut Vec<A>, count: usize) -> Result<()> {
    if list.capacity() - list.len() >= count {
        return Ok(());
    }
    let all = list.len().checked_add(count);
    let bytes = all.and_then(|all| all.checked_mul(size_of::<A>()));
    let short = || too_large(operation, bytes).with("elements", count);
    let bytes = bytes.ok_or_else(short)?;
    if bytes > memory_limit().saturating_sub(lock().statistics().live_bytes) {
        return Err(short());
    }
    let reserved = match list.is_empty() {
        true => list.try_reserve_exact(count),
        false => list.try_reserve(count),
    };
    reserved.map_err(|_| short())
}

/// What an operation reports that needs so many more bytes, or more than can be counted.
#[cold]
pub(crate) fn too_large(operation: &str, bytes: Option<usize>) -> Error {
    let mut error = Error::size(operation, "memory for the result could not be allocated");
    error = match bytes {
        Some(bytes) => error.with("bytes", bytes),
        None => error.with("bytes", "more than can be addressed"),
    };
    error
        .with("held by tensors", lock().statistics().live_bytes)
        .with("limit", memory_limit())
        .fix("work on parts, drop what is no longer needed, or `tensor::set_memory_limit`")
}

/// Physical memory, or the part of it that the process may use, and swap space.
#[cfg(target_os = "linux")]
fn system_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: usize = line.split_whitespace().next()?.parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    let physical = of("MemTotal:")?;
    let allowed = control_group_limit().map_or(physical, |limit| limit.min(physical));
    Some(allowed.saturating_add(of("SwapTotal:").unwrap_or(0)))
}

/// The least limit of the process's control group (of either version) and those around it.
#[cfg(target_os = "linux")]
fn control_group_limit() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let around = std::path::Path::new(path).ancestors().map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            let file = std::path::Path::new(root).join(group).join(file);
            // "max" and what is not there are no limits.
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        });
        around.flatten().collect()
    });
    limits.min()
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
fn system_memory() -> Option<usize> {
    None
}
