//! Stores past the caches, for results that no cache keeps.
//!
//! An ordinary store first fetches the line that it writes to, so a result from memory moves twice:
//! in and out. A store past the caches writes whole lines and fetches none.

use std::mem::size_of;

use crate::simd::{Real, Simd, Vector};

use super::blocking::Caches;
use super::{Accum, MatrixMut};

/// Whether whole vectors of a result that is written in one go are to be written past the caches:
/// where it is larger than those, and each of its rows begins at a line.
pub(super) fn pays<T>(c: &mut MatrixMut<'_, T>, accum: Accum) -> bool {
    /// As aligned as the widest vector, and as a line.
    const ALIGNMENT: usize = 64;
    let bytes = |numbers: usize| numbers.saturating_mul(size_of::<T>());
    let aligned = |bytes: usize| bytes.is_multiple_of(ALIGNMENT);
    accum == Accum::Replace
        && bytes(c.rows().saturating_mul(c.columns())) > Caches::of_this_machine().third
        && aligned(bytes(c.row_stride()))
        && aligned(c.share().pointer(0, 0).addr())
}

/// Writes a vector, past the caches where the processor can.
///
/// # Safety
/// `target` is valid for writing a vector, and aligned to its size. The thread calls [`finish`]
/// before another may read what is written.
#[inline(always)]
pub(super) unsafe fn store<T: Real, S: Simd>(vector: T::Vector<S>, target: *mut T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m256i, __m512i, _mm256_stream_si256, _mm512_stream_si512};
        use std::mem::transmute_copy;
        const BYTES_OF_AVX512: usize = size_of::<__m512i>();
        const BYTES_OF_AVX2: usize = size_of::<__m256i>();
        // SAFETY: a vector of the level's size is its numbers, as which bits they are written; a
        // token of the level proves its features, and the caller vouches for the target.
        unsafe {
            match const { (S::LEVEL, size_of::<T::Vector<S>>()) } {
                (crate::Level::Avx512, BYTES_OF_AVX512) => {
                    return _mm512_stream_si512(target.cast(), transmute_copy(&vector));
                }
                (crate::Level::Avx2, BYTES_OF_AVX2) => {
                    return _mm256_stream_si256(target.cast(), transmute_copy(&vector));
                }
                _ => {}
            }
        }
    }
    // SAFETY: the caller vouches for the target.
    unsafe { vector.store_pointer(target) }
}

/// Orders what this thread has written by [`store`] before all that it writes later, by which other
/// threads learn of it.
#[inline(always)]
pub(super) fn finish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is part of the x86-64 baseline.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Par;
    use crate::matmul::{Epilogue, MatrixRef, direct, gemm, sweep, with_scratch};
    use crate::simd::{Kernel, Level, dispatch};

    /// Writes a line.
    struct Store<'a, T>(&'a mut [T]);

    impl<T: Real> Kernel for Store<'_, T> {
        type Scalar = T;
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for (i, numbers) in self.0.chunks_exact_mut(T::Vector::<S>::LANES).enumerate() {
                let vector = T::Vector::<S>::splat(simd, T::from_f64(i as f64 + 1.0));
                // SAFETY: the numbers are a vector, and lie in a line from its start on.
                unsafe { store::<T, S>(vector, numbers.as_mut_ptr()) };
            }
            finish();
        }
    }

    fn check_stores<T: Real>() {
        for level in Level::available() {
            with_scratch(64 / size_of::<T>(), |line: &mut [T]| {
                line.fill(T::ZERO);
                dispatch(level, Store(line));
                assert!(line.iter().all(|number| *number != T::ZERO), "{level:?}");
                assert!(line[0] == T::ONE, "{level:?}");
            });
        }
    }

    #[test]
    fn whole_vectors_are_stored() {
        check_stores::<f32>();
        check_stores::<f64>();
    }

    /// Products whose result is larger than the caches of most machines, against ones by row.
    #[test]
    fn results_larger_than_the_caches() {
        let [m, n] = [2_100, 4_112];
        for k in [1, 8, 20] {
            let numbers = |len: usize| (0..len).map(|i| (i % 19) as f32).collect::<Vec<_>>();
            let (a, b) = (numbers(m * k), numbers(k * n));
            let a = MatrixRef::row_major(&a, [m, k]).unwrap();
            let b = MatrixRef::row_major(&b, [k, n]).unwrap();
            let (plain, par) = (Epilogue::NONE, Par::Threads);
            with_scratch(m * n, |found: &mut [f32]| {
                for level in Level::available() {
                    found.fill(-1.0);
                    let mut c = MatrixMut::row_major(found, [m, n]).unwrap();
                    let accum = Accum::Replace;
                    match k {
                        20 => direct::product(&a, &b, &mut c, accum, plain, par, level),
                        _ => sweep::product(&a, &b, &mut c, accum, plain, par, level),
                    }
                    for i in (0..m).step_by(97).chain([m - 1]) {
                        let mut expected = vec![0.0; n];
                        let row = a.split_at_row(i).1.split_at_row(1).0;
                        let c = MatrixMut::row_major(&mut expected, [1, n]).unwrap();
                        gemm(row, b, c, accum, plain, Par::Sequential, level).unwrap();
                        assert!(found[i * n..][..n] == expected, "{level:?} {k} {i}");
                    }
                }
            });
        }
    }
}
