//! Windows of 3×3 that lie one pixel apart, from top to bottom.
//!
//! A few targets side by side are computed row after row, in one vector of channels. A row of the
//! source adds to three rows of targets, which accumulate in registers at the same time, and so it
//! is loaded once: where pixels lie some KiB apart, the first-level cache would not keep it.

use std::ops::Range;

use crate::conv::correlation::{Correlation, TapAxis};
use crate::conv::depthwise::pixels::Ahead;
use crate::conv::depthwise::window::Window;
use crate::conv::job::{Job, Step};
use crate::conv::microkernel::lanes;
use crate::conv::reached::{Path, reached};
use crate::simd::{Kernel, Level, Real, Simd, Vector};

/// Targets side by side, with 32 registers: of three times as many sums, nine factors, and a pixel.
pub(super) const WIDE: usize = 7;
/// The same with 16 registers, where factors come from memory.
const NARROW: usize = 3;
/// Numbers of the source under rows that are computed together: they and as many targets stay in
/// the second-level cache, beside those that are fetched meanwhile.
const NEAR: usize = 56 << 10;
/// Rows of targets that are computed together, so that what waits stays in the first-level cache.
const MOST_ROWS: usize = 16;
/// Bytes between pixels of which several in a row, and their targets, agree in the address bits
/// that a load is compared by with earlier stores.
const MEETING: usize = 2048;
/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Whether 3×3 has kernels of its own for numbers of type `T` at `level`: there are so many of them
/// that they are compiled only where speed is asked for.
pub(super) const fn has_own_kernels<T>(level: Level) -> bool {
    size_of::<T>() == size_of::<f32>() && !matches!(level, Level::Baseline)
}

/// Whether [`Descent`] computes `correlation` at `level`, in the channels that fill vectors, of which
/// there are some.
pub(super) fn descends<T: Real>(level: Level, correlation: &Correlation) -> bool {
    // Dilation and a stride that is a multiple of it leave neighbouring taps to targets that lie
    // apart.
    let fits =
        |axis: &TapAxis| (axis.taps, axis.stride, axis.step, axis.target_step) == (3, 1, 1, 1);
    let &Correlation { rows, columns, .. } = correlation;
    has_own_kernels::<T>(level)
        && fits(&rows)
        && fits(&columns)
        && columns.targets >= WIDE
        && correlation.targets >= lanes::<T>(level)
}

/// `rows`, two at least, in pieces of two or more whose source and targets stay in the second-level
/// cache.
pub(super) fn pieces(rows: Range<usize>, row_len: usize) -> impl Iterator<Item = Range<usize>> {
    let most = (NEAR / row_len.max(1)).clamp(4, MOST_ROWS);
    let count = rows.len().div_ceil(most).max(1);
    let len = rows.len();
    (0..count).map(move |i| rows.start + i * len / count..rows.start + (i + 1) * len / count)
}

/// Some rows of targets of one image, two at least, in the channels that fill vectors.
pub(super) struct Descent<'a, 'b, T> {
    pub(super) job: &'a Job<'b, T>,
    pub(super) step: &'a Step<'b, T>,
    pub(super) image: &'a [T],
    pub(super) rows: Range<usize>,
    /// The memory of these rows.
    pub(super) target: &'a mut [T],
    /// Room for what waits to be written.
    pub(super) waiting: &'a mut [T],
}

/// Numbers of [`Descent::waiting`].
pub(super) const fn waiting_len<T>() -> usize {
    MOST_ROWS * WIDE * 64 / size_of::<T>()
}

impl<T: Real> Kernel for Descent<'_, '_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        if const { !has_own_kernels::<T>(S::LEVEL) } {
            unreachable!("`descends` has asked");
        }
        if const { S::REGISTERS >= 32 } {
            match self.meets() {
                false => self.strips::<S, WIDE, false>(simd),
                true => self.strips::<S, WIDE, true>(simd),
            }
        } else {
            match self.meets() {
                false => self.strips::<S, NARROW, false>(simd),
                true => self.strips::<S, NARROW, true>(simd),
            }
        }
    }
}

impl<T: Real> Descent<'_, '_, T> {
    /// What the rows below these need that these do not.
    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let rows = &self.step.correlation.rows;
        let seen = |end: usize| (rows.start(end) + 2).clamp(0, rows.source as isize) as usize;
        let row_len = self.job.source_shape.row_len();
        let source = self
            .image
            .as_ptr()
            .wrapping_add(seen(self.rows.end) * row_len);
        let target = self.target.as_ptr().wrapping_add(self.target.len());
        [
            Ahead::new(source, self.rows.len() * row_len, vectors),
            Ahead::new(target, self.target.len(), vectors),
        ]
    }

    /// Whether pixels lie where targets do, but for a multiple of the distance at which a processor
    /// takes a load to depend on an earlier store, so that most loads of a strip would wait.
    fn meets(&self) -> bool {
        let pixel = self.job.source_shape.channels * size_of::<T>();
        let apart = (self.image.as_ptr() as usize).wrapping_sub(self.target.as_ptr() as usize);
        let apart = apart % MEETING;
        pixel.is_multiple_of(MEETING) && !(LINE..=MEETING - LINE).contains(&apart)
    }

    #[inline(always)]
    fn strips<S: Simd, const W: usize, const WAITS: bool>(&mut self, simd: S) {
        reached(Path::Descent { waits: WAITS }, S::LEVEL);
        let lanes = T::Vector::<S>::LANES;
        let Correlation { rows, columns, .. } = self.step.correlation;
        let targets = columns.targets;
        let vectors = self.job.target_shape.channels / lanes;
        let strips = targets.div_ceil(W) * vectors;
        let mut ahead = self.next_rows(strips * self.rows.len());
        // The first strip writes where it will write again.
        let mut before = self.target.as_mut_ptr();
        for x in (0..targets).step_by(W) {
            // The last strip computes some targets again rather than fewer.
            let x = x.min(targets - W);
            let axes = [&rows, &columns];
            let start = [self.rows.start, x];
            let window = Window::new::<W, 3>(self.image, self.job.source_shape, axes, start);
            for vector in 0..vectors {
                before = self.strip::<S, W, WAITS>(simd, &window, x, vector, before, &mut ahead);
            }
        }
        if !WAITS {
            return;
        }
        let (row_len, apart) = (
            self.job.target_shape.row_len(),
            self.job.target_shape.channels,
        );
        let mut waiting = self.waiting.chunks_exact(lanes);
        for row in 0..self.rows.len() {
            for i in 0..W {
                let sum = T::Vector::<S>::load(simd, waiting.next().unwrap_or_default());
                // SAFETY: the last strip has checked that these are within the target.
                unsafe { sum.store_pointer(before.add(row * row_len + i * apart)) };
            }
        }
    }

    /// The targets from column `x` on, in the channels of vector `vector`. They wait to be written,
    /// and those that wait are written from `before` on; returns where these belong.
    #[inline(always)]
    fn strip<S: Simd, const W: usize, const WAITS: bool>(
        &mut self,
        simd: S,
        window: &Window<'_, T>,
        x: usize,
        vector: usize,
        before: *mut T,
        ahead: &mut [Ahead<T>; 2],
    ) -> *mut T {
        let lanes = T::Vector::<S>::LANES;
        let zero = T::Vector::<S>::zero(simd);
        let first = vector * lanes;
        let target = self.job.target_shape;
        let (start, width) = self.step.panels.stored(vector);
        let filters = &self.step.filters[start..][..8 * width + lanes];
        let mut factors = [[zero; 3]; 3];
        for tap in 0..9 {
            factors[tap / 3][tap % 3] = T::Vector::<S>::load(simd, &filters[tap * width..]);
        }
        let bias = match self.job.epilogue.bias {
            Some(bias) => T::Vector::<S>::load(simd, &bias[first..]),
            None => zero,
        };
        let relu = self.job.epilogue.relu;
        let window = window.at(first);
        let count = self.rows.len();
        let row_len = target.row_len();
        assert!(first + lanes <= target.channels && x + W <= target.width && count >= 2);
        let targets = self.target[..count * row_len].as_mut_ptr();
        let targets = targets.wrapping_add(x * target.channels + first);
        assert!(self.waiting.len() >= count * W * lanes);
        let mut store = Store {
            simd,
            targets: if WAITS { before } else { targets },
            waiting: self.waiting.as_mut_ptr(),
            row_len,
            apart: target.channels,
            bias,
            relu,
            ahead,
        };
        // Row `r` of the source is the last of three for row `r - 2` of the targets, whose sums
        // come first here.
        let mut sums = [[zero; W]; 3];
        // SAFETY: the source has as many channels as the target, which has `count` rows with a
        // vector of channels in each of `W` pixels.
        unsafe {
            add::<T, S, W, 2, 3>(simd, &window, 0, &factors, &mut sums);
            sums = [sums[1], sums[2], [zero; W]];
            add::<T, S, W, 1, 3>(simd, &window, 1, &factors, &mut sums);
            sums = [sums[1], sums[2], [zero; W]];
            for r in 2..count {
                add::<T, S, W, 0, 3>(simd, &window, r, &factors, &mut sums);
                store.row::<W, WAITS>(r - 2, &sums[0]);
                sums = [sums[1], sums[2], [zero; W]];
            }
            add::<T, S, W, 0, 2>(simd, &window, count, &factors, &mut sums);
            store.row::<W, WAITS>(count - 2, &sums[0]);
            sums[0] = sums[1];
            add::<T, S, W, 0, 1>(simd, &window, count + 1, &factors, &mut sums);
            store.row::<W, WAITS>(count - 1, &sums[0]);
        }
        targets
    }
}

/// Adds what row `r` of the window gives to the sums from `FROM` to `TO`, of which the first see it
/// through the last row of the kernel.
///
/// # Safety
/// Pixels of the window have a vector of channels.
#[inline(always)]
unsafe fn add<T: Real, S: Simd, const W: usize, const FROM: usize, const TO: usize>(
    simd: S,
    window: &Window<'_, T>,
    r: usize,
    factors: &[[T::Vector<S>; 3]; 3],
    sums: &mut [[T::Vector<S>; W]; 3],
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        window.for_pixels::<T::Vector<S>, W, 3>(
            simd,
            r,
            #[inline(always)]
            |pixel, target, tap| {
                for sum in FROM..TO {
                    let sums = &mut sums[sum];
                    sums[target] = factors[2 - sum][tap].mul_add(pixel, sums[target]);
                }
            },
        );
    }
}

/// Where sums go.
///
/// Pixels and their targets often lie at the same place within a page. A load has to wait until an
/// earlier store at such an address is done, so the sums of a strip are stored during the next one,
/// whose channels are others.
struct Store<'a, S, T, V> {
    simd: S,
    /// The first target of the strip before.
    targets: *mut T,
    /// Its sums.
    waiting: *mut T,
    row_len: usize,
    /// From pixel to pixel.
    apart: usize,
    bias: V,
    relu: bool,
    ahead: &'a mut [Ahead<T>; 2],
}

impl<S: Simd, T: Real, V: Vector<T, Simd = S>> Store<'_, S, T, V> {
    /// Writes the sums that wait for row `row`, and makes these wait.
    ///
    /// # Safety
    /// There are as many rows, each of `W` pixels from the first target on with a vector of
    /// channels, and as much waits.
    #[inline(always)]
    unsafe fn row<const W: usize, const WAITS: bool>(&mut self, row: usize, sums: &[V; W]) {
        let mut target = self.targets.wrapping_add(row * self.row_len);
        let waiting = self.waiting.wrapping_add(row * W * V::LANES);
        for (i, &sum) in sums.iter().enumerate() {
            let sum = sum + self.bias;
            let sum = if self.relu {
                V::zero(self.simd).max(sum)
            } else {
                sum
            };
            // SAFETY: the caller vouches for it.
            unsafe {
                if WAITS {
                    let waiting = waiting.add(i * V::LANES);
                    V::load_pointer(self.simd, waiting).store_pointer(target);
                    sum.store_pointer(waiting);
                } else {
                    sum.store_pointer(target);
                }
            }
            target = target.wrapping_add(self.apart);
        }
        for ahead in self.ahead.iter_mut() {
            ahead.fetch(1);
        }
    }
}
