//! The way from a level as a value to code compiled for it.

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{Baseline, FlushSubnormals, Level, Real, Simd};

/// A piece of work for one thread, written for any level. See the [module](super) for the rules.
pub trait Kernel {
    /// The type computed with; it decides how subnormals are treated.
    type Scalar: Real;
    /// What the work yields.
    type Output;
    /// Does the work. Must be `#[inline(always)]`, as must all that it calls.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` on this thread, compiled for `level`.
///
/// # Panics
/// If `level` is above [`Level::of_machine`].
#[inline]
pub(crate) fn dispatch<K: Kernel>(level: Level, kernel: K) -> K::Output {
    assert!(
        level <= Level::of_machine(),
        "this machine has no {}",
        level.name()
    );
    let _mode = FlushSubnormals::of::<K::Scalar>();
    // `call` is never inlined, so that no arithmetic of the caller meets the kernel's mode.
    match level {
        // SAFETY: the assertion above has established that the processor has these features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { Avx512::new() }.call(kernel),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { Avx2::new() }.call(kernel),
        _ => Baseline.call(kernel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Vector;

    /// Every operation of a vector on `a`, `b` and `c`, one row an operation.
    struct Operations<'a, T> {
        a: &'a [T],
        b: &'a [T],
        c: &'a [T],
    }

    impl<T: Real> Kernel for Operations<'_, T> {
        type Scalar = T;
        type Output = Vec<Vec<T>>;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<Vec<T>> {
            let mut rows = vec![Vec::new(); 9];
            let lanes = T::Vector::<S>::LANES;
            let mut start = 0;
            while start < self.a.len() {
                let end = (start + lanes).min(self.a.len());
                let load = |values: &[T]| {
                    if end - start == lanes {
                        T::Vector::<S>::load(simd, &values[start..])
                    } else {
                        T::Vector::<S>::load_partial(simd, &values[start..])
                    }
                };
                let (a, b, c) = (load(self.a), load(self.b), load(self.c));
                let results = [
                    a + b,
                    a - b,
                    a * b,
                    a.over(b),
                    a.mul_add(b, c),
                    a.max(b),
                    a.min(b),
                    a.keep_where_open(b),
                    a.sqrt(),
                ];
                for (row, result) in rows.iter_mut().zip(results) {
                    row.resize(end, T::LOWEST);
                    if end - start == lanes {
                        result.store(&mut row[start..]);
                    } else {
                        result.store_partial(&mut row[start..]);
                    }
                }
                start = end;
            }
            rows
        }
    }

    fn check_operations<T: Real>() {
        let special = [
            0.0,
            -0.0,
            1.0,
            -2.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            3.0e5,
        ];
        for len in [0, 1, 3, 8, 15, 16, 17, 64] {
            let number = |i: usize| T::from_f64(special[i % 8] + if i >= 32 { 0.25 } else { 0.0 });
            let a: Vec<T> = (0..len).map(number).collect();
            let b: Vec<T> = (0..len).map(|i| number(i / 8 + 3 * i)).collect();
            let c: Vec<T> = (0..len).map(|i| number(i + 2)).collect();
            for level in Level::available() {
                let (a, b, c) = (&a[..], &b[..], &c[..]);
                let rows = dispatch(level, Operations { a, b, c });
                for i in 0..len {
                    let (a, b, c) = (a[i], b[i], c[i]);
                    let expected = [
                        a.plus(b),
                        a.minus(b),
                        a.times(b),
                        a.over(b),
                        // Exact in every value that occurs here, so fusing changes nothing.
                        a.times(b).plus(c),
                        if a > b { a } else { b },
                        if a < b { a } else { b },
                        if b <= T::ZERO { T::ZERO } else { a },
                        T::from_f64(a.to_f64().sqrt()),
                    ];
                    for (row, expected) in rows.iter().zip(expected) {
                        let same = row[i] == expected || row[i].is_nan() && expected.is_nan();
                        assert!(same, "{level:?} {a} {b} {c}: {} is not {expected}", row[i]);
                    }
                }
            }
        }
    }

    #[test]
    fn operations_agree_with_scalars_at_every_level() {
        check_operations::<f32>();
        check_operations::<f64>();
    }

    struct Fold<'a, T>(&'a [T]);

    impl<T: Real> Kernel for Fold<'_, T> {
        type Scalar = T;
        type Output = (T, T);
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (T, T) {
            let (body, rest) = T::Vector::<S>::split(self.0);
            let mut sum = T::Vector::<S>::load_partial(simd, rest);
            let mut largest = sum;
            for chunk in body {
                let chunk = T::Vector::<S>::load(simd, chunk);
                sum = sum + chunk;
                largest = largest.max(chunk);
            }
            (sum.sum(), largest.largest())
        }
    }

    #[test]
    fn folds_take_every_lane() {
        let values: Vec<f32> = (1..=37_u8).map(f32::from).collect();
        let wide: Vec<f64> = (1..=37_u8).map(f64::from).collect();
        for level in Level::available() {
            assert_eq!(dispatch(level, Fold(&values)), (703.0, 37.0), "{level:?}");
            assert_eq!(dispatch(level, Fold(&wide)), (703.0, 37.0), "{level:?}");
        }
    }

    struct Product<T>(T, T);

    impl<T: Real> Kernel for Product<T> {
        type Scalar = T;
        type Output = T;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> T {
            let product = T::Vector::<S>::splat(simd, self.0) * T::Vector::<S>::splat(simd, self.1);
            product.largest()
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn subnormals_are_zero_in_f32_kernels_only() {
        for level in Level::available() {
            assert_eq!(dispatch(level, Product(1e-20_f32, 1e-20)), 0.0);
            assert_eq!(dispatch(level, Product(1e-40_f32, 1e10)), 0.0);
            assert!(dispatch(level, Product(f32::NAN, 1e-40)).is_nan());
            assert!(dispatch(level, Product(f32::INFINITY, 1e-40)).is_nan());
            assert!(dispatch(level, Product(1e-160_f64, 1e-160)) > 0.0);
            // The caller's mode is back.
            assert!(std::hint::black_box(1e-20_f32) * 1e-20 > 0.0);
        }
    }
}
