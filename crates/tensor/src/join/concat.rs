//! Joining tensors along an axis, and the inverse: cutting one into views.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::slice::Slice;
use crate::storage::vec_with_capacity;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// The tensors one after another along `axis`; all other axes must agree.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (a, b) = (Tensor::from([[1, 2], [3, 4]]), Tensor::from([[5], [6]]));
    /// assert_eq!(Tensor::concat(&[&a, &b], 1)?.to_vec(), [1, 2, 5, 3, 4, 6]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are no tensors, the axis does not exist, or another axis differs in size.
    pub fn concat(tensors: &[&Tensor<T>], axis: isize) -> Result<Tensor<T>> {
        concat("concat", tensors, axis)
    }

    /// The tensors, all of one shape, one after another along a new axis before `axis`; `-1` puts
    /// it last.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (a, b) = (Tensor::from([1, 2]), Tensor::from([3, 4]));
    /// assert_eq!(Tensor::stack(&[&a, &b], 0)?, Tensor::from([[1, 2], [3, 4]]));
    /// assert_eq!(Tensor::stack(&[&a, &b], -1)?, Tensor::from([[1, 3], [2, 4]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are no tensors, their shapes differ, or the axis is outside the result.
    pub fn stack(tensors: &[&Tensor<T>], axis: isize) -> Result<Tensor<T>> {
        let Some(first) = tensors.first() else {
            return Err(nothing("stack"));
        };
        let mut shape = first.shape.clone();
        shape.push(1);
        let axis = shape.axis("stack", axis)? as isize;
        let mut parts = Vec::with_capacity(tensors.len());
        for (i, tensor) in tensors.iter().enumerate() {
            if tensor.shape != first.shape {
                return Err(differs("stack", first, i, tensor));
            }
            let part = tensor.expand_dims(axis);
            parts.push(part.map_err(|error| error.in_operation("stack"))?);
        }
        concat("stack", &parts.iter().collect::<Vec<_>>(), axis)
    }

    /// The tensor cut along `axis` into views of the given `sizes`, which must add up to the
    /// axis.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let parts = Tensor::from([1, 2, 3, 4, 5]).split(&[2, 3], 0)?;
    /// assert_eq!(parts[0].to_vec(), [1, 2]);
    /// assert_eq!(parts[1].to_vec(), [3, 4, 5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, or the sizes do not add up to it.
    pub fn split(&self, sizes: &[usize], axis: isize) -> Result<Vec<Tensor<T>>> {
        let axis = self.shape.axis("split", axis)?;
        let total = sizes.iter().try_fold(0_usize, |sum, &n| sum.checked_add(n));
        if total != Some(self.shape[axis]) {
            return Err(
                Error::shape("split", format!("the sizes do not add up to axis {axis}"))
                    .with("shape", &self.shape)
                    .with("sizes", format!("{sizes:?}")),
            );
        }
        let mut start = 0;
        let mut parts = vec_with_capacity("split", sizes.len())?;
        for &size in sizes {
            let range = start as isize..(start + size) as isize;
            start += size;
            parts.push(self.slice_axis(axis as isize, Slice::from(range))?);
        }
        Ok(parts)
    }

    /// The tensor cut along `axis` into at most `count` views of equal size; the last may be
    /// smaller, as in PyTorch. An axis of size 0 gives one empty part.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let parts = Tensor::from([1, 2, 3, 4, 5]).chunk(2, 0)?;
    /// assert_eq!(parts[0].to_vec(), [1, 2, 3]);
    /// assert_eq!(parts[1].to_vec(), [4, 5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or `count` is 0.
    pub fn chunk(&self, count: usize, axis: isize) -> Result<Vec<Tensor<T>>> {
        let axis = self.shape.axis("chunk", axis)?;
        if count == 0 {
            return Err(Error::value("chunk", "the number of parts is 0")
                .with("shape", &self.shape)
                .fix("ask for at least one part"));
        }
        let size = self.shape[axis];
        let part = size.div_ceil(count).max(1);
        let parts = size.div_ceil(part).max(1);
        let mut sizes = vec_with_capacity("chunk", parts)?;
        sizes.resize(size / part, part);
        if sizes.len() < parts {
            sizes.push(size % part);
        }
        self.split(&sizes, axis as isize)
            .map_err(|error| error.in_operation("chunk"))
    }
}

#[cold]
fn nothing(operation: &str) -> Error {
    Error::value(operation, "there are no tensors to join").fix("pass at least one tensor")
}

#[cold]
fn differs<T: Element>(operation: &str, first: &Tensor<T>, i: usize, other: &Tensor<T>) -> Error {
    Error::shape(operation, format!("tensor {i} does not fit tensor 0"))
        .with("tensor 0", &first.shape)
        .with(format!("tensor {i}"), &other.shape)
}

/// The tensors one after another along `axis`, with errors of `operation`.
pub(super) fn concat<T: Element>(
    operation: &str,
    tensors: &[&Tensor<T>],
    axis: isize,
) -> Result<Tensor<T>> {
    let Some(first) = tensors.first() else {
        return Err(nothing(operation));
    };
    let axis = first.shape.axis(operation, axis)?;
    let mut size = 0_usize;
    for (i, tensor) in tensors.iter().enumerate() {
        let fits = tensor.rank() == first.rank()
            && (0..first.rank()).all(|a| a == axis || tensor.shape[a] == first.shape[a]);
        if !fits {
            return Err(differs(operation, first, i, tensor)
                .fix(format!("all axes but axis {axis} must be equal")));
        }
        size = Shape::checked_size(operation, size.checked_add(tensor.shape[axis]))?;
    }
    if let [only] = tensors {
        return Ok((*only).clone());
    }
    let mut shape = first.shape.clone();
    shape.set(axis, size);
    let inner = Shape::from(&shape[axis + 1..]).elements();
    let parts: Vec<(Tensor<T>, usize)> = tensors
        .iter()
        .map(|tensor| {
            let part = tensor.try_contiguous(operation)?;
            Ok((part, tensor.shape[axis].saturating_mul(inner)))
        })
        .collect::<Result<_>>()?;
    let slab = size.saturating_mul(inner);
    Tensor::build(operation, shape, |out| {
        if out.is_empty() {
            return;
        }
        let slabs = (BLOCK / slab).max(1);
        Par::Threads.for_chunks(out, slabs * slab, |chunk, out| {
            for (i, mut out) in out.chunks_exact_mut(slab).enumerate() {
                for (part, len) in &parts {
                    let source = part.as_slice().unwrap_or_default();
                    let target;
                    (target, out) = out.split_at_mut(*len);
                    target.copy_from_slice(&source[(chunk * slabs + i) * len..][..*len]);
                }
            }
        });
    })
}
