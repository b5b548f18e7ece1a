//! The four phases of an input gradient of 3×3 with stride 2, together.
//!
//! Along each axis every second target is seen by two taps, those between by one. Targets of 2×2
//! read the same 2×2 pixels, which are loaded once, and are written in the order of memory.

use crate::conv::correlation::TapAxis;
use crate::conv::depthwise::descent::has_own_kernels;
use crate::conv::depthwise::pixels::Ahead;
use crate::conv::depthwise::window::Window;
use crate::conv::job::{Job, Step};
use crate::conv::microkernel::lanes;
use crate::conv::reached::{Path, reached};
use crate::simd::{Kernel, Real, Simd, Vector};

/// Targets of each phase side by side, with 32 registers: of four times as many sums, nine factors,
/// and a pixel.
const WIDE: usize = 5;
/// The same with 16 registers, where factors come from memory.
const NARROW: usize = 3;

/// Target rows `o` of the four phases of one image, in the channels that fill vectors.
pub(super) struct Phases<'a, 'b, T> {
    /// Where two taps see targets along both axes, then along the rows, then the columns, then one.
    pub(super) steps: [&'a Step<'b, T>; 4],
    pub(super) job: &'a Job<'b, T>,
    pub(super) image: &'a [T],
    pub(super) o: usize,
    /// The memory of two rows.
    pub(super) target: &'a mut [T],
}

/// The steps of `job` as [`Phases`] takes them, if they are of that kind and some channels fill a
/// vector.
pub(super) fn phases<'a, 'b, T: Real>(job: &'a Job<'b, T>) -> Option<[&'a Step<'b, T>; 4]> {
    let fills_vectors = job.target_shape.channels >= lanes::<T>(job.level);
    if job.steps.len() != 4 || !has_own_kernels::<T>(job.level) || !fills_vectors {
        return None;
    }
    let of = |taps: [usize; 2]| {
        job.steps.iter().find(|step| {
            let [rows, columns] = [step.correlation.rows, step.correlation.columns];
            let fits = |axis: &TapAxis| (axis.stride, axis.step, axis.target_step) == (1, 1, 2);
            [rows.taps, columns.taps] == taps
                && fits(&rows)
                && fits(&columns)
                && columns.targets >= WIDE
        })
    };
    let steps = [of([2, 2])?, of([2, 1])?, of([1, 2])?, of([1, 1])?];
    let [tap, other] = single_taps(&steps);
    (job.epilogue.is_none() && tap == other && matches!(tap, 0 | 1)).then_some(steps)
}

/// For the rows and the columns: which of two taps sees what the single one sees.
fn single_taps<T>(steps: &[&Step<'_, T>; 4]) -> [isize; 2] {
    let starts = [steps[0], steps[3]].map(|step| {
        let correlation = &step.correlation;
        [correlation.rows.start(0), correlation.columns.start(0)]
    });
    [starts[1][0] - starts[0][0], starts[1][1] - starts[0][1]]
}

impl<T: Real> Kernel for Phases<'_, '_, T> {
    type Scalar = T;
    /// How many targets of each phase were computed.
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> usize {
        if const { !has_own_kernels::<T>(S::LEVEL) } {
            unreachable!("`phases` has asked");
        }
        let [tap, _] = single_taps(&self.steps);
        reached(Path::Phases { tap }, S::LEVEL);
        if const { S::REGISTERS >= 32 } {
            match tap {
                0 => self.tiles::<S, WIDE, 0>(simd),
                _ => self.tiles::<S, WIDE, 1>(simd),
            }
        } else {
            match tap {
                0 => self.tiles::<S, NARROW, 0>(simd),
                _ => self.tiles::<S, NARROW, 1>(simd),
            }
        }
    }
}

impl<T: Real> Phases<'_, '_, T> {
    /// What the next rows of targets need that these do not.
    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let rows = &self.steps[0].correlation.rows;
        let row_len = self.job.source_shape.row_len();
        let below = (rows.start(self.o) + 2).max(0) as usize * row_len;
        let source = self.image.as_ptr().wrapping_add(below);
        let target = self.target.as_ptr().wrapping_add(self.target.len());
        [
            Ahead::new(source, row_len, vectors),
            Ahead::new(target, self.target.len(), vectors),
        ]
    }

    #[inline(always)]
    fn tiles<S: Simd, const W: usize, const TAP: usize>(&mut self, simd: S) -> usize {
        let lanes = T::Vector::<S>::LANES;
        let columns = self.steps.map(|step| step.correlation.columns.targets);
        let targets = columns[0].min(columns[3]);
        let vectors = self.job.target_shape.channels / lanes;
        let mut ahead = self.next_rows(targets.div_ceil(W) * vectors);
        let axes = &self.steps[0].correlation;
        let axes = [&axes.rows, &axes.columns];
        for x in (0..targets).step_by(W) {
            // The last tile computes some targets again rather than fewer.
            let x = x.min(targets - W);
            let window = Window::new::<W, 2>(self.image, self.job.source_shape, axes, [self.o, x]);
            for vector in 0..vectors {
                self.tile::<S, W, TAP>(simd, &window.at(vector * lanes), x, vector);
                for ahead in ahead.iter_mut() {
                    ahead.fetch(1);
                }
            }
        }
        targets
    }

    /// The targets from that of number `x` on, in the channels of vector `vector`.
    #[inline(always)]
    fn tile<S: Simd, const W: usize, const TAP: usize>(
        &mut self,
        simd: S,
        window: &Window<'_, T>,
        x: usize,
        vector: usize,
    ) {
        let lanes = T::Vector::<S>::LANES;
        let zero = T::Vector::<S>::zero(simd);
        let taps = [4, 2, 2, 1];
        let mut factors = [[zero; 4]; 4];
        for phase in 0..4 {
            let (start, width) = self.steps[phase].panels.stored(vector);
            let filters = &self.steps[phase].filters[start..][..(taps[phase] - 1) * width + lanes];
            for tap in 0..taps[phase] {
                factors[phase][tap] = T::Vector::<S>::load(simd, &filters[tap * width..]);
            }
        }
        let mut sums = [[zero; W]; 4];
        for down in 0..2 {
            // SAFETY: the source has as many channels as the target.
            unsafe {
                window.for_pixels::<T::Vector<S>, W, 2>(
                    simd,
                    down,
                    #[inline(always)]
                    |pixel, target, tap| {
                        let mut add = |phase: usize, factor: usize| {
                            let sum = &mut sums[phase][target];
                            *sum = factors[phase][factor].mul_add(pixel, *sum);
                        };
                        add(0, 2 * down + tap);
                        if tap == TAP {
                            add(1, down);
                        }
                        if down == TAP {
                            add(2, tap);
                        }
                        if tap == TAP && down == TAP {
                            add(3, 0);
                        }
                    },
                );
            }
        }
        let channels = self.job.target_shape.channels;
        let row_len = self.job.target_shape.row_len();
        for (step, sums) in self.steps.into_iter().zip(sums) {
            let row = step.correlation.rows.target_start * row_len;
            let start = row + (step.correlation.columns.target_start + 2 * x) * channels;
            let target = &mut self.target[start + vector * lanes..];
            let target = &mut target[..(W - 1) * 2 * channels + lanes];
            for (i, sum) in sums.into_iter().enumerate() {
                // SAFETY: the target has just been cut to hold these.
                unsafe { sum.store_pointer(target.as_mut_ptr().add(i * 2 * channels)) };
            }
        }
    }
}
