//! Running sums and products.

use super::rows::Rows;
use crate::element::{DType, Number};
use crate::error::Result;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// Running sums along `axis`: `out[i] = x[0] + … + x[i]`. Integers wrap on overflow;
    /// floating-point sums run in `f64`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.cumsum(1)?.to_vec(), [1, 3, 6, 4, 9, 15]);
    /// assert_eq!(x.cumsum(0)?.to_vec(), [1, 2, 3, 5, 7, 9]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn cumsum(&self, axis: isize) -> Result<Tensor<T>> {
        match T::DTYPE {
            DType::F32 | DType::F64 => self.scan(
                "cumsum",
                axis,
                0.0,
                |sum: f64, x: T| sum + x.to_f64(),
                T::from_f64,
            ),
            _ => self.scan("cumsum", axis, T::ZERO, T::plus, |sum| sum),
        }
    }

    /// Running products along `axis`: `out[i] = x[0] · … · x[i]`. Integers wrap on overflow;
    /// floating-point products run in `f64`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1, 2, 3, 4]).cumprod(0)?.to_vec(), [1, 2, 6, 24]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn cumprod(&self, axis: isize) -> Result<Tensor<T>> {
        match T::DTYPE {
            DType::F32 | DType::F64 => self.scan(
                "cumprod",
                axis,
                1.0,
                |product: f64, x: T| product * x.to_f64(),
                T::from_f64,
            ),
            _ => self.scan("cumprod", axis, T::ONE, T::times, |product| product),
        }
    }

    fn scan<S: Copy + Send + Sync>(
        &self,
        operation: &str,
        axis: isize,
        empty: S,
        take: impl Fn(S, T) -> S + Copy + Send + Sync,
        finish: impl Fn(S) -> T + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let rows = Rows::new(operation, self, axis)?;
        let (slab, inner) = (rows.slab, rows.inner);
        Tensor::build(operation, self.shape.clone(), |out| {
            rows.for_each(
                out,
                slab,
                #[inline(always)]
                |x, out| {
                    if inner == 1 {
                        let mut state = empty;
                        for (out, &x) in out.iter_mut().zip(x) {
                            state = take(state, x);
                            *out = finish(state);
                        }
                        return;
                    }
                    let mut states = vec![empty; inner];
                    for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
                        for ((out, state), &x) in out.iter_mut().zip(&mut states).zip(x) {
                            *state = take(*state, x);
                            *out = finish(*state);
                        }
                    }
                },
            );
        })
    }
}
