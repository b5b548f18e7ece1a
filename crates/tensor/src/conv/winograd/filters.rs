//! `U = G g Gᵀ` and back: filters at all points.

use std::marker::PhantomData;
use std::ops::Deref;

use crate::conv::correlation::{Correlation, Panel, Panels};
use crate::conv::filters::Filters;
use crate::conv::job::Execution;
use crate::conv::statistics::{Counter, count};
use crate::conv::winograd::NEAR_FILTERS;
use crate::conv::winograd::minimal::Minimal;
use crate::conv::winograd::tile::{both_axes, matrix_len};
use crate::error::Result;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};
use crate::storage::Buffer;

/// Taps of a filter along one axis.
const TAPS: usize = 3;

/// Where filters at all points lie: panel by panel, and in each a matrix of a row for each source
/// channel for each point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PointPanels {
    panels: Panels,
    channels: usize,
    points: usize,
}

/// One panel of [`PointPanels`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PointPanel {
    pub(super) panel: Panel,
    /// Where it begins, …
    pub(super) start: usize,
    /// … and the numbers from one matrix to the next.
    pub(super) matrix: usize,
}

impl PointPanels {
    pub(super) fn new<T: Real, M: Minimal>(level: Level, channels: usize, targets: usize) -> Self {
        PointPanels {
            panels: Panels::new::<T>(level, channels, targets),
            channels,
            points: M::POINTS,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.panels.count()
    }

    pub(super) fn panel<T>(&self, index: usize) -> PointPanel {
        let panel = self.panels.panel(index);
        PointPanel {
            panel,
            start: index * self.chunk::<T>(),
            matrix: matrix_len::<T>(self.channels, panel.width),
        }
    }

    pub(super) fn panels<T>(&self) -> impl Iterator<Item = PointPanel> + '_ {
        (0..self.count()).map(|index| self.panel::<T>(index))
    }

    /// Numbers that a full panel takes.
    fn chunk<T>(&self) -> usize {
        self.points * matrix_len::<T>(self.channels, self.panels.panel(0).width)
    }

    /// Numbers that all panels take.
    pub(super) fn len<T>(&self) -> usize {
        match self.count().checked_sub(1) {
            Some(last) => {
                let last = self.panel::<T>(last);
                last.start + self.points * last.matrix
            }
            None => 0,
        }
    }
}

/// Filters at all points.
pub(super) struct PointFilters<T: Real> {
    level: Level,
    pub(super) panels: PointPanels,
    pub(super) values: Buffer<T>,
}

/// [`PointFilters`] that are kept beside the filters' memory, or of one call.
pub(super) enum Lent<'a, T: Real> {
    Kept(&'a PointFilters<T>),
    Once(PointFilters<T>),
}

impl<T: Real> Deref for Lent<'_, T> {
    type Target = PointFilters<T>;

    fn deref(&self) -> &PointFilters<T> {
        match self {
            Lent::Kept(filters) => filters,
            Lent::Once(filters) => filters,
        }
    }
}

impl<T: Real> PointFilters<T> {
    /// Those of the filters `w` of `correlation`. They are kept from the second time on, forward and
    /// if they are near: training writes its filters after each forward pass.
    pub(super) fn of<'a, M: Minimal>(
        operation: &str,
        execution: Execution,
        correlation: &Correlation,
        w: Filters<'a, T>,
    ) -> Result<Lent<'a, T>> {
        let level = execution.level;
        let panels = PointPanels::new::<T, M>(level, correlation.channels, correlation.targets);
        let transform = || {
            let values =
                transform_filters::<T, M>(operation, execution, correlation, &panels, w.values)?;
            Ok(PointFilters {
                level,
                panels,
                values,
            })
        };
        let is_near = panels.len::<T>() <= NEAR_FILTERS;
        let Some(kept) = w.kept.filter(|_| is_near && !correlation.transposed) else {
            return transform().map(Lent::Once);
        };
        if kept.is_wanted() {
            kept.keep(transform()?);
        }
        // Others may have been kept: by another thread, of another level or tile.
        let fits = |filters: &&Self| filters.level == level && filters.panels == panels;
        match kept.get().filter(fits) {
            Some(filters) => Ok(Lent::Kept(filters)),
            None => transform().map(Lent::Once),
        }
    }
}

/// `U = G g Gᵀ` of the filters `w` of `correlation`.
fn transform_filters<T: Real, M: Minimal>(
    operation: &str,
    execution: Execution,
    correlation: &Correlation,
    panels: &PointPanels,
    w: &[T],
) -> Result<Buffer<T>> {
    count(Counter::FilterTransforms, 1);
    let Execution { par, level } = execution;
    let mut u = Buffer::unspecified(operation, panels.len::<T>())?;
    let by_tap = correlation.panels::<T>(level);
    let mut packed = Buffer::unspecified(operation, by_tap.len())?;
    correlation.pack(
        par,
        level,
        &by_tap,
        w,
        correlation.columns.taps,
        packed.as_mut_slice(),
    );
    let packed = packed.as_slice();
    par.for_chunks(u.as_mut_slice(), panels.chunk::<T>(), |index, u| {
        let start = by_tap.panel(index).start;
        let len = by_tap.panel_len(index);
        let transform = TransformFilters {
            filters: &packed[start..start + len],
            matrix: panels.panel::<T>(index).matrix,
            u,
            tiling: PhantomData::<M>,
        };
        dispatch(level, transform);
    });
    Ok(u)
}

/// `U = G g Gᵀ` of one panel: from rows (tap, channel) to rows (point, channel).
struct TransformFilters<'a, T, M> {
    filters: &'a [T],
    /// Numbers from the matrix of a point to the next.
    matrix: usize,
    u: &'a mut [T],
    tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformFilters<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = T::Vector::<S>::LANES;
        let tap_len = self.filters.len() / (TAPS * TAPS);
        assert!(tap_len.is_multiple_of(lanes) && tap_len <= self.matrix);
        assert!(self.u.len() >= M::POINTS * self.matrix);
        for at in (0..tap_len).step_by(lanes) {
            let target = self.u[at..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                [TAPS; 2],
                [M::INPUT; 2],
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: `at + lanes <= tap_len`, the numbers that there are for each tap.
                    unsafe {
                        let source = self.filters.as_ptr().add((i * TAPS + j) * tap_len + at);
                        T::Vector::<S>::load_pointer(simd, source)
                    }
                },
                #[inline(always)]
                |line| M::filter::<T, S>(simd, line),
                #[inline(always)]
                |line| M::filter::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: `at + lanes <= tap_len <= matrix`, the numbers that there are for each
                    // point.
                    unsafe {
                        value.store_pointer(target.add(M::point(i, j) * self.matrix));
                    }
                },
            );
        }
    }
}

/// `dg = Gᵀ U G` of one panel, from rows (point, channel) to rows (tap, channel), in place: the
/// matrices of taps follow each other as far apart as those of points do.
pub(super) struct TransformFilterGradient<'a, T, M> {
    pub(super) u: &'a mut [T],
    /// Numbers from the matrix of a point to the next, and those of it that are used.
    pub(super) matrix: usize,
    pub(super) len: usize,
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformFilterGradient<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = T::Vector::<S>::LANES;
        assert!(self.len.is_multiple_of(lanes) && self.len <= self.matrix);
        assert!(self.u.len() >= M::POINTS * self.matrix);
        for at in (0..self.len).step_by(lanes) {
            let numbers = self.u[at..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                [M::INPUT; 2],
                [TAPS; 2],
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: `at + lanes <= len <= matrix`, the numbers that there are for each point.
                    unsafe {
                        let source = numbers.add(M::point(i, j) * self.matrix);
                        T::Vector::<S>::load_pointer(simd, source)
                    }
                },
                #[inline(always)]
                |line| M::filter_transposed::<T, S>(simd, line),
                #[inline(always)]
                |line| M::filter_transposed::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: as above; taps are fewer than points, and all points were read before.
                    unsafe {
                        value.store_pointer(numbers.add((i * TAPS + j) * self.matrix));
                    }
                },
            );
        }
    }
}
