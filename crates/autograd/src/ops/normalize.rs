//! Normalisation over a batch, a layer or groups of channels.

use tensor::{Axes, Error, Float, Result, Shape, Tensor, keepdims};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

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

    /// Batch normalisation of `[…, channels]` as in training (Ioffe and Szegedy, 2015):
    /// [`Var::standardize`] over all axes but the last, times `scale`, plus `shift`, both
    /// `[channels]`.
    ///
    /// # Errors
    /// If there is no axis, or `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn batch_norm(&self, scale: &Var<T>, shift: &Var<T>, epsilon: f64) -> Result<Var<T>> {
        let axes: Vec<isize> = match self.rank() {
            0 => return Err(Error::axis("batch_norm", "a single value has no channels")),
            rank => (0..rank as isize - 1).collect(),
        };
        self.standardize(&axes[..], epsilon)?.mul(scale)?.add(shift)
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
        // One factor and one term for each channel, then one pass over the image.
        let factor = scale.mul(&variance.shift(epsilon).rsqrt())?;
        let term = shift.sub(&mean.mul(&factor)?)?;
        self.mul(&factor)?.add(&term)
    }

    /// Layer normalisation (Ba et al., 2016): [`Var::standardize`] over the last axis, times
    /// `scale`, plus `shift`.
    ///
    /// # Errors
    /// If there is no axis, or `scale` or `shift` do not broadcast.
    #[track_caller]
    pub fn layer_norm(&self, scale: &Var<T>, shift: &Var<T>, epsilon: f64) -> Result<Var<T>> {
        self.standardize(-1, epsilon)?.mul(scale)?.add(shift)
    }

    /// Group normalisation of `[batch, …, channels]` (Wu and He, 2018): [`Var::standardize`] over
    /// all but the batch and groups of neighbouring channels, times `scale`, plus `shift`, both
    /// `[channels]`. As many groups as channels are instance normalisation.
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
        let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        let (Some((&channels, outer)), true) = (self.shape().split_last(), self.rank() > 1) else {
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
        self.reshape(grouped)?
            .standardize(&axes[..], epsilon)?
            .reshape(self.shape())?
            .mul(scale)?
            .add(shift)
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
        let axes = keepdims(self.axes.clone());
        let mean = x.mean(axes.clone())?;
        let epsilon = T::constant(self.epsilon);
        let scale = x
            .var(axes, 0)?
            .map(move |variance| T::ONE / (variance + epsilon).sqrt());
        x.sub(&mean)?.mul(&scale)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            let axes = || keepdims(self.axes.clone());
            let scale = x.var(axes(), 0)?.shift(self.epsilon).rsqrt();
            let y = x.sub(&x.mean(axes())?)?.mul(&scale)?;
            let slope = dy.mul(&y)?.mean(axes())?;
            dy.sub(&dy.mean(axes())?)?.sub(&y.mul(&slope)?)?.mul(&scale)
        })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        6 * output.elements() as u64
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
