//! Making tensors: constants, ranges, from vectors, and conversion between element types.

use crate::element::{Element, Number};
use crate::elementwise::walk::unary;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::storage::Buffer;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// A tensor over the elements of `elements` in row-major order; takes over its memory.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0], [2, 2])?;
    /// assert_eq!(x[[1, 0]], 3.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the number of elements is not that of `shape`.
    pub fn from_vec(elements: Vec<T>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let expected = shape.checked_elements("from_vec", size_of::<T>())?;
        if elements.len() != expected {
            return Err(Error::shape(
                "from_vec",
                format!("{} elements do not fill the shape", elements.len()),
            )
            .with("shape", format!("{shape} = {expected} elements")));
        }
        Ok(Self::from_buffer(Buffer::from_vec(elements), shape))
    }

    /// A 0-d tensor holding `value`.
    pub fn scalar(value: T) -> Self {
        Self::from_buffer(Buffer::from_vec(vec![value]), Shape::default())
    }

    /// A tensor with every element `value`.
    ///
    /// # Errors
    /// If the shape is too large for memory.
    pub fn full(shape: impl Into<Shape>, value: T) -> Result<Self> {
        Self::build("full", shape, |out| out.fill(value))
    }

    /// A tensor of zeros (`false` for `bool`).
    ///
    /// # Errors
    /// If the shape is too large for memory.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Self> {
        Self::zeros_as("zeros", shape)
    }

    /// [`Tensor::zeros`], with errors of `operation`.
    pub(crate) fn zeros_as(operation: &str, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let len = shape.checked_elements(operation, size_of::<T>())?;
        Ok(Self::from_buffer(Buffer::zeroed(operation, len)?, shape))
    }

    /// The element at each index, in row-major order: `out[i, j, …] = value([i, j, …])`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let table = Tensor::from_fn([2, 3], |at| (10 * at[0] + at[1]) as i32)?;
    /// assert_eq!(table.to_vec(), [0, 1, 2, 10, 11, 12]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shape is too large for memory.
    pub fn from_fn(shape: impl Into<Shape>, mut value: impl FnMut(&[usize]) -> T) -> Result<Self> {
        let shape = shape.into();
        let sizes = shape.clone();
        Self::build("from_fn", shape, |out| {
            let mut index = vec![0; sizes.rank()];
            for element in out {
                *element = value(&index);
                for axis in (0..index.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < sizes[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
        })
    }

    /// The elements converted to `U`: floats to integers truncate toward zero and saturate, NaN
    /// becomes 0; anything to `bool` is `value != 0`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let pixels = Tensor::from_vec(vec![0_u8, 128, 255], [3])?;
    /// let x = pixels.cast::<f32>() / 256.0;
    /// assert_eq!(x.to_vec(), [0.0, 0.5, 0.99609375]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn cast<U: Element>(&self) -> Tensor<U> {
        self.try_cast("cast")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Tensor::cast`], with an error of `operation` instead of a panic.
    ///
    /// # Errors
    /// If memory for the result cannot be allocated.
    pub fn try_cast<U: Element>(&self, operation: &str) -> Result<Tensor<U>> {
        use crate::element::DType::{Bool, F32, F64, I32, I64, U8};
        // Through f64 every type but i64 is exact; through i64 every integer is.
        match (T::DTYPE, U::DTYPE) {
            (I64 | I32 | U8 | Bool, I64 | I32 | U8 | Bool) => {
                unary(operation, self, |x| U::from_i64(x.to_i64()))
            }
            (F32 | F64, _) | (_, F32 | F64) => unary(operation, self, |x| U::from_f64(x.to_f64())),
        }
    }
}

impl<T: Number> Tensor<T> {
    /// A tensor of ones.
    ///
    /// # Errors
    /// If the shape is too large for memory.
    pub fn ones(shape: impl Into<Shape>) -> Result<Self> {
        Self::build("ones", shape, |out| out.fill(T::ONE))
    }

    /// The `size × size` identity matrix.
    ///
    /// # Errors
    /// If it is too large for memory.
    pub fn eye(size: usize) -> Result<Self> {
        let mut out = Self::zeros_as("eye", [size, size])?;
        for element in out.make_mut().iter_mut().step_by(size.saturating_add(1)) {
            *element = T::ONE;
        }
        Ok(out)
    }

    /// `start, start + step, …` below `stop` (above it for a negative step); NumPy's `arange`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::arange(0, 10, 3)?.to_vec(), [0, 3, 6, 9]);
    /// assert_eq!(Tensor::arange(1.0, 0.0, -0.25)?.to_vec(), [1.0, 0.75, 0.5, 0.25]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `step` is zero or a bound is not finite, or the result is too large for memory.
    pub fn arange(start: T, stop: T, step: T) -> Result<Self> {
        let count = ((stop.to_f64() - start.to_f64()) / step.to_f64()).ceil();
        if !count.is_finite() || count > 2f64.powi(53) {
            return Err(
                Error::value("arange", "the range has no finite number of steps")
                    .with("start, stop, step", format!("{start}, {stop}, {step}"))
                    .fix("use finite bounds and a step other than 0"),
            );
        }
        let count = count.max(0.0) as usize;
        Self::build("arange", [count], |out| {
            for (i, element) in out.iter_mut().enumerate() {
                *element = start.plus(T::from_i64(i as i64).times(step));
            }
        })
    }

    /// `count` evenly spaced values from `start` to `stop`, both included.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5)?.to_vec(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the result is too large for memory.
    pub fn linspace(start: T, stop: T, count: usize) -> Result<Self> {
        let (first, last) = (start.to_f64(), stop.to_f64());
        let intervals = count.saturating_sub(1).max(1) as f64;
        Self::build("linspace", [count], |out| {
            for (i, element) in out.iter_mut().enumerate() {
                *element = match i {
                    0 => start,
                    // Exactly `stop`, whatever rounding would have made of it.
                    i if i + 1 == count => stop,
                    i => T::from_f64(first + (last - first) * (i as f64 / intervals)),
                };
            }
        })
    }
}

impl<T: Element> From<T> for Tensor<T> {
    fn from(value: T) -> Self {
        Tensor::scalar(value)
    }
}

impl<T: Element> From<Vec<T>> for Tensor<T> {
    /// A 1-d tensor.
    fn from(elements: Vec<T>) -> Self {
        let shape = Shape::from(elements.len());
        Self::from_buffer(Buffer::from_vec(elements), shape)
    }
}

impl<T: Element, const N: usize> From<[T; N]> for Tensor<T> {
    /// A 1-d tensor.
    fn from(elements: [T; N]) -> Self {
        Tensor::from(elements.to_vec())
    }
}

impl<T: Element, const N: usize, const M: usize> From<[[T; M]; N]> for Tensor<T> {
    /// A 2-d tensor.
    fn from(rows: [[T; M]; N]) -> Self {
        Self::from_buffer(Buffer::from_vec(rows.concat()), Shape::from([N, M]))
    }
}
