//! Matrices without infinite elements and NaN, whose products with zeros need not be computed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::element::Number;
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::tensor::Tensor;

use super::MatrixRef;

/// Elements from which on it pays to know.
const LARGE: usize = 1 << 16;

/// One in so many numbers of a row must be zero.
const FEW_ZEROS: usize = 8;

/// Whether all numbers of some memory are finite, kept beside it until it is written.
struct AllFinite(bool);

/// `right` as it is, or marked as finite if that is of use to multiply it by `left`, and is known.
///
/// A rectifier leaves many zeros. If they scale rows of weights that lie in memory, not to read those
/// saves most of the time; but zero times infinity is NaN, so that somebody has to look at all of
/// them first. That is done when the same weights are multiplied for a second time: training, which
/// writes them after each use, never does.
pub(super) fn mark<'a, T: Float>(
    left: &MatrixRef<'_, T>,
    right: MatrixRef<'a, T>,
    tensor: &Tensor<T>,
) -> MatrixRef<'a, T> {
    let numbers = tensor.storage.as_slice();
    if numbers.len() < LARGE || left.rows() != 1 || right.column_stride() != 1 {
        return right;
    }
    if right.rows().checked_mul(right.columns()) != Some(numbers.len()) {
        return right;
    }
    let Some(row) = left.row(0) else {
        return right;
    };
    let zeros: usize = row.iter().map(|&x| usize::from(x == T::ZERO)).sum();
    if zeros < row.len() / FEW_ZEROS {
        return right;
    }
    let kept = tensor.storage.kept();
    if kept.is_wanted() {
        kept.keep(AllFinite(all_finite(Par::Threads, numbers)));
    }
    match kept.get() {
        Some(AllFinite(true)) => right.known_finite(),
        _ => right,
    }
}

/// Whether no number is infinite or NaN.
pub(crate) fn all_finite<T: Number>(par: Par, numbers: &[T]) -> bool {
    let all_finite = AtomicBool::new(true);
    par.for_each(numbers.len().div_ceil(BLOCK), |block| {
        let block = &numbers[block * BLOCK..];
        // Without an early end, so that the loop becomes one of vectors.
        let block = &block[..block.len().min(BLOCK)];
        let finite = |all, x: &T| all & (x.magnitude() < T::HIGHEST);
        if !block.iter().fold(true, finite) {
            all_finite.store(false, Ordering::Relaxed);
        }
    });
    all_finite.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::Compiled;
    use crate::matmul::Epilogue;

    const SIZE: [usize; 2] = [700, 96];

    /// A row of which three quarters are zeros, and weights and biases for it.
    fn operands() -> [Tensor<f32>; 3] {
        let mut generator = crate::generator(3);
        let mut normal = |shape: [usize; 2]| Tensor::normal(shape, 0.0, 1.0, &mut generator);
        let x = normal([1, SIZE[0]]).unwrap();
        let zeros = |(p, x)| if p % 4 == 1 { x } else { 0.0 };
        let x = x.iter().enumerate().map(zeros).collect();
        let bias = normal([1, SIZE[1]]).unwrap().reshape([SIZE[1]]).unwrap();
        let x = Tensor::from_vec(x, [1, SIZE[0]]).unwrap();
        [x, normal(SIZE).unwrap(), bias]
    }

    fn is_known_finite(w: &Tensor<f32>) -> bool {
        matches!(w.storage.kept().get(), Some(AllFinite(true)))
    }

    #[test]
    fn the_second_product_finds_out_and_writing_forgets() {
        let [x, mut w, bias] = operands();
        let product = |w: &Tensor<f32>| x.matmul_bias(w, &bias, false).unwrap().to_vec();
        let first = product(&w);
        assert!(!is_known_finite(&w));
        for _ in 0..2 {
            assert_eq!(product(&w), first);
            assert!(is_known_finite(&w));
        }
        // Row 2 is multiplied by zero.
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            w[[2, 5]] = value;
            assert!(!is_known_finite(&w));
            for _ in 0..3 {
                let found = product(&w);
                assert!(found[5].is_nan());
                assert_eq!(found[..5], first[..5]);
                assert!(!is_known_finite(&w));
            }
        }
        w[[2, 5]] = 0.0;
        product(&w);
        product(&w);
        assert!(is_known_finite(&w));
    }

    #[test]
    fn nobody_looks_where_it_is_of_no_use() {
        let [x, w, bias] = operands();
        let rows = x.broadcast_to([2, SIZE[0]]).unwrap();
        let ones = Tensor::ones([1, SIZE[0]]).unwrap();
        for x in [rows, ones] {
            for _ in 0..3 {
                x.matmul_bias(&w, &bias, false).unwrap();
                assert!(!is_known_finite(&w));
            }
        }
        // A part of the memory, beside which there may be anything.
        let mut all = Tensor::concat(&[&w, &w], 0).unwrap();
        all[[SIZE[0] + 3, 0]] = f32::NAN;
        let part = all.slice(&[(..SIZE[0] as isize).into()]).unwrap();
        let expected = x.matmul_bias(&w, &bias, false).unwrap();
        for _ in 0..3 {
            assert_eq!(x.matmul_bias(&part, &bias, false).unwrap(), expected);
            assert!(!is_known_finite(&part));
        }
    }

    /// On the whole way of a product: row 2, which meets a zero, holds NaN, and is not read.
    #[test]
    fn products_leave_out_what_is_marked() {
        let [x, mut w, bias] = operands();
        let expected = x.matmul_bias(&w, &bias, true).unwrap().to_vec();
        for j in 0..SIZE[1] {
            w[[2, j]] = f32::NAN;
        }
        let epilogue = Epilogue {
            bias: bias.as_slice(),
            relu: true,
        };
        let product = |right| {
            let mut out = vec![0.0; SIZE[1]];
            (f32::kernels().product)(x.matrix().unwrap(), right, epilogue, &mut out).unwrap();
            out
        };
        let w = w.matrix().unwrap();
        assert_eq!(product(w.known_finite()), expected);
        assert!(product(w).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn all_blocks_are_searched() {
        let mut numbers = vec![1.0_f64; 3 * BLOCK + 5];
        assert!(all_finite(Par::Threads, &numbers));
        for at in [0, BLOCK - 1, BLOCK, 3 * BLOCK, 3 * BLOCK + 4] {
            numbers[at] = f64::NAN;
            assert!(!all_finite(Par::Threads, &numbers), "{at}");
            numbers[at] = f64::MAX;
            assert!(all_finite(Par::Threads, &numbers));
        }
    }
}
