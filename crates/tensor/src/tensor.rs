//! The array type: a shape, strides and an offset into shared memory.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::{Shape, Strides, few};
use crate::storage::{Buffer, vec_with_capacity};

/// An n-dimensional array of `T`, or a view of one.
///
/// Cloning and viewing (`slice`, `permute`, `reshape`, `broadcast_to`, …) share the elements and
/// copy nothing. Writing goes through unique ownership: [`Tensor::make_mut`] copies first if
/// somebody else can see the elements. Images are `[batch, height, width, channels]`.
///
/// ```
/// use tensor::Tensor;
/// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3])?;
/// assert_eq!(x.t().shape(), &[3, 2]);
/// assert_eq!(x[[1, 2]], 6.0);
/// assert_eq!((&x * 2.0).sum(..)?.item()?, 42.0);
/// # Ok::<(), tensor::Error>(())
/// ```
pub struct Tensor<T: Element = f32> {
    pub(crate) storage: Arc<Buffer<T>>,
    pub(crate) shape: Shape,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
}

impl<T: Element> Clone for Tensor<T> {
    /// Another handle on the same elements.
    #[inline]
    fn clone(&self) -> Self {
        Tensor {
            storage: self.storage.clone(),
            shape: self.shape.clone(),
            strides: few(&self.strides),
            offset: self.offset,
        }
    }
}

impl<T: Element> Tensor<T> {
    /// A contiguous tensor over `buffer`, whose length must be that of `shape`.
    pub(crate) fn from_buffer(buffer: Buffer<T>, shape: Shape) -> Self {
        debug_assert_eq!(buffer.as_slice().len(), shape.elements());
        let strides = shape.strides();
        Tensor {
            storage: Arc::new(buffer),
            shape,
            strides,
            offset: 0,
        }
    }

    /// A new contiguous tensor whose elements `fill` writes; they start out unspecified.
    pub(crate) fn build(
        operation: &str,
        shape: impl Into<Shape>,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<Self> {
        let shape = shape.into();
        let len = shape.checked_elements(operation, size_of::<T>())?;
        let mut buffer = Buffer::unspecified(operation, len)?;
        fill(buffer.as_mut_slice());
        Ok(Self::from_buffer(buffer, shape))
    }

    /// The sizes of the axes, outermost first.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.shape.elements()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The run-time name of the element type.
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// Distance in elements between neighbours along each axis; 0 along broadcast axes, negative
    /// along flipped ones.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Whether the elements lie in memory in row-major order without gaps, as no elements do.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1isize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 {
                if stride != expected {
                    return self.is_empty();
                }
                expected = expected.wrapping_mul(size as isize);
            }
        }
        true
    }

    /// The elements in row-major order, if they lie so in memory; see [`Tensor::contiguous`].
    #[inline]
    pub fn as_slice(&self) -> Option<&[T]> {
        if self.is_empty() {
            return Some(&[]);
        }
        self.is_contiguous()
            .then(|| &self.storage.as_slice()[self.offset..self.offset + self.len()])
    }

    /// The same values in row-major memory: `self` if it is so already, else a copy.
    ///
    /// # Panics
    /// If memory for the copy of a view (think of a huge broadcast) cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn contiguous(&self) -> Tensor<T> {
        self.try_contiguous("contiguous")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Tensor::contiguous`], with an error of `operation` instead of a panic.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let view = Tensor::scalar(1.0).broadcast_to([1 << 50])?;
    /// let error = view.try_contiguous("copy").unwrap_err();
    /// assert_eq!(error.operation(), "copy");
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If memory for the copy of a view cannot be allocated.
    pub fn try_contiguous(&self, operation: &str) -> Result<Tensor<T>> {
        if self.is_contiguous() {
            Ok(self.clone())
        } else {
            self.copied(operation)
        }
    }

    /// The elements in row-major order.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from_vec(vec![1, 2, 3, 4], [2, 2])?;
    /// assert_eq!(x.t().to_vec(), [1, 3, 2, 4]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Panics
    /// If memory for them cannot be allocated.
    #[track_caller]
    pub fn to_vec(&self) -> Vec<T> {
        self.try_to_vec("to_vec")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Tensor::to_vec`], with an error of `operation` instead of a panic.
    ///
    /// # Errors
    /// If memory for the elements cannot be allocated.
    pub fn try_to_vec(&self, operation: &str) -> Result<Vec<T>> {
        let mut elements = vec_with_capacity(operation, self.len())?;
        match self.as_slice() {
            Some(slice) => elements.extend_from_slice(slice),
            None => elements.extend(self.iter()),
        }
        Ok(elements)
    }

    /// The only element of a tensor with one element.
    ///
    /// # Errors
    /// If there is any other number of elements.
    pub fn item(&self) -> Result<T> {
        if self.len() != 1 {
            return Err(
                Error::shape("item", "the tensor has not exactly one element")
                    .with("shape", &self.shape)
                    .fix("reduce it first (`sum`, `mean`), or index one element"),
            );
        }
        Ok(self.storage.as_slice()[self.offset])
    }

    /// The element at `index`, one number per axis.
    ///
    /// # Errors
    /// If the index has a wrong number of axes or lies outside.
    pub fn get(&self, index: &[usize]) -> Result<T> {
        Ok(self.storage.as_slice()[self.position("get", index)?])
    }

    /// The elements for writing, in row-major order; copies them first if the tensor is a
    /// non-contiguous view or somebody else shares them.
    ///
    /// # Panics
    /// If memory for that copy cannot be allocated.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let mut x = Tensor::<f32>::zeros([3])?;
    /// let before = x.clone();
    /// x.make_mut()[1] = 5.0;
    /// assert_eq!(x.to_vec(), [0.0, 5.0, 0.0]);
    /// assert_eq!(before.to_vec(), [0.0; 3]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn make_mut(&mut self) -> &mut [T] {
        self.try_make_mut("make_mut")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Tensor::make_mut`], with an error of `operation` instead of a panic.
    ///
    /// # Errors
    /// If memory for the copy cannot be allocated; the tensor is then what it was.
    pub fn try_make_mut(&mut self, operation: &str) -> Result<&mut [T]> {
        if !self.is_unique() {
            *self = self.copied(operation)?;
        }
        let range = if self.is_empty() {
            0..0
        } else {
            self.offset..self.offset + self.len()
        };
        match Arc::get_mut(&mut self.storage) {
            Some(buffer) => Ok(&mut buffer.as_mut_slice()[range]),
            None => unreachable!("the copy made above has one owner"),
        }
    }

    /// Whether writing would not copy: one owner, row-major.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.storage) == 1 && self.is_contiguous()
    }

    /// Whether both share the same memory, as views of one tensor do.
    pub fn shares_memory_with(&self, other: &Tensor<T>) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
    }

    /// The elements in row-major order, by value.
    pub fn iter(&self) -> Elements<'_, T> {
        Elements {
            tensor: self,
            index: smallvec::SmallVec::from_elem(0, self.rank()),
            position: self.offset as isize,
            remaining: self.len(),
        }
    }

    fn position(&self, operation: &str, index: &[usize]) -> Result<usize> {
        let fits =
            index.len() == self.rank() && index.iter().zip(&self.shape[..]).all(|(i, n)| i < n);
        if !fits {
            return Err(
                Error::index(operation, format!("{index:?} is outside the tensor"))
                    .with("shape", &self.shape)
                    .fix("give one number per axis, each below its size"),
            );
        }
        let steps = index
            .iter()
            .zip(&self.strides)
            .map(|(&i, &stride)| i as isize * stride);
        Ok((self.offset as isize + steps.sum::<isize>()) as usize)
    }
}

impl<T: Element, const N: usize> Index<[usize; N]> for Tensor<T> {
    type Output = T;
    #[track_caller]
    fn index(&self, index: [usize; N]) -> &T {
        match self.position("index", &index) {
            Ok(position) => &self.storage.as_slice()[position],
            Err(error) => panic!("{error}"),
        }
    }
}

impl<T: Element, const N: usize> IndexMut<[usize; N]> for Tensor<T> {
    #[track_caller]
    fn index_mut(&mut self, index: [usize; N]) -> &mut T {
        self.make_mut();
        match self.position("index", &index) {
            Ok(position) => {
                let offset = self.offset;
                &mut self.make_mut()[position - offset]
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Iterator over the elements of a tensor in row-major order; see [`Tensor::iter`].
#[derive(Clone)]
pub struct Elements<'a, T: Element> {
    tensor: &'a Tensor<T>,
    index: smallvec::SmallVec<[usize; 6]>,
    position: isize,
    remaining: usize,
}

impl<T: Element> Iterator for Elements<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.remaining = self.remaining.checked_sub(1)?;
        let value = self.tensor.storage.as_slice()[self.position as usize];
        for axis in (0..self.index.len()).rev() {
            self.index[axis] += 1;
            self.position += self.tensor.strides[axis];
            if self.index[axis] < self.tensor.shape[axis] {
                break;
            }
            self.position -= self.tensor.strides[axis] * self.index[axis] as isize;
            self.index[axis] = 0;
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl<T: Element> ExactSizeIterator for Elements<'_, T> {}

impl<T: Element> PartialEq for Tensor<T> {
    /// Same shape and equal elements (so a tensor with a NaN equals nothing).
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.iter().eq(other.iter())
    }
}
