//! LU factorisation with partial pivoting, and what follows from it.

use super::{for_each_system, square, with_matrix};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Tensor;

/// `P·A = L·U` of one matrix: both factors in place of it, the unit diagonal of L left out.
struct Lu<T> {
    factors: Vec<T>,
    size: usize,
    /// Row `i` was exchanged with row `exchanges[i]`.
    exchanges: Vec<usize>,
    odd: bool,
}

impl<T: Float> Lu<T> {
    /// The factors of a row-major matrix, also of a singular one.
    fn new(matrix: &[T], size: usize) -> Self {
        let mut lu = Lu {
            factors: matrix.to_vec(),
            size,
            exchanges: Vec::with_capacity(size),
            odd: false,
        };
        for step in 0..size {
            lu.eliminate(step);
        }
        lu
    }

    /// Makes the column below diagonal element `step` zero.
    fn eliminate(&mut self, step: usize) {
        let n = self.size;
        let a = &mut self.factors;
        let mut pivot = step;
        for row in step + 1..n {
            if a[row * n + step].magnitude() > a[pivot * n + step].magnitude() {
                pivot = row;
            }
        }
        self.exchanges.push(pivot);
        if pivot != step {
            self.odd = !self.odd;
            for column in 0..n {
                a.swap(step * n + column, pivot * n + column);
            }
        }
        let diagonal = a[step * n + step];
        if diagonal == T::ZERO {
            return;
        }
        let (above, below) = a.split_at_mut((step + 1) * n);
        let pivot_row = &above[step * n..];
        for row in below.chunks_exact_mut(n) {
            let factor = row[step] / diagonal;
            row[step] = factor;
            for (x, &p) in row[step + 1..].iter_mut().zip(&pivot_row[step + 1..]) {
                *x = *x - factor * p;
            }
        }
    }

    fn diagonal(&self) -> impl Iterator<Item = T> + '_ {
        (0..self.size).map(|i| self.factors[i * self.size + i])
    }

    /// Overwrites the right sides with the solutions; `None` if the matrix is singular.
    fn solve(&self, right: &mut [T], columns: usize) -> Option<()> {
        if self.diagonal().any(|u| u == T::ZERO) {
            return None;
        }
        let n = self.size;
        for (i, &j) in self.exchanges.iter().enumerate() {
            if i != j {
                for column in 0..columns {
                    right.swap(i * columns + column, j * columns + column);
                }
            }
        }
        super::triangular::substitute(&self.factors, n, right, columns, false, true);
        super::triangular::substitute(&self.factors, n, right, columns, true, false);
        Some(())
    }
}

/// Batches of square matrices `[…, n, n]`.
impl<T: Float> Tensor<T> {
    /// The solution `x` of `self · x = right`, for right sides `[…, n, columns]` or a vector
    /// `[n]`; batches broadcast. By LU factorisation with partial pivoting.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([[2.0_f64, 1.0], [1.0, 3.0]]);
    /// let x = a.solve(&Tensor::from([3.0, 5.0]))?;
    /// assert!((x[[0]] - 0.8).abs() < 1e-15 && (x[[1]] - 1.4).abs() < 1e-15);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square or singular, or the right sides do not fit.
    pub fn solve(&self, right: &Tensor<T>) -> Result<Tensor<T>> {
        let (_, size) = square("solve", self.shape())?;
        for_each_system("solve", self, right, |matrix, right, columns| {
            Lu::new(matrix, size).solve(right, columns)
        })
    }

    /// The inverse of each matrix.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([[2.0, 0.0], [0.0, 4.0]]);
    /// assert_eq!(a.inverse()?, Tensor::from([[0.5, 0.0], [0.0, 0.25]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square or singular.
    pub fn inverse(&self) -> Result<Tensor<T>> {
        let (batch, size) = square("inverse", self.shape())?;
        let named = |error: Error| error.in_operation("inverse");
        let unit = Tensor::eye(size).map_err(named)?;
        let unit = unit
            .broadcast_to(with_matrix(&batch, size, size))
            .map_err(named)?;
        for_each_system("inverse", self, &unit, |matrix, right, columns| {
            Lu::new(matrix, size).solve(right, columns)
        })
    }

    /// The determinant of each matrix: 1 of an empty one.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([[0.0, 2.0], [3.0, 1.0]]).det()?.item()?, -6.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square.
    pub fn det(&self) -> Result<Tensor<T>> {
        self.of_factors("det", |lu| {
            let sign = if lu.odd { -T::ONE } else { T::ONE };
            lu.diagonal().fold(sign, |product, u| product * u)
        })
    }

    /// `ln |det|` of each matrix, without overflow; −∞ of a singular one.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([[0.0, 2.0], [3.0, 1.0]]);
    /// assert!((a.logabsdet()?.item()? - 6_f64.ln()).abs() < 1e-15);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the matrices are not square.
    pub fn logabsdet(&self) -> Result<Tensor<T>> {
        self.of_factors("logabsdet", |lu| {
            lu.diagonal()
                .fold(T::ZERO, |sum, u| sum + u.magnitude().ln())
        })
    }

    /// One number of each matrix from its factors.
    fn of_factors(&self, operation: &str, number: impl Fn(&Lu<T>) -> T) -> Result<Tensor<T>> {
        let (batch, size) = square(operation, self.shape())?;
        let matrices = self.try_contiguous(operation)?;
        let matrices = matrices.as_slice().unwrap_or_default();
        Tensor::build(operation, batch, |out| {
            // Not the square of the size, which may be none where there are no matrices.
            let area = matrices.len() / out.len().max(1);
            for (i, out) in out.iter_mut().enumerate() {
                *out = number(&Lu::new(&matrices[i * area..(i + 1) * area], size));
            }
        })
    }
}
