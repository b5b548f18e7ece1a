//! Reading by index.

use super::{check_index_shape, check_indices};
use crate::element::{Element, Number};
use crate::elementwise::walk::Walk;
use crate::error::{Error, Result};
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// The elements that `index` names along `axis`: for `axis` 1 of three,
    /// `out[i, j, k] = self[i, index[i, j, k], k]`. PyTorch's `gather`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let scores = Tensor::from([[0.1, 0.9], [0.7, 0.3]]);
    /// let labels = Tensor::from([[1_i64], [0]]);
    /// assert_eq!(scores.gather(1, &labels)?.to_vec(), [0.9, 0.7]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, `index` has another rank or is longer than `self` along
    /// another axis, or an index is outside the axis.
    pub fn gather(&self, axis: isize, index: &Tensor<i64>) -> Result<Tensor<T>> {
        let axis = self.shape.axis("gather", axis)?;
        check_index_shape("gather", index, "tensor", &self.shape, axis)?;
        check_indices("gather", index, axis, self.shape[axis])?;
        self.gathered("gather", axis, index)
    }

    /// The slices of `axis` that the 1-d `index` names, in its order: for `axis` 0,
    /// `out[i, …] = self[index[i], …]`. Rows of an embedding, a shuffled batch.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let rows = Tensor::from([[1, 2], [3, 4], [5, 6]]);
    /// let batch = rows.index_select(0, &Tensor::from([2_i64, 0, 2]))?;
    /// assert_eq!(batch, Tensor::from([[5, 6], [1, 2], [5, 6]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, `index` is not 1-d, or an index is outside the axis.
    pub fn index_select(&self, axis: isize, index: &Tensor<i64>) -> Result<Tensor<T>> {
        let axis = self.shape.axis("index_select", axis)?;
        let mut shape = self.shape.clone();
        shape.set(axis, one_axis("index_select", index)?);
        check_indices("index_select", index, axis, self.shape[axis])?;
        shape.checked_elements("index_select", size_of::<T>())?;
        self.gathered("index_select", axis, &along(index, axis, &shape)?)
    }

    /// [`Tensor::gather`] with checked indices.
    pub(super) fn gathered(
        &self,
        operation: &str,
        axis: usize,
        index: &Tensor<i64>,
    ) -> Result<Tensor<T>> {
        let mut strides = self.strides.clone();
        let step = std::mem::replace(&mut strides[axis], 0);
        let walk = Walk::new(
            &index.shape,
            [&index.strides, &strides],
            [index.offset, self.offset],
        );
        let (indices, source) = (index.storage.as_slice(), self.storage.as_slice());
        Tensor::build(operation, index.shape.clone(), |out| {
            Par::Threads.for_chunks(out, BLOCK, |block, out| {
                walk.segments(block * BLOCK, out.len(), |done, run, offsets, strides| {
                    let out = &mut out[done..done + run];
                    let [at, base] = offsets.map(|offset| offset as isize);
                    let place = |i: usize| {
                        let index = indices[(at + i as isize * strides[0]) as usize];
                        (base + i as isize * strides[1] + index as isize * step) as usize
                    };
                    if strides == [0, 1] {
                        out.copy_from_slice(&source[place(0)..][..run]);
                    } else {
                        for (i, out) in out.iter_mut().enumerate() {
                            *out = source[place(i)];
                        }
                    }
                });
            });
        })
    }
}

/// The size of a 1-d index.
pub(super) fn one_axis(operation: &str, index: &Tensor<i64>) -> Result<usize> {
    match index.shape[..] {
        [size] => Ok(size),
        _ => Err(Error::shape(operation, "the index is not 1-d")
            .with("index", &index.shape)
            .fix("flatten it first")),
    }
}

/// The 1-d `index` along `axis`, the same for all other axes of `shape`.
pub(super) fn along(index: &Tensor<i64>, axis: usize, shape: &Shape) -> Result<Tensor<i64>> {
    let mut flat: Shape = shape.iter().map(|_| 1).collect();
    flat.set(axis, index.len());
    index.reshape(flat)?.broadcast_to(shape)
}

impl Tensor<i64> {
    /// Rows with a 1 at the label and 0 elsewhere, along a new last axis of size `classes`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let labels = Tensor::from([2_i64, 0]);
    /// let codes: Tensor<f32> = labels.one_hot(3)?;
    /// assert_eq!(codes, Tensor::from([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a label is not in `0..classes`, or the result is too large for memory.
    pub fn one_hot<U: Number>(&self, classes: usize) -> Result<Tensor<U>> {
        check_indices("one_hot", self, self.rank(), classes)?;
        let mut shape = self.shape.clone();
        shape.push(classes);
        let labels = self.try_contiguous("one_hot")?;
        let mut out = Tensor::zeros_as("one_hot", shape)?;
        if !out.is_empty() {
            let rows = out.make_mut().chunks_exact_mut(classes);
            for (row, &label) in rows.zip(labels.as_slice().unwrap_or_default()) {
                row[label as usize] = U::ONE;
            }
        }
        Ok(out)
    }
}

impl Tensor<u8> {
    /// Rows with a 1 at the label and 0 elsewhere, along a new last axis of size `classes`.
    ///
    /// # Errors
    /// If a label is not below `classes`, or the result is too large for memory.
    pub fn one_hot<U: Number>(&self, classes: usize) -> Result<Tensor<U>> {
        self.try_cast::<i64>("one_hot")?.one_hot(classes)
    }
}
