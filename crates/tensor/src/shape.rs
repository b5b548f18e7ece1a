//! Shapes, strides, broadcasting and axis arithmetic.

use std::fmt;
use std::ops::{Deref, Range, RangeFull};

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// Sizes of the axes of a tensor, outermost first; empty for a single value (0-d).
///
/// Up to four axes live inline, without a heap allocation: images are
/// `[batch, height, width, channels]`.
///
/// ```
/// use tensor::Shape;
/// let shape = Shape::from([2, 3, 4]);
/// assert_eq!(shape.rank(), 3);
/// assert_eq!(shape.elements(), 24);
/// assert_eq!(shape.to_string(), "[2, 3, 4]");
/// ```
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; INLINE_AXES]>);

/// Distance in elements between neighbours along each axis; may be 0 or negative in a view.
pub(crate) type Strides = SmallVec<[isize; INLINE_AXES]>;

/// Axes whose sizes need no heap allocation.
const INLINE_AXES: usize = 4;

impl Clone for Shape {
    #[inline]
    fn clone(&self) -> Self {
        Shape(few(&self.0))
    }
}

/// Sizes or strides in memory of their own. What has a place for a few axes is written there without
/// a loop or a call: every value and every result carries two of these.
#[inline]
pub(crate) fn few<S: Copy + Default>(values: &[S]) -> SmallVec<[S; INLINE_AXES]> {
    let none = S::default();
    let inline = match *values {
        [] => [none; INLINE_AXES],
        [a] => [a, none, none, none],
        [a, b] => [a, b, none, none],
        [a, b, c] => [a, b, c, none],
        [a, b, c, d] => [a, b, c, d],
        _ => return SmallVec::from_slice(values),
    };
    SmallVec::from_buf_and_len(inline, values.len())
}

/// The most axes a tensor can have, as in NumPy.
pub(crate) const MAX_RANK: usize = 64;

impl Shape {
    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements: the product of the sizes, 1 for a 0-d shape.
    ///
    /// Shapes of existing tensors never overflow this; [`Shape::checked_elements`] is for shapes
    /// that come from outside. Saturates at `usize::MAX`.
    #[inline]
    pub fn elements(&self) -> usize {
        self.0
            .iter()
            .fold(1, |product, &size| product.saturating_mul(size))
    }

    /// The number of elements, if an array of that many elements of `element_size` bytes can be
    /// addressed.
    ///
    /// # Errors
    /// [`ErrorKind::Size`](crate::ErrorKind::Size) if the product overflows `isize::MAX` bytes, or
    /// there are more than 64 axes.
    #[inline]
    pub fn checked_elements(&self, operation: &str, element_size: usize) -> Result<usize> {
        if self.rank() > MAX_RANK {
            let message = format!(
                "{} axes are more than the {MAX_RANK} supported",
                self.rank()
            );
            return Err(Error::size(operation, message));
        }
        if self.0.contains(&0) {
            return Ok(0);
        }
        self.0
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))
            .filter(|&count| {
                count
                    .checked_mul(element_size.max(1))
                    .is_some_and(|b| b <= isize::MAX as usize)
            })
            .ok_or_else(|| {
                Error::size(
                    operation,
                    "the shape has more elements than memory can address",
                )
                .with("shape", self)
            })
    }

    /// The size of an axis that was computed, unless its arithmetic has overflowed.
    ///
    /// # Errors
    /// [`ErrorKind::Size`](crate::ErrorKind::Size) if it is `None`.
    pub(crate) fn checked_size(operation: &str, size: Option<usize>) -> Result<usize> {
        size.ok_or_else(|| {
            Error::size(operation, "an axis of the result exceeds the address space")
        })
    }

    /// Checks that the product of any of the sizes, in elements of the widest type, can be addressed.
    /// [`Shape::checked_elements`] takes every shape with a size of 0, of which there is nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Size`](crate::ErrorKind::Size) if it cannot.
    pub(crate) fn check_products(&self, operation: &str) -> Result<()> {
        let nonzero: Shape = self.iter().copied().filter(|&size| size > 0).collect();
        match nonzero.checked_elements(operation, size_of::<f64>()) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::size(
                operation,
                "the product of the sizes exceeds the address space",
            )
            .with("shape", self)),
        }
    }

    /// Row-major strides.
    #[inline]
    pub(crate) fn strides(&self) -> Strides {
        // `from_elem` goes element by element.
        let mut strides = match self.rank() {
            rank @ ..=INLINE_AXES => Strides::from_buf_and_len([0; INLINE_AXES], rank),
            rank => Strides::from_elem(0, rank),
        };
        let mut step = 1isize;
        for (stride, &size) in strides.iter_mut().zip(self.0.iter()).rev() {
            *stride = step;
            step = step.wrapping_mul(size.max(1) as isize);
        }
        strides
    }

    /// Appends an axis of `size` at the end.
    #[inline]
    pub fn push(&mut self, size: usize) {
        self.0.push(size);
    }

    /// Inserts an axis of `size` before `position`.
    pub(crate) fn insert(&mut self, position: usize, size: usize) {
        self.0.insert(position, size);
    }

    /// Removes the axis at `position`.
    pub(crate) fn remove(&mut self, position: usize) -> usize {
        self.0.remove(position)
    }

    /// Replaces the size at `axis`.
    pub(crate) fn set(&mut self, axis: usize, size: usize) {
        self.0[axis] = size;
    }

    /// The shape that `self` and `other` broadcast to: aligned at the last axis, sizes must be
    /// equal or 1 ([NumPy's rule](https://numpy.org/doc/stable/user/basics.broadcasting.html)).
    ///
    /// ```
    /// use tensor::Shape;
    /// let rows = Shape::from([4, 1]);
    /// let columns = Shape::from([3]);
    /// assert_eq!(rows.broadcast("add", &columns)?, Shape::from([4, 3]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) naming `operation` and both shapes.
    pub fn broadcast(&self, operation: &str, other: &Shape) -> Result<Shape> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.rank().max(other.rank());
        let mut sizes = SmallVec::from_elem(1, rank);
        for i in 0..rank {
            let a = size_from_end(self, rank - 1 - i);
            let b = size_from_end(other, rank - 1 - i);
            sizes[i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                (a, b) => {
                    return Err(Error::shape(
                        operation,
                        format!("the shapes do not broadcast: sizes {a} and {b} meet on axis {i}"),
                    )
                    .with("left", self)
                    .with("right", other)
                    .fix("sizes must be equal or 1, counted from the last axis"));
                }
            };
        }
        Ok(Shape(sizes))
    }

    /// Resolves a possibly negative `axis` against this rank.
    ///
    /// # Errors
    /// [`ErrorKind::Axis`](crate::ErrorKind::Axis) if it is outside `-rank..rank`.
    pub fn axis(&self, operation: &str, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize;
        let resolved = if axis < 0 {
            axis.saturating_add(rank)
        } else {
            axis
        };
        if (0..rank).contains(&resolved) {
            Ok(resolved as usize)
        } else {
            Err(
                Error::axis(operation, format!("axis {axis} does not exist"))
                    .with("shape", self)
                    .fix(if rank == 0 {
                        "a 0-d tensor has no axes".to_string()
                    } else {
                        format!("axes go from {} to {}", -rank, rank - 1)
                    }),
            )
        }
    }
}

fn size_from_end(shape: &Shape, distance: usize) -> usize {
    shape
        .rank()
        .checked_sub(distance + 1)
        .map_or(1, |i| shape[i])
}

impl Deref for Shape {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape(few(&sizes))
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(sizes: &[usize; N]) -> Self {
        Shape(few(sizes))
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(few(sizes))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Shape(SmallVec::from_vec(sizes))
    }
}

impl From<usize> for Shape {
    fn from(size: usize) -> Self {
        Shape::from([size])
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        Shape(sizes.into_iter().collect())
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self[..] == other[..]
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, other: &[usize]) -> bool {
        self[..] == *other
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self[..], f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self[..], f)
    }
}

/// The axes that a reduction runs over, and whether it keeps them with size 1.
///
/// Made from `..` (all axes), one axis, or several; negative axes count from the end:
///
/// ```
/// use tensor::{Tensor, keepdims};
/// let x = Tensor::<f32>::ones([2, 3, 4])?;
/// assert_eq!(x.sum(..)?.shape(), &[]);
/// assert_eq!(x.sum(-1)?.shape(), &[2, 3]);
/// assert_eq!(x.sum([0, 2])?.shape(), &[3]);
/// assert_eq!(x.sum(keepdims([0, 2]))?.shape(), &[1, 3, 1]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    /// `None` for all.
    axes: Option<SmallVec<[isize; 6]>>,
    keep: bool,
}

/// The same axes, kept with size 1 in the result, so that it broadcasts against the input.
pub fn keepdims(axes: impl Into<Axes>) -> Axes {
    Axes {
        keep: true,
        ..axes.into()
    }
}

impl Axes {
    /// Whether reduced axes stay with size 1.
    pub fn keeps_dims(&self) -> bool {
        self.keep
    }

    /// `reduced[axis]` for each axis of `shape`.
    ///
    /// # Errors
    /// [`ErrorKind::Axis`](crate::ErrorKind::Axis) for an axis that does not exist or is named twice.
    pub fn mask(&self, operation: &str, shape: &Shape) -> Result<SmallVec<[bool; 6]>> {
        let Some(axes) = &self.axes else {
            return Ok(same(true, shape.rank()));
        };
        let mut mask = same(false, shape.rank());
        for &axis in axes {
            let resolved = shape.axis(operation, axis)?;
            if std::mem::replace(&mut mask[resolved], true) {
                return Err(
                    Error::axis(operation, format!("axis {axis} is named twice"))
                        .with("shape", shape)
                        .with("axes", format!("{:?}", &axes[..])),
                );
            }
        }
        Ok(mask)
    }

    /// The shape after reducing `shape` over these axes.
    ///
    /// # Errors
    /// As [`Axes::mask`].
    pub fn reduced(&self, operation: &str, shape: &Shape) -> Result<Shape> {
        Ok(self.reduced_by(&self.mask(operation, shape)?, shape))
    }

    /// [`Axes::reduced`] with the mask of these axes.
    pub(crate) fn reduced_by(&self, mask: &[bool], shape: &Shape) -> Shape {
        let mut reduced = Shape::default();
        for (&size, &gone) in shape.iter().zip(mask) {
            match (gone, self.keep) {
                (false, _) => reduced.push(size),
                (true, true) => reduced.push(1),
                (true, false) => {}
            }
        }
        reduced
    }
}

/// The mask of a rank that says the same of every axis.
fn same(reduced: bool, rank: usize) -> SmallVec<[bool; 6]> {
    match rank {
        // `from_elem` goes element by element.
        ..=6 => SmallVec::from_buf_and_len([reduced; 6], rank),
        _ => SmallVec::from_elem(reduced, rank),
    }
}

impl From<RangeFull> for Axes {
    fn from(_: RangeFull) -> Self {
        Axes {
            axes: None,
            keep: false,
        }
    }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Self {
        Axes::from([axis])
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Self {
        Axes {
            axes: Some(SmallVec::from_slice(&axes)),
            keep: false,
        }
    }
}

impl From<&[isize]> for Axes {
    fn from(axes: &[isize]) -> Self {
        Axes {
            axes: Some(SmallVec::from_slice(axes)),
            keep: false,
        }
    }
}

impl From<Range<isize>> for Axes {
    fn from(axes: Range<isize>) -> Self {
        Axes {
            axes: Some(axes.collect()),
            keep: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::reversed_empty_ranges, clippy::type_complexity)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let cases: [(&[usize], &[usize], Option<&[usize]>); 7] = [
            (&[], &[], Some(&[])),
            (&[], &[3], Some(&[3])),
            (&[2, 1], &[3], Some(&[2, 3])),
            (&[0], &[1], Some(&[0])),
            (&[0], &[2], None),
            (&[5, 1, 4], &[3, 1], Some(&[5, 3, 4])),
            (&[2], &[3], None),
        ];
        for (a, b, expected) in cases {
            let (a, b) = (Shape::from(a), Shape::from(b));
            assert_eq!(
                a.broadcast("add", &b).ok(),
                expected.map(Shape::from),
                "{a} {b}"
            );
            assert_eq!(
                b.broadcast("add", &a).ok(),
                expected.map(Shape::from),
                "{b} {a}"
            );
        }
    }

    #[test]
    fn overflowing_shapes_are_errors() {
        let shape = Shape::from([usize::MAX, 2]);
        let error = shape.checked_elements("zeros", 4).unwrap_err();
        assert!(error.to_string().starts_with("zeros: "), "{error}");
        assert_eq!(
            Shape::from([usize::MAX, 0])
                .checked_elements("zeros", 4)
                .unwrap(),
            0
        );
    }

    #[test]
    fn axes_resolve_and_reject() {
        let shape = Shape::from([2, 3, 4]);
        assert_eq!(Axes::from([-1, 0]).reduced("sum", &shape).unwrap(), [3]);
        assert_eq!(keepdims(..).reduced("sum", &shape).unwrap(), [1, 1, 1]);
        assert!(Axes::from([0, -3]).mask("sum", &shape).is_err());
        assert!(Axes::from(3).mask("sum", &shape).is_err());
        assert!(Axes::from(isize::MIN).mask("sum", &shape).is_err());
    }
}
