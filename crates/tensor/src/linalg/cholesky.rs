//! The Cholesky factorisation.

use super::square;
use crate::elementwise::walk::binary;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// The lower triangular `L` with `L · Lᵀ = (self + selfᵀ) / 2`, for each matrix of `[…, n, n]`:
    /// the factor of the symmetric part, so that every element counts and has a derivative.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([[4.0, 2.0], [2.0, 10.0]]);
    /// assert_eq!(a.cholesky()?, Tensor::from([[2.0, 0.0], [1.0, 3.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square, or a symmetric part is not positive definite.
    pub fn cholesky(&self) -> Result<Tensor<T>> {
        let operation = "cholesky";
        let (_, size) = square(operation, self.shape())?;
        let half = T::constant(0.5);
        let mut out = binary(operation, self, &self.t(), move |a, b| half * (a + b))?;
        if out.is_empty() {
            return Ok(out);
        }
        for (number, matrix) in out.make_mut().chunks_exact_mut(size * size).enumerate() {
            factor(matrix, size).map_err(|row| {
                Error::value(operation, "the matrix is not positive definite")
                    .with("number in the batch", number)
                    .with("first bad leading minor", row + 1)
            })?;
        }
        Ok(out)
    }
}

/// Overwrites a symmetric matrix with its factor; the row where that fails.
fn factor<T: Float>(a: &mut [T], n: usize) -> std::result::Result<(), usize> {
    for row in 0..n {
        for column in 0..=row {
            let mut x = a[row * n + column];
            for k in 0..column {
                x = x - a[row * n + k] * a[column * n + k];
            }
            a[row * n + column] = if row == column {
                if x <= T::ZERO || x.is_nan() {
                    return Err(row);
                }
                x.sqrt()
            } else {
                x / a[column * n + column]
            };
        }
        a[row * n + row + 1..(row + 1) * n].fill(T::ZERO);
    }
    Ok(())
}
