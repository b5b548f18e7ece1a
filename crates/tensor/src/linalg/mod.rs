//! Small dense linear algebra on batches of matrices: the last two axes are a matrix, further axes
//! are a batch. Textbook algorithms, sequential: meant for matrices that fit into a cache.

mod cholesky;
mod lu;
mod triangular;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The batch axes and the size of a batch of square matrices.
fn square(operation: &str, shape: &Shape) -> Result<(Shape, usize)> {
    match &shape[..] {
        [batch @ .., rows, columns] if rows == columns => Ok((Shape::from(batch), *rows)),
        _ => Err(Error::shape(operation, "the matrices are not square").with("shape", shape)),
    }
}

/// The batch axes and columns of right sides for matrices of `size`.
fn right_sides(
    operation: &str,
    shape: &Shape,
    left: &Shape,
    size: usize,
) -> Result<(Shape, usize)> {
    match &shape[..] {
        [batch @ .., rows, columns] if *rows == size => Ok((Shape::from(batch), *columns)),
        _ => Err(Error::shape(
            operation,
            "the right side has not as many rows as the matrix",
        )
        .with("matrix", left)
        .with("right side", shape)
        .fix("give a vector [n] or a matrix […, n, columns]")),
    }
}

/// `batch` with a matrix of the given size behind it.
fn with_matrix(batch: &Shape, rows: usize, columns: usize) -> Shape {
    let mut shape = batch.clone();
    shape.push(rows);
    shape.push(columns);
    shape
}

#[cold]
fn singular(operation: &str, batch: usize) -> Error {
    Error::value(operation, "the matrix is singular").with("number in the batch", batch)
}

/// A right side or a matrix for each matrix of a batch, both broadcast and copied row-major, for a
/// function `solve(matrix, right side)` that overwrites the right side.
fn for_each_system<T: Float>(
    operation: &str,
    matrices: &Tensor<T>,
    right: &Tensor<T>,
    mut solve: impl FnMut(&[T], &mut [T], usize) -> Option<()>,
) -> Result<Tensor<T>> {
    let (left_batch, size) = square(operation, matrices.shape())?;
    if right.rank() == 1 {
        let column = right
            .expand_dims(-1)
            .map_err(|error| error.in_operation(operation))?;
        let solution = for_each_system(operation, matrices, &column, solve)?;
        return solution.squeeze(-1);
    }
    let (right_batch, columns) = right_sides(operation, right.shape(), matrices.shape(), size)?;
    let batch = left_batch.broadcast(operation, &right_batch)?;
    let repeated = |x: &Tensor<T>, columns: usize| {
        x.broadcast_to(with_matrix(&batch, size, columns))
            .map_err(|error| error.in_operation(operation))
    };
    let left = repeated(matrices, size)?.try_contiguous(operation)?;
    let mut out = repeated(right, columns)?.copied(operation)?;
    if out.is_empty() {
        return Ok(out);
    }
    let systems = left
        .as_slice()
        .unwrap_or_default()
        .chunks_exact(size * size)
        .zip(out.make_mut().chunks_exact_mut(size * columns));
    for (number, (matrix, right)) in systems.enumerate() {
        solve(matrix, right, columns).ok_or_else(|| singular(operation, number))?;
    }
    Ok(out)
}
