//! What this machine can do at best, measured: the roof that kernels are held against.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::simd::{Kernel, Level, Simd, Vector, dispatch};

/// Independent sums: enough that no multiply-add waits for the one before it.
const CHAINS: usize = 12;
/// Multiply-adds of each chain in one run, about a tenth of a millisecond.
const LENGTH: usize = 1 << 15;
const RUNS: usize = 40;
/// Bytes of the arrays that are copied, beyond any cache.
const COPIED: usize = 64 << 20;

/// The best rates of this machine's processor and memory, on all threads of the current `rayon`
/// pool.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Machine {
    /// The number of threads.
    pub threads: usize,
    /// Vector instructions that kernels use.
    pub vectors: &'static str,
    /// Billions of `f32` operations a second in registers; a multiply-add counts as two.
    pub gigaflops: f64,
    /// Billions of bytes a second that a copy in memory reads and writes together.
    pub gigabytes_per_second: f64,
}

impl Machine {
    /// Measures for about a tenth of a second. Other programs that run at the same time lower the
    /// result.
    ///
    /// ```
    /// let machine = tensor::Machine::measure();
    /// assert!(machine.gigaflops > 0.0 && machine.gigabytes_per_second > 0.0);
    /// ```
    pub fn measure() -> Machine {
        let level = Level::best();
        let threads = rayon::current_num_threads();
        let flops = (threads * CHAINS * LENGTH * 2) as f64;
        let seconds = least_seconds(|| {
            (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
                black_box(dispatch(level, Chains));
            });
        });
        let lanes = dispatch(level, Lanes) as f64;
        Machine {
            threads,
            vectors: level.name(),
            gigaflops: flops * lanes / seconds / 1e9,
            gigabytes_per_second: copy_rate(),
        }
    }
}

fn least_seconds(mut run: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least.max(1e-9)
}

fn copy_rate() -> f64 {
    let source = vec![1u8; COPIED];
    let mut target = vec![0u8; COPIED];
    let piece = COPIED.div_ceil(rayon::current_num_threads());
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let pieces = target.par_chunks_mut(piece).zip(source.par_chunks(piece));
        pieces.for_each(|(target, source)| target.copy_from_slice(source));
        black_box(&mut target);
        least = least.min(start.elapsed().as_secs_f64());
    }
    2.0 * COPIED as f64 / least.max(1e-9) / 1e9
}

struct Lanes;

impl Kernel for Lanes {
    type Scalar = f32;
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> usize {
        <S::F32 as Vector<f32>>::LANES
    }
}

struct Chains;

impl Kernel for Chains {
    type Scalar = f32;
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let factor = S::F32::splat(simd, black_box(0.999));
        let addend = S::F32::splat(simd, black_box(0.001));
        let mut sums = [S::F32::splat(simd, black_box(1.0)); CHAINS];
        for _ in 0..LENGTH {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, addend);
            }
        }
        sums.iter().fold(0.0, |total, sum| total + sum.sum())
    }
}
