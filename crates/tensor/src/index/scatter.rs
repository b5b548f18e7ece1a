//! Adding by index: the adjoints of reading by index.

use super::gather::{along, one_axis};
use super::{check_index_shape, check_indices};
use crate::element::Number;
use crate::elementwise::walk::Walk;
use crate::error::{Error, Result};
use crate::parallel::Par;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// `self` with `source` added at the places that `index` names along `axis`: for `axis` 1 of
    /// three, `out[i, index[i, j, k], k] += source[i, j, k]`. The adjoint of [`Tensor::gather`].
    ///
    /// Where several land in one place they are added in row-major order of `index`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::<f32>::zeros([4])?;
    /// let index = Tensor::from([1_i64, 3, 1]);
    /// let sum = x.scatter_add(0, &index, &Tensor::from([10.0, 20.0, 5.0]))?;
    /// assert_eq!(sum.to_vec(), [0.0, 15.0, 0.0, 20.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, `index` has another rank than `self` or is longer along
    /// another axis, or longer than `source` along any, or an index is outside the axis.
    pub fn scatter_add(
        &self,
        axis: isize,
        index: &Tensor<i64>,
        source: &Tensor<T>,
    ) -> Result<Tensor<T>> {
        let axis = self.shape.axis("scatter_add", axis)?;
        check_index_shape("scatter_add", index, "tensor", &self.shape, axis)?;
        check_index_shape("scatter_add", index, "source", &source.shape, axis)?;
        if index.shape[axis] > source.shape[axis] {
            return Err(Error::shape(
                "scatter_add",
                format!("the index is longer than the source along axis {axis}"),
            )
            .with("source", &source.shape)
            .with("index", &index.shape));
        }
        check_indices("scatter_add", index, axis, self.shape[axis])?;
        self.scattered("scatter_add", axis, index, source)
    }

    /// `self` with the slices of `source` added to those that the 1-d `index` names: for `axis` 0,
    /// `out[index[i], …] += source[i, …]`. The adjoint of [`Tensor::index_select`].
    ///
    /// Slices that land in one place are added in their order.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let rows = Tensor::<f32>::zeros([3, 2])?;
    /// let source = Tensor::from([[1.0, 2.0], [10.0, 20.0]]);
    /// let sum = rows.index_add(0, &Tensor::from([2_i64, 2]), &source)?;
    /// assert_eq!(sum, Tensor::from([[0.0, 0.0], [0.0, 0.0], [11.0, 22.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, `index` is not 1-d, `source` has not the shape of `self` with
    /// the length of `index` along the axis, or an index is outside the axis.
    pub fn index_add(
        &self,
        axis: isize,
        index: &Tensor<i64>,
        source: &Tensor<T>,
    ) -> Result<Tensor<T>> {
        let axis = self.shape.axis("index_add", axis)?;
        let mut shape = self.shape.clone();
        shape.set(axis, one_axis("index_add", index)?);
        if source.shape != shape {
            return Err(Error::shape("index_add", "the source does not fit")
                .with("tensor", &self.shape)
                .with("index", &index.shape)
                .with("source", &source.shape)
                .fix(format!("the source needs the shape {shape}")));
        }
        check_indices("index_add", index, axis, self.shape[axis])?;
        self.scattered("index_add", axis, &along(index, axis, &shape)?, source)
    }

    /// [`Tensor::scatter_add`] with checked arguments.
    fn scattered(
        &self,
        operation: &str,
        axis: usize,
        index: &Tensor<i64>,
        source: &Tensor<T>,
    ) -> Result<Tensor<T>> {
        let mut out = self.copied(operation)?;
        if index.is_empty() {
            return Ok(out);
        }
        let strides = out.shape.strides();
        if axis == 0 {
            add_into(out.make_mut(), &strides, 0, index, source);
            return Ok(out);
        }
        // Different positions on the first axis never meet.
        let slab = strides[0] as usize;
        let parts = (0..index.shape[0]).map(|i| {
            let part = (index.index_axis(0, i)?, source.index_axis(0, i)?);
            Ok(part)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let written = &mut out.make_mut()[..parts.len() * slab];
        Par::Threads.for_chunks(written, slab, |i, out| {
            add_into(out, &strides[1..], axis - 1, &parts[i].0, &parts[i].1);
        });
        Ok(out)
    }
}

/// `out[…, index[…, j, …], …] += source[…, j, …]`; `strides` are those of `out`.
fn add_into<T: Number>(
    out: &mut [T],
    strides: &[isize],
    axis: usize,
    index: &Tensor<i64>,
    source: &Tensor<T>,
) {
    let mut strides: crate::shape::Strides = strides.into();
    let step = std::mem::replace(&mut strides[axis], 0) as usize;
    let walk = Walk::new(
        &index.shape,
        [&index.strides, &source.strides, &strides],
        [index.offset, source.offset, 0],
    );
    let (indices, elements) = (index.storage.as_slice(), source.storage.as_slice());
    walk.segments(0, index.len(), |_, run, offsets, strides| {
        let [at, from, to] = offsets.map(|offset| offset as isize);
        if strides == [0, 1, 1] {
            let to = to as usize + indices[at as usize] as usize * step;
            let out = &mut out[to..][..run];
            let source = &elements[from as usize..][..run];
            for (out, &source) in out.iter_mut().zip(source) {
                *out = out.plus(source);
            }
            return;
        }
        for i in 0..run as isize {
            let index = indices[(at + i * strides[0]) as usize] as usize;
            let to = (to + i * strides[2]) as usize + index * step;
            out[to] = out[to].plus(elements[(from + i * strides[1]) as usize]);
        }
    });
}
