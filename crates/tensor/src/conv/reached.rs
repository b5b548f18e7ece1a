//! Counters of the kernels that only some geometries reach, at some levels: so that tests know
//! which ones they have run. Outside of tests nothing is counted.

use crate::conv::depthwise::Kind;
use crate::simd::Level;

/// A kernel, or a way through one that is compiled apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// Depthwise 3×3 from top to bottom; whether sums wait to be stored.
    Descent { waits: bool },
    /// The same for the filters' gradient.
    FilterDescent,
    /// The four phases of a depthwise input gradient together, by the tap that a single one meets.
    Phases { tap: isize },
    /// A tile of a row of a depthwise convolution or, if `gradient`, of its filters' gradient.
    Row {
        gradient: bool,
        taps: usize,
        stride: usize,
        kind: Kind,
    },
    /// Rows under a depthwise convolution, copied.
    CopiedRows,
    /// Patches read in place; whether the windows are copied between zeros.
    InPlace { copied: bool },
    /// Patches packed into a matrix; whether the targets lie next to one another.
    Packed { dense: bool },
    /// The filters' gradient; whether that of the outputs is copied, at its end.
    FilterGradient { copied: bool },
    /// Filters laid out, rows and columns exchanged or not.
    Pack { turned: bool },
    /// A tile of the micro-kernel.
    Tile { rows: usize, vectors: usize },
    /// A matrix product, of the image itself or of copied rows, whose results are next to one
    /// another or not.
    Product { in_place: bool, dense: bool },
    /// A tile of Winograd's algorithm with so many outputs, narrow or not down and across.
    Winograd { outputs: usize, narrow: [bool; 2] },
}

impl Path {
    /// A tile through `TAPS` taps, targets `STRIDE` pixels apart.
    #[inline(always)]
    pub(super) fn row<const TAPS: usize, const STRIDE: usize>(gradient: bool, kind: Kind) -> Self {
        Path::Row {
            gradient,
            taps: TAPS,
            stride: STRIDE,
            kind,
        }
    }
}

#[cfg(not(test))]
#[inline(always)]
pub(super) fn reached(_: Path, _: Level) {}

#[cfg(test)]
pub(super) use counters::{counted, reached};

#[cfg(test)]
mod counters {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::{Level, Path};

    thread_local! {
        /// How often this thread has taken each path at each level.
        static COUNTERS: RefCell<BTreeMap<(Level, Path), u64>> =
            const { RefCell::new(BTreeMap::new()) };
    }

    pub(in crate::conv) fn reached(path: Path, level: Level) {
        COUNTERS.with_borrow_mut(|counters| *counters.entry((level, path)).or_default() += 1);
    }

    /// Runs `body`, and returns how often it has taken each path at each level, on this thread.
    pub(in crate::conv) fn counted(body: impl FnOnce()) -> BTreeMap<(Level, Path), u64> {
        COUNTERS.take();
        body();
        COUNTERS.take()
    }
}
