//! Block sizes, from the caches of the machine.

use std::mem::size_of;
use std::ops::Range;
use std::sync::OnceLock;

use crate::parallel::Par;
use crate::simd::{Level, Real, Simd, Vector};

/// Data caches that one core has to itself or shares, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caches {
    /// First level.
    pub(crate) first: usize,
    /// Second level.
    pub(crate) second: usize,
    /// Third level, all of it.
    pub(crate) third: usize,
}

impl Caches {
    /// The caches of this machine; where they cannot be found out, those of a modest one.
    pub(crate) fn of_this_machine() -> Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            let [first, second, third] = detect();
            // Virtual machines report odd values at times.
            Caches {
                first: if first == 0 { 32 << 10 } else { first }.clamp(16 << 10, 256 << 10),
                second: if second == 0 { 512 << 10 } else { second }.clamp(128 << 10, 16 << 20),
                third: if third == 0 { 4 << 20 } else { third }.clamp(1 << 20, 1 << 30),
            }
        })
    }
}

/// Sizes by level, 0 if unknown: CPUID's deterministic cache parameters, which Intel and AMD give
/// in the same format at different leaves.
#[cfg(target_arch = "x86_64")]
fn detect() -> [usize; 3] {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    let mut sizes = [0; 3];
    let standard = __cpuid(0).eax;
    let extended = __cpuid(0x8000_0000).eax;
    let leaves = [(0x8000_001d, extended), (4, standard)];
    for (leaf, highest) in leaves {
        if leaf > highest || sizes[0] > 0 {
            continue;
        }
        for index in 0..8 {
            let cache = __cpuid_count(leaf, index);
            let kind = cache.eax & 31;
            let level = (cache.eax >> 5 & 7) as usize;
            if kind == 0 {
                break;
            }
            // Data or unified, not instructions.
            if kind != 2 && (1..=3).contains(&level) {
                let ways = (cache.ebx >> 22) as usize + 1;
                let partitions = (cache.ebx >> 12 & 0x3ff) as usize + 1;
                let line = (cache.ebx & 0xfff) as usize + 1;
                sizes[level - 1] = ways * partitions * line * (cache.ecx as usize + 1);
            }
        }
    }
    sizes
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> [usize; 3] {
    [64 << 10, 512 << 10, 4 << 20]
}

/// The sizes of panels and blocks for one element type at one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    /// Rows of a tile, at most.
    pub(super) tile_rows: usize,
    /// Columns of a tile: the width of a panel of B.
    pub(super) tile_columns: usize,
    /// Depth of a block: a panel of B of this depth takes little of the second-level cache.
    pub(super) depth: usize,
    /// Rows of A packed at once: this many rows of one depth block stay in the second level.
    pub(super) rows: usize,
    /// Columns of B that are read in place block after block of depth.
    pub(super) columns_in_place: usize,
    /// Elements of B packed at once, shared by all threads in the third level.
    pub(super) shared: usize,
}

/// Vectors in a row of a tile.
pub(super) const TILE_VECTORS: usize = 2;

/// Rows of a tile: as many as leave registers for two vectors of B and a number of A.
pub(super) const fn tile_rows<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 14 } else { 6 }
}

/// Whether a number of B is used for many rows once it is in a register.
pub(super) fn has_tall_tiles(level: Level) -> bool {
    let rows = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => tile_rows::<crate::simd::Avx512>(),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => tile_rows::<crate::simd::Avx2>(),
        _ => tile_rows::<crate::simd::Baseline>(),
    };
    rows > 8
}

impl Blocking {
    /// That of a level known at run time. Not by `dispatch`, which would change the processor's
    /// mode for subnormals: a small product is not much longer than that.
    pub(super) fn at<T: Real>(level: Level) -> Blocking {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Blocking::of::<T, crate::simd::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Blocking::of::<T, crate::simd::Avx2>(),
            _ => Blocking::of::<T, crate::simd::Baseline>(),
        }
    }

    /// For a C of `rows` rows and `columns` columns, and a B that is read in place: half of the
    /// second-level cache holds a block of B, so that the next one can be fetched meanwhile, and a
    /// quarter the columns of C to which all blocks add.
    pub(super) fn in_place<T>(self, rows: usize, columns: usize) -> Blocking {
        let second = Caches::of_this_machine().second;
        let columns_of_c = second / 4 / (rows * size_of::<T>()).max(1);
        let columns_in_place = columns_of_c.clamp(self.tile_columns, self.columns_in_place);
        let row = columns.min(columns_in_place) * size_of::<T>();
        let depth = second / 2 / row.max(1);
        Blocking {
            depth: depth.clamp(64, self.depth.max(64)),
            columns_in_place,
            ..self
        }
    }

    #[inline(always)]
    pub(super) fn of<T: Real, S: Simd>() -> Blocking {
        let caches = Caches::of_this_machine();
        let tile_columns = TILE_VECTORS * T::Vector::<S>::LANES;
        let panel = tile_columns * size_of::<T>();
        // What a tile costs beside its product, which is C's way in and out, counts for more than
        // whether a panel stays in the first level: its lines come in time from the second.
        let depth = (caches.second / 8 / panel).clamp(64, 1024);
        let tile_rows = tile_rows::<S>();
        let rows = caches.second / 2 / (depth * size_of::<T>());
        Blocking {
            tile_rows,
            tile_columns,
            depth,
            rows: rows.clamp(tile_rows, 1024) / tile_rows * tile_rows,
            columns_in_place: (16 << 10) / size_of::<T>(),
            shared: (caches.third / 4).clamp(1 << 20, 16 << 20) / size_of::<T>(),
        }
    }
}

/// Tasks worth making of a product of size `[m, k, n]`.
///
/// How many there are changes no bit of the result, so it may follow the number of threads.
pub(super) fn tasks(par: Par, [m, k, n]: [usize; 3]) -> usize {
    const WORTH_A_TASK: usize = 1 << 18;
    let threads = match par {
        Par::Sequential => return 1,
        Par::Threads => rayon::current_num_threads(),
    };
    if threads == 1 {
        return 1;
    }
    let work = m.saturating_mul(n).saturating_mul(k);
    (work / WORTH_A_TASK).clamp(1, 4 * threads)
}

/// `total` cut into equal pieces (sizes differ by one at most) of at most `largest`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    size: usize,
    /// The first so many pieces have one more than `size`.
    longer: usize,
    count: usize,
}

impl Pieces {
    pub(super) fn new(total: usize, largest: usize) -> Pieces {
        let count = total.div_ceil(largest.max(1));
        Pieces {
            size: total.checked_div(count).unwrap_or(0),
            longer: total.checked_rem(count).unwrap_or(0),
            count,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Pieces from `index` on that have the same size, with that.
    pub(super) fn alike(&self, index: usize) -> usize {
        match index < self.longer {
            true => self.longer - index,
            false => self.count - index,
        }
    }

    /// The start of piece `index`; for `index = count()`, the total.
    #[inline(always)]
    pub(super) fn start(&self, index: usize) -> usize {
        index * self.size + index.min(self.longer)
    }

    #[inline(always)]
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.start(index)..self.start(index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_total_evenly() {
        for total in 0..60 {
            for largest in 1..20 {
                let pieces = Pieces::new(total, largest);
                let mut next = 0;
                for index in 0..pieces.count() {
                    let range = pieces.range(index);
                    let alike = index..index + pieces.alike(index);
                    assert!(alike.end <= pieces.count());
                    assert!(
                        alike
                            .into_iter()
                            .all(|i| pieces.range(i).len() == range.len())
                    );
                    assert_eq!(range.start, next);
                    assert!((1..=largest).contains(&range.len()));
                    assert!(range.len() + 1 >= total.div_ceil(pieces.count()));
                    next = range.end;
                }
                assert_eq!(next, total);
                assert_eq!(pieces.count(), total.div_ceil(largest));
            }
        }
    }

    #[test]
    fn caches_grow_with_their_level() {
        let Caches {
            first,
            second,
            third,
        } = Caches::of_this_machine();
        assert!(first < second && second < third, "{first} {second} {third}");
    }
}
