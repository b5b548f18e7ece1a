//! An array whose element type is known only at run time: what a file holds.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use tensor::{DType, Element, Shape, Tensor};

use crate::error::Result;

/// A tensor of any element type, as read from a file.
///
/// ```
/// use nn::data::Array;
/// use tensor::Tensor;
/// let images = Array::from(Tensor::from_vec(vec![0_u8, 64, 128, 255], [2, 2])?);
/// assert_eq!(images.dtype(), tensor::DType::U8);
/// let x = images.to_f32()? / 256.0;
/// assert_eq!(x.to_vec(), [0.0, 0.25, 0.5, 0.99609375]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Array {
    /// 32-bit floats.
    F32(Tensor<f32>),
    /// 64-bit floats.
    F64(Tensor<f64>),
    /// Truth values.
    Bool(Tensor<bool>),
    /// Bytes: images.
    U8(Tensor<u8>),
    /// 32-bit integers.
    I32(Tensor<i32>),
    /// 64-bit integers: labels.
    I64(Tensor<i64>),
}

/// Evaluates `$body` with `$x` bound to the tensor inside, whichever its type.
macro_rules! with_tensor {
    ($array:expr, $x:ident => $body:expr) => {
        match $array {
            $crate::data::Array::F32($x) => $body,
            $crate::data::Array::F64($x) => $body,
            $crate::data::Array::Bool($x) => $body,
            $crate::data::Array::U8($x) => $body,
            $crate::data::Array::I32($x) => $body,
            $crate::data::Array::I64($x) => $body,
        }
    };
}
pub(crate) use with_tensor;

impl Array {
    /// The sizes of the axes.
    pub fn shape(&self) -> &Shape {
        with_tensor!(self, x => x.shape())
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        with_tensor!(self, x => x.dtype())
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        with_tensor!(self, x => x.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as `T`; the tensor inside, without a copy, if that is its type.
    ///
    /// To a float type every value converts, rounded to the nearest. To an integer type or `bool`
    /// only values that it holds exactly convert: 3.0 is the label 3, but 3.5 and 300 are no bytes.
    ///
    /// ```
    /// use nn::data::Array;
    /// use tensor::Tensor;
    /// let labels = Array::from(Tensor::from_vec(vec![2.0_f64, 0.0], [2])?);
    /// assert_eq!(labels.to::<i64>()?.to_vec(), [2, 0]);
    /// let halves = Array::from(Tensor::from_vec(vec![0.5_f64], [1])?);
    /// assert!(halves.to::<i64>().is_err());
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Naming the first value that `T` cannot hold.
    pub fn to<T: Element>(&self) -> Result<Tensor<T>> {
        self.to_in(&format!("to::<{}>", T::DTYPE))
    }

    /// [`Array::to`], whose errors name the operation that the caller has called.
    pub(crate) fn to_in<T: Element>(&self, operation: &str) -> Result<Tensor<T>> {
        with_tensor!(self, x => convert(x, operation))
    }

    /// [`to::<f32>`](Array::to).
    ///
    /// # Errors
    /// If memory for the result cannot be allocated.
    pub fn to_f32(&self) -> Result<Tensor<f32>> {
        self.to()
    }

    /// [`to::<f64>`](Array::to).
    ///
    /// # Errors
    /// If memory for the result cannot be allocated.
    pub fn to_f64(&self) -> Result<Tensor<f64>> {
        self.to()
    }

    /// [`to::<u8>`](Array::to).
    ///
    /// # Errors
    /// Naming the first value that is not an integer from 0 to 255.
    pub fn to_u8(&self) -> Result<Tensor<u8>> {
        self.to()
    }

    /// [`to::<i64>`](Array::to).
    ///
    /// # Errors
    /// Naming the first value that is not a 64-bit integer.
    pub fn to_i64(&self) -> Result<Tensor<i64>> {
        self.to()
    }

    /// The same values in row-major memory: `self` if it is so already, else a copy.
    ///
    /// # Panics
    /// If memory for the copy cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn contiguous(&self) -> Array {
        with_tensor!(self, x => x.contiguous().into())
    }

    /// The sub-array at `index` of the first axis, without a copy.
    ///
    /// # Errors
    /// If there is no first axis, or `index` is outside it.
    pub fn row(&self, index: usize) -> Result<Array> {
        Ok(with_tensor!(self, x => x.index_axis(0, index)?.into()))
    }
}

type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Runs `jobs` on all threads. They are boxed so that this is compiled once, and not for each pair
/// of types between which arrays are converted.
fn run_all(jobs: Vec<Job<'_>>) {
    jobs.into_par_iter().for_each(|job| job());
}

fn convert<S: Element, T: Element>(from: &Tensor<S>, operation: &str) -> Result<Tensor<T>> {
    if let Some(same) = (from as &dyn Any).downcast_ref::<Tensor<T>>() {
        return Ok(same.clone());
    }
    let is_float = |dtype| matches!(dtype, DType::F32 | DType::F64);
    // Through i64 every integer is exact, through f64 every float.
    let one: fn(S) -> (T, bool) = match (is_float(S::DTYPE), is_float(T::DTYPE)) {
        (_, true) => |x| (T::from_f64(x.to_f64()), true),
        (true, false) => |x| {
            let y = T::from_f64(x.to_f64());
            // 2⁶³ becomes 2⁶³ − 1, which as a float is 2⁶³ again.
            let fits = y.to_f64() == x.to_f64() && x.to_f64() < -(i64::MIN as f64);
            (y, fits)
        },
        (false, false) => |x| {
            let y = T::from_i64(x.to_i64());
            (y, y.to_i64() == x.to_i64())
        },
    };
    const CHUNK: usize = 1 << 14;
    let contiguous = from.try_contiguous(operation)?;
    let source = contiguous.as_slice().unwrap_or_default();
    let mut converted =
        Tensor::<T>::zeros(from.shape()).map_err(|error| error.in_operation(operation))?;
    let first_misfit = AtomicUsize::new(usize::MAX);
    let pieces = converted
        .make_mut()
        .chunks_mut(CHUNK)
        .zip(source.chunks(CHUNK));
    let jobs = pieces.enumerate().map(|(piece, (out, source))| {
        let first_misfit = &first_misfit;
        Box::new(move || {
            for (i, (out, &x)) in out.iter_mut().zip(source).enumerate() {
                let (y, fits) = one(x);
                *out = y;
                if !fits {
                    first_misfit.fetch_min(piece * CHUNK + i, Ordering::Relaxed);
                }
            }
        }) as Job<'_>
    });
    run_all(jobs.collect());
    match first_misfit.into_inner() {
        usize::MAX => Ok(converted),
        at => Err(tensor::Error::value(
            operation,
            match source[at].to_f64().fract() {
                // All digits, where the shortest that make this float would be others.
                0.0 => format!("{} holds no {:.0}", T::DTYPE, source[at]),
                _ => format!("{} is no whole number", source[at]),
            },
        )
        .with("element", format!("{:?}", unravel(at, from.shape())))
        .with("array", format!("{} {}", from.dtype(), from.shape()))
        .into()),
    }
}

/// The index of element number `position` in row-major order.
pub(crate) fn unravel(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &size) in index.iter_mut().zip(shape).rev() {
        *i = position % size.max(1);
        position /= size.max(1);
    }
    index
}

macro_rules! from_tensor {
    ($($type:ty => $variant:ident,)*) => { $(
        impl From<Tensor<$type>> for Array {
            fn from(tensor: Tensor<$type>) -> Self {
                Array::$variant(tensor)
            }
        }

        impl From<&Tensor<$type>> for Array {
            fn from(tensor: &Tensor<$type>) -> Self {
                Array::$variant(tensor.clone())
            }
        }
    )* };
}
from_tensor! {
    f32 => F32,
    f64 => F64,
    bool => Bool,
    u8 => U8,
    i32 => I32,
    i64 => I64,
}

impl From<&Array> for Array {
    /// Another handle on the same memory.
    fn from(array: &Array) -> Self {
        array.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_is_exact_or_names_the_misfit() {
        let x = Array::from(Tensor::from_vec(vec![0_i64, 255, 256, -1], [2, 2]).unwrap());
        let error = x.to_u8().unwrap_err().to_string();
        assert!(
            error.contains("u8 holds no 256") && error.contains("[1, 0]"),
            "{error}"
        );
        assert_eq!(x.to_f32().unwrap().to_vec(), [0.0, 255.0, 256.0, -1.0]);

        let big = Array::from(Tensor::from_vec(vec![i64::MAX, 1 << 53 | 1], [2]).unwrap());
        assert_eq!(big.to_i64().unwrap().to_vec(), [i64::MAX, 1 << 53 | 1]);
        let two_to_63 = 9_223_372_036_854_775_808.0;
        for (misfit, words) in [
            (f64::NAN, "NaN is no whole number"),
            (0.5, "0.5 is no whole number"),
            (f64::INFINITY, "inf is no whole number"),
            (1e20, "i64 holds no 100000000000000000000"),
            (two_to_63, "i64 holds no 9223372036854775808"),
        ] {
            let x = Array::from(Tensor::from_vec(vec![misfit], [1]).unwrap());
            let error = x.to_i64().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("to::<i64>: {words}\n")),
                "{error}"
            );
            assert!(x.to_f32().is_ok(), "{misfit}");
        }
        let least = Array::from(Tensor::from_vec(vec![-two_to_63], [1]).unwrap());
        assert_eq!(least.to_i64().unwrap().to_vec(), [i64::MIN]);
    }

    #[test]
    fn views_convert_in_their_own_order() {
        let x = Tensor::from_vec((0..6_u8).collect(), [2, 3]).unwrap().t();
        assert_eq!(
            Array::from(&x).to_f32().unwrap().to_vec(),
            [0., 3., 1., 4., 2., 5.]
        );
        assert!(Array::from(&x).to_u8().unwrap().shares_memory_with(&x));
    }
}
