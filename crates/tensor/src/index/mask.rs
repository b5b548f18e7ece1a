//! Masks, triangles, and where elements are not zero.

use super::unravel;
use crate::element::Element;
use crate::elementwise::walk::ternary;
use crate::error::{Error, Result};
use crate::parallel::{BLOCK, Par};
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// `self` with `value` where `mask` is true; the mask broadcasts to the tensor.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([1.0, f64::NAN, 3.0]);
    /// assert_eq!(x.masked_fill(&x.is_nan(), 0.0)?.to_vec(), [1.0, 0.0, 3.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the mask does not broadcast to the tensor's shape.
    pub fn masked_fill(&self, mask: &Tensor<bool>, value: T) -> Result<Tensor<T>> {
        mask.broadcast_strides("masked_fill", &self.shape)?;
        let value = Tensor::scalar(value);
        ternary("masked_fill", mask, &value, self, |mask, value, x| {
            if mask { value } else { x }
        })
    }

    /// The lower triangle of each matrix, zero above: element `[…, i, j]` stays where
    /// `j − i <= diagonal`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1, 2], [3, 4]]);
    /// assert_eq!(x.tril(0)?, Tensor::from([[1, 0], [3, 4]]));
    /// assert_eq!(x.tril(-1)?, Tensor::from([[0, 0], [3, 0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are fewer than two axes.
    pub fn tril(&self, diagonal: isize) -> Result<Tensor<T>> {
        self.triangle("tril", |row| {
            (0, row.saturating_add(diagonal).saturating_add(1))
        })
    }

    /// The upper triangle of each matrix, zero below: element `[…, i, j]` stays where
    /// `j − i >= diagonal`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1, 2], [3, 4]]);
    /// assert_eq!(x.triu(0)?, Tensor::from([[1, 2], [0, 4]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are fewer than two axes.
    pub fn triu(&self, diagonal: isize) -> Result<Tensor<T>> {
        self.triangle("triu", |row| (row.saturating_add(diagonal), isize::MAX))
    }

    /// The columns `first..end` that `kept(row)` names; zero elsewhere.
    fn triangle(
        &self,
        operation: &str,
        kept: impl Fn(isize) -> (isize, isize) + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let [.., rows, columns] = self.shape[..] else {
            return Err(Error::shape(operation, "the tensor is not a matrix")
                .with("shape", &self.shape)
                .fix("give it at least two axes"));
        };
        let mut out = self.copied(operation)?;
        if out.is_empty() {
            return Ok(out);
        }
        let some = (BLOCK / columns).max(1);
        Par::Threads.for_chunks(out.make_mut(), some * columns, |chunk, out| {
            for (i, out) in out.chunks_exact_mut(columns).enumerate() {
                let (first, end) = kept(((chunk * some + i) % rows) as isize);
                let clip = |column: isize| column.clamp(0, columns as isize) as usize;
                out[..clip(first)].fill(T::default());
                out[clip(end)..].fill(T::default());
            }
        });
        Ok(out)
    }

    /// The indices of the elements that are not zero (of a mask: that are true), one row each, in
    /// row-major order: `[count, rank]`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[0, 5], [7, 0]]);
    /// assert_eq!(x.nonzero()?, Tensor::from([[0_i64, 1], [1, 0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the result is too large for memory.
    pub fn nonzero(&self) -> Result<Tensor<i64>> {
        let zero = T::default();
        let count = self.iter().filter(|&x| x != zero).count();
        let rank = self.rank();
        Tensor::build("nonzero", [count, rank], |out| {
            if rank == 0 {
                return;
            }
            let found = self.iter().enumerate().filter(|&(_, x)| x != zero);
            for (row, (position, _)) in out.chunks_exact_mut(rank).zip(found) {
                for (out, i) in row.iter_mut().zip(unravel(position, &self.shape)) {
                    *out = i as i64;
                }
            }
        })
    }
}
