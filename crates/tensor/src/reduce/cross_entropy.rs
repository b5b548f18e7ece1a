//! Softmax and cross-entropy as one function, which neither overflows nor loses digits.

use super::softmax::{exp_shifted_row, largest_of, sum_of};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::index::check_indices;
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

/// Losses of logits `[…, classes]`: classes are the last axis.
impl<T: Float> Tensor<T> {
    /// `ln Σⱼ exp(xⱼ) − x[label]` for each row of logits: `[…, classes]` and labels `[…]` to
    /// losses `[…]`.
    ///
    /// The derivative by the logits is [`Tensor::softmax_cross_entropy_gradient`].
    ///
    /// ```
    /// use tensor::Tensor;
    /// let logits = Tensor::from([[10_000.0, -10_000.0], [0.0, 0.0]]);
    /// let losses = logits.softmax_cross_entropy(&Tensor::from([1_i64, 0]))?;
    /// assert_eq!(losses.to_vec(), [20_000.0, 2.0_f64.ln()]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the labels have not the shape of the logits less the last axis, or a label is not in
    /// `0..classes`.
    pub fn softmax_cross_entropy(&self, labels: &Tensor<i64>) -> Result<Tensor<T>> {
        let operation = "softmax_cross_entropy";
        let (labels, leading) = self.checked_labels(operation, labels)?;
        let labels = labels.as_slice().unwrap_or_default();
        self.losses(operation, leading, |row, x, largest, log| {
            log + (largest - x[labels[row] as usize])
        })
    }

    /// `softmax(x) − one_hot(label)` for each row: the derivative of
    /// [`Tensor::softmax_cross_entropy`], in the shape of the logits.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let logits = Tensor::from([[0.0, 0.0]]);
    /// let gradient = logits.softmax_cross_entropy_gradient(&Tensor::from([1_i64]))?;
    /// assert_eq!(gradient.to_vec(), [0.5, -0.5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::softmax_cross_entropy`].
    pub fn softmax_cross_entropy_gradient(&self, labels: &Tensor<i64>) -> Result<Tensor<T>> {
        let operation = "softmax_cross_entropy_gradient";
        let (labels, _) = self.checked_labels(operation, labels)?;
        let labels = labels.as_slice().unwrap_or_default();
        self.gradients(operation, |row, out, sum| {
            out.iter_mut().for_each(|out| *out = *out / sum);
            let label = labels[row] as usize;
            out[label] = out[label] - T::ONE;
        })
    }

    /// `−Σⱼ yⱼ · log_softmax(x)ⱼ` for each row of logits and targets, both `[…, classes]`, to
    /// losses `[…]`. Targets are probabilities, as one-hot codes or smoothed labels are; where a
    /// target is 0 its logit may even be −∞.
    ///
    /// The derivative by the logits is [`Tensor::softmax_cross_entropy_with_gradient`].
    ///
    /// ```
    /// use tensor::Tensor;
    /// let logits = Tensor::from([[0.0, 0.0]]);
    /// let losses = logits.softmax_cross_entropy_with(&Tensor::from([[0.25, 0.75]]))?;
    /// assert_eq!(losses.to_vec(), [2.0_f64.ln()]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes differ or have no axis.
    pub fn softmax_cross_entropy_with(&self, targets: &Tensor<T>) -> Result<Tensor<T>> {
        let operation = "softmax_cross_entropy_with";
        let (targets, leading) = self.checked_targets(operation, targets)?;
        let targets = targets.as_slice().unwrap_or_default();
        self.losses(operation, leading, |row, x, largest, log| {
            let targets = &targets[row * x.len()..][..x.len()];
            let mut loss = 0.0;
            for (&target, &x) in targets.iter().zip(x) {
                // Not 0 · ∞.
                if target != T::ZERO {
                    loss += (target * (log + (largest - x))).to_f64();
                }
            }
            T::constant(loss)
        })
    }

    /// `softmax(x) · Σⱼ yⱼ − y` for each row: the derivative of
    /// [`Tensor::softmax_cross_entropy_with`]; `p − y` for targets of sum 1, and 0 for a row whose
    /// targets are all 0, even if its logits are infinite or NaN.
    ///
    /// # Errors
    /// As [`Tensor::softmax_cross_entropy_with`].
    pub fn softmax_cross_entropy_with_gradient(&self, targets: &Tensor<T>) -> Result<Tensor<T>> {
        let operation = "softmax_cross_entropy_with_gradient";
        let (targets, _) = self.checked_targets(operation, targets)?;
        let targets = targets.as_slice().unwrap_or_default();
        self.gradients(operation, |row, out, sum| {
            let targets = &targets[row * out.len()..][..out.len()];
            let total = T::constant(sum_of(
                targets,
                #[inline(always)]
                |y| y,
            ));
            for (out, &target) in out.iter_mut().zip(targets) {
                *out = *out / sum * total - target;
            }
            // Not ∞ · 0 or NaN · 0: the row does not count.
            if total == T::ZERO && targets.iter().all(|&target| target == T::ZERO) {
                out.fill(T::ZERO);
            }
        })
    }

    /// The labels in row-major order, and the shape of the losses.
    fn checked_labels(
        &self,
        operation: &str,
        labels: &Tensor<i64>,
    ) -> Result<(Tensor<i64>, Shape)> {
        let split = self.shape.split_last();
        let Some((&classes, leading)) = split.filter(|(_, leading)| labels.shape[..] == **leading)
        else {
            return Err(Error::shape(operation, "the labels do not fit the logits")
                .with("logits", &self.shape)
                .with("labels", &labels.shape)
                .fix("labels need the shape of the logits without the last axis"));
        };
        check_indices(operation, labels, leading.len(), classes)?;
        Ok((labels.try_contiguous(operation)?, Shape::from(leading)))
    }

    /// The targets in row-major order, and the shape of the losses.
    fn checked_targets(&self, operation: &str, targets: &Tensor<T>) -> Result<(Tensor<T>, Shape)> {
        match self.shape.split_last() {
            Some((_, leading)) if targets.shape == self.shape => {
                Ok((targets.try_contiguous(operation)?, Shape::from(leading)))
            }
            _ => Err(Error::shape(operation, "the targets do not fit the logits")
                .with("logits", &self.shape)
                .with("targets", &targets.shape)
                .fix("both need one shape, with the classes last")),
        }
    }

    /// `loss(row, x, largest, ln Σ exp(x − largest))` for each row.
    fn losses(
        &self,
        operation: &str,
        leading: Shape,
        loss: impl Fn(usize, &[T], T, T) -> T + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let logits = self.try_contiguous(operation)?;
        let x = logits.as_slice().unwrap_or_default();
        let classes = self.shape.last().copied().unwrap_or(0);
        if classes == 0 {
            return Tensor::zeros(leading);
        }
        let some = (BLOCK / classes).max(1);
        Tensor::build(operation, leading, |out| {
            Par::Threads.for_chunks(out, some, |chunk, out| {
                let x = &x[chunk * some * classes..];
                vectorize(
                    Level::best(),
                    #[inline(always)]
                    || {
                        for (i, (out, x)) in out.iter_mut().zip(x.chunks_exact(classes)).enumerate()
                        {
                            let largest = largest_of(x);
                            let sum = sum_of(
                                x,
                                #[inline(always)]
                                |x| (x - largest).exp(),
                            );
                            let log = T::constant(sum.ln());
                            *out = loss(chunk * some + i, x, largest, log);
                        }
                    },
                );
            });
        })
    }

    /// `exp(x − largest)` in each row, finished by `finish(row, exponentials, their sum)`.
    fn gradients(
        &self,
        operation: &str,
        finish: impl Fn(usize, &mut [T], T) + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let logits = self.try_contiguous(operation)?;
        let x = logits.as_slice().unwrap_or_default();
        let classes = self.shape.last().copied().unwrap_or(0).max(1);
        let some = (BLOCK / classes).max(1);
        Tensor::build(operation, self.shape.clone(), |out| {
            out.copy_from_slice(x);
            Par::Threads.for_chunks(out, some * classes, |chunk, out| {
                vectorize(
                    Level::best(),
                    #[inline(always)]
                    || {
                        for (i, out) in out.chunks_exact_mut(classes).enumerate() {
                            let sum = exp_shifted_row(out);
                            finish(chunk * some + i, out, sum);
                        }
                    },
                );
            });
        })
    }
}
