//! Products of stacks of matrices, one for each place along the axes before the last two.

use std::sync::OnceLock;

use crate::element::{Element, Number};
use crate::error::Result;
use crate::parallel::Par;
use crate::shape::Shape;
use crate::simd::Level;
use crate::tensor::Tensor;

use super::MatrixRef;

/// Products of two stacks of matrices: `[batch…, m, k]` and `[batch…, k, n]`.
pub(super) struct Products<T: Element> {
    pub(super) left: Tensor<T>,
    pub(super) right: Tensor<T>,
    pub(super) par: Par,
    pub(super) level: Level,
}

impl<T: Number> Products<T> {
    pub(super) fn run(&self, out: &mut [T]) -> Result<()> {
        let (batch, [m, k]) = split(&self.left.shape);
        let n = self.right.shape[self.right.rank() - 1];
        let count = batch.elements();
        if out.is_empty() {
            return Ok(());
        }
        if let Some(rows) = self.joined_rows(&batch, m) {
            let strides = matrix_strides(&self.left);
            let left = matrix(&self.left, self.left.offset, [rows, k], strides)?;
            let right = self.right_of(0, &batch, [k, n])?;
            return T::product(left, right, out, self.par, self.level);
        }
        // Many small products are spread over the threads, few large ones are parallel inside.
        const FEW: usize = 8;
        let (outer, inner) = if count < FEW {
            (Par::Sequential, self.par)
        } else {
            (self.par, Par::Sequential)
        };
        let failure = OnceLock::new();
        outer.for_chunks(out, m * n, |index, out| {
            let mut product = || {
                let offset = position(&self.left, index, &batch);
                let left = matrix(&self.left, offset, [m, k], matrix_strides(&self.left))?;
                let right = self.right_of(index, &batch, [k, n])?;
                T::product(left, right, out, inner, self.level)
            };
            if let Err(error) = product() {
                // Which of several failures is reported does not matter.
                let _ = failure.set(error);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// The rows of all left matrices in one, if they are evenly spaced and meet the same right
    /// matrix: then the stack is one tall product.
    fn joined_rows(&self, batch: &Shape, m: usize) -> Option<usize> {
        let axes = batch.rank();
        let same_right = (0..axes).all(|axis| batch[axis] == 1 || self.right.strides[axis] == 0);
        if !same_right {
            return None;
        }
        let mut rows = m;
        let step = self.left.strides[axes];
        for axis in (0..axes).rev() {
            let joined = step.checked_mul(isize::try_from(rows).ok()?)?;
            if batch[axis] != 1 && self.left.strides[axis] != joined {
                return None;
            }
            rows = rows.checked_mul(batch[axis])?;
        }
        Some(rows)
    }

    fn right_of(&self, index: usize, batch: &Shape, size: [usize; 2]) -> Result<MatrixRef<'_, T>> {
        let offset = position(&self.right, index, batch);
        matrix(&self.right, offset, size, matrix_strides(&self.right))
    }
}

/// The axes before the last two, and those two.
pub(super) fn split(shape: &Shape) -> (Shape, [usize; 2]) {
    let (batch, matrix) = shape.split_at(shape.rank() - 2);
    (Shape::from(batch), [matrix[0], matrix[1]])
}

/// Where matrix `index` of the stack starts.
fn position<T: Element>(stack: &Tensor<T>, mut index: usize, batch: &Shape) -> usize {
    let mut at = stack.offset as isize;
    for axis in (0..batch.rank()).rev() {
        at += (index % batch[axis]) as isize * stack.strides[axis];
        index /= batch[axis];
    }
    at as usize
}

pub(super) fn matrix_strides<T: Element>(stack: &Tensor<T>) -> [isize; 2] {
    let rank = stack.rank();
    [stack.strides[rank - 2], stack.strides[rank - 1]]
}

pub(super) fn matrix<T: Element>(
    stack: &Tensor<T>,
    offset: usize,
    size: [usize; 2],
    strides: [isize; 2],
) -> Result<MatrixRef<'_, T>> {
    MatrixRef::new(stack.storage.as_slice(), offset, size, strides)
}
