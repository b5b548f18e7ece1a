//! Choosing between values by a mask, and limiting them.

use tensor::{Error, Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// `on_true` where the mask is true, `on_false` elsewhere, broadcast (NumPy's `where`).
    /// Derivative: each operand gets the gradient where it was chosen and 0 elsewhere, so that a
    /// NaN in what was not chosen reaches neither the value nor the gradients of the operands.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::from([-4.0, 4.0]));
    /// let positive = x.value().gt(&Tensor::scalar(0.0))?;
    /// let y = Var::choose(&positive, &x, &(&x * 0.1))?;
    /// assert_eq!(y.sum(..)?.backward()?.of(&x)?.to_vec(), [0.1, 1.0]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// What an operand was computed from is another matter: the gradient of 0 is multiplied by the
    /// slope there, and 0 times an infinite slope or NaN is NaN (as in PyTorch). Where a function has no
    /// slope, keep it from seeing such numbers:
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::from([-4.0_f64, 4.0]));
    /// let positive = x.value().gt(&Tensor::scalar(0.0))?;
    /// let unguarded = Var::choose(&positive, &x.sqrt(), &x)?;
    /// assert!(unguarded.sum(..)?.backward()?.of(&x)?[[0]].is_nan());
    /// // 1 instead of the numbers that have no root.
    /// let root = x.masked_fill(&positive.not(), 1.0)?.sqrt();
    /// let guarded = Var::choose(&positive, &root, &x)?;
    /// assert_eq!(guarded.sum(..)?.backward()?.of(&x)?.to_vec(), [1.0, 0.25]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn choose(mask: &Tensor<bool>, on_true: &Var<T>, on_false: &Var<T>) -> Result<Var<T>> {
        Choose { mask: mask.clone() }.apply(&[on_true, on_false])
    }

    /// The value with `fill` where the mask is true. Derivative: the gradient where it is false.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor<bool>, fill: T) -> Result<Var<T>> {
        MaskedFill {
            mask: mask.clone(),
            fill,
        }
        .apply(&[self])
    }

    /// Each element limited to `low ..= high`; NaN stays NaN. Derivative: 1 between the bounds, 0
    /// on them and outside.
    ///
    /// # Errors
    /// If `low > high` or either is NaN.
    #[track_caller]
    pub fn clamp(&self, low: T, high: T) -> Result<Var<T>> {
        Clamp { low, high }.apply(&[self])
    }

    /// The upper triangle of each matrix: elements below diagonal `diagonal` (0 the main one,
    /// positive above it) are 0. Derivative: the upper triangle of the gradient.
    ///
    /// # Errors
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn triu(&self, diagonal: isize) -> Result<Var<T>> {
        composed("triu", || {
            let lower =
                self.positions("triu", |row, column| column.saturating_sub(row) < diagonal)?;
            self.masked_fill(&lower, T::ZERO)
        })
    }

    /// The lower triangle of each matrix: elements above diagonal `diagonal` are 0. Derivative:
    /// the lower triangle of the gradient.
    ///
    /// # Errors
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn tril(&self, diagonal: isize) -> Result<Var<T>> {
        composed("tril", || {
            let upper =
                self.positions("tril", |row, column| column.saturating_sub(row) > diagonal)?;
            self.masked_fill(&upper, T::ZERO)
        })
    }

    /// Where `holds(row, column)` in a matrix of the last two axes.
    fn positions(
        &self,
        operation: &str,
        holds: impl Fn(isize, isize) -> bool,
    ) -> Result<Tensor<bool>> {
        let &[.., rows, columns] = &self.shape()[..] else {
            return Err(Error::shape(operation, "there are fewer than two axes")
                .with("shape", self.shape()));
        };
        Tensor::from_fn([rows, columns], |at| holds(at[0] as isize, at[1] as isize))
    }

    /// 1 where `holds`, 0 elsewhere, as a constant: the derivative of a step or a corner.
    pub(crate) fn indicator(&self, holds: impl Fn(T) -> bool + Copy + Send + Sync) -> Var<T> {
        Var::constant(
            self.value()
                .map(move |x| if holds(x) { T::ONE } else { T::ZERO }),
        )
    }
}

/// `on_true` or `on_false`.
struct Choose {
    mask: Tensor<bool>,
}

impl<T: Float> Op<T> for Choose {
    fn name(&self) -> &str {
        "choose"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [on_true, on_false] = inputs.exactly()?;
        self.mask.choose(on_true, on_false)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.mask.len()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || {
                dy.masked_fill(&self.mask.not(), T::ZERO)?
                    .sum_to(&at.input_shape(0)?)
            })?
            .of(1, || {
                dy.masked_fill(&self.mask, T::ZERO)?
                    .sum_to(&at.input_shape(1)?)
            })
    }
}

/// Overwrites where `mask` is true.
struct MaskedFill<T: Float> {
    mask: Tensor<bool>,
    fill: T,
}

impl<T: Float> Op<T> for MaskedFill<T> {
    fn name(&self) -> &str {
        "masked_fill"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        self.mask
            .choose(&Tensor::scalar(self.fill), x)
            .map_err(|error| error.in_operation("masked_fill"))
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.mask.len()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            dy.masked_fill(&self.mask, T::ZERO)?
                .sum_to(&at.input_shape(0)?)
        })
    }
}

/// Limited to `low ..= high`.
struct Clamp<T: Float> {
    low: T,
    high: T,
}

impl<T: Float> Op<T> for Clamp<T> {
    fn name(&self) -> &str {
        "clamp"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.clamp(self.low, self.high)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?.into_value();
            let (low, high) = (Tensor::scalar(self.low), Tensor::scalar(self.high));
            let inside = x.gt(&low)?.and(&x.lt(&high)?)?;
            // Not a product, as 0 · ∞ is not 0.
            dy.masked_fill(&inside.not(), T::ZERO)
        })
    }
}

/// Every third position, of a mask that is broadcast.
fn thirds(shape: &[usize]) -> Result<Tensor<bool>> {
    Tensor::from_fn(shape, |at| at.iter().sum::<usize>() % 3 == 1)
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "choose",
            "`a` where the mask is true, else `b`",
            "`da = dy` where true, `db = dy` where false, else 0",
        )
        .edges(
            "a NaN in the branch not taken reaches neither the value nor the gradients of `a` and `b`; an \
             infinite slope before that meets a gradient of 0, which is NaN",
        )
        .sample(&[&[3, 4], &[4]], |v| {
            Var::choose(&thirds(&[3, 1])?, &v[0], &v[1])
        })
        .sample(&[&[2], &[2]], |v| {
            Var::choose(&thirds(&[3, 2])?, &v[0], &v[1])
        }),
        OpEntry::new(
            "masked_fill",
            "a constant where the mask is true, else `x`",
            "`dy` where false, else 0",
        )
        .edges("a NaN under the mask reaches neither value nor gradient")
        .sample(&[&[3, 4]], |v| v[0].masked_fill(&thirds(&[3, 4])?, 7.0))
        .sample(&[&[4]], |v| v[0].masked_fill(&thirds(&[3, 4])?, 7.0)),
        OpEntry::new(
            "clamp",
            "`min(max(x, low), high)`",
            "`dy` where `low < x < high`, else 0",
        )
        .edges("on a bound 0; NaN stays NaN, with gradient 0")
        .sample(&[&[3, 4]], |v| v[0].clamp(-0.75, 1.25)),
        OpEntry::new(
            "triu",
            "`x` on and above a diagonal, else 0",
            "`dy` there, else 0",
        )
        .sample(&[&[2, 3, 4]], |v| v[0].triu(1)),
        OpEntry::new(
            "tril",
            "`x` on and below a diagonal, else 0",
            "`dy` there, else 0",
        )
        .sample(&[&[4, 3]], |v| v[0].tril(-1)),
    ]
}
