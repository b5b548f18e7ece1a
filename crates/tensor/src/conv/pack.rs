//! Filters in the order in which patches are read.

use crate::conv::correlation::{Correlation, Panel, Panels};
use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

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
                    if self.transposed {
                        let start = panel.first * row_len + group * outputs;
                        let filters = &tap[start..];
                        let turned = Turned {
                            filters,
                            row_len,
                            depth: self.channels,
                            panel,
                            packed,
                        };
                        dispatch(level, turned);
                        continue;
                    }
                    for (channel, row) in packed.chunks_exact_mut(panel.width).enumerate() {
                        let (row, padding) = row.split_at_mut(panel.columns);
                        let start = channel * row_len + group * outputs + panel.first;
                        row.copy_from_slice(&tap[start..][..panel.columns]);
                        padding.fill(T::ZERO);
                    }
                }
            });
        });
    }
}

/// `packed[p][i] = filters[i][p]` for `p` below `depth` and the columns `i` of a panel; zeros in
/// the columns that fill it up.
struct Turned<'a, T> {
    filters: &'a [T],
    /// From one row of `filters` to the next.
    row_len: usize,
    depth: usize,
    panel: Panel,
    packed: &'a mut [T],
}

impl<T: Real> Kernel for Turned<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let side = T::Vector::<S>::SIDE;
        let Panel { columns, width, .. } = self.panel;
        let (whole_columns, whole_depth) = (columns / side * side, self.depth / side * side);
        for first in (0..whole_columns).step_by(side) {
            let rows = &self.filters[first * self.row_len..];
            for p in (0..whole_depth).step_by(side) {
                let mut sources = [rows.as_ptr(); 8];
                for (i, source) in sources.iter_mut().enumerate().take(side) {
                    *source = rows[i * self.row_len + p..][..side].as_ptr();
                }
                let target = &mut self.packed[p * width + first..][..(side - 1) * width + side];
                // SAFETY: the slices have just been cut to what the block reads and writes.
                unsafe {
                    T::Vector::<S>::transpose(simd, &sources, target.as_mut_ptr(), width);
                }
            }
        }
        for (p, row) in self.packed.chunks_exact_mut(width).enumerate() {
            let first = if p < whole_depth { whole_columns } else { 0 };
            for i in first..columns {
                row[i] = self.filters[i * self.row_len + p];
            }
            row[columns..].fill(T::ZERO);
        }
    }
}
