//! The gradients of a convolution that max pooling follows, from the pooling's gradient as it is.

use crate::conv::algorithm::ConvAlgorithm;
use crate::conv::job::Execution;
use crate::conv::ops::{FILTER_GRADIENT, INPUT_GRADIENT, build, filter_and_bias_shape, slice};
use crate::conv::params::{Conv2dOptions, Conv2dParams, ConvDirection};
use crate::conv::winograd::PooledGradient;
use crate::error::{Error, Result, named};
use crate::float::Float;
use crate::pool::{Pool2dOptions, PoolIndices};
use crate::tensor::Tensor;

impl Conv2dOptions {
    /// Whether the gradients of a convolution of `T` that `pool` follows read the pooling's gradient
    /// as it is ([`Tensor::conv2d_input_gradient_pooled`] and
    /// [`Tensor::conv2d_filter_and_bias_gradient_pooled`]), so that nothing need spread it out first:
    /// pairs side by side that cover all outputs ([`Conv2dOptions::without_unpooled`]), and both
    /// gradients by Winograd's algorithm.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions};
    /// let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
    /// let (images, filters) = ([32, 14, 14, 64], [3, 3, 64, 64]);
    /// assert!(options.reads_pooled_gradients::<f32>(&images, &filters, &pool)?);
    /// assert!(!options.reads_pooled_gradients::<f64>(&images, &filters, &pool)?);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2dParams::new`] and [`Conv2dParams::algorithm`].
    pub fn reads_pooled_gradients<T: Float>(
        &self,
        input: &[usize],
        filters: &[usize],
        pool: &Pool2dOptions,
    ) -> Result<bool> {
        let params = Conv2dParams::resolve("conv2d", input, filters, self)?;
        if !pool.is_pairs() || !are_pairs(&params) {
            return Ok(false);
        }
        for direction in [ConvDirection::InputGradient, ConvDirection::FilterGradient] {
            match params.algorithm::<T>(direction)? {
                ConvAlgorithm::Winograd | ConvAlgorithm::Winograd2x2 => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Whether pairs cover all outputs.
fn are_pairs(params: &Conv2dParams) -> bool {
    [&params.rows, &params.columns]
        .iter()
        .all(|axis| axis.output % 2 == 0)
}

/// A pooling's gradient, not spread out, and what it belongs to.
struct Pooled<'a, T: Float> {
    dy: &'a Tensor<T>,
    indices: &'a PoolIndices,
    pool: &'a Pool2dOptions,
}

impl<T: Float> Pooled<'_, T> {
    /// Calls `kernel` with the gradient as it is, if it can be read so; else, or if `kernel` does not
    /// run, returns the gradient spread out over the outputs of `params`.
    fn read(
        &self,
        params: &Conv2dParams,
        kernel: impl FnOnce(PooledGradient<'_, T>) -> Result<bool>,
    ) -> Result<Option<Tensor<T>>> {
        let output = params.output_shape();
        if let PoolIndices::Small(positions) = self.indices
            && self.pool.is_pairs()
            && are_pairs(params)
            && !self.dy.is_empty()
            && self.dy.shape() == positions.shape()
            && *self.dy.shape() == self.pool.output_shape(&output)?
        {
            let dy = self.dy.try_contiguous(INPUT_GRADIENT)?;
            let positions = positions.try_contiguous(INPUT_GRADIENT)?;
            let gradient = PooledGradient {
                values: slice(&dy),
                positions: positions.as_slice().unwrap_or_default(),
            };
            if kernel(gradient)? {
                return Ok(None);
            }
        }
        self.dy
            .max_pool2d_gradient(self.indices, &output, self.pool)
            .map(Some)
    }
}

impl<T: Float> Tensor<T> {
    /// [`Tensor::conv2d_input_gradient`], or [`Tensor::conv2d_input_gradient_gated`] by `gate`, of the
    /// gradient [`Tensor::max_pool2d_gradient`] that `self` and `indices` stand for. Where
    /// [`Conv2dOptions::reads_pooled_gradients`], that is never in memory.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions, Tensor};
    /// let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([1, 2]));
    /// let x = Tensor::from_vec(vec![1.0_f32, -2.0, 3.0, 4.0], [1, 1, 4, 1])?;
    /// let (w, bias) = (Tensor::full([1, 1, 1, 1], 2.0)?, Tensor::zeros([1])?);
    /// let (_, indices) = x.conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)?;
    /// let dy = Tensor::from_vec(vec![10.0, 1.0], [1, 1, 2, 1])?;
    /// let dx = dy.conv2d_input_gradient_pooled(&indices, &w, x.shape(), None, &options, &pool)?;
    /// assert_eq!(dx.to_vec(), [20.0, 0.0, 0.0, 2.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d_gradient`] and [`Tensor::conv2d_input_gradient`], and if `gate` has not
    /// the shape `input`.
    pub fn conv2d_input_gradient_pooled(
        &self,
        indices: &PoolIndices,
        filters: &Tensor<T>,
        input: &[usize],
        gate: Option<&Tensor<T>>,
        options: &Conv2dOptions,
        pool: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        named("conv2d_input_gradient_pooled", || {
            let params = Conv2dParams::resolve(INPUT_GRADIENT, input, filters.shape(), options)?;
            if let Some(gate) = gate
                && **gate.shape() != *input
            {
                let message = "the gate has not the shape of the input";
                return Err(Error::shape(INPUT_GRADIENT, message)
                    .with("gate", gate.shape())
                    .with("input", params.input_shape()));
            }
            let dy = self;
            let gradient = Pooled { dy, indices, pool };
            let w = filters.try_contiguous(INPUT_GRADIENT)?;
            let contiguous_gate = gate
                .map(|gate| gate.try_contiguous(INPUT_GRADIENT))
                .transpose()?;
            let mut spread = None;
            let dx = build(INPUT_GRADIENT, params.input_shape(), |dx| {
                let kernel = T::kernels().conv.pooled_input_gradient;
                let (execution, gate) = (Execution::best(), contiguous_gate.as_ref().map(slice));
                spread = gradient.read(&params, |dy| {
                    kernel(&params, execution, dy, slice(&w), gate, dx)
                })?;
                Ok(())
            })?;
            match (spread, gate) {
                (None, _) => Ok(dx),
                (Some(dz), Some(gate)) => dz.conv2d_input_gradient_gated(filters, gate, options),
                (Some(dz), None) => dz.conv2d_input_gradient(filters, input, options),
            }
        })
    }

    /// [`Tensor::conv2d_filter_and_bias_gradient`] of the gradient [`Tensor::max_pool2d_gradient`] that
    /// `gradient` and `indices` stand for. Where [`Conv2dOptions::reads_pooled_gradients`], that is
    /// never in memory.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions, Tensor};
    /// let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([1, 2]));
    /// let x = Tensor::from_vec(vec![1.0_f32, -2.0, 3.0, 4.0], [1, 1, 4, 1])?;
    /// let (w, bias) = (Tensor::full([1, 1, 1, 1], 2.0)?, Tensor::zeros([1])?);
    /// let (_, indices) = x.conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)?;
    /// let dy = Tensor::from_vec(vec![10.0, 1.0], [1, 1, 2, 1])?;
    /// let rows =
    ///     x.conv2d_filter_and_bias_gradient_pooled(&dy, &indices, w.shape(), &options, &pool)?;
    /// assert_eq!(rows.to_vec(), [14.0, 11.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d_gradient`] and [`Tensor::conv2d_filter_and_bias_gradient`].
    pub fn conv2d_filter_and_bias_gradient_pooled(
        &self,
        gradient: &Tensor<T>,
        indices: &PoolIndices,
        filters: &[usize],
        options: &Conv2dOptions,
        pool: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        named("conv2d_filter_and_bias_gradient_pooled", || {
            let params = Conv2dParams::resolve(FILTER_GRADIENT, self.shape(), filters, options)?;
            let dy = gradient;
            let gradient = Pooled { dy, indices, pool };
            let x = self.try_contiguous(FILTER_GRADIENT)?;
            let mut spread = None;
            let rows = build(FILTER_GRADIENT, filter_and_bias_shape(&params), |all| {
                let (dw, db) = all.split_at_mut(params.filter_shape().elements());
                let kernel = T::kernels().conv.pooled_filter_gradient;
                spread = gradient.read(&params, |dy| {
                    kernel(&params, Execution::best(), slice(&x), dy, dw, db)
                })?;
                Ok(())
            })?;
            match spread {
                None => Ok(rows),
                Some(dz) => self.conv2d_filter_and_bias_gradient(&dz, filters, options),
            }
        })
    }
}
