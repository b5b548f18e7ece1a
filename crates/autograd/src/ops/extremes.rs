//! Reductions and orders that pick elements: largest and smallest values.

use tensor::{Axes, Float, Result, Tensor, keepdims};

use super::reduce::with_axes;
use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule};
use crate::ops::Rule2;
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The larger of both; NaN where either is NaN. Derivative: the gradient, for the larger; half
    /// of it each where both are equal. NaN wins.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn maximum(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "maximum",
                forward: Tensor::maximum,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    let [a, b] = at.inputs()?;
                    let (a, b) = (a.value(), b.value());
                    at.gradients()
                        .of(0, || dy.mul(&share(a, b, |a, b| a > b)?)?.sum_to(a.shape()))?
                        .of(1, || dy.mul(&share(b, a, |a, b| a > b)?)?.sum_to(b.shape()))
                },
            }
        }
        .apply(&[self, other])
    }

    /// The smaller of both; NaN where either is NaN. Derivative: the gradient, for the smaller; half
    /// of it each where both are equal. NaN wins.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn minimum(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "minimum",
                forward: Tensor::minimum,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    let [a, b] = at.inputs()?;
                    let (a, b) = (a.value(), b.value());
                    at.gradients()
                        .of(0, || dy.mul(&share(a, b, |a, b| a < b)?)?.sum_to(a.shape()))?
                        .of(1, || dy.mul(&share(b, a, |a, b| a < b)?)?.sum_to(b.shape()))
                },
            }
        }
        .apply(&[self, other])
    }

    /// The largest value over `axes`; NaN if there is one. Derivative: the gradient, for the
    /// largest element; several that are equal get equal shares of it.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice, or there are no elements to choose from.
    #[track_caller]
    pub fn max(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        Extreme {
            name: "max",
            forward: Tensor::max,
            axes: axes.into(),
            counted: None,
        }
        .apply(&[self])
    }

    /// The smallest value over `axes`; NaN if there is one. Derivative: as [`Var::max`].
    ///
    /// # Errors
    /// As [`Var::max`].
    #[track_caller]
    pub fn min(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        Extreme {
            name: "min",
            forward: Tensor::min,
            axes: axes.into(),
            counted: None,
        }
        .apply(&[self])
    }
}

/// The share of the gradient that `a` gets: 1 where it wins, ½ where equal, else 0. NaN wins.
fn share<T: Float>(a: &Tensor<T>, b: &Tensor<T>, wins: fn(T, T) -> bool) -> Result<Var<T>> {
    let half = T::constant(0.5);
    let share = a.zip_map(b, move |a, b| {
        if a == b || (a.is_nan() && b.is_nan()) {
            half
        } else if a.is_nan() || wins(a, b) {
            T::ONE
        } else {
            T::ZERO
        }
    })?;
    Ok(Var::constant(share))
}

/// The largest value over `axes` of a value that holds some elements more than once: where
/// `counted` is 0, an element repeats another, and gets no share of the gradient.
#[track_caller]
pub(super) fn max_of_counted<T: Float>(
    x: &Var<T>,
    axes: impl Into<Axes>,
    counted: Tensor<T>,
) -> Result<Var<T>> {
    Extreme {
        name: "max",
        forward: Tensor::max,
        axes: axes.into(),
        counted: Some(counted),
    }
    .apply(&[x])
}

struct Extreme<T: Float> {
    name: &'static str,
    forward: fn(&Tensor<T>, Axes) -> Result<Tensor<T>>,
    axes: Axes,
    /// 1 for the elements that may share a gradient and 0 for the others, if there are such;
    /// broadcasts against the input.
    counted: Option<Tensor<T>>,
}

impl<T: Float> Op<T> for Extreme<T> {
    fn name(&self) -> &str {
        self.name
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        (self.forward)(x, self.axes.clone())
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn extra_bytes(&self) -> usize {
        self.counted.as_ref().map_or(0, Tensor::len) * size_of::<T>()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let (x, y) = (at.input(0)?, at.output()?);
            let y = with_axes(&y, &self.axes, x.shape())?;
            // A NaN result was chosen from the NaNs, which equal nothing.
            let chosen = x.value().zip_map(y.value(), |x, y| {
                if x == y || (x.is_nan() && y.is_nan()) {
                    T::ONE
                } else {
                    T::ZERO
                }
            })?;
            let chosen = match &self.counted {
                Some(counted) => chosen.mul(counted)?,
                None => chosen,
            };
            let shares = chosen.div(&chosen.sum(keepdims(self.axes.clone()))?)?;
            with_axes(dy, &self.axes, x.shape())?.mul(&Var::constant(shares))
        })
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let edges = "ties get equal shares, as PyTorch's `amax`; NaN wins and gets the gradient (PyTorch: \
                 NaN throughout); no elements are an error";
    let both = "at ties half each; NaN wins, value and gradient (PyTorch: the gradient to both)";
    vec![
        OpEntry::new("maximum", "the larger of `a` and `b`", "`dy` to the larger")
            .edges(both)
            .sample(&[&[2, 3], &[3]], |v| v[0].maximum(&v[1]))
            .distinct()
            .sample(&[&[3], &[2, 3]], |v| v[0].maximum(&v[1]))
            .distinct(),
        OpEntry::new(
            "minimum",
            "the smaller of `a` and `b`",
            "`dy` to the smaller",
        )
        .edges(both)
        .sample(&[&[2, 3], &[3]], |v| v[0].minimum(&v[1]))
        .distinct()
        .sample(&[&[3], &[2, 3]], |v| v[0].minimum(&v[1]))
        .distinct(),
        OpEntry::new("max", "the largest `x` over axes", "`dy` where `x = y`")
            .edges(edges)
            .sample(&[&[3, 4]], |v| v[0].max(1))
            .distinct()
            .sample(&[&[2, 3, 2]], |v| v[0].max(keepdims([0, 2])))
            .distinct()
            .sample(&[&[5]], |v| v[0].max(..))
            .distinct(),
        OpEntry::new("min", "the smallest `x` over axes", "`dy` where `x = y`")
            .edges(edges)
            .sample(&[&[3, 4]], |v| v[0].min(0))
            .distinct()
            .sample(&[&[5]], |v| v[0].min(..))
            .distinct(),
    ]
}
