//! Convolution: three operations that are each other's derivatives, and the fused layer.

use tensor::{
    Conv2dOptions, Conv2dParams, ConvDirection, Float, Pool2dOptions, PoolIndices, Result, Shape,
    Tensor,
};

use super::activation::relu_gradient;
use super::conv_gradient::{FilterGradient, InputGradient, gradients, pooled_gradients};
use super::pool::Pooling;
use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Var, keeps_nothing};

/// Convolution is linear in the images `x` and in the filters `w`. With a cotangent `u` of its
/// output, `⟨u, conv2d(x, w)⟩ = ⟨x, input_gradient(u, w)⟩ = ⟨w, filter_gradient(x, u)⟩`: each of
/// the three is the derivative of the others, so that the family is closed and has derivatives of
/// every order.
impl<T: Float> Var<T> {
    /// The two-dimensional convolution of images `[batch, height, width, channels in]` with
    /// filters `[height, width, channels in / groups, channels out]`; see [`Tensor::conv2d`].
    /// Derivatives: [`Var::conv2d_input_gradient`] and [`Var::conv2d_filter_gradient`].
    ///
    /// # Errors
    /// As [`Conv2dParams::new`].
    #[track_caller]
    pub fn conv2d(&self, filters: &Var<T>, options: &Conv2dOptions) -> Result<Var<T>> {
        Conv2d { options: *options }.apply(&[self, filters])
    }

    /// `conv2d(x, filters) + bias`, then `max(·, 0)` if `relu`, in one pass over memory; the bias is
    /// `[channels out]`. Derivatives: as [`Var::conv2d`], and the sum over all pixels for the bias.
    /// Saves input and filters, and the output if there is a rectifier.
    ///
    /// # Errors
    /// As [`Conv2dParams::new`], and if the bias is not `[channels out]`.
    #[track_caller]
    pub fn conv2d_bias(
        &self,
        filters: &Var<T>,
        bias: &Var<T>,
        relu: bool,
        options: &Conv2dOptions,
    ) -> Result<Var<T>> {
        composed("conv2d_bias", || {
            Conv2dBias {
                options: *options,
                relu,
            }
            .apply(&[self, filters, bias])
        })
    }

    /// `max_pool2d(max(conv2d(x, filters) + bias, 0))`: three layers that keep the images, the
    /// filters, and where the maxima were. The convolution's own output, the largest of all values,
    /// is gone when the function returns. Derivatives: those of its parts.
    ///
    /// # Errors
    /// As [`Var::conv2d_bias`] and [`Var::max_pool2d`].
    #[track_caller]
    pub fn conv2d_bias_relu_max_pool2d(
        &self,
        filters: &Var<T>,
        bias: &Var<T>,
        options: &Conv2dOptions,
        pool: &Pool2dOptions,
    ) -> Result<Var<T>> {
        composed("conv2d_bias_relu_max_pool2d", || {
            let inputs = [self, filters, bias];
            Conv2dPool {
                options: *options,
                pool: *pool,
                keeps: !keeps_nothing(&inputs),
                indices: None,
            }
            .apply(&inputs)
        })
    }

    /// The gradient of [`Var::conv2d`] with respect to its input of shape `input`; `self` is the
    /// gradient of its output. Derivatives: `conv2d` for `self`, and `conv2d_filter_gradient` for
    /// the filters.
    ///
    /// # Errors
    /// As [`Tensor::conv2d_input_gradient`].
    #[track_caller]
    pub fn conv2d_input_gradient(
        &self,
        filters: &Var<T>,
        input: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Var<T>> {
        InputGradient {
            options: *options,
            input: input.into(),
            gate: None,
            pooling: None,
        }
        .apply(&[self, filters])
    }

    /// The gradient of [`Var::conv2d`] with respect to its filters of shape `filters`; `self` is
    /// its input and `gradient` the gradient of its output. Derivatives: `conv2d_input_gradient`
    /// for the input, and `conv2d` for the gradient.
    ///
    /// # Errors
    /// As [`Tensor::conv2d_filter_gradient`].
    #[track_caller]
    pub fn conv2d_filter_gradient(
        &self,
        gradient: &Var<T>,
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Var<T>> {
        FilterGradient::new(filters, options, false).apply(&[self, gradient])
    }

    /// [`Var::conv2d_filter_gradient`] and, in one row more, the gradient with respect to a bias:
    /// rows `[height · width · channels in / groups + 1, channels out]`. Derivatives:
    /// `conv2d_input_gradient` by the first rows for the input, and `conv2d_bias` with the last one
    /// for the gradient.
    ///
    /// # Errors
    /// As [`Tensor::conv2d_filter_and_bias_gradient`].
    #[track_caller]
    pub fn conv2d_filter_and_bias_gradient(
        &self,
        gradient: &Var<T>,
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Var<T>> {
        FilterGradient::new(filters, options, true).apply(&[self, gradient])
    }

    /// The transposed convolution ("deconvolution"): images `[batch, height, width, channels out]`
    /// are spread to `[batch, height, width, channels in]` by filters
    /// `[height, width, channels in / groups, channels out]`, the adjoint of [`Var::conv2d`] with
    /// the same options. `size` is the height and width of the result.
    ///
    /// # Errors
    /// If `conv2d` of an image of that size does not give an image of the size of `self`.
    #[track_caller]
    pub fn conv_transpose2d(
        &self,
        filters: &Var<T>,
        size: [usize; 2],
        options: &Conv2dOptions,
    ) -> Result<Var<T>> {
        composed("conv_transpose2d", || {
            let channels = match filters.shape()[..] {
                [_, _, per_group, _] => per_group.saturating_mul(options.group_count()),
                _ => 0,
            };
            let batch = self.shape().first().copied().unwrap_or(0);
            self.conv2d_input_gradient(filters, &[batch, size[0], size[1], channels], options)
        })
    }

    /// The one-dimensional convolution of `[batch, length, channels in]` with filters
    /// `[length, channels in / groups, channels out]`: [`Var::conv2d`] on images of height 1, whose
    /// options' second entries count.
    ///
    /// # Errors
    /// As [`Var::conv2d`].
    #[track_caller]
    pub fn conv1d(&self, filters: &Var<T>, options: &Conv2dOptions) -> Result<Var<T>> {
        composed("conv1d", || {
            if self.rank() != 3 || filters.rank() != 3 {
                return Err(
                    tensor::Error::shape("conv1d", "input and filters must have 3 axes")
                        .with("input", self.shape())
                        .with("filters", filters.shape()),
                );
            }
            self.expand_dims(1)?
                .conv2d(&filters.expand_dims(0)?, options)?
                .squeeze(1)
        })
    }
}

pub(super) fn flops(inputs: [&Shape; 2], options: &Conv2dOptions) -> u64 {
    Conv2dParams::new(inputs[0], inputs[1], options)
        .map_or(0, |params| params.multiplications().saturating_mul(2))
}

/// The name of the algorithm of one direction.
pub(super) fn algorithm<T: Float>(
    direction: ConvDirection,
    [x, w]: [&Shape; 2],
    options: &Conv2dOptions,
) -> Option<&'static str> {
    let params = Conv2dParams::new(x, w, options).ok()?;
    Some(params.algorithm::<T>(direction).ok()?.name())
}

struct Conv2d {
    options: Conv2dOptions,
}

impl<T: Float> Op<T> for Conv2d {
    fn name(&self) -> &str {
        "conv2d"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, w] = inputs.exactly()?;
        x.conv2d(w, &self.options)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS.for_others()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        gradients(at, dy, &self.options)
    }
    fn algorithm(&self, inputs: &[&Shape]) -> Option<&'static str> {
        algorithm::<T>(
            ConvDirection::Forward,
            [inputs[0], inputs[1]],
            &self.options,
        )
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        match inputs {
            [x, w] => flops([x, w], &self.options),
            _ => 0,
        }
    }
}

struct Conv2dBias {
    options: Conv2dOptions,
    relu: bool,
}

impl<T: Float> Op<T> for Conv2dBias {
    fn name(&self) -> &str {
        match self.relu {
            true => "conv2d_bias_relu",
            false => "conv2d_bias",
        }
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, w, bias] = inputs.exactly()?;
        x.conv2d_fused(w, Some(bias), self.relu, &self.options)
    }
    fn saves(&self) -> Saves {
        let operands = (Saves::input(0) | Saves::input(1)).for_others();
        if self.relu {
            operands | Saves::OUTPUT
        } else {
            operands
        }
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let dz = if self.relu {
            relu_gradient(at, dy)?
        } else {
            dy.clone()
        };
        gradients(at, &dz, &self.options)
    }
    fn gates_gradient(&self) -> bool {
        self.relu
    }
    fn algorithm(&self, inputs: &[&Shape]) -> Option<&'static str> {
        algorithm::<T>(
            ConvDirection::Forward,
            [inputs[0], inputs[1]],
            &self.options,
        )
    }
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        match inputs {
            [x, w, _] => flops([x, w], &self.options).saturating_add(2 * output.elements() as u64),
            _ => 0,
        }
    }
}

struct Conv2dPool {
    options: Conv2dOptions,
    pool: Pool2dOptions,
    /// Whether a derivative may follow.
    keeps: bool,
    /// Where the maxima were that are positive; known after the forward pass.
    indices: Option<PoolIndices>,
}

impl<T: Float> Op<T> for Conv2dPool {
    fn name(&self) -> &str {
        "conv2d_bias_relu_max_pool2d"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, w, bias] = inputs.exactly()?;
        if !self.keeps {
            return x.conv2d_relu_max_pool2d(w, bias, &self.options, &self.pool);
        }
        let (pooled, indices) =
            x.conv2d_relu_max_pool2d_gated(w, bias, &self.options, &self.pool)?;
        self.indices = Some(indices);
        Ok(pooled)
    }
    fn saves(&self) -> Saves {
        (Saves::input(0) | Saves::input(1)).for_others()
    }
    fn extra_bytes(&self) -> usize {
        self.indices.as_ref().map_or(0, PoolIndices::bytes)
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let Some(indices) = self.indices.clone() else {
            unreachable!("a recorded pooling has run forward");
        };
        let (x, w) = (at.input_shape(0)?, at.input_shape(1)?);
        // What no window reads has no gradient, and is left out of the products.
        let options = self.options.without_unpooled(&x, &w, &self.pool)?;
        let pooling = Pooling {
            options: self.pool,
            indices,
        };
        let wants_all = at.wants(0) && at.wants(1) && at.wants(2);
        // A recorded gradient is easier to read, and to derive, in steps.
        if wants_all
            && keeps_nothing(&[&at.input(0)?, &at.input(1)?, dy])
            && options.reads_pooled_gradients::<T>(&x, &w, &self.pool)?
        {
            return pooled_gradients(at, dy, &options, &pooling);
        }
        let dz = pooling.spread(dy, options.output_shape(&x, &w)?)?;
        gradients(at, &dz, &options)
    }
    fn algorithm(&self, inputs: &[&Shape]) -> Option<&'static str> {
        algorithm::<T>(
            ConvDirection::Forward,
            [inputs[0], inputs[1]],
            &self.options,
        )
    }
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        match inputs {
            [x, w, _] => flops([x, w], &self.options).saturating_add(output.elements() as u64),
            _ => 0,
        }
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    use tensor::Padding;
    // Everything differs per axis, and the strides leave rows over.
    let odd = Conv2dOptions::new()
        .stride([2, 1])
        .dilation([1, 2])
        .padding(Padding::Explicit {
            height: [1, 0],
            width: [0, 2],
        });
    let grouped = Conv2dOptions::new().groups(2).padding(Padding::Same);
    let depthwise = Conv2dOptions::new().groups(3).stride([1, 2]);
    let odd_shapes: [&[usize]; 2] = [&[2, 5, 6, 2], &[2, 3, 2, 3]];
    let output: &[usize] = &[2, 3, 4, 3];
    vec![
        OpEntry::new(
            "conv2d",
            "`y[n,i,j,o] = Σ x[n, i·s+k·d−p, j·s'+l·d'−p', c] w[k,l,c,o]`",
            "`dx = conv2d_input_gradient(dy, w)`, `dw = conv2d_filter_gradient(x, dy)`",
        )
        .edges(
            "an empty batch gives an empty result and zero gradients; infinities and NaN stay in \
             their windows, rounding errors in their tiles",
        )
        .sample(&odd_shapes, move |v| v[0].conv2d(&v[1], &odd))
        .sample(&[&[1, 4, 3, 4], &[3, 3, 2, 2]], move |v| {
            v[0].conv2d(&v[1], &grouped)
        })
        .sample(&[&[2, 3, 5, 3], &[2, 3, 1, 6]], move |v| {
            v[0].conv2d(&v[1], &depthwise)
        })
        .sample(&[&[0, 4, 4, 2], &[3, 3, 2, 2]], |v| {
            v[0].conv2d(&v[1], &Conv2dOptions::new())
        }),
        OpEntry::new(
            "conv2d_bias",
            "`conv2d(x, w) + b`, rectified or not",
            "as `conv2d` of `dz`, `db = Σ dz` over batch and pixels, with `dz = dy` where `y > 0`",
        )
        .edges("rectified at 0: 0")
        .sample(&[&[2, 4, 5, 2], &[3, 2, 2, 3], &[3]], move |v| {
            v[0].conv2d_bias(&v[1], &v[2], false, &odd)
        })
        .sample_on(-1.9..2.1, &[&[1, 4, 4, 2], &[3, 3, 2, 3], &[3]], |v| {
            v[0].conv2d_bias(&v[1], &v[2], true, &Conv2dOptions::new())
        })
        .distinct(),
        OpEntry::new(
            "conv2d_bias_relu_max_pool2d",
            "`max_pool2d(max(conv2d(x, w) + b, 0))`, keeping `x`, `w` and where the maxima were",
            "as `conv2d` of `dz`, `db = Σ dz`, with `dz = dy` at each maximum that is positive",
        )
        .edges("as `relu` and `max_pool2d`")
        .sample_on(-1.9..2.1, &[&[1, 5, 6, 2], &[2, 3, 2, 3], &[3]], |v| {
            let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
            v[0].conv2d_bias_relu_max_pool2d(&v[1], &v[2], &options, &pool)
        })
        .distinct()
        // A row of outputs that no window reads.
        .sample_on(-1.9..2.1, &[&[1, 4, 3, 2], &[2, 2, 2, 3], &[3]], |v| {
            let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
            v[0].conv2d_bias_relu_max_pool2d(&v[1], &v[2], &options, &pool)
        })
        .distinct(),
        OpEntry::new(
            "conv2d_input_gradient",
            "`dx` of `conv2d`, linear in `dy` and `w`",
            "`conv2d(dx, w)` for `dy`, `conv2d_filter_gradient(dx, dy)` for `w`",
        )
        .sample(&[output, odd_shapes[1]], move |v| {
            v[0].conv2d_input_gradient(&v[1], &[2, 5, 6, 2], &odd)
        }),
        OpEntry::new(
            "conv2d_filter_gradient",
            "`dw` of `conv2d`, linear in `x` and `dy`",
            "`conv2d_input_gradient(dy, dw)` for `x`, `conv2d(x, dw)` for `dy`",
        )
        .sample(&[odd_shapes[0], output], move |v| {
            v[0].conv2d_filter_gradient(&v[1], &[2, 3, 2, 3], &odd)
        }),
        OpEntry::new(
            "conv2d_filter_and_bias_gradient",
            "`dw` of `conv2d` and, in one row more, `Σ dy`, linear in `x` and `dy`",
            "`conv2d_input_gradient(dy, dw)` for `x`, `conv2d_bias(x, dw, db)` for `dy`",
        )
        .sample(&[odd_shapes[0], output], move |v| {
            v[0].conv2d_filter_and_bias_gradient(&v[1], &[2, 3, 2, 3], &odd)
        }),
        OpEntry::new(
            "conv_transpose2d",
            "the adjoint of `conv2d` with the same options",
            "as `conv2d_input_gradient`",
        )
        .sample(&[&[1, 3, 2, 4], &[3, 2, 1, 4]], |v| {
            let options = Conv2dOptions::new().stride([2, 3]).groups(2);
            v[0].conv_transpose2d(&v[1], [7, 5], &options)
        }),
        OpEntry::new("conv1d", "`conv2d` on images of height 1", "as `conv2d`")
            .sample(&[&[2, 7, 2], &[3, 2, 2]], |v| {
                v[0].conv1d(&v[1], &Conv2dOptions::new().stride([1, 2]))
            }),
    ]
}
