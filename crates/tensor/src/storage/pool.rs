//! Released blocks of memory, and who gets them next.
//!
//! A request takes the smallest block that is large enough. What a large block has beyond that is
//! cut off and stays in the pool; neighbours that are released become one block again. So a step
//! of a training whose sizes differ lives in little more than it uses at once.
//!
//! Small blocks are many but of few sizes, each of which has its list for good; large blocks and
//! parts are few, and lie in sorted lists. So a steady step asks nothing of the allocator for its
//! bookkeeping either.

use std::alloc::dealloc;
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;

use super::{MemoryStatistics, layout_of};

/// Released memory beyond 1¼ times the most ever in use at once, plus this, goes back.
const SLACK: usize = 32 << 20;
/// Blocks are cut only where both parts have this size; so there are few parts.
const SMALLEST_PART: usize = 1 << 20;

/// A block that nobody uses, and the tick of its release.
struct Block {
    bytes: usize,
    released: u64,
    start: NonNull<u8>,
}

// SAFETY: a block in the pool is owned by the pool alone.
unsafe impl Send for Block {}

/// A part of a block that was cut.
#[derive(Clone, Copy)]
struct Part {
    /// The address of its start.
    at: usize,
    bytes: usize,
    /// Start and size of what the allocator gave.
    whole: (usize, usize),
    free: bool,
}

/// What a request gets.
pub(super) enum Taken {
    /// A released block and its size.
    Released(NonNull<u8>, usize),
    /// Leave to ask the allocator for as much as was requested, which counts as taken.
    Room,
    /// Nothing: the limit does not allow it.
    Nothing,
}

/// Released blocks.
pub(super) struct Pool {
    /// Those below [`SMALLEST_PART`] by size, in the order of their release.
    small: BTreeMap<usize, VecDeque<Block>>,
    /// The others: by size, those of one size in the order of their release.
    large: Vec<Block>,
    /// By address.
    parts: Vec<Part>,
    tick: u64,
    statistics: MemoryStatistics,
}

fn address(start: NonNull<u8>) -> usize {
    start.addr().get()
}

/// Where the part at this address is among `parts`, or would be.
fn place_of(parts: &[Part], at: usize) -> Result<usize, usize> {
    parts.binary_search_by_key(&at, |part| part.at)
}

impl Pool {
    pub(super) const fn new() -> Self {
        Pool {
            small: BTreeMap::new(),
            large: Vec::new(),
            parts: Vec::new(),
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
    /// none if it would be more than twice as large as needed even so. What is taken or kept stays
    /// within `limit` bytes.
    pub(super) fn take(&mut self, bytes: usize, limit: usize) -> Taken {
        if bytes > limit.saturating_sub(self.statistics.live_bytes) {
            return Taken::Nothing;
        }
        let most = if bytes < SMALLEST_PART {
            2 * bytes
        } else {
            usize::MAX
        };
        let mut fitting = self.small.range_mut(bytes..=most);
        // The one released last is the most likely to be in a cache.
        let small = fitting.find_map(|(_, blocks)| blocks.pop_back());
        let found = small.or_else(|| self.take_large(bytes, most)).map(|block| {
            self.statistics.cached_bytes -= block.bytes;
            (block.start, self.cut(block.start, bytes, block.bytes))
        });
        if found.is_none() && !self.release_to(limit - bytes) {
            return Taken::Nothing;
        }
        let statistics = &mut self.statistics;
        statistics.live_bytes += found.map_or(bytes, |(_, size)| size);
        statistics.peak_live_bytes = statistics.peak_live_bytes.max(statistics.live_bytes);
        if let Some((start, size)) = found {
            statistics.recycled += 1;
            return Taken::Released(start, size);
        }
        statistics.fresh += 1;
        self.trim();
        Taken::Room
    }

    /// Keeps what the block of `size` bytes that is taken has beyond `bytes`, if that is worth
    /// it, and returns what is left of its size.
    fn cut(&mut self, start: NonNull<u8>, bytes: usize, size: usize) -> usize {
        let at = address(start);
        let rest = size - bytes;
        if bytes < SMALLEST_PART || rest < SMALLEST_PART {
            if let Ok(place) = place_of(&self.parts, at) {
                self.parts[place].free = false;
            }
            return size;
        }
        let old = self.remove_part(at);
        let whole = old.map_or((at, size), |part| part.whole);
        for (at, bytes, free) in [(at, bytes, false), (at + bytes, rest, true)] {
            self.insert_part(Part {
                at,
                bytes,
                whole,
                free,
            });
        }
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
        let Some(part) = self.remove_part(address(start)) else {
            return (start, bytes);
        };
        let is_neighbour = |other: &Part| other.free && other.whole == part.whole;
        // Where the part was; those around it lie before and after.
        let place = place_of(&self.parts, part.at).unwrap_or_else(|place| place);
        let after = self.parts.get(place).copied().filter(is_neighbour);
        if let Some(after) = after.filter(|after| after.at == part.at + bytes) {
            self.parts.remove(place);
            self.take_part(after.at);
            bytes += after.bytes;
        }
        let before = self.parts[..place].last().copied().filter(is_neighbour);
        if let Some(before) = before
            && let Some(block) = self.take_part(before.at)
        {
            self.parts.remove(place - 1);
            (start, bytes) = (block.start, before.bytes + bytes);
        }
        let at = address(start);
        if (at, bytes) != part.whole {
            let free = true;
            self.insert_part(Part {
                at,
                bytes,
                free,
                ..part
            });
        }
        (start, bytes)
    }

    fn insert_part(&mut self, part: Part) {
        let place = place_of(&self.parts, part.at).unwrap_or_else(|place| place);
        self.parts.insert(place, part);
    }

    fn remove_part(&mut self, at: usize) -> Option<Part> {
        let place = place_of(&self.parts, at).ok()?;
        Some(self.parts.remove(place))
    }

    fn keep(&mut self, start: NonNull<u8>, bytes: usize) {
        self.tick += 1;
        self.statistics.cached_bytes += bytes;
        let block = Block {
            bytes,
            released: self.tick,
            start,
        };
        if bytes < SMALLEST_PART {
            self.small.entry(bytes).or_default().push_back(block);
        } else {
            self.large.insert(self.larger_than(bytes), block);
        }
    }

    /// Where the large blocks of more bytes begin.
    fn larger_than(&self, bytes: usize) -> usize {
        self.large.partition_point(|block| block.bytes <= bytes)
    }

    /// The smallest large block of at least `bytes`, if it has at most `most`; of several the one
    /// released last.
    fn take_large(&mut self, bytes: usize, most: usize) -> Option<Block> {
        let first = self.large.partition_point(|block| block.bytes < bytes);
        let size = self.large.get(first)?.bytes;
        (size <= most).then(|| self.large.remove(self.larger_than(size) - 1))
    }

    /// Takes the part at `at`, which is released, out of the pool.
    fn take_part(&mut self, at: usize) -> Option<Block> {
        let is_it = |block: &Block| address(block.start) == at;
        let block = self.large.remove(self.large.iter().position(is_it)?);
        self.statistics.cached_bytes -= block.bytes;
        Some(block)
    }

    /// The memory of a block that was not to be had after all.
    pub(super) fn give_up(&mut self, bytes: usize) {
        self.statistics.live_bytes -= bytes;
    }

    /// Gives the longest unused blocks back until the total is within its bound.
    fn trim(&mut self) {
        let peak = self.statistics.peak_live_bytes;
        self.release_to(peak + peak / 4 + SLACK);
    }

    /// Gives the longest unused blocks back until all that is taken or kept is within `bound`;
    /// `false` if it cannot be.
    fn release_to(&mut self, bound: usize) -> bool {
        while self.statistics.live_bytes + self.statistics.cached_bytes > bound {
            if !self.release_oldest() {
                return false;
            }
        }
        true
    }

    /// Gives the longest unused block back that is not a part; `false` if there is none.
    pub(super) fn release_oldest(&mut self) -> bool {
        let tick = |blocks: &VecDeque<Block>| blocks.front().map(|block| block.released);
        let small = self.small.values_mut().filter(|blocks| !blocks.is_empty());
        let small = small.min_by_key(|blocks| tick(blocks));
        let parts = &self.parts;
        let is_whole = |block: &Block| place_of(parts, address(block.start)).is_err();
        let large = self.large.iter().enumerate();
        let large = large.filter(|(_, block)| is_whole(block));
        let large = large.min_by_key(|(_, block)| block.released);
        let large = large.map(|(place, block)| (place, block.released));
        let oldest = match (small, large) {
            (Some(small), large) if large.is_none_or(|(_, other)| tick(small) < Some(other)) => {
                small.pop_front()
            }
            (_, Some((place, _))) => Some(self.large.remove(place)),
            _ => None,
        };
        let Some(block) = oldest else {
            return false;
        };
        self.statistics.cached_bytes -= block.bytes;
        // SAFETY: the block is whole, so it was allocated with this layout; the pool owns it.
        unsafe { dealloc(block.start.as_ptr(), layout_of(block.bytes)) };
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
        match pool.take(bytes, usize::MAX) {
            Taken::Released(start, bytes) => (start, bytes),
            Taken::Room => (fresh_zeros(bytes).unwrap(), bytes),
            Taken::Nothing => unreachable!("there is no limit"),
        }
    }

    #[test]
    fn nothing_is_taken_beyond_the_limit_and_what_is_kept_makes_room() {
        let mut pool = Pool::new();
        let limit = 8 * MIB;
        let live = take(&mut pool, 5 * MIB);
        assert!(matches!(pool.take(4 * MIB, limit), Taken::Nothing));
        assert_eq!(pool.statistics().live_bytes, 5 * MIB);
        pool.put(live.0, live.1);
        // 5 MiB are kept, and are too small: they have to go first.
        assert!(matches!(pool.take(6 * MIB, limit), Taken::Room));
        assert_eq!(pool.statistics().cached_bytes, 0);
        pool.give_up(6 * MIB);
        assert!(matches!(pool.take(limit + 1, limit), Taken::Nothing));
        assert!(matches!(pool.take(limit, limit), Taken::Room));
        pool.give_up(limit);
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
        assert!(matches!(pool.take(4096, usize::MAX), Taken::Room));
        assert!(pool.release_oldest());
    }
}
