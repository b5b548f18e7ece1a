//! Filters in the order in which patches are read.

use crate::conv::correlation::{Correlation, Panel, Panels};
use crate::conv::reached::{Path, reached};
use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch, prefetch};

impl Correlation {
    /// Packs filters `[height, width, channels in / groups, channels out]` into `panels` for each
    /// group, in the order in which patches are read.
    pub(super) fn pack<T: Real>(
        &self,
        par: Par,
        level: Level,
        panels: &Panels,
        filters: &[T],
        kernel_width: usize,
        packed: &mut [T],
    ) {
        let (inputs, outputs) = if self.transposed {
            (self.targets, self.channels)
        } else {
            (self.channels, self.targets)
        };
        let row_len = self.groups * outputs;
        par.for_chunks(packed, panels.len(), |group, packed| {
            par.for_chunks(packed, panels.chunk(), |panel, packed| {
                let panel = panels.panel(panel);
                let taps_len = (self.channels * panel.width).max(1);
                for (tap, packed) in packed.chunks_exact_mut(taps_len).enumerate() {
                    let tap = self.rows.filter_tap(tap / self.columns.taps) * kernel_width
                        + self.columns.filter_tap(tap % self.columns.taps);
                    let tap = &filters[tap * inputs * row_len..][..inputs * row_len];
                    let start = if self.transposed {
                        panel.first * row_len + group * outputs
                    } else {
                        group * outputs + panel.first
                    };
                    let tap = Tap {
                        filters: &tap[start..],
                        row_len,
                        depth: self.channels,
                        panel,
                        packed,
                    };
                    let turned = self.transposed;
                    reached(Path::Pack { turned }, level);
                    if turned {
                        dispatch(level, Turned(tap));
                    } else {
                        dispatch(level, Straight(tap));
                    }
                }
            });
        });
    }
}

/// One tap's filters for one panel.
struct Tap<'a, T> {
    filters: &'a [T],
    /// From one row of `filters` to the next.
    row_len: usize,
    /// Rows of the panel.
    depth: usize,
    panel: Panel,
    packed: &'a mut [T],
}

/// `packed[p][i] = filters[p][i]` for `p` below `depth` and the columns `i` of a panel; zeros in
/// the columns that fill it up.
struct Straight<'a, T>(Tap<'a, T>);

impl<T: Real> Kernel for Straight<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        /// Rows lie too far apart for the processor to look ahead by itself.
        const AHEAD: usize = 16;
        let lanes = T::Vector::<S>::LANES;
        let Tap {
            filters,
            row_len,
            depth,
            panel,
            packed,
        } = self.0;
        let rows = packed.chunks_exact_mut(panel.width).take(depth);
        for (p, row) in rows.enumerate() {
            let from = &filters[p * row_len..][..panel.columns];
            let next = from.as_ptr().wrapping_add(AHEAD * row_len);
            for (v, target) in row.chunks_exact_mut(lanes).enumerate() {
                prefetch(next.wrapping_add(v * lanes));
                T::Vector::<S>::load_partial(simd, &from[v * lanes..]).store(target);
            }
        }
    }
}

/// As [`Straight`], with `filters[i][p]`.
struct Turned<'a, T>(Tap<'a, T>);

impl<T: Real> Kernel for Turned<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let side = T::Vector::<S>::SIDE;
        let Tap {
            filters,
            row_len,
            depth,
            panel: Panel { columns, width, .. },
            packed,
        } = self.0;
        let (whole_columns, whole_depth) = (columns / side * side, depth / side * side);
        for first in (0..whole_columns).step_by(side) {
            let rows = &filters[first * row_len..];
            for p in (0..whole_depth).step_by(side) {
                let mut sources = [rows.as_ptr(); 8];
                for (i, source) in sources.iter_mut().enumerate().take(side) {
                    *source = rows[i * row_len + p..][..side].as_ptr();
                }
                let target = &mut packed[p * width + first..][..(side - 1) * width + side];
                // SAFETY: the slices have just been cut to what the block reads and writes.
                unsafe {
                    T::Vector::<S>::transpose(simd, &sources, target.as_mut_ptr(), width);
                }
            }
        }
        for (p, row) in packed.chunks_exact_mut(width).enumerate() {
            let first = if p < whole_depth { whole_columns } else { 0 };
            for i in first..columns {
                row[i] = filters[i * row_len + p];
            }
            row[columns..].fill(T::ZERO);
        }
    }
}
