//! Products with a large B and few rows, whose depth is cut into parts: each thread then reads a
//! stretch of memory of its own from end to end, and the parts are added in order.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::storage::Buffer;

use super::blocking::Pieces;
use super::gemm::{Epilogue, gemm};
use super::{Accum, MatrixMut, MatrixRef, sweep};

/// Parts of a product, on any number of threads.
const PARTS: usize = 16;
/// How many times as much the parts of C have to take less than B.
const NEGLIGIBLE: usize = 8;

/// Whether B comes from memory, row after row, and the parts of C are little beside it.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let in_order = b.column_stride() == 1 && b.row_stride() == b.columns() as isize;
    in_order && sweep::from_memory(b) && a.rows() <= b.rows() / (PARTS * NEGLIGIBLE)
}

/// Some rows of a matrix.
fn rows<'a, T: Real>(matrix: MatrixRef<'a, T>, range: &Range<usize>) -> MatrixRef<'a, T> {
    let (_, from) = matrix.split_at_row(range.start);
    from.split_at_row(range.len()).0
}

/// `C = [C +] A · B` for operands that [`pays`].
pub(super) fn product<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    let [m, k, n] = [a.rows(), a.columns(), b.columns()];
    let pieces = Pieces::new(k, k.div_ceil(PARTS));
    let mut sums = Buffer::unspecified("gemm", pieces.count() * m * n)?;
    let error = OnceLock::new();
    par.for_chunks(sums.as_mut_slice(), m * n, |part, sums| {
        let depth = pieces.range(part);
        let (a, b) = (rows(a.transposed(), &depth).transposed(), rows(*b, &depth));
        let done = MatrixMut::row_major(sums, [m, n]).and_then(|mut c| {
            if m == 1 {
                sweep::line_by_line(&a, &b, &mut c, level);
                return Ok(());
            }
            let (accum, epilogue) = (Accum::Replace, Epilogue::NONE);
            gemm(a, b, c, accum, epilogue, Par::Sequential, level)
        });
        if let Err(failure) = done {
            let _ = error.set(failure);
        }
    });
    if let Some(failure) = error.into_inner() {
        return Err(failure);
    }
    let (total, others) = sums.as_mut_slice().split_at_mut(m * n);
    for part in others.chunks_exact(m * n) {
        total
            .iter_mut()
            .zip(part)
            .for_each(|(to, from)| *to = to.plus(*from));
    }
    for (i, sums) in total.chunks_exact(n).enumerate() {
        for (j, (target, sum)) in c.row(i).iter_mut().zip(sums).enumerate() {
            epilogue.store(accum, j, *sum, target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where there are fewer rows of B than parts.
    #[test]
    fn parts_add_up_to_the_product() {
        for [m, k, n] in [[1, 5, 3], [1, 100, 70], [3, 40, 5], [20, 333, 65]] {
            let numbers = |len: usize, step: f64| -> Vec<f64> {
                (0..len).map(|i| (i as f64 * step).sin()).collect()
            };
            let (a, b, bias) = (numbers(m * k, 0.7), numbers(k * n, 1.3), numbers(n, 2.1));
            let (a, b) = (
                MatrixRef::row_major(&a, [m, k]).unwrap(),
                MatrixRef::row_major(&b, [k, n]).unwrap(),
            );
            let epilogue = Epilogue {
                bias: Some(&bias),
                relu: true,
            };
            for level in Level::available() {
                for accum in [Accum::Replace, Accum::Add] {
                    let [mut found, mut expected] = [(); 2].map(|()| numbers(m * n, 0.3));
                    let mut c = MatrixMut::row_major(&mut found, [m, n]).unwrap();
                    product(&a, &b, &mut c, accum, epilogue, Par::Threads, level).unwrap();
                    let c = MatrixMut::row_major(&mut expected, [m, n]).unwrap();
                    gemm(a, b, c, accum, epilogue, Par::Sequential, level).unwrap();
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-12, "{level:?} {m} {k} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_a_finite_matrix_that_meet_a_zero_are_left_out() {
        let [k, n] = [100, 20];
        let mut b = vec![1.0_f64; k * n];
        b[2 * n..3 * n].fill(f64::NAN);
        let a: Vec<f64> = (0..k).map(|p| f64::from(p != 2)).collect();
        let a = MatrixRef::row_major(&a, [1, k]).unwrap();
        let b = MatrixRef::row_major(&b, [k, n]).unwrap().known_finite();
        for level in Level::available() {
            let mut sums = vec![0.0; n];
            let mut c = MatrixMut::row_major(&mut sums, [1, n]).unwrap();
            let (accum, epilogue) = (Accum::Replace, Epilogue::NONE);
            product(&a, &b, &mut c, accum, epilogue, Par::Threads, level).unwrap();
            assert_eq!(sums, vec![99.0; n], "{level:?}");
        }
    }
}
