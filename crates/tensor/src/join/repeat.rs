//! Repeating and rotating.

use super::concat::concat;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// Each element `count` times along `axis` (NumPy's `repeat`).
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1, 2]).repeat(3, 0)?.to_vec(), [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist, or the result is too large for memory.
    pub fn repeat(&self, count: usize, axis: isize) -> Result<Tensor<T>> {
        let axis = self.shape.axis("repeat", axis)?;
        let mut shape = self.shape.clone();
        let size = Shape::checked_size("repeat", shape[axis].checked_mul(count))?;
        shape.set(axis, size);
        shape.checked_elements("repeat", size_of::<T>())?;
        let mut spread = self.shape.clone();
        spread.insert(axis + 1, count);
        self.expand_dims(axis as isize + 1)
            .and_then(|apart| apart.broadcast_to(spread)?.reshape(shape))
            .map_err(|error| error.in_operation("repeat"))
    }

    /// The whole tensor `counts[axis]` times along each axis; counts align at the last axis, and
    /// may be more than there are axes (NumPy's `tile`).
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1, 2]).tile(&[2])?.to_vec(), [1, 2, 1, 2]);
    /// assert_eq!(Tensor::from([1, 2]).tile(&[2, 1])?.shape(), &[2, 2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the result is too large for memory, or has more than 32 axes.
    pub fn tile(&self, counts: &[usize]) -> Result<Tensor<T>> {
        let rank = self.rank().max(counts.len());
        if rank > 32 {
            return Err(Error::size(
                "tile",
                format!("{rank} axes are more than the 32 supported"),
            )
            .with("shape", &self.shape)
            .with("counts", format!("{counts:?}")));
        }
        let (mut apart, mut spread, mut shape) =
            (Shape::default(), Shape::default(), Shape::default());
        for axis in 0..rank {
            let from_end = |sizes: &[usize]| {
                let missing = rank - sizes.len();
                axis.checked_sub(missing).map_or(1, |axis| sizes[axis])
            };
            let (count, size) = (from_end(counts), from_end(&self.shape));
            apart.push(1);
            apart.push(size);
            spread.push(count);
            spread.push(size);
            shape.push(Shape::checked_size("tile", count.checked_mul(size))?);
        }
        shape.checked_elements("tile", size_of::<T>())?;
        self.reshape(apart)
            .and_then(|apart| apart.broadcast_to(spread)?.reshape(shape))
            .map_err(|error| error.in_operation("tile"))
    }

    /// The tensor rotated along `axis`: element `i` moves to `i + shift`, and what leaves at one
    /// end enters at the other.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1, 2, 3, 4]).roll(1, 0)?.to_vec(), [4, 1, 2, 3]);
    /// assert_eq!(Tensor::from([1, 2, 3, 4]).roll(-1, 0)?.to_vec(), [2, 3, 4, 1]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn roll(&self, shift: isize, axis: isize) -> Result<Tensor<T>> {
        let axis = self.shape.axis("roll", axis)? as isize;
        if self.is_empty() {
            return Ok(self.clone());
        }
        let size = self.shape[axis as usize] as isize;
        let cut = (size - shift.rem_euclid(size)) % size;
        let tail = self.slice_axis(axis, cut..)?;
        let head = self.slice_axis(axis, 0..cut)?;
        concat("roll", &[&tail, &head], axis)
    }
}
