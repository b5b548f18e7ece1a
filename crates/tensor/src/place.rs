//! The adjoint of slicing.

use crate::element::Element;
use crate::elementwise::walk::Walk;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::slice::Slice;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// A tensor of `shape` that is zero except where `slices` take it: there it holds `self`.
    /// The adjoint of [`Tensor::slice`].
    ///
    /// ```
    /// use tensor::{Slice, Tensor};
    /// let x = Tensor::from([1, 2]);
    /// let every_second = Slice::from(..).step(2);
    /// assert_eq!(x.place([4], &[every_second])?.to_vec(), [1, 0, 2, 0]);
    /// assert_eq!(x.place([4], &[every_second])?.slice(&[every_second])?, x);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::slice`] on a tensor of `shape`; if what the slices take has not the shape of
    /// `self`; if `shape` is too large for memory.
    pub fn place(&self, shape: impl Into<Shape>, slices: &[Slice]) -> Result<Tensor<T>> {
        let mut out = Tensor::zeros_as("place", shape)?;
        let target = out
            .slice(slices)
            .map_err(|error| error.in_operation("place"))?;
        if target.shape != self.shape {
            return Err(Error::shape("place", "the slices take another shape")
                .with("values", &self.shape)
                .with("taken", &target.shape)
                .with("of", &out.shape));
        }
        if self.is_empty() {
            return Ok(out);
        }
        let walk = Walk::new(
            &self.shape,
            [&self.strides, &target.strides],
            [self.offset, target.offset],
        );
        // The view must go before the memory under it can be written without a copy.
        drop(target);
        let (source, target) = (self.storage.as_slice(), out.make_mut());
        walk.segments(0, self.len(), |_, run, [from, to], [step_from, step_to]| {
            if (step_from, step_to) == (1, 1) {
                target[to..to + run].copy_from_slice(&source[from..from + run]);
                return;
            }
            for i in 0..run as isize {
                let (from, to) = (from as isize + i * step_from, to as isize + i * step_to);
                target[to as usize] = source[from as usize];
            }
        });
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placing_is_the_adjoint_of_slicing() {
        let x = Tensor::from_fn([4, 5, 3], |at| {
            (at[0] * 100 + at[1] * 10 + at[2]) as f64 - 111.0
        })
        .unwrap();
        let all_slices: [&[Slice]; 5] = [
            &[],
            &[(1..3).into()],
            &[Slice::from(..).step(-1), Slice::from(1..).step(2)],
            &[(..).into(), (2..2).into()],
            &[
                Slice::from(..).step(3),
                (..-1).into(),
                Slice::from(..).step(-2),
            ],
        ];
        for slices in all_slices {
            let part = x.slice(slices).unwrap();
            let dy = Tensor::from_fn(part.shape(), |at| at.iter().sum::<usize>() as f64 + 0.5);
            for dy in [dy.unwrap(), part.clone()] {
                // ⟨slice(x), dy⟩ = ⟨x, place(dy)⟩
                let placed = dy.place(x.shape(), slices).unwrap();
                let inner = |a: &Tensor<f64>, b: &Tensor<f64>| -> f64 {
                    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
                };
                assert_eq!(inner(&part, &dy), inner(&x, &placed), "{slices:?}");
                assert_eq!(placed.shape(), x.shape());
            }
        }
    }

    #[test]
    fn misfits_are_errors() {
        let x = Tensor::from([1.0, 2.0]);
        let error = x.place([4], &[(0..3).into()]).unwrap_err().to_string();
        assert!(error.contains("[2]") && error.contains("[3]"), "{error}");
        assert!(x.place([usize::MAX, 2], &[]).is_err());
        assert!(x.place([2], &[Slice::from(..).step(0)]).is_err());
    }
}
