//! Matrices of few numbers besides zeros, and what they make of an axis.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::simd::{Level, vectorize};
use crate::storage::{reserve, vec_with_capacity};
use crate::tensor::Tensor;

/// A matrix of which only some numbers are held, row by row ("compressed sparse rows"): the others
/// are zero. A clone shares them.
///
/// ```
/// use tensor::{SparseMatrix, Tensor};
/// // Means of neighbours.
/// let means = SparseMatrix::from_rows(3, (0..2).map(|i| [(i, 0.5), (i + 1, 0.5)]))?;
/// let x = Tensor::from([1.0, 3.0, 7.0]);
/// assert_eq!(x.sparse_along(0, &means)?, Tensor::from([2.0, 5.0]));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SparseMatrix<T>(Arc<Rows<T>>);

#[derive(Debug)]
struct Rows<T> {
    columns: usize,
    /// Where each row's numbers begin, and where the last ones end.
    starts: Vec<usize>,
    /// Columns and numbers.
    entries: Vec<(usize, T)>,
}

const FROM_ROWS: &str = "SparseMatrix::from_rows";

impl<T: Float> SparseMatrix<T> {
    /// The matrix with these numbers in each row, each with its column; of several in the same column
    /// the sum counts.
    ///
    /// # Errors
    /// If a column is not below `columns`, or memory is short.
    pub fn from_rows<R>(columns: usize, rows: impl ExactSizeIterator<Item = R>) -> Result<Self>
    where
        R: IntoIterator<Item = (usize, T)>,
    {
        let count = rows.len();
        let mut starts = vec_with_capacity(FROM_ROWS, count.saturating_add(1))?;
        let mut entries = vec_with_capacity(FROM_ROWS, count)?;
        starts.push(0);
        for (row, numbers) in rows.enumerate() {
            for (column, number) in numbers {
                if column >= columns {
                    let message = "a row has a number beyond the last column";
                    return Err(Error::index(FROM_ROWS, message)
                        .with("row", row)
                        .with("column", column)
                        .with("columns", columns));
                }
                reserve(FROM_ROWS, &mut entries, 1)?;
                entries.push((column, number));
            }
            starts.push(entries.len());
        }
        Ok(SparseMatrix(Arc::new(Rows {
            columns,
            starts,
            entries,
        })))
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.0.starts.len() - 1
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.0.columns
    }

    /// The columns and numbers of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> &[(usize, T)] {
        &self.0.entries[self.0.starts[row]..self.0.starts[row + 1]]
    }

    /// Bytes of memory that its numbers take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.0.starts[..]) + size_of_val(&self.0.entries[..])
    }

    /// The matrix with rows and columns exchanged.
    ///
    /// ```
    /// use tensor::SparseMatrix;
    /// let matrix = SparseMatrix::from_rows(3, [[(0, 1.0)], [(2, -1.0)]].into_iter())?;
    /// assert_eq!((matrix.rows(), matrix.columns()), (2, 3));
    /// let transposed = matrix.transposed()?;
    /// assert_eq!(transposed.row(2), [(1, -1.0)]);
    /// assert!(transposed.row(1).is_empty());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If memory is short.
    pub fn transposed(&self) -> Result<Self> {
        const OPERATION: &str = "SparseMatrix::transposed";
        let mut starts = vec_with_capacity(OPERATION, self.columns().saturating_add(1))?;
        starts.resize(self.columns() + 1, 0);
        for (column, _) in &self.0.entries {
            starts[column + 1] += 1;
        }
        for column in 0..self.columns() {
            starts[column + 1] += starts[column];
        }
        let mut entries = vec_with_capacity(OPERATION, self.0.entries.len())?;
        entries.resize(self.0.entries.len(), (0, T::ZERO));
        let mut next: Vec<usize> = vec_with_capacity(OPERATION, starts.len())?;
        next.extend_from_slice(&starts);
        for row in 0..self.rows() {
            for &(column, number) in self.row(row) {
                entries[next[column]] = (row, number);
                next[column] += 1;
            }
        }
        Ok(SparseMatrix(Arc::new(Rows {
            columns: self.rows(),
            starts,
            entries,
        })))
    }
}

impl<T: Float> Tensor<T> {
    /// The matrix times each vector along `axis`:
    /// `y[…, i, …] = Σⱼ matrix[i, j] x[…, j, …]`, with `matrix.rows()` elements along the axis.
    ///
    /// Zeros that the matrix does not hold meet nothing: where `x` is infinite or NaN, only the sums
    /// that take it are. The adjoint is the same with [`SparseMatrix::transposed`].
    ///
    /// ```
    /// use tensor::{SparseMatrix, Tensor};
    /// let x = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// let ends = SparseMatrix::from_rows(3, [[(0, 1.0)], [(2, -1.0)]].into_iter())?;
    /// assert_eq!(x.sparse_along(1, &ends)?, Tensor::from([[1.0, -3.0], [4.0, -6.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or has not as many elements as the matrix has columns, or memory is
    /// short.
    pub fn sparse_along(&self, axis: isize, matrix: &SparseMatrix<T>) -> Result<Tensor<T>> {
        const OPERATION: &str = "sparse_along";
        let axis = self.shape.axis(OPERATION, axis)?;
        let old = self.shape[axis];
        if matrix.columns() != old {
            let message = format!("the matrix has not as many columns as axis {axis} has elements");
            return Err(Error::shape(OPERATION, message)
                .with("shape", &self.shape)
                .with("rows", matrix.rows())
                .with("columns", matrix.columns()));
        }
        let mut shape = self.shape.clone();
        shape.set(axis, matrix.rows());
        let x = self.try_contiguous(OPERATION)?;
        let x = x.as_slice().unwrap_or_default();
        let level = Level::best();
        Tensor::build(OPERATION, shape, |out| {
            if out.is_empty() {
                return;
            }
            // Of no elements the sizes may have a product that is none.
            let inner: usize = self.shape[axis + 1..].iter().product();
            let rows_at_once = (BLOCK / inner).max(1);
            Par::Threads.for_chunks(out, rows_at_once * inner, |block, out| {
                let first = block * rows_at_once;
                vectorize(
                    level,
                    #[inline(always)]
                    || {
                        for (i, sums) in out.chunks_exact_mut(inner).enumerate() {
                            let (image, row) =
                                ((first + i) / matrix.rows(), (first + i) % matrix.rows());
                            let x = &x[image * old * inner..][..old * inner];
                            add_up(matrix.row(row), x, sums);
                        }
                    },
                );
            });
        })
    }
}

/// `sums = Σ number · x[column]`, of rows as long as `sums`, in order.
#[inline(always)]
fn add_up<T: Float>(entries: &[(usize, T)], x: &[T], sums: &mut [T]) {
    let inner = sums.len();
    match *entries {
        [] => sums.fill(T::ZERO),
        [(column, number)] => {
            let x = &x[column * inner..][..inner];
            for k in 0..inner {
                sums[k] = number * x[k];
            }
        }
        [(first, a), (second, b), ref others @ ..] => {
            let (y, z) = (&x[first * inner..][..inner], &x[second * inner..][..inner]);
            for k in 0..inner {
                sums[k] = a * y[k] + b * z[k];
            }
            for &(column, number) in others {
                let x = &x[column * inner..][..inner];
                for k in 0..inner {
                    sums[k] += number * x[k];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator;
    use crate::reduce::same_on_any_pool;

    /// Rows of no, one, two and more numbers, and two in the same column.
    fn matrix() -> SparseMatrix<f64> {
        let rows: [&[(usize, f64)]; 5] = [
            &[(2, 1.5)],
            &[],
            &[(3, 0.5), (0, -2.0)],
            &[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)],
            &[(1, 0.25), (1, 0.5)],
        ];
        SparseMatrix::from_rows(4, rows.into_iter().map(|row| row.to_vec())).unwrap()
    }

    fn dense(matrix: &SparseMatrix<f64>) -> Tensor<f64> {
        Tensor::from_fn([matrix.rows(), matrix.columns()], |at| {
            let row = matrix.row(at[0]).iter();
            row.filter(|(column, _)| *column == at[1])
                .map(|(_, number)| number)
                .sum()
        })
        .unwrap()
    }

    #[test]
    fn products_agree_with_those_of_the_dense_matrix() {
        let matrix = matrix();
        for shape in [
            &[4][..],
            &[4, 7],
            &[3, 4, 5],
            &[2, 3, 4],
            &[40, 4, 300],
            &[0, 4, 2],
            &[2, 4, 0],
        ] {
            let x = Tensor::normal(shape, 0.0, 1.0, &mut generator(1)).unwrap();
            let axis = shape.iter().position(|&size| size == 4).unwrap() as isize;
            let expected = match shape.len() {
                1 => dense(&matrix).matmul(&x).unwrap(),
                rank => {
                    let moved = x.swap_axes(axis, rank as isize - 1).unwrap();
                    let product = moved.matmul(&dense(&matrix).t()).unwrap();
                    product.swap_axes(axis, rank as isize - 1).unwrap()
                }
            };
            let found = x.sparse_along(axis, &matrix).unwrap();
            assert_eq!(found.shape(), expected.shape());
            for (found, expected) in found.iter().zip(expected.iter()) {
                assert!((found - expected).abs() < 1e-14, "{shape:?}");
            }
            // Of a view, too.
            let flipped = x.flip(..).unwrap();
            let copy = flipped.contiguous();
            assert_eq!(
                flipped.sparse_along(axis, &matrix).unwrap(),
                copy.sparse_along(axis - shape.len() as isize, &matrix)
                    .unwrap()
            );
            if !x.is_empty() {
                same_on_any_pool(|| vec![x.sparse_along(axis, &matrix).unwrap()]);
            }
        }
    }

    #[test]
    fn transposing_exchanges_rows_and_columns() {
        let matrix = matrix();
        let transposed = matrix.transposed().unwrap();
        assert_eq!((transposed.rows(), transposed.columns()), (4, 5));
        assert_eq!(dense(&transposed), dense(&matrix).t());
        let back = transposed.transposed().unwrap();
        assert_eq!(dense(&back), dense(&matrix));
        assert!(matrix.bytes() >= 9 * 16 + 6 * 8);
    }

    #[test]
    fn what_the_matrix_does_not_hold_meets_nothing() {
        let x = Tensor::from([f64::NAN, f64::INFINITY, -0.0, 1.0]);
        let y = x.sparse_along(0, &matrix()).unwrap().to_vec();
        assert!(y[0] == 0.0 && y[0].is_sign_negative());
        assert_eq!(y[1], 0.0);
        assert!(y[2].is_nan() && y[3].is_nan());
        assert_eq!(y[4], f64::INFINITY);
    }

    #[test]
    fn misfits_are_errors() {
        let rows = [vec![(0, 1.0)], vec![(4, 1.0)]];
        let error = SparseMatrix::from_rows(4, rows.into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SparseMatrix::from_rows: a row has a number beyond the last column\n  \
             row      1\n  column   4\n  columns  4"
        );
        let x = Tensor::<f64>::zeros([3, 5]).unwrap();
        let error = x.sparse_along(1, &matrix()).unwrap_err().to_string();
        assert!(error.contains("[3, 5]") && error.contains('4'), "{error}");
        assert!(x.sparse_along(2, &matrix()).is_err());
        // Whose sizes have no product.
        let huge = [0, 4, usize::MAX / 2, 4];
        let none = Tensor::<f64>::zeros(huge).unwrap();
        let rows = none.sparse_along(1, &matrix()).unwrap();
        assert_eq!(*rows.shape(), [0, 5, huge[2], 4]);
        let endless = SparseMatrix::from_rows(1, (0..usize::MAX).map(|_| [(0, 1.0)]));
        assert!(endless.is_err());
    }
}
