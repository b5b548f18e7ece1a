//! Convolution, ReLU and max pooling as one operation.

use crate::conv::filters::Filters;
use crate::conv::job::Execution;
use crate::conv::ops::{checked_bias, slice};
use crate::conv::params::{Conv2dOptions, Conv2dParams};
use crate::conv::winograd::Target;
use crate::error::{Result, named};
use crate::float::Float;
use crate::matmul::Epilogue;
use crate::pool::{Pool2dOptions, PoolIndices};
use crate::storage::Buffer;
use crate::tensor::Tensor;

const OPERATION: &str = "conv2d";

impl Conv2dOptions {
    /// These options without the outputs that no window of `pool` reads: the last row or column
    /// where pairs leave one over. Other poolings change nothing.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions};
    /// let (images, filters) = ([32, 15, 15, 64], [3, 3, 64, 64]);
    /// let options = Conv2dOptions::new();
    /// assert_eq!(options.output_shape(&images, &filters)?, [32, 13, 13, 64]);
    /// let pooled = options.without_unpooled(&images, &filters, &Pool2dOptions::new([2, 2]))?;
    /// assert_eq!(pooled.output_shape(&images, &filters)?, [32, 12, 12, 64]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2dParams::new`], where windows are pairs.
    pub fn without_unpooled(
        self,
        input: &[usize],
        filters: &[usize],
        pool: &Pool2dOptions,
    ) -> Result<Self> {
        if !pool.is_pairs() {
            return Ok(self);
        }
        let params = Conv2dParams::resolve(OPERATION, input, filters, &self)?;
        // A single output is no pair: the pooling refuses it, and should name it.
        let pairs = |outputs: usize| if outputs < 2 { outputs } else { outputs & !1 };
        Ok(self.crop([params.rows.output, params.columns.output].map(pairs)))
    }
}

impl<T: Float> Tensor<T> {
    /// `max_pool2d(max(x ⋆ w + bias, 0))`, the values alone, for prediction; see
    /// [`Tensor::conv2d_fused`] and [`Tensor::max_pool2d_values`]. Where windows are 2×2 side by side
    /// and the convolution runs by Winograd's algorithm, the convolution's output never reaches
    /// memory.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, -2.0, 3.0, 0.0], [1, 1, 4, 1])?;
    /// let (w, bias) = (Tensor::full([1, 1, 1, 1], -1.0)?, Tensor::from([0.5]));
    /// let pool = Pool2dOptions::new([1, 2]);
    /// let y = x.conv2d_relu_max_pool2d(&w, &bias, &Conv2dOptions::new(), &pool)?;
    /// assert_eq!(y.to_vec(), [2.5, 0.5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::conv2d_fused`] and [`Tensor::max_pool2d_values`].
    pub fn conv2d_relu_max_pool2d(
        &self,
        filters: &Tensor<T>,
        bias: &Tensor<T>,
        options: &Conv2dOptions,
        pool: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        named("conv2d_relu_max_pool2d", || {
            let options = options.without_unpooled(self.shape(), filters.shape(), pool)?;
            if let Some((values, _)) = on_the_way(self, filters, bias, &options, pool, false)? {
                return Ok(values);
            }
            self.conv2d_fused(filters, Some(bias), true, &options)?
                .max_pool2d_values(pool)
        })
    }

    /// [`Tensor::conv2d_relu_max_pool2d`], and where the maxima were that are positive, for
    /// training: what [`Tensor::max_pool2d_gated`] returns for the output of the rectifier, without
    /// that output where nobody needs it.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Pool2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, -2.0, 3.0, 1.0], [1, 1, 4, 1])?;
    /// let (w, bias) = (Tensor::full([1, 1, 1, 1], -1.0)?, Tensor::from([0.5]));
    /// let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([1, 2]));
    /// let (y, indices) = x.conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)?;
    /// assert_eq!(y.to_vec(), [2.5, 0.0]);
    /// let dz = y.max_pool2d_gradient(&indices, &[1, 1, 4, 1], &pool)?;
    /// assert_eq!(dz.to_vec(), [0.0, 2.5, 0.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::conv2d_fused`] and [`Tensor::max_pool2d_gated`].
    pub fn conv2d_relu_max_pool2d_gated(
        &self,
        filters: &Tensor<T>,
        bias: &Tensor<T>,
        options: &Conv2dOptions,
        pool: &Pool2dOptions,
    ) -> Result<(Tensor<T>, PoolIndices)> {
        named("conv2d_relu_max_pool2d_gated", || {
            let options = options.without_unpooled(self.shape(), filters.shape(), pool)?;
            if let Some((values, Some(positions))) =
                on_the_way(self, filters, bias, &options, pool, true)?
            {
                return Ok((values, PoolIndices::Small(positions)));
            }
            self.conv2d_fused(filters, Some(bias), true, &options)?
                .max_pool2d_gated(pool)
        })
    }
}

/// Values and, if wanted, positions from an algorithm that pools what it computes before it stores
/// it; `None` if there is none.
#[allow(clippy::type_complexity)] // a name would say less than the signature
fn on_the_way<T: Float>(
    x: &Tensor<T>,
    filters: &Tensor<T>,
    bias: &Tensor<T>,
    options: &Conv2dOptions,
    pool: &Pool2dOptions,
    with_positions: bool,
) -> Result<Option<(Tensor<T>, Option<Tensor<u8>>)>> {
    let params = Conv2dParams::resolve(OPERATION, x.shape(), filters.shape(), options)?;
    let shape = pool.output_shape(&params.output_shape())?;
    if !pool.is_pairs() {
        return Ok(None);
    }
    let bias = checked_bias(OPERATION, bias, filters, &params)?;
    let (x, w) = (
        x.try_contiguous(OPERATION)?,
        filters.try_contiguous(OPERATION)?,
    );
    let epilogue = Epilogue {
        bias: Some(slice(&bias)),
        relu: true,
    };
    let len = shape.checked_elements(OPERATION, size_of::<T>())?;
    let mut values = Buffer::unspecified(OPERATION, len)?;
    let mut positions = match with_positions {
        true => Some(Buffer::unspecified(OPERATION, len)?),
        false => None,
    };
    let target = Target {
        values: values.as_mut_slice(),
        positions: positions.as_mut().map(Buffer::as_mut_slice),
    };
    let kernel = T::kernels().conv.forward_pooled;
    let execution = Execution::best();
    let w = Filters::of(&w);
    let done = kernel(&params, execution, slice(&x), w, epilogue, target)?;
    Ok(done.then(|| {
        let positions = positions.map(|positions| Tensor::from_buffer(positions, shape.clone()));
        (Tensor::from_buffer(values, shape), positions)
    }))
}
