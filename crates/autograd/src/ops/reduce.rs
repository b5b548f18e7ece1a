//! Sums over axes and what is made of them: mean, variance, standard deviation, log-sum-exp, norms.

use tensor::{Axes, Error, Float, Result, Shape, Tensor, keepdims, values};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The sum over `axes` (`..` for all). Derivative: the gradient, broadcast back.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn sum(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        Sum { axes: axes.into() }.apply(&[self])
    }

    /// The mean over `axes` (`..` for all); NaN of no elements. Derivative: the gradient, broadcast
    /// back, divided by the number of elements that it is the mean of.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn mean(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        let axes = axes.into();
        let count = elements_per_result(self.shape(), &axes, "mean")? as f64;
        let share = 1.0 / count;
        Mean { axes, share }.apply(&[self])
    }

    /// The variance `Σ (x − mean)² / (n − correction)` over `axes`: `correction` 0 for a whole
    /// population, 1 for a sample. NaN where `n ≤ correction`. Derivative:
    /// `2 (x − mean) / (n − correction) · dy`.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn var(&self, axes: impl Into<Axes>, correction: usize) -> Result<Var<T>> {
        Variance {
            axes: axes.into(),
            correction,
        }
        .apply(&[self])
    }

    /// The standard deviation, the root of [`Var::var`]. Derivative:
    /// `(x − mean) / ((n − correction) y) · dy`, and 0 where all values are equal (PyTorch's rule).
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn std(&self, axes: impl Into<Axes>, correction: usize) -> Result<Var<T>> {
        let axes = axes.into();
        composed("std", || {
            axes.mask("std", self.shape())?;
            let variance = self.var(axes, correction)?;
            let equal = variance.value().eq(&Tensor::scalar(T::ZERO))?;
            // The root of 1 instead of 0 keeps the infinite slope at 0 out of the gradient.
            variance
                .masked_fill(&equal, T::ONE)?
                .checked()
                .sqrt()?
                .masked_fill(&equal, T::ZERO)
        })
    }

    /// `ln Σ eˣ` over `axes`, without overflow; −∞ of no elements or of −∞ alone. Derivative:
    /// `e^(x − y) · dy`, the softmax; 0 where `x` is −∞.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        LogSumExp { axes: axes.into() }.apply(&[self])
    }

    /// The `p`-norm `(Σ |x|ᵖ)^(1/p)` over `axes`, `p > 0`; `p = ∞` is the largest magnitude.
    /// Derivative: `sign(x) · (|x| / y)^(p−1) · dy`, and 0 where the norm is 0; for `p = ∞`, equal
    /// shares for the elements of largest magnitude.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::from([3e200_f64, -4e200]));
    /// let length = x.norm(2.0, ..)?;
    /// assert!((length.item()? / 5e200 - 1.0).abs() < 1e-15);
    /// let direction = length.backward()?.of(&x)?.clone();
    /// assert!((direction[[0]] - 0.6).abs() < 1e-15 && (direction[[1]] + 0.8).abs() < 1e-15);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `p` is not positive, or an axis does not exist or is named twice, or for `p = ∞` if
    /// there are no elements.
    #[track_caller]
    pub fn norm(&self, p: f64, axes: impl Into<Axes>) -> Result<Var<T>> {
        let axes = axes.into();
        composed("norm", || {
            axes.mask("norm", self.shape())?;
            if p == f64::INFINITY {
                return self.checked().abs()?.max(axes);
            }
            if p == 1.0 {
                return self.checked().abs()?.sum(axes);
            }
            if p.is_nan() || p <= 0.0 {
                return Err(Error::value("norm", "p is not positive").with("p", p));
            }
            // Scaled to largest magnitudes from 1 to 2, so that no power overflows or vanishes. The
            // scale is constant, as the norm of x / s times s does not depend on s, and a power of
            // two, which rounds nothing.
            let mut scale = match self.shape().contains(&0) {
                true => Tensor::scalar(T::ONE),
                false => values::abs(self.value())?.max(keepdims(axes.clone()))?,
            };
            let usable = |s: T| s.is_finite() && s > T::ZERO;
            scale = scale.try_map("norm", move |s| match usable(s) {
                true => T::constant(s.to_f64().log2().floor().exp2()),
                false => T::ONE,
            })?;
            let scale = Var::constant(scale);
            let scaled = self.div(&scale)?;
            let powers = if p == 2.0 {
                scaled.checked().square()?
            } else {
                // A slope of some order is infinite at 0; a zero adds nothing, and gets gradient 0.
                let magnitudes = scaled.checked().abs()?;
                let zeros = magnitudes.value().eq(&Tensor::scalar(T::ZERO))?;
                magnitudes
                    .masked_fill(&zeros, T::ONE)?
                    .checked()
                    .powf(p)?
                    .masked_fill(&zeros, T::ZERO)?
            };
            let sum = powers.sum(keepdims(axes.clone()))?;
            let zero = sum.value().eq(&Tensor::scalar(T::ZERO))?;
            let safe = sum.masked_fill(&zero, T::ONE)?;
            let root = if p == 2.0 {
                safe.checked().sqrt()?
            } else {
                safe.checked().powf(1.0 / p)?
            };
            let norm = root.masked_fill(&zero, T::ZERO)?.mul(&scale)?;
            norm.reshape(axes.reduced("norm", self.shape())?)
        })
    }
}

/// How many elements one result of a reduction is made from.
fn elements_per_result(shape: &Shape, axes: &Axes, operation: &str) -> Result<usize> {
    let mask = axes.mask(operation, shape)?;
    let sizes = shape.iter().zip(&mask);
    Ok(sizes
        .filter_map(|(&size, &reduced)| reduced.then_some(size))
        .product())
}

/// `y` of a reduction with the reduced axes back as 1, so that it broadcasts against `shape`.
pub(crate) fn with_axes<T: Float>(y: &Var<T>, axes: &Axes, shape: &Shape) -> Result<Var<T>> {
    y.reshape(keepdims(axes.clone()).reduced("reduction", shape)?)
}

/// A sum over axes.
struct Sum {
    axes: Axes,
}

impl<T: Float> Op<T> for Sum {
    fn name(&self) -> &str {
        "sum"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.sum(self.axes.clone())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || spread(dy, &self.axes, at.input_shape(0)?))
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| x.elements() as u64)
    }
}

/// The gradient `dy` of a sum over `axes`, broadcast back to `shape`.
fn spread<T: Float>(dy: &Var<T>, axes: &Axes, shape: Shape) -> Result<Var<T>> {
    // A single number broadcasts to any shape.
    if dy.rank() == 0 {
        return dy.broadcast_to(shape);
    }
    with_axes(dy, axes, &shape)?.broadcast_to(shape)
}

/// A sum over axes, times `share`.
struct Mean {
    axes: Axes,
    share: f64,
}

impl<T: Float> Op<T> for Mean {
    fn name(&self) -> &str {
        "mean"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x.sum(self.axes.clone())? * T::constant(self.share))
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            spread(
                &dy.checked().scale(self.share)?,
                &self.axes,
                at.input_shape(0)?,
            )
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| x.elements() as u64)
    }
}

struct Variance {
    axes: Axes,
    correction: usize,
}

impl<T: Float> Op<T> for Variance {
    fn name(&self) -> &str {
        "var"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.var(self.axes.clone(), self.correction)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            let count = elements_per_result(x.shape(), &self.axes, "var")? as f64;
            let freedom = count - self.correction as f64;
            let slope = if freedom > 0.0 {
                2.0 / freedom
            } else {
                f64::NAN
            };
            let centred = x.sub(&x.mean(keepdims(self.axes.clone()))?)?;
            let dy = with_axes(dy, &self.axes, x.shape())?;
            dy.checked().scale(slope)?.mul(&centred)
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| 3 * x.elements() as u64)
    }
}

struct LogSumExp {
    axes: Axes,
}

impl<T: Float> Op<T> for LogSumExp {
    fn name(&self) -> &str {
        "logsumexp"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.logsumexp(self.axes.clone())
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let (x, y) = (at.input(0)?, at.output()?);
            // −∞ − (−∞) would be NaN; no element has a share in the sum there.
            let nothing = y.value().eq(&Tensor::scalar(T::LOWEST))?;
            let y = with_axes(&y.masked_fill(&nothing, T::ZERO)?, &self.axes, x.shape())?;
            with_axes(dy, &self.axes, x.shape())?.mul(&x.sub(&y)?.checked().exp()?)
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| 2 * x.elements() as u64)
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let mut norm = OpEntry::new(
        "norm",
        "`(Σ |x|ᵖ)^(1/p)`; the largest magnitude for `p = ∞`",
        "`dy sign(x) (|x|/y)^(p−1)`",
    )
    .edges(
        "0 where the norm is 0; equal shares for ties at `p = ∞`; no overflow on the way \
             (PyTorch: ∞, with gradient 0)",
    );
    for p in [0.5, 1.0, 2.0, 3.5, f64::INFINITY] {
        norm = norm.sample(&[&[3, 4]], move |v| v[0].norm(p, 1)).distinct();
    }
    vec![
        OpEntry::new("sum", "`Σ x` over axes", "`dy` broadcast back")
            .edges("0 of no elements")
            .sample(&[&[2, 3, 4]], |v| v[0].sum([0, -1]))
            .sample(&[&[2, 3]], |v| v[0].sum(..))
            .sample(&[&[2, 3]], |v| v[0].sum(keepdims(0)))
            .sample(&[&[2, 0]], |v| v[0].sum(1)),
        OpEntry::new("mean", "`Σ x / n` over axes", "`dy / n` broadcast back")
            .edges("NaN of no elements")
            .sample(&[&[2, 3, 4]], |v| v[0].mean([0, -1]))
            .sample(&[&[2, 3]], |v| v[0].mean(keepdims(1))),
        OpEntry::new(
            "var",
            "`Σ (x − mean)² / (n − correction)`",
            "`2 dy (x − mean) / (n − correction)`",
        )
        .edges("NaN where `n ≤ correction`, value and gradient")
        .sample(&[&[2, 3, 4]], |v| v[0].var([0, -1], 1))
        .sample(&[&[2, 3]], |v| v[0].var(keepdims(1), 0)),
        OpEntry::new("std", "`√var`", "`dy (x − mean) / ((n − correction) y)`")
            .edges("0 where all values are equal; NaN where `n ≤ correction`")
            .sample(&[&[2, 3, 4]], |v| v[0].std([0, -1], 1))
            .distinct()
            .sample(&[&[2, 3]], |v| v[0].std(.., 0))
            .distinct(),
        OpEntry::new("logsumexp", "`ln Σ eˣ`", "`dy e^(x − y)`")
            .edges("−∞ of −∞ alone, with gradient 0 (PyTorch: NaN); exact for values of ±10⁴")
            .sample(&[&[2, 3, 4]], |v| v[0].logsumexp([0, -1]))
            .sample(&[&[2, 3]], |v| v[0].logsumexp(keepdims(1))),
        norm,
    ]
}
