//! Sorting and the largest elements.

use std::cmp::Ordering;

use crate::element::Number;
use crate::error::{Error, Result};
use crate::parallel::{BLOCK, Par};
use crate::tensor::Tensor;

/// NaN counts as larger than every number; ties keep their order.
impl<T: Number> Tensor<T> {
    /// The elements along `axis` in ascending or descending order, and where each was.
    ///
    /// Stable: equal elements keep their order. NaN counts as the largest value.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (values, indices) = Tensor::from([3, 1, 2]).sort(0, false)?;
    /// assert_eq!(values.to_vec(), [1, 2, 3]);
    /// assert_eq!(indices.to_vec(), [1, 2, 0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn sort(&self, axis: isize, descending: bool) -> Result<(Tensor<T>, Tensor<i64>)> {
        let indices = self.ordered("sort", axis, None, descending)?;
        let axis = self.shape.axis("sort", axis)?;
        Ok((self.gathered("sort", axis, &indices)?, indices))
    }

    /// The indices that sort the elements along `axis`; see [`Tensor::sort`].
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([3, 1, 2]).argsort(0, true)?.to_vec(), [0, 2, 1]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn argsort(&self, axis: isize, descending: bool) -> Result<Tensor<i64>> {
        self.ordered("argsort", axis, None, descending)
    }

    /// The `k` largest elements along `axis`, largest first, and where each was; of equal
    /// elements the first ones. NaN counts as the largest value.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (values, indices) = Tensor::from([0.1, 0.6, 0.3]).topk(2, -1)?;
    /// assert_eq!(values.to_vec(), [0.6, 0.3]);
    /// assert_eq!(indices.to_vec(), [1, 2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or has fewer than `k` elements.
    pub fn topk(&self, k: usize, axis: isize) -> Result<(Tensor<T>, Tensor<i64>)> {
        let resolved = self.shape.axis("topk", axis)?;
        if k > self.shape[resolved] {
            return Err(
                Error::value("topk", format!("axis {resolved} has fewer than k elements"))
                    .with("shape", &self.shape)
                    .with("k", k),
            );
        }
        let indices = self.ordered("topk", axis, Some(k), true)?;
        Ok((self.gathered("topk", resolved, &indices)?, indices))
    }

    /// The indices of the first `keep` elements (or all) along `axis` in the given order.
    fn ordered(
        &self,
        operation: &str,
        axis: isize,
        keep: Option<usize>,
        descending: bool,
    ) -> Result<Tensor<i64>> {
        let axis = self.shape.axis(operation, axis)?;
        let rows = self
            .swap_axes(axis as isize, -1)?
            .try_contiguous(operation)?;
        let size = self.shape[axis];
        let keep = keep.unwrap_or(size);
        let mut shape = rows.shape.clone();
        shape.set(shape.rank() - 1, keep);
        let elements = rows.as_slice().unwrap_or_default();
        let some = (BLOCK / size.max(1)).max(1);
        let indices = Tensor::build(operation, shape, |out| {
            Par::Threads.for_chunks(out, some * keep, |chunk, out| {
                let mut order: Vec<i64> = Vec::with_capacity(size);
                for (i, out) in out.chunks_exact_mut(keep).enumerate() {
                    let row = &elements[(chunk * some + i) * size..][..size];
                    order.clear();
                    order.extend(0..size as i64);
                    first_of(&mut order, keep, |&a, &b| {
                        let order = compare(row[a as usize], row[b as usize]);
                        let order = if descending { order.reverse() } else { order };
                        order.then(a.cmp(&b))
                    });
                    out.copy_from_slice(&order[..keep]);
                }
            });
        })?;
        indices
            .swap_axes(axis as isize, -1)?
            .try_contiguous(operation)
    }
}

/// Sorts the first `keep` of `items` to the front. `compare` tells all items apart.
fn first_of<I>(items: &mut [I], keep: usize, compare: impl Fn(&I, &I) -> Ordering) {
    if keep < items.len() {
        items.select_nth_unstable_by(keep, &compare);
    }
    items[..keep].sort_unstable_by(compare);
}

fn compare<T: Number>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
