//! Forward and back substitution.

use super::for_each_system;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::Tensor;

/// Overwrites row-major right sides with the solutions of a triangular system, of whose matrix only
/// the triangle is read, or less than that if the diagonal is taken as 1.
pub(super) fn substitute<T: Float>(
    matrix: &[T],
    size: usize,
    right: &mut [T],
    columns: usize,
    upper: bool,
    unit_diagonal: bool,
) {
    for step in 0..size {
        let row = if upper { size - 1 - step } else { step };
        let known = if upper { row + 1..size } else { 0..row };
        for other in known {
            let factor = matrix[row * size + other];
            for column in 0..columns {
                let solved = right[other * columns + column];
                let x = &mut right[row * columns + column];
                *x = *x - factor * solved;
            }
        }
        if !unit_diagonal {
            let diagonal = matrix[row * size + row];
            for x in &mut right[row * columns..(row + 1) * columns] {
                *x = *x / diagonal;
            }
        }
    }
}

impl<T: Float> Tensor<T> {
    /// The solution `x` of `self · x = right` for triangular matrices `[…, n, n]`, of which only the
    /// upper or the lower triangle is read; right sides as in [`Tensor::solve`].
    ///
    /// ```
    /// use tensor::Tensor;
    /// let lower = Tensor::from([[2.0, 99.0], [1.0, 4.0]]);
    /// let x = lower.triangular_solve(&Tensor::from([2.0, 9.0]), false)?;
    /// assert_eq!(x.to_vec(), [1.0, 2.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square, an element of a diagonal is 0, or the right sides do not fit.
    pub fn triangular_solve(&self, right: &Tensor<T>, upper: bool) -> Result<Tensor<T>> {
        let size = self.shape().last().copied().unwrap_or(0);
        for_each_system("triangular_solve", self, right, |matrix, right, columns| {
            if (0..size).any(|i| matrix[i * size + i] == T::ZERO) {
                return None;
            }
            substitute(matrix, size, right, columns, upper, false);
            Some(())
        })
    }
}
