//! Released blocks of memory, and who gets them next.
//!
//! A request takes the smallest block that is large enough. What a large block has beyond that is
//! cut off and stays in the pool; neighbours that are released become one block again. So a step
//! of a training whose sizes differ lives in little more than it uses at once.

use std::alloc::dealloc;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use super::{MemoryStatistics, layout_of};

/// Released memory beyond 1¼ times the most ever in use at once, plus this, goes back.
const SLACK: usize = 32 << 20;
/// Blocks are cut only where both parts have this size; so there are few parts.
const SMALLEST_PART: usize = 1 << 20;

/// A block that nobody uses, and the tick of its release.
struct Block {
    start: NonNull<u8>,
    released: u64,
}

// SAFETY: a block in the pool is owned by the pool alone.
unsafe impl Send for Block {}

/// A part of a block that was cut, by the address of its start.
#[derive(Clone, Copy)]
struct Part {
    bytes: usize,
    /// Start and size of what the allocator gave.
    whole: (usize, usize),
    free: bool,
}

/// Released blocks by size.
pub(super) struct Pool {
    blocks: BTreeMap<usize, Vec<Block>>,
    parts: BTreeMap<usize, Part>,
    tick: u64,
    statistics: MemoryStatistics,
}

fn address(start: NonNull<u8>) -> usize {
    start.addr().get()
}

impl Pool {
    pub(super) const fn new() -> Self {
        Pool {
            blocks: BTreeMap::new(),
            parts: BTreeMap::new(),
            tick: 0,
            statistics: MemoryStatistics {
                live_bytes: 0,
                peak_live_bytes: 0,
                cached_bytes: 0,
                fresh: 0,
                recycled: 0,
            },
        }
    }

    pub(super) fn statistics(&self) -> MemoryStatistics {
        self.statistics
    }

    /// The smallest released block of at least `bytes`, and its size, without what can be cut off;
    /// none if it would be more than twice as large as needed even so.
    pub(super) fn take(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)> {
        let most = if bytes < SMALLEST_PART {
            2 * bytes
        } else {
            usize::MAX
        };
        let mut fitting = self.blocks.range_mut(bytes..=most);
        let found = fitting.find_map(|(&size, blocks)| Some((blocks.pop()?, size)));
        let found = found.map(|(block, size)| {
            self.statistics.cached_bytes -= size;
            (block.start, self.cut(block.start, bytes, size))
        });
        let statistics = &mut self.statistics;
        statistics.live_bytes += found.map_or(bytes, |(_, size)| size);
        statistics.peak_live_bytes = statistics.peak_live_bytes.max(statistics.live_bytes);
        if found.is_some() {
            statistics.recycled += 1;
        } else {
            statistics.fresh += 1;
            self.trim();
        }
        found
    }

    /// Keeps what the block of `size` bytes that is taken has beyond `bytes`, if that is worth
    /// it, and returns what is left of its size.
    fn cut(&mut self, start: NonNull<u8>, bytes: usize, size: usize) -> usize {
        let at = address(start);
        let rest = size - bytes;
        if bytes < SMALLEST_PART || rest < SMALLEST_PART {
            if let Some(part) = self.parts.get_mut(&at) {
                part.free = false;
            }
            return size;
        }
        let whole = self.parts.get(&at).map_or((at, size), |part| part.whole);
        let part = |bytes, free| Part { bytes, whole, free };
        self.parts.insert(at, part(bytes, false));
        self.parts.insert(at + bytes, part(rest, true));
        // SAFETY: `bytes < size`, and the block is one allocation or a part of one.
        let start = unsafe { start.add(bytes) };
        self.keep(start, rest);
        bytes
    }

    /// Takes back a block that was taken or is new.
    pub(super) fn put(&mut self, start: NonNull<u8>, bytes: usize) {
        self.statistics.live_bytes -= bytes;
        let (start, bytes) = self.joined(start, bytes);
        self.keep(start, bytes);
    }

    /// The block with its neighbours of the same allocation that are free.
    fn joined(&mut self, mut start: NonNull<u8>, mut bytes: usize) -> (NonNull<u8>, usize) {
        let Some(part) = self.parts.remove(&address(start)) else {
            return (start, bytes);
        };
        let is_neighbour = |other: &Part| other.free && other.whole == part.whole;
        let next = address(start) + bytes;
        if let Some(after) = self.parts.get(&next).copied().filter(is_neighbour) {
            self.parts.remove(&next);
            self.take_block(next, after.bytes);
            bytes += after.bytes;
        }
        let before = self.parts.range(..address(start)).next_back();
        let before = before.map(|(&at, &before)| (at, before));
        if let Some((at, before)) = before.filter(|(_, before)| is_neighbour(before))
            && let Some(block) = self.take_block(at, before.bytes)
        {
            self.parts.remove(&at);
            (start, bytes) = (block.start, before.bytes + bytes);
        }
        if (address(start), bytes) != part.whole {
            let free = true;
            self.parts.insert(
                address(start),
                Part {
                    bytes,
                    free,
                    ..part
                },
            );
        }
        (start, bytes)
    }

    fn keep(&mut self, start: NonNull<u8>, bytes: usize) {
        self.tick += 1;
        self.statistics.cached_bytes += bytes;
        let released = self.tick;
        let blocks = self.blocks.entry(bytes).or_default();
        blocks.push(Block { start, released });
    }

    /// Takes the released block at `at` out of the pool.
    fn take_block(&mut self, at: usize, bytes: usize) -> Option<Block> {
        let blocks = self.blocks.get_mut(&bytes)?;
        let position = blocks.iter().position(|block| address(block.start) == at)?;
        let block = blocks.remove(position);
        if blocks.is_empty() {
            self.blocks.remove(&bytes);
        }
        self.statistics.cached_bytes -= bytes;
        Some(block)
    }

    /// The memory of a block that was not to be had after all.
    pub(super) fn give_up(&mut self, bytes: usize) {
        self.statistics.live_bytes -= bytes;
    }

    /// Gives the longest unused blocks back until the total is within its bound.
    fn trim(&mut self) {
        let peak = self.statistics.peak_live_bytes;
        let bound = peak + peak / 4 + SLACK;
        while self.statistics.live_bytes + self.statistics.cached_bytes > bound {
            if !self.release_oldest() {
                break;
            }
        }
    }

    /// Gives the longest unused block back that is not a part; `false` if there is none.
    pub(super) fn release_oldest(&mut self) -> bool {
        let oldest = self
            .blocks
            .iter()
            .flat_map(|(&bytes, blocks)| blocks.iter().map(move |block| (block, bytes)))
            .filter(|(block, _)| !self.parts.contains_key(&address(block.start)))
            .min_by_key(|(block, _)| block.released)
            .map(|(block, bytes)| (address(block.start), bytes));
        let Some((at, bytes)) = oldest else {
            return false;
        };
        let Some(block) = self.take_block(at, bytes) else {
            return false;
        };
        // SAFETY: the block is whole, so it was allocated with this layout; the pool owns it.
        unsafe { dealloc(block.start.as_ptr(), layout_of(bytes)) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::fresh_zeros;
    use super::*;

    const MIB: usize = 1 << 20;

    /// Takes from `pool`, or from the allocator.
    fn take(pool: &mut Pool, bytes: usize) -> (NonNull<u8>, usize) {
        pool.take(bytes)
            .unwrap_or_else(|| (fresh_zeros(bytes).unwrap(), bytes))
    }

    #[test]
    fn a_large_block_serves_several_smaller_requests_and_becomes_whole_again() {
        let mut pool = Pool::new();
        let whole = take(&mut pool, 16 * MIB);
        pool.put(whole.0, whole.1);
        let parts = [5, 3, 8].map(|mib| take(&mut pool, mib * MIB));
        assert_eq!(pool.statistics().fresh, 1);
        assert_eq!(pool.statistics().live_bytes, 16 * MIB);
        // No byte is in two parts.
        let mut ranges = parts.map(|(start, bytes)| (address(start), address(start) + bytes));
        ranges.sort();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for order in [[1, 0, 2], [0, 2, 1], [2, 1, 0]] {
            for part in order {
                pool.put(parts[part].0, parts[part].1);
            }
            assert_eq!(pool.statistics().cached_bytes, 16 * MIB);
            let again = take(&mut pool, 16 * MIB);
            assert_eq!((again, pool.statistics().fresh), (whole, 1));
            pool.put(again.0, again.1);
            for part in parts {
                assert_eq!(take(&mut pool, part.1), part);
            }
        }
        for part in parts {
            pool.put(part.0, part.1);
        }
        assert!(pool.release_oldest() && !pool.release_oldest());
        assert_eq!(pool.statistics().cached_bytes, 0);
    }

    #[test]
    fn parts_are_not_given_back_before_they_are_whole() {
        let mut pool = Pool::new();
        let whole = take(&mut pool, 8 * MIB);
        pool.put(whole.0, whole.1);
        let part = take(&mut pool, 2 * MIB);
        assert!(!pool.release_oldest());
        assert_eq!(pool.statistics().cached_bytes, 6 * MIB);
        pool.put(part.0, part.1);
        assert!(pool.release_oldest());
    }

    #[test]
    fn small_requests_leave_large_blocks_alone() {
        let mut pool = Pool::new();
        let whole = take(&mut pool, 8 * MIB);
        pool.put(whole.0, whole.1);
        assert!(pool.take(4096).is_none());
        assert!(pool.release_oldest());
    }
}
