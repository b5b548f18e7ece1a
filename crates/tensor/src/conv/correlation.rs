//! The common form of a convolution and of its input gradient.
//!
//! Along one axis both compute `target[o] = Σ_t source[o·stride + offset + t·step] · filter[t]`,
//! with zeros outside the source. For the forward direction that is the definition. The gradient
//! with respect to the input is the transpose: an input position `i` collects from every output
//! that has a tap on it, `dx[i] = Σ dy[(i + before − tap·dilation) / stride] · w[tap]` over the
//! taps for which the division is exact. Those taps depend on `i` modulo the stride only, and are
//! evenly spaced; so positions of one remainder (a *phase*) form a correlation with stride 1, a
//! part of the taps in reverse order, and targets `stride` apart.

use std::ops::Range;

use crate::conv::microkernel::{PANEL_VECTORS, lanes, panel_width};
use crate::conv::padding::WindowAxis;
use crate::conv::params::Conv2dParams;
use crate::simd::{Level, Real};

/// One axis of a correlation. Target `o` lies at `target_start + o·target_step`; tap `t` uses the
/// filter's tap `filter_start ± t·filter_step`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapAxis {
    /// Number of targets.
    pub(super) targets: usize,
    /// Size of the source.
    pub(super) source: usize,
    pub(super) stride: usize,
    pub(super) offset: isize,
    pub(super) step: usize,
    pub(super) taps: usize,
    pub(super) target_start: usize,
    pub(super) target_step: usize,
    filter_start: usize,
    filter_step: isize,
}

impl TapAxis {
    /// The forward direction: windows over the input.
    pub(super) fn forward(axis: &WindowAxis) -> Self {
        TapAxis {
            targets: axis.output,
            source: axis.input,
            stride: axis.stride,
            offset: -(axis.before as isize),
            step: axis.dilation,
            taps: axis.kernel,
            target_start: 0,
            target_step: 1,
            filter_start: 0,
            filter_step: 1,
        }
    }

    /// The transpose for input positions `phase`, `phase + stride`, …; it may have no taps.
    pub(super) fn transposed(axis: &WindowAxis, phase: usize) -> Self {
        let stride = axis.stride;
        let position = phase + axis.before;
        // Those taps for which the division is exact.
        let (first, spacing) = congruence(axis.dilation, position, stride);
        let first = first.filter(|&first| first < axis.kernel);
        let taps = first.map_or(0, |first| (axis.kernel - first).div_ceil(spacing));
        let first = first.unwrap_or(0);
        let last = taps.saturating_sub(1);
        let step = axis.dilation / (stride / spacing);
        // Exact for phases with taps, by the choice of `first`.
        let offset = (position as isize - (first * axis.dilation) as isize) / stride as isize;
        TapAxis {
            targets: axis.input.saturating_sub(phase).div_ceil(stride),
            source: axis.output,
            stride: 1,
            offset: offset - (last * step) as isize,
            step,
            taps,
            target_start: phase,
            target_step: stride,
            filter_start: first + last * spacing,
            filter_step: -(spacing as isize),
        }
    }

    /// The filter's tap that belongs to tap `t`.
    pub(super) fn filter_tap(&self, t: usize) -> usize {
        self.filter_start
            .wrapping_add_signed(t as isize * self.filter_step)
    }

    /// The axis with tap `t` alone.
    fn tap(&self, t: usize) -> Self {
        TapAxis {
            offset: self.offset + (t * self.step) as isize,
            taps: 1,
            filter_start: self.filter_tap(t),
            ..*self
        }
    }

    /// The source position under tap 0 of target `o`.
    #[inline]
    pub(super) fn start(&self, o: usize) -> isize {
        (o * self.stride) as isize + self.offset
    }

    /// The taps of target `o` that lie on the source.
    #[inline]
    pub(super) fn taps_of(&self, o: usize) -> Range<usize> {
        let start = self.start(o);
        let step = self.step as isize;
        let first = if start < 0 {
            (-start + step - 1) / step
        } else {
            0
        };
        let end = (self.source as isize - start + step - 1).max(0) / step;
        let end = (end as usize).min(self.taps);
        (first as usize).min(end)..end
    }

    /// The targets for which `tap` lies on the source.
    pub(super) fn targets_of_tap(&self, tap: usize) -> Range<usize> {
        let reach = self.offset + (tap * self.step) as isize;
        let stride = self.stride as isize;
        let up = |distance: isize| (distance.max(0) as usize).div_ceil(stride as usize);
        let end = up(self.source as isize - reach).min(self.targets);
        up(-reach).min(end)..end
    }

    /// How many targets there are, with stride 1, up to the last that has a tap on the source.
    pub(super) fn reached(&self) -> usize {
        let end = self.source as isize - self.offset;
        usize::try_from(end).map_or(0, |end| end.min(self.targets))
    }

    /// Source positions from the first tap of the first to the last tap of the last of `targets`,
    /// those outside the source included.
    pub(super) fn span(&self, targets: &Range<usize>) -> usize {
        (targets.len() - 1) * self.stride + self.taps.saturating_sub(1) * self.step + 1
    }

    /// The targets that lie at positions within `positions`.
    pub(super) fn targets_within(&self, positions: &Range<usize>) -> Range<usize> {
        let count = |end: usize| {
            end.saturating_sub(self.target_start)
                .div_ceil(self.target_step)
                .min(self.targets)
        };
        count(positions.start)..count(positions.end)
    }
}

/// The least `x` for which `a·x ≡ b (mod m)`, if there is one, and how far apart all of them are, by
/// Euclid's extended algorithm; all are below half of the largest `isize`.
fn congruence(a: usize, b: usize, m: usize) -> (Option<usize>, usize) {
    // `divisor ≡ a·factor` and `rest ≡ a·next` (mod m).
    let (mut divisor, mut rest) = (m, a);
    let (mut factor, mut next) = (0_isize, 1_isize);
    while rest > 0 {
        let quotient = (divisor / rest) as isize;
        (divisor, rest) = (rest, divisor % rest);
        (factor, next) = (next, factor - quotient * next);
    }
    let apart = m / divisor;
    let first = b.is_multiple_of(divisor).then(|| {
        let factor = factor.rem_euclid(apart as isize) as u128;
        let product = (b / divisor % apart) as u128 * factor;
        (product % apart as u128) as usize
    });
    (first, apart)
}

/// Two axes, and how many channels each group takes from the source and gives to the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlation {
    pub(super) rows: TapAxis,
    pub(super) columns: TapAxis,
    pub(super) groups: usize,
    /// Source channels of a group.
    pub(super) channels: usize,
    /// Target channels of a group.
    pub(super) targets: usize,
    /// Whether filters have a row for each target channel and a column for each source channel.
    pub(super) transposed: bool,
}

impl Correlation {
    /// The forward direction of `params`.
    pub(super) fn forward(params: &Conv2dParams) -> Self {
        Correlation {
            rows: TapAxis::forward(&params.rows),
            columns: TapAxis::forward(&params.columns),
            groups: params.groups,
            channels: params.group_inputs(),
            targets: params.group_outputs(),
            transposed: false,
        }
    }

    /// The input gradient of `params` at the positions of one phase.
    pub(super) fn transposed(params: &Conv2dParams, phase: [usize; 2]) -> Self {
        Correlation {
            rows: TapAxis::transposed(&params.rows, phase[0]),
            columns: TapAxis::transposed(&params.columns, phase[1]),
            groups: params.groups,
            channels: params.group_outputs(),
            targets: params.group_inputs(),
            transposed: true,
        }
    }

    /// A depthwise convolution, forward or, at the positions of a phase, transposed: as if it had
    /// a single source channel, which is a different one for each target.
    pub(super) fn depthwise(params: &Conv2dParams, phase: Option<[usize; 2]>) -> Self {
        let [rows, columns] = match phase {
            None => [&params.rows, &params.columns].map(TapAxis::forward),
            Some([row, column]) => [
                TapAxis::transposed(&params.rows, row),
                TapAxis::transposed(&params.columns, column),
            ],
        };
        Correlation {
            rows,
            columns,
            groups: 1,
            channels: 1,
            targets: params.groups,
            // Filters have the same order in both directions.
            transposed: false,
        }
    }

    /// The correlation with the tap at row `down` and column `across` alone.
    pub(super) fn tap(&self, down: usize, across: usize) -> Self {
        Correlation {
            rows: self.rows.tap(down),
            columns: self.columns.tap(across),
            ..*self
        }
    }

    /// Numbers in a patch of one group.
    pub(super) fn patch(&self) -> usize {
        self.rows.taps * self.columns.taps * self.channels
    }

    /// Whether targets cover an image row by row without gaps.
    pub(super) fn is_dense(&self) -> bool {
        self.rows.target_step == 1 && self.columns.target_step == 1
    }

    /// The panels of one group's packed filters: a row for each number of a patch, a column for
    /// each target channel.
    pub(super) fn panels<T: Real>(&self, level: Level) -> Panels {
        Panels::new::<T>(level, self.patch(), self.targets)
    }
}

/// How a matrix of `depth` rows is cut into panels of columns, each stored row by row and filled
/// up to whole vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panels {
    depth: usize,
    columns: usize,
    lanes: usize,
    full: usize,
}

/// One panel of [`Panels`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// Its first column in the matrix.
    pub(super) first: usize,
    /// Columns of the matrix in it.
    pub(super) columns: usize,
    /// Numbers in one stored row.
    pub(super) width: usize,
    /// Where its first row is stored.
    pub(super) start: usize,
}

impl Panels {
    pub(super) fn new<T: Real>(level: Level, depth: usize, columns: usize) -> Self {
        Panels {
            depth,
            columns,
            lanes: lanes::<T>(level),
            full: panel_width::<T>(level),
        }
    }

    /// The number of panels.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.full)
    }

    pub(super) fn panel(&self, index: usize) -> Panel {
        let first = index * self.full;
        let columns = (self.columns - first).min(self.full);
        Panel {
            first,
            columns,
            width: columns.next_multiple_of(self.lanes),
            start: first * self.depth,
        }
    }

    /// Where the first row of vector `index` of columns is stored, and how far apart its rows are:
    /// without a division, because small kernels ask for each vector.
    #[inline(always)]
    pub(super) fn stored(&self, index: usize) -> (usize, usize) {
        let first = index / PANEL_VECTORS * self.full;
        let start = first * self.depth + index % PANEL_VECTORS * self.lanes;
        (
            start,
            if self.columns - first > self.lanes {
                self.full
            } else {
                self.lanes
            },
        )
    }

    /// Numbers that panel `index` takes.
    pub(super) fn panel_len(&self, index: usize) -> usize {
        self.depth * self.panel(index).width
    }

    /// Numbers that all panels take.
    pub(super) fn len(&self) -> usize {
        self.depth * self.columns.next_multiple_of(self.lanes)
    }

    /// Numbers that a full panel takes.
    pub(super) fn chunk(&self) -> usize {
        self.depth * self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::padding::{Axis, Padding, Rounding};

    #[test]
    fn congruences_are_solved_by_the_least_number() {
        for m in 1..13 {
            for a in 1..13 {
                for b in 0..13 {
                    let solves = |x: &usize| a * x % m == b % m;
                    let (first, apart) = congruence(a, b, m);
                    assert_eq!(first, (0..m).find(solves), "{a}·x ≡ {b} (mod {m})");
                    if let Some(first) = first {
                        let second = (first + 1..).find(solves).unwrap();
                        assert_eq!(second - first, apart, "{a}·x ≡ {b} (mod {m})");
                    }
                }
            }
        }
        let (a, m) = ((1 << 59) - 55, 1 << 59);
        let (first, apart) = congruence(a, 12_345, m);
        assert_eq!(apart, m);
        let product = first.unwrap() as u128 * a as u128;
        assert_eq!(product % m as u128, 12_345);
    }

    #[test]
    fn targets_of_taps_are_those_whose_taps_are_on_the_source() {
        for (input, kernel, stride, dilation, pads) in [
            (7, 3, 1, 1, [1, 1]),
            (8, 3, 2, 1, [0, 1]),
            (5, 2, 3, 2, [4, 3]),
            (4, 4, 1, 2, [3, 3]),
            (3, 1, 2, 1, [2, 5]),
        ] {
            let padding = Padding::Explicit {
                height: pads,
                width: [0, 0],
            };
            let (axis, rounding) = (Axis::Height, Rounding::Down);
            let axis = WindowAxis::resolve(
                "test", axis, input, kernel, stride, dilation, padding, rounding,
            )
            .unwrap();
            let phases = (0..stride.min(input)).map(|phase| TapAxis::transposed(&axis, phase));
            for axis in phases.chain([TapAxis::forward(&axis)]) {
                let sees = |o: usize, tap: usize| axis.taps_of(o).contains(&tap);
                for tap in 0..axis.taps {
                    let expected: Vec<_> = (0..axis.targets).filter(|&o| sees(o, tap)).collect();
                    let targets: Vec<_> = axis.targets_of_tap(tap).collect();
                    assert_eq!(targets, expected, "{axis:?} {tap}");
                }
            }
        }
    }
}
