//! Normalisation over a batch, a layer or groups of channels.

use tensor::{Axes, Error, Float, Result, Shape, Tensor, keepdims};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Var, keeps_nothing};

impl<T: Float> Var<T> {
    /// `(x − mean) / √(variance + epsilon)` over `axes`, with the variance of a whole population.
    /// Derivative: `(dy − mean(dy) − y · mean(dy · y)) / √(variance + epsilon)`. Saves its input
    /// alone.
    ///
    /// ```
    /// use autograd::Var;
    /// use tensor::Tensor;
    /// let x = Var::from(Tensor::from([1.0, 3.0]));
    /// assert_eq!(x.standardize(.., 0.0)?.value().to_vec(), [-1.0, 1.0]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn standardize(&self, axes: impl Into<Axes>, epsilon: f64) -> Result<Var<T>> {
        Standardize {
            axes: axes.into(),
            epsilon,
        }
        .apply(&[self])
    }

    /// The gradient of [`Var::standardize`] with respect to its input `self`; `gradient` is that of its
    /// output. Derivatives: by `gradient`, itself, as the map is symmetric; by the input, a formula
    /// in both.
    ///
    /// # Errors
    /// As [`Tensor::standardize_gradient`].
    #[track_caller]
    pub fn standardize_gradient(
        &self,
        gradient: &Var<T>,
        axes: impl Into<Axes>,
        epsilon: f64,
    ) -> Result<Var<T>> {
        StandardizeGradient {
            axes: axes.into(),
            epsilon,
        }
        .apply(&[self, gradient])
    }

    /// `standardize(x) · scale + shift`, in one pass where `scale` and `shift` have the shape of the
    /// last axes. Derivatives: those of its parts. Saves input and scale.
    ///
    /// # Errors
    /// As [`Var::standardize`], or if `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn normalize(
        &self,
        axes: impl Into<Axes>,
        epsilon: f64,
        scale: &Var<T>,
        shift: &Var<T>,
    ) -> Result<Var<T>> {
        let axes = axes.into();
        composed("normalize", || {
            if !self.shape().ends_with(scale.shape()) || scale.shape() != shift.shape() {
                return self.standardize(axes, epsilon)?.mul(scale)?.add(shift);
            }
            Normalize { axes, epsilon }.apply(&[self, scale, shift])
        })
    }

    /// Batch normalisation of `[…, channels]` as in training (Ioffe and Szegedy, 2015):
    /// [`Var::normalize`] over all axes but the last; `scale` and `shift` are `[channels]`.
    ///
    /// # Errors
    /// If there is no axis, or `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn batch_norm(&self, scale: &Var<T>, shift: &Var<T>, epsilon: f64) -> Result<Var<T>> {
        composed("batch_norm", || {
            let axes: Vec<isize> = match self.rank() {
                0 => return Err(Error::axis("batch_norm", "a single value has no channels")),
                rank => (0..rank as isize - 1).collect(),
            };
            self.normalize(&axes[..], epsilon, scale, shift)
        })
    }

    /// Batch normalisation with known statistics, as in prediction:
    /// `(x − mean) / √(variance + epsilon) · scale + shift`, all of them `[channels]`.
    ///
    /// # Errors
    /// If the statistics, `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn batch_norm_inference(
        &self,
        [mean, variance]: [&Var<T>; 2],
        scale: &Var<T>,
        shift: &Var<T>,
        epsilon: f64,
    ) -> Result<Var<T>> {
        composed("batch_norm_inference", || {
            // One factor and one term for each channel, then one pass over the image.
            let deviation = variance.checked().shift(epsilon)?;
            let factor = scale.mul(&deviation.checked().rsqrt()?)?;
            let term = shift.sub(&mean.mul(&factor)?)?;
            self.mul(&factor)?.add(&term)
        })
    }

    /// Layer normalisation (Ba et al., 2016): [`Var::normalize`] over the last axis; `scale` and
    /// `shift` are `[channels]`.
    ///
    /// # Errors
    /// If there is no axis, or `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn layer_norm(&self, scale: &Var<T>, shift: &Var<T>, epsilon: f64) -> Result<Var<T>> {
        composed("layer_norm", || self.normalize(-1, epsilon, scale, shift))
    }

    /// Group normalisation of `[batch, …, channels]` (Wu and He, 2018): [`Var::normalize`] over
    /// all but the batch and groups of neighbouring channels; `scale` and `shift` are `[channels]`.
    /// As many groups as channels are instance normalisation.
    ///
    /// # Errors
    /// If there are fewer than two axes, `groups` does not divide the channels, or `scale` or
    /// `shift` do not broadcast.
    #[track_caller]
    pub fn group_norm(
        &self,
        groups: usize,
        scale: &Var<T>,
        shift: &Var<T>,
        epsilon: f64,
    ) -> Result<Var<T>> {
        composed("group_norm", || {
            let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
            let (Some((&channels, outer)), true) = (self.shape().split_last(), self.rank() > 1)
            else {
                return Err(Error::shape("group_norm", "there are fewer than two axes")
                    .with("shape", self.shape()));
            };
            if !divides(channels) {
                return Err(Error::value(
                    "group_norm",
                    format!("{groups} groups do not divide {channels} channels"),
                ));
            }
            let mut grouped = Shape::from(outer);
            grouped.push(groups);
            grouped.push(channels / groups);
            // All but the batch, in front, and the groups, last but one.
            let last = grouped.rank() as isize - 1;
            let axes: Vec<isize> = (1..=last).filter(|&axis| axis != last - 1).collect();
            let of_groups = Shape::from([groups, channels / groups]);
            let grouped = self.reshape(grouped)?;
            if [scale, shift].iter().any(|of| of.shape()[..] != [channels]) {
                let standardized = grouped.standardize(&axes[..], epsilon)?;
                return standardized.reshape(self.shape())?.mul(scale)?.add(shift);
            }
            let (scale, shift) = (scale.reshape(&of_groups)?, shift.reshape(&of_groups)?);
            grouped
                .normalize(&axes[..], epsilon, &scale, &shift)?
                .reshape(self.shape())
        })
    }
}

struct Standardize {
    axes: Axes,
    epsilon: f64,
}

impl<T: Float> Op<T> for Standardize {
    fn name(&self) -> &str {
        "standardize"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.standardize(self.axes.clone(), self.epsilon)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            x.standardize_gradient(dy, self.axes.clone(), self.epsilon)
        })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        6 * output.elements() as u64
    }
}

struct StandardizeGradient {
    axes: Axes,
    epsilon: f64,
}

impl<T: Float> Op<T> for StandardizeGradient {
    fn name(&self) -> &str {
        "standardize_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, dy] = inputs.exactly()?;
        x.standardize_gradient(dy, self.axes.clone(), self.epsilon)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    /// With `s = 1 / √(variance + epsilon)`, `y = standardize(x)` and `G(v)` for this gradient of `v`,
    /// `Σ ddx · G(dy) = n · s · (cov(ddx, dy) − mean(ddx · y) · mean(dy · y))`, where
    /// `∂s/∂x = −s² · y / n` and `∂(n · mean(v · y))/∂x = G(v)`.
    fn vjp(&self, at: &Backward<'_, T>, ddx: &Var<T>) -> Result<InputGradients<T>> {
        let [x, dy] = at.inputs()?;
        let gradient = |of: &Var<T>| x.standardize_gradient(of, self.axes.clone(), self.epsilon);
        at.gradients()
            .of(0, || {
                let axes = || keepdims(self.axes.clone());
                let y = x.standardize(self.axes.clone(), self.epsilon)?;
                let scale = x.var(axes(), 0)?.shift(self.epsilon).rsqrt();
                let slope = dy.mul(&y)?.mean(axes())?;
                let slope_of_ddx = ddx.mul(&y)?.mean(axes())?;
                let covariance = ddx
                    .mul(&dy)?
                    .mean(axes())?
                    .sub(&ddx.mean(axes())?.mul(&dy.mean(axes())?)?)?;
                let along_y = covariance.sub(&slope_of_ddx.mul(&slope)?)?.mul(&scale)?;
                let others = gradient(ddx)?
                    .mul(&slope)?
                    .add(&gradient(&dy)?.mul(&slope_of_ddx)?)?;
                Ok(y.mul(&along_y)?.add(&others)?.mul(&scale)?.neg())
            })?
            .of(1, || gradient(ddx))
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        10 * output.elements() as u64
    }
}

struct Normalize {
    axes: Axes,
    epsilon: f64,
}

impl<T: Float> Op<T> for Normalize {
    fn name(&self) -> &str {
        "normalize"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, scale, shift] = inputs.exactly()?;
        x.normalize(self.axes.clone(), self.epsilon, scale, shift)
    }
    fn saves(&self) -> Saves {
        Saves::input(0) | Saves::input(1)
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let (x, scale) = (at.input(0)?, at.input(1)?);
        if at.wants(0) && keeps_nothing(&[&x, &scale, dy]) {
            let [dx, dscale, dshift] = x
                .value()
                .normalize_gradients(dy.value(), self.axes.clone(), self.epsilon, scale.value())?
                .map(Var::from);
            return at
                .gradients()
                .of(0, || Ok(dx))?
                .of(1, || Ok(dscale))?
                .of(2, || Ok(dshift));
        }
        at.gradients()
            .of(0, || {
                x.standardize_gradient(&dy.mul(&scale)?, self.axes.clone(), self.epsilon)
            })?
            .of(1, || {
                let y = x.standardize(self.axes.clone(), self.epsilon)?;
                dy.mul(&y)?.sum_to(scale.shape())
            })?
            .of(2, || dy.sum_to(scale.shape()))
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        8 * output.elements() as u64
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "standardize",
            "`(x − mean) / √(variance + ε)` over axes",
            "`(dy − mean(dy) − y mean(dy y)) / √(variance + ε)`",
        )
        .edges("0 of one value or equal values, with gradient 0")
        .sample(&[&[3, 4]], |v| v[0].standardize(0, 1e-3))
        .distinct()
        .sample(&[&[2, 3, 2]], |v| v[0].standardize([1, 2], 0.1)),
        OpEntry::new(
            "standardize_gradient",
            "the gradient of `standardize`, from `x` and `dy`",
            "itself by `dy`; by `x`, `−s (y s (cov(ddx, dy) − mean(ddx y) mean(dy y)) + mean(dy y) G(ddx) + mean(ddx y) G(dy))`",
        )
        .sample(&[&[3, 4], &[3, 4]], |v| {
            v[0].standardize_gradient(&v[1], 0, 1e-3)
        })
        .distinct()
        .sample(&[&[2, 3, 2], &[2, 3, 2]], |v| {
            v[0].standardize_gradient(&v[1], [1, 2], 0.1)
        }),
        OpEntry::new(
            "normalize",
            "`standardize(x) · scale + shift`",
            "as `standardize`; `dscale = Σ dy standardize(x)`, `dshift = Σ dy`",
        )
        .sample(&[&[3, 2, 2], &[2, 2], &[2, 2]], |v| {
            v[0].normalize([0, 2], 0.1, &v[1], &v[2])
        })
        .sample(&[&[3, 2], &[1], &[3, 1]], |v| {
            v[0].normalize(0, 0.1, &v[1], &v[2])
        }),
        OpEntry::new(
            "batch_norm",
            "`standardize` over all axes but the last, `· scale + shift`",
            "as `standardize`; `dscale = Σ dy y₀`, `dshift = Σ dy`",
        )
        .edges("of a batch of one value, `shift` (PyTorch refuses)")
        .sample(&[&[2, 2, 2, 3], &[3], &[3]], |v| {
            v[0].batch_norm(&v[1], &v[2], 1e-3)
        }),
        OpEntry::new(
            "batch_norm_inference",
            "`(x − mean) / √(variance + ε) · scale + shift` with known statistics",
            "`dy scale / √(variance + ε)`",
        )
        .sample_on(0.4..2.0, &[&[2, 2, 3], &[3], &[3], &[3], &[3]], |v| {
            v[0].batch_norm_inference([&v[1], &v[2]], &v[3], &v[4], 1e-3)
        }),
        OpEntry::new(
            "layer_norm",
            "`standardize` over the last axis, `· scale + shift`",
            "as `batch_norm`",
        )
        .edges("of one value, `shift`")
        .sample(&[&[2, 4], &[4], &[4]], |v| {
            v[0].layer_norm(&v[1], &v[2], 1e-3)
        })
        .distinct(),
        OpEntry::new(
            "group_norm",
            "`standardize` over pixels and groups of channels, `· scale + shift`",
            "as `batch_norm`",
        )
        .sample(&[&[2, 2, 2, 4], &[4], &[4]], |v| {
            v[0].group_norm(2, &v[1], &v[2], 1e-3)
        }),
    ]
}
