//! Vectors that the compilation target always has: 128 bits (SSE2, NEON), written as arrays.

use std::ops::{Add, Mul, Sub};

use super::{Kernel, Level, Real, Simd, Vector};

/// The token of [`Level::Baseline`].
#[derive(Clone, Copy, Debug)]
pub struct Baseline;

impl Simd for Baseline {
    const LEVEL: Level = Level::Baseline;
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") {
        32
    } else {
        16
    };
    type F32 = Lanes<f32, 4>;
    type F64 = Lanes<f64, 2>;

    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// `N` numbers, which the compiler keeps in one register.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Lanes<T, const N: usize>([T; N]);

impl<T: Real, const N: usize> Lanes<T, N> {
    #[inline(always)]
    fn zip(self, other: Self, combine: impl Fn(T, T) -> T) -> Self {
        let mut lanes = self.0;
        for i in 0..N {
            lanes[i] = combine(self.0[i], other.0[i]);
        }
        Lanes(lanes)
    }
}

impl<T: Real, const N: usize> Add for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, T::plus)
    }
}

impl<T: Real, const N: usize> Sub for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, T::minus)
    }
}

impl<T: Real, const N: usize> Mul for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, T::times)
    }
}

/// What arrays need of their scalar beyond [`Real`].
trait Scalar: Real {
    fn fused(self, factor: Self, addend: Self) -> Self;
    fn root(self) -> Self;
}

/// Without hardware support a fused multiply-add is a call into a library.
const HAS_FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

impl Scalar for f32 {
    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        if HAS_FUSED {
            self.mul_add(factor, addend)
        } else {
            self * factor + addend
        }
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
}

impl Scalar for f64 {
    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        if HAS_FUSED {
            self.mul_add(factor, addend)
        } else {
            self * factor + addend
        }
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
}

impl<T: Scalar, const N: usize> Vector<T> for Lanes<T, N>
where
    T: Real<Vector<Baseline> = Self>,
{
    type Simd = Baseline;
    const LANES: usize = N;
    const SIDE: usize = N;

    #[inline(always)]
    fn splat(_: Baseline, value: T) -> Self {
        Lanes([value; N])
    }

    #[inline(always)]
    unsafe fn load_pointer(_: Baseline, source: *const T) -> Self {
        // SAFETY: the caller promises `N` readable numbers; the read needs no alignment.
        Lanes(unsafe { source.cast::<[T; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_pointer_partial(_: Baseline, source: *const T, count: usize) -> Self {
        let mut lanes = [T::ZERO; N];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises `count` readable numbers, and `i < count`.
            *lane = unsafe { source.add(i).read() };
        }
        Lanes(lanes)
    }

    #[inline(always)]
    unsafe fn store_pointer(self, target: *mut T) {
        // SAFETY: the caller promises `N` writable numbers; the write needs no alignment.
        unsafe { target.cast::<[T; N]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_pointer_partial(self, target: *mut T, count: usize) {
        for (i, lane) in self.0.into_iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` writable numbers, and `i < count`.
            unsafe { target.add(i).write(lane) };
        }
    }

    #[inline(always)]
    unsafe fn transpose(_: Baseline, rows: &[*const T; 8], target: *mut T, stride: usize) {
        for p in 0..N {
            for i in 0..N {
                // SAFETY: the caller promises `N` numbers at each of the first `N` rows and at
                // each of the first `N` multiples of `stride`.
                unsafe { target.add(p * stride + i).write(rows[i].add(p).read()) };
            }
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut lanes = self.0;
        for i in 0..N {
            lanes[i] = self.0[i].fused(factor.0[i], addend.0[i]);
        }
        Lanes(lanes)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn keep_where_open(self, gate: Self) -> Self {
        self.zip(gate, |a, gate| if gate <= T::ZERO { T::ZERO } else { a })
    }

    #[inline(always)]
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for (lane, chosen) in chosen.0.iter_mut().enumerate() {
            let challenger = self.0[lane];
            if challenger > other.0[lane] || challenger.partial_cmp(&challenger).is_none() {
                *chosen = yes.0[lane];
            }
        }
        chosen
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        self.zip(other, T::over)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Lanes(self.0.map(T::root))
    }
}
