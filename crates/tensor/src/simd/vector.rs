//! The traits that kernels are written against.
//!
//! They are public in name only: [`Float`](crate::Float) builds on [`Real`], so that whatever is
//! generic over floating-point types can call kernels, but no path leads here from outside.

use std::ops::{Add, Mul, Sub};

use super::{Kernel, Level};
use crate::element::Number;

/// Lanes of the widest vector.
const MOST_LANES: usize = 16;

/// A level as a type: a token that proves that the processor has it.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The level of this token.
    const LEVEL: Level;
    /// Vector registers of the instruction set.
    const REGISTERS: usize;
    /// The widest vector of `f32`.
    type F32: Vector<f32, Simd = Self>;
    /// The widest vector of `f64`.
    type F64: Vector<f64, Simd = Self>;

    /// Runs `kernel` as a function of its own, compiled for this level: a border against
    /// inlining, where a kernel is large or used in many places.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
}

/// The floating-point types that have vectors: `f32` and `f64`.
pub trait Real: Number {
    /// The vector of this type at a level.
    type Vector<S: Simd>: Vector<Self, Simd = S>;
    /// Whether kernels of this type treat subnormal numbers as zero
    /// (see [`FlushSubnormals`](super::FlushSubnormals)).
    const FLUSH_SUBNORMALS: bool;
}

impl Real for f32 {
    type Vector<S: Simd> = S::F32;
    const FLUSH_SUBNORMALS: bool = true;
}

impl Real for f64 {
    type Vector<S: Simd> = S::F64;
    const FLUSH_SUBNORMALS: bool = false;
}

/// A vector of [`LANES`](Vector::LANES) floating-point numbers.
///
/// Loads and stores need no alignment.
pub trait Vector<T: Real>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// The token that this vector is made from.
    type Simd: Simd;
    /// Numbers in the vector.
    const LANES: usize;
    /// Rows and columns of the block that [`transpose`](Vector::transpose) handles, at most 8.
    const SIDE: usize;

    /// `value` in each lane.
    fn splat(simd: Self::Simd, value: T) -> Self;

    /// The `LANES` numbers from `source` on.
    ///
    /// # Safety
    /// `source` is valid for reading `LANES` numbers.
    unsafe fn load_pointer(simd: Self::Simd, source: *const T) -> Self;

    /// The first `count` numbers from `source` on, and zeros.
    ///
    /// # Safety
    /// `source` is valid for reading `count` numbers, and `count <= LANES`.
    unsafe fn load_pointer_partial(simd: Self::Simd, source: *const T, count: usize) -> Self;

    /// Writes the `LANES` numbers to `target`.
    ///
    /// # Safety
    /// `target` is valid for writing `LANES` numbers.
    unsafe fn store_pointer(self, target: *mut T);

    /// Writes the first `count` numbers to `target`.
    ///
    /// # Safety
    /// `target` is valid for writing `count` numbers, and `count <= LANES`.
    unsafe fn store_pointer_partial(self, target: *mut T, count: usize);

    /// Transposes a block of `SIDE` × `SIDE` numbers:
    /// `target[p · stride + i] = rows[i][p]` for `i` and `p` below `SIDE`.
    ///
    /// # Safety
    /// The first `SIDE` of `rows` are valid for reading `SIDE` numbers, and `target` for writing
    /// `SIDE` numbers at each of the first `SIDE` multiples of `stride`.
    unsafe fn transpose(simd: Self::Simd, rows: &[*const T; 8], target: *mut T, stride: usize);

    /// `self · factor + addend`, rounded once where the level has fused multiply-add.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// `if self > other { self } else { other }` in each lane.
    ///
    /// So a NaN in `other` survives and one in `self` does not: `zero.max(x)` is a ReLU that
    /// propagates NaN.
    fn max(self, other: Self) -> Self;

    /// `if self < other { self } else { other }` in each lane; a NaN in `other` survives.
    fn min(self, other: Self) -> Self;

    /// `if gate <= 0 { 0 } else { self }` in each lane: the derivative of a ReLU whose input or
    /// output was `gate`. NaN is open, so that it is not hidden.
    fn keep_where_open(self, gate: Self) -> Self;

    /// In each lane `yes` where `self > other` or `self` is NaN, else `no`: whether a challenger
    /// wins against the largest number so far.
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self;

    /// In the first `count` lanes the numbers of `source` where `bytes` has `byte`, 0 elsewhere.
    ///
    /// # Safety
    /// `source` and `bytes` are valid for reading `count` numbers and bytes, and `count <= LANES`.
    #[inline(always)]
    unsafe fn load_where(
        simd: Self::Simd,
        source: *const T,
        bytes: *const u8,
        byte: u8,
        count: usize,
    ) -> Self {
        let mut numbers = [T::ZERO; MOST_LANES];
        for (i, number) in numbers[..count].iter_mut().enumerate() {
            // SAFETY: the caller vouches for `count` numbers and bytes.
            unsafe {
                if bytes.add(i).read() == byte {
                    *number = source.add(i).read();
                }
            }
        }
        Self::load(simd, &numbers)
    }

    /// Writes the first `count` lanes as bytes; each is an integer from -1, which becomes 255, to
    /// 255.
    ///
    /// # Safety
    /// `target` is valid for writing `count` bytes, and `count <= LANES`.
    #[inline(always)]
    unsafe fn store_bytes(self, target: *mut u8, count: usize) {
        let mut numbers = [T::ZERO; MOST_LANES];
        self.store(&mut numbers);
        for (i, number) in numbers[..count].iter().enumerate() {
            // SAFETY: the caller vouches for `count` bytes.
            unsafe { target.add(i).write(number.to_f64() as i32 as u8) };
        }
    }

    /// `self / other`, correctly rounded.
    fn over(self, other: Self) -> Self;

    /// `√self`, correctly rounded.
    fn sqrt(self) -> Self;

    /// 0 in each lane.
    #[inline(always)]
    fn zero(simd: Self::Simd) -> Self {
        Self::splat(simd, T::ZERO)
    }

    /// The first `LANES` numbers of `source`.
    ///
    /// # Panics
    /// If `source` is shorter.
    #[inline(always)]
    fn load(simd: Self::Simd, source: &[T]) -> Self {
        let source = &source[..Self::LANES];
        // SAFETY: the slice has just been cut to `LANES` numbers.
        unsafe { Self::load_pointer(simd, source.as_ptr()) }
    }

    /// The first numbers of `source`, at most `LANES`; the other lanes are zero.
    #[inline(always)]
    fn load_partial(simd: Self::Simd, source: &[T]) -> Self {
        // SAFETY: the count is at most the slice's length and at most `LANES`.
        unsafe { Self::load_pointer_partial(simd, source.as_ptr(), source.len().min(Self::LANES)) }
    }

    /// Writes the vector to the first `LANES` numbers of `target`.
    ///
    /// # Panics
    /// If `target` is shorter.
    #[inline(always)]
    fn store(self, target: &mut [T]) {
        let target = &mut target[..Self::LANES];
        // SAFETY: the slice has just been cut to `LANES` numbers.
        unsafe { self.store_pointer(target.as_mut_ptr()) }
    }

    /// Writes the first numbers of the vector to `target`, as many as fit.
    #[inline(always)]
    fn store_partial(self, target: &mut [T]) {
        // SAFETY: the count is at most the slice's length and at most `LANES`.
        unsafe {
            self.store_pointer_partial(target.as_mut_ptr(), target.len().min(Self::LANES));
        }
    }

    /// `values` as whole vectors, each a slice of `LANES`, and the rest.
    #[inline(always)]
    fn split(values: &[T]) -> (std::slice::ChunksExact<'_, T>, &[T]) {
        let chunks = values.chunks_exact(Self::LANES);
        let rest = chunks.remainder();
        (chunks, rest)
    }

    /// The sum of the lanes, added pairwise: lane `i` to lane `i + LANES/2`, and so on.
    #[inline(always)]
    fn sum(self) -> T {
        fold_lanes(self, T::plus)
    }

    /// The largest lane; NaN if there is one.
    #[inline(always)]
    fn largest(self) -> T {
        fold_lanes(self, T::larger)
    }
}

/// The most lanes that a vector has.
const MAX_LANES: usize = 16;

#[inline(always)]
fn fold_lanes<T: Real, V: Vector<T>>(vector: V, combine: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; MAX_LANES];
    vector.store(&mut lanes);
    let mut half = V::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Asks the cache for the line that holds `address`, which need not be valid.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching is a hint that ignores addresses that cannot be read; SSE is part of
        // the x86-64 baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As [`prefetch`], into the second-level cache.
#[inline(always)]
pub(crate) fn prefetch_to_second_level<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as in `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// `address`, of which the compiler does not know how it was computed, so that it stays in a
/// register of its own.
#[inline(always)]
pub(crate) fn unseen<T>(address: *const T) -> *const T {
    #[cfg(target_arch = "x86_64")]
    let mut address = address;
    #[cfg(target_arch = "x86_64")]
    #[expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "nothing is read or written"
    )]
    // SAFETY: there is no instruction, which leaves everything as it is.
    unsafe {
        std::arch::asm!("/* {} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
    }
    address
}
