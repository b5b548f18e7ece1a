//! Zero-copy views: reshape, permute, broadcast, slice, flip, squeeze, expand.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, Strides};
use crate::slice::Slice;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    fn view(&self, shape: Shape, strides: Strides, offset: usize) -> Self {
        Tensor {
            storage: self.storage.clone(),
            shape,
            strides,
            offset,
        }
    }

    /// The part that `slices` take, one per axis from the first; further axes stay whole.
    ///
    /// ```
    /// use tensor::{Slice, Tensor};
    /// let image = Tensor::<f32>::zeros([8, 10, 3])?;
    /// let mirrored_top = image.slice(&[(0..4).into(), Slice::from(..).step(-1)])?;
    /// assert_eq!(mirrored_top.shape(), &[4, 10, 3]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are more slices than axes, or a step is 0.
    pub fn slice(&self, slices: &[Slice]) -> Result<Self> {
        if slices.len() > self.rank() {
            return Err(
                Error::axis("slice", format!("{} slices for fewer axes", slices.len()))
                    .with("shape", &self.shape),
            );
        }
        let (mut shape, mut strides) = (self.shape.clone(), self.strides.clone());
        let mut offset = self.offset as isize;
        for (axis, slice) in slices.iter().enumerate() {
            let (first, count) = slice.resolve(shape[axis])?;
            if count > 0 && !self.is_empty() {
                offset += first as isize * strides[axis];
            }
            shape.set(axis, count);
            // A stride is only ever multiplied by an index below `count`, so a step that would
            // overflow is never taken.
            strides[axis] = if count > 1 {
                strides[axis].wrapping_mul(slice.step)
            } else {
                0
            };
        }
        Ok(self.view(shape, strides, offset as usize))
    }

    /// The part that `slice` takes of one axis.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.slice_axis(-1, 1..)?.to_vec(), [2, 3, 5, 6]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or the step is 0.
    pub fn slice_axis(&self, axis: isize, slice: impl Into<Slice>) -> Result<Self> {
        let axis = self.shape.axis("slice_axis", axis)?;
        let mut slices = vec![Slice::from(..); axis];
        slices.push(slice.into());
        self.slice(&slices)
            .map_err(|error| error.in_operation("slice_axis"))
    }

    /// The element `index` of an axis, which disappears from the shape.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.index_axis(0, 1)?.to_vec(), [4, 5, 6]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or the index is outside it.
    pub fn index_axis(&self, axis: isize, index: usize) -> Result<Self> {
        let axis = self.shape.axis("index_axis", axis)?;
        let size = self.shape[axis];
        if index >= size {
            return Err(Error::index(
                "index_axis",
                format!("index {index} is outside axis {axis}"),
            )
            .with("shape", &self.shape));
        }
        let mut offset = self.offset as isize;
        if !self.is_empty() {
            offset += index as isize * self.strides[axis];
        }
        let (mut shape, mut strides) = (self.shape.clone(), self.strides.clone());
        shape.remove(axis);
        strides.remove(axis);
        Ok(self.view(shape, strides, offset as usize))
    }

    /// The axes in a new order: axis `i` of the result is axis `order[i]` of `self`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let nhwc = Tensor::<f32>::zeros([32, 28, 20, 3])?;
    /// assert_eq!(nhwc.permute(&[0, 3, 1, 2])?.shape(), &[32, 3, 28, 20]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `order` is not a permutation of all axes.
    pub fn permute(&self, order: &[isize]) -> Result<Self> {
        let wrong = |error: Error| error.with("order", format!("{order:?}"));
        if order.len() != self.rank() {
            return Err(wrong(
                Error::axis("permute", "the order does not name every axis once")
                    .with("shape", &self.shape),
            ));
        }
        Axes::from(order).mask("permute", &self.shape)?;
        let (mut shape, mut strides) = (Shape::default(), Strides::new());
        for &axis in order {
            let axis = self.shape.axis("permute", axis)?;
            shape.push(self.shape[axis]);
            strides.push(self.strides[axis]);
        }
        Ok(self.view(shape, strides, self.offset))
    }

    /// The last two axes exchanged: the transpose of each matrix. Below two axes, `self`.
    #[must_use]
    pub fn t(&self) -> Self {
        let mut out = self.clone();
        if let Some(last) = self.rank().checked_sub(1).filter(|&last| last > 0) {
            out.shape.set(last, self.shape[last - 1]);
            out.shape.set(last - 1, self.shape[last]);
            out.strides.swap(last - 1, last);
        }
        out
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    /// If an axis does not exist.
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Self> {
        let (a, b) = (
            self.shape.axis("swap_axes", a)?,
            self.shape.axis("swap_axes", b)?,
        );
        let mut out = self.clone();
        out.shape.set(a, self.shape[b]);
        out.shape.set(b, self.shape[a]);
        out.strides.swap(a, b);
        Ok(out)
    }

    /// The same elements in row-major order under another shape; a view where the memory allows
    /// it, else a copy.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::arange(0, 6, 1)?.reshape([2, 3])?;
    /// assert_eq!(x.reshape([3, 2])?.to_vec(), [0, 1, 2, 3, 4, 5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the number of elements differs, or a copy is needed and memory is short.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape == self.shape {
            return Ok(self.clone());
        }
        let elements = shape.checked_elements("reshape", size_of::<T>())?;
        if elements != self.len() {
            return Err(Error::shape("reshape", "the number of elements differs")
                .with("from", format!("{} = {} elements", self.shape, self.len()))
                .with("to", format!("{shape} = {elements} elements")));
        }
        if let Some(strides) = self.strides_for(&shape) {
            return Ok(self.view(shape, strides, self.offset));
        }
        let copy = self.copied("reshape")?;
        let strides = shape.strides();
        Ok(copy.view(shape, strides, 0))
    }

    /// Strides that show the elements under `shape` without moving them, if there are any.
    fn strides_for(&self, shape: &Shape) -> Option<Strides> {
        if self.is_contiguous() {
            return Some(shape.strides());
        }
        // Walk both shapes from the end in groups of axes with equal element counts; within a
        // group the old axes must follow each other in memory.
        let mut strides: Strides = smallvec::SmallVec::from_elem(0, shape.rank());
        let (mut old, mut new) = (self.rank(), shape.rank());
        while new > 0 {
            let mut group = 1;
            let end = new;
            new -= 1;
            group *= shape[new];
            let mut old_group = 1;
            let mut step = None;
            let mut next = 0;
            while old_group < group || (old > 0 && self.shape[old - 1] == 1) {
                old -= 1;
                if self.shape[old] == 1 {
                    continue;
                }
                if step.is_some() && self.strides[old] != next {
                    return None;
                }
                step.get_or_insert(self.strides[old]);
                old_group *= self.shape[old];
                next = self.strides[old] * self.shape[old] as isize;
                while group < old_group {
                    new = new.checked_sub(1)?;
                    group *= shape[new];
                }
            }
            if old_group != group {
                return None;
            }
            let mut stride = step.unwrap_or(0);
            for axis in (new..end).rev() {
                strides[axis] = stride;
                stride *= shape[axis] as isize;
            }
        }
        Some(strides)
    }

    /// The axes from `start` on merged into one; [`Tensor::reshape`] by the first `start` axes.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let images = Tensor::<f32>::zeros([32, 5, 5, 64])?;
    /// assert_eq!(images.flatten(1)?.shape(), &[32, 1600]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are fewer than `start` axes.
    pub fn flatten(&self, start: usize) -> Result<Self> {
        if start > self.rank() {
            return Err(
                Error::axis("flatten", format!("there is no axis {start} to start from"))
                    .with("shape", &self.shape),
            );
        }
        let mut shape = Shape::from(&self.shape[..start]);
        let merged = Shape::from(&self.shape[start..]);
        shape.push(merged.checked_elements("flatten", 1)?);
        self.reshape(shape)
            .map_err(|error| error.in_operation("flatten"))
    }

    /// The tensor repeated to `shape` without copying (stride 0), by NumPy's broadcasting rule.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let row = Tensor::from([1, 2, 3]);
    /// assert_eq!(row.broadcast_to([2, 3])?.to_vec(), [1, 2, 3, 1, 2, 3]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shape does not broadcast to `shape`.
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape == self.shape {
            return Ok(self.clone());
        }
        shape.checked_elements("broadcast_to", size_of::<T>())?;
        let strides = self.broadcast_strides("broadcast_to", &shape)?;
        Ok(self.view(shape, strides, self.offset))
    }

    /// Strides of `self` seen under the broadcast `shape`.
    pub(crate) fn broadcast_strides(&self, operation: &str, shape: &Shape) -> Result<Strides> {
        let misfit = || {
            Error::shape(operation, "the tensor does not broadcast to the shape")
                .with("from", &self.shape)
                .with("to", shape)
                .fix("sizes must be equal or 1, counted from the last axis")
        };
        let lead = shape.rank().checked_sub(self.rank()).ok_or_else(misfit)?;
        let mut strides: Strides = smallvec::SmallVec::from_elem(0, shape.rank());
        for (axis, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            match (size, shape[lead + axis]) {
                (a, b) if a == b => strides[lead + axis] = stride,
                (1, _) => {}
                _ => return Err(misfit()),
            }
        }
        Ok(strides)
    }

    /// A new axis of size 1 before `axis`; `-1` appends it.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::<f32>::zeros([2, 3])?;
    /// assert_eq!(x.expand_dims(0)?.shape(), &[1, 2, 3]);
    /// assert_eq!(x.expand_dims(-1)?.shape(), &[2, 3, 1]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the position is outside the result.
    pub fn expand_dims(&self, axis: isize) -> Result<Self> {
        let mut shape = self.shape.clone();
        shape.push(1);
        let axis = shape.axis("expand_dims", axis)?;
        let (mut shape, mut strides) = (self.shape.clone(), self.strides.clone());
        shape.insert(axis, 1);
        shape.checked_elements("expand_dims", size_of::<T>())?;
        strides.insert(axis, 0);
        Ok(self.view(shape, strides, self.offset))
    }

    /// Without the axes `axes`, which must have size 1.
    ///
    /// # Errors
    /// If an axis does not exist or has another size.
    pub fn squeeze(&self, axes: impl Into<Axes>) -> Result<Self> {
        let mask = axes.into().mask("squeeze", &self.shape)?;
        let (mut shape, mut strides) = (Shape::default(), Strides::new());
        for (axis, &squeezed) in mask.iter().enumerate() {
            if !squeezed {
                shape.push(self.shape[axis]);
                strides.push(self.strides[axis]);
            } else if self.shape[axis] != 1 {
                return Err(Error::shape(
                    "squeeze",
                    format!("axis {axis} has a size other than 1"),
                )
                .with("shape", &self.shape)
                .fix("name only axes of size 1"));
            }
        }
        Ok(self.view(shape, strides, self.offset))
    }

    /// The order along `axes` reversed.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1, 2, 3]).flip(0)?.to_vec(), [3, 2, 1]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn flip(&self, axes: impl Into<Axes>) -> Result<Self> {
        let mask = axes.into().mask("flip", &self.shape)?;
        let slices: Vec<Slice> = mask
            .iter()
            .map(|&flip| Slice::from(..).step(if flip { -1 } else { 1 }))
            .collect();
        self.slice(&slices)
    }
}

#[cfg(test)]
#[allow(clippy::reversed_empty_ranges, clippy::type_complexity)]
mod tests {
    use super::*;

    fn counted(shape: impl Into<Shape>) -> Tensor<i32> {
        let shape = shape.into();
        Tensor::arange(0, shape.elements() as i32, 1)
            .unwrap()
            .reshape(shape)
            .unwrap()
    }

    #[test]
    fn slices_follow_python() {
        let x = counted([7]);
        let cases: [(Slice, &[i32]); 9] = [
            ((..).into(), &[0, 1, 2, 3, 4, 5, 6]),
            ((2..5).into(), &[2, 3, 4]),
            ((-3..-1).into(), &[4, 5]),
            ((-100..100).into(), &[0, 1, 2, 3, 4, 5, 6]),
            ((5..2).into(), &[]),
            ((2..=-1).into(), &[2, 3, 4, 5, 6]),
            (Slice::from(..).step(3), &[0, 3, 6]),
            (Slice::from(..).step(-3), &[6, 3, 0]),
            (Slice::from(..).step(isize::MIN), &[6]),
        ];
        for (slice, expected) in cases {
            assert_eq!(x.slice(&[slice]).unwrap().to_vec(), expected, "{slice:?}");
        }
        assert!(x.slice(&[Slice::from(..).step(0)]).is_err());
        assert!(x.slice(&[(..).into(), (..).into()]).is_err());
    }

    #[test]
    fn views_of_views_read_the_right_elements() {
        let x = counted([3, 4, 5]);
        let view = x
            .permute(&[2, 0, 1])
            .unwrap()
            .slice(&[Slice::from(1..).step(2)])
            .unwrap();
        let view = view.flip([0, 2]).unwrap();
        for i in 0..2 {
            for j in 0..3 {
                for k in 0..4 {
                    let source = [j, 3 - k, [1, 3][1 - i]];
                    assert_eq!(view[[i, j, k]], x[source]);
                }
            }
        }
        assert!(view.shares_memory_with(&x));
        assert_eq!(view.contiguous(), view);
    }

    #[test]
    fn reshape_copies_only_where_it_must() {
        let x = counted([4, 6]);
        assert!(x.reshape([2, 2, 6, 1]).unwrap().shares_memory_with(&x));
        let columns = x.slice_axis(1, 0..3).unwrap();
        assert!(columns.reshape([2, 2, 3]).unwrap().shares_memory_with(&x));
        assert!(!columns.reshape([12]).unwrap().shares_memory_with(&x));
        assert!(!x.t().reshape([24]).unwrap().shares_memory_with(&x));
        assert_eq!(x.t().reshape([24]).unwrap().to_vec(), x.t().to_vec());
        let wide = counted([3, 1]).broadcast_to([3, 4]).unwrap();
        assert_eq!(wide.reshape([2, 6]).unwrap().to_vec(), wide.to_vec());
        assert!(x.reshape([5, 5]).is_err());
        assert!(x.reshape([usize::MAX, 2]).is_err());
    }

    #[test]
    fn big_transposes_copy_by_tiles() {
        for (rows, columns) in [(8, 8), (33, 70), (100, 9)] {
            let x = counted([rows, columns]);
            assert_eq!(
                x.t().contiguous().to_vec(),
                x.t().iter().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn empty_and_zero_dimensional_tensors_are_ordinary() {
        let empty = counted([0, 3]);
        assert_eq!(empty.t().contiguous().shape(), &[3, 0]);
        assert_eq!(empty.flip(..).unwrap().to_vec(), [0_i32; 0]);
        assert!(
            Tensor::<f32>::zeros([0, usize::MAX, 2])
                .unwrap()
                .flatten(0)
                .unwrap()
                .is_empty()
        );
        let scalar = Tensor::scalar(5);
        assert_eq!(scalar.t().reshape([1, 1]).unwrap().to_vec(), [5]);
        assert_eq!(scalar.broadcast_to([2, 2]).unwrap().to_vec(), [5; 4]);
    }
}
