//! Convolution on tensors: shapes are checked here, kernels get slices.

use crate::conv::filters::Filters;
use crate::conv::job::Execution;
use crate::conv::params::{Conv2dOptions, Conv2dParams};
use crate::error::{Error, Result, named};
use crate::float::Float;
use crate::matmul::Epilogue;
use crate::shape::Shape;
use crate::storage::Buffer;
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// The two-dimensional convolution of images with filters (a cross-correlation, as in all
    /// neural-network libraries):
    ///
    /// `y[n, i, j, o] = Σ x[n, i·s + k·d − p, j·s' + l·d' − p', c] · w[k, l, c, o]`
    ///
    /// summed over the kernel's rows `k`, columns `l` and channels `c`, with stride `s`, dilation
    /// `d` and padding `p` before. `self` is `[batch, height, width, channels in]`, `filters` are
    /// `[height, width, channels in / groups, channels out]`, the result is
    /// `[batch, height, width, channels out]`; [`Conv2dOptions::output_shape`] computes it.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Padding, Tensor};
    /// let image = Tensor::<f32>::ones([1, 4, 4, 1])?;
    /// let sums = image.conv2d(
    ///     &Tensor::ones([3, 3, 1, 1])?,
    ///     &Conv2dOptions::new().padding(Padding::Same),
    /// )?;
    /// assert_eq!(sums.shape(), &[1, 4, 4, 1]);
    /// assert_eq!(sums[[0, 0, 0, 0]], 4.0);
    /// assert_eq!(sums[[0, 1, 1, 0]], 9.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// How far rounding errors reach depends on the algorithm: see
    /// [`ConvAlgorithm`](crate::ConvAlgorithm).
    ///
    /// # Errors
    /// As [`Conv2dParams::new`].
    pub fn conv2d(&self, filters: &Tensor<T>, options: &Conv2dOptions) -> Result<Tensor<T>> {
        named("conv2d", || {
            self.conv2d_fused(filters, None, false, options)
        })
    }

    /// `y = x ⋆ w + bias`, then `max(y, 0)` if `relu`, in one pass over memory; see
    /// [`Tensor::conv2d`]. The bias is `[channels out]`. NaN stays NaN.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, -2.0, 3.0], [1, 1, 3, 1])?;
    /// let w = Tensor::from_vec(vec![1.0, -1.0], [1, 1, 1, 2])?;
    /// let bias = Tensor::from_vec(vec![0.5, 0.0], [2])?;
    /// let y = x.conv2d_fused(&w, Some(&bias), true, &Conv2dOptions::new())?;
    /// assert_eq!(y.to_vec(), [1.5, 0.0, 0.0, 2.0, 3.5, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2dParams::new`], and if the bias is not `[channels out]`.
    pub fn conv2d_fused(
        &self,
        filters: &Tensor<T>,
        bias: Option<&Tensor<T>>,
        relu: bool,
        options: &Conv2dOptions,
    ) -> Result<Tensor<T>> {
        let operation = "conv2d_fused";
        let params = Conv2dParams::resolve(operation, self.shape(), filters.shape(), options)?;
        let bias = bias
            .map(|bias| checked_bias(operation, bias, filters, &params))
            .transpose()?;
        let (x, w) = (
            self.try_contiguous(operation)?,
            filters.try_contiguous(operation)?,
        );
        let epilogue = Epilogue {
            bias: bias.as_ref().map(slice),
            relu,
        };
        build(operation, params.output_shape(), |out| {
            let execution = Execution::best();
            let (x, w) = (slice(&x), Filters::of(&w));
            (T::kernels().conv.forward)(&params, execution, x, w, epilogue, out)
        })
    }

    /// The gradient of [`Tensor::conv2d`] with respect to its input of shape `input`; `self` is
    /// the gradient with respect to its output:
    ///
    /// `dx[n, y, x, c] = Σ dy[n, i, j, o] · w[k, l, c, o]` over all products that
    /// `x[n, y, x, c]` takes part in.
    ///
    /// It is linear in both operands. As a function of its own it is the transposed convolution
    /// (“deconvolution”).
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Tensor};
    /// let options = Conv2dOptions::new().stride([1, 2]);
    /// let dy = Tensor::<f64>::ones([1, 1, 2, 1])?;
    /// let w = Tensor::from_vec(vec![1.0, 2.0, 3.0], [1, 3, 1, 1])?;
    /// let dx = dy.conv2d_input_gradient(&w, &[1, 1, 6, 1], &options)?;
    /// assert_eq!(dx.to_vec(), [1.0, 2.0, 4.0, 2.0, 3.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2dParams::new`] for the input and the filters, and if `self` has not the shape of
    /// their convolution.
    pub fn conv2d_input_gradient(
        &self,
        filters: &Tensor<T>,
        input: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Tensor<T>> {
        input_gradient(self, filters, input, None, options)
    }

    /// [`Tensor::conv2d_input_gradient`] where `gate`, which has the shape of the input, is
    /// positive or NaN, and 0 elsewhere, in one pass over memory: the gradient with respect to what
    /// a rectifier got, if `gate` is what it gave.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Tensor};
    /// let dy = Tensor::<f32>::ones([1, 1, 3, 1])?;
    /// let w = Tensor::full([1, 1, 1, 1], 2.0)?;
    /// let gate = Tensor::from_vec(vec![0.5, 0.0, 3.0], [1, 1, 3, 1])?;
    /// let dx = dy.conv2d_input_gradient_gated(&w, &gate, &Conv2dOptions::new())?;
    /// assert_eq!(dx.to_vec(), [2.0, 0.0, 2.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::conv2d_input_gradient`].
    pub fn conv2d_input_gradient_gated(
        &self,
        filters: &Tensor<T>,
        gate: &Tensor<T>,
        options: &Conv2dOptions,
    ) -> Result<Tensor<T>> {
        named("conv2d_input_gradient_gated", || {
            input_gradient(self, filters, gate.shape(), Some(gate), options)
        })
    }

    /// The gradient of [`Tensor::conv2d`] with respect to its filters of shape `filters`; `self`
    /// is its input and `gradient` the gradient with respect to its output:
    ///
    /// `dw[k, l, c, o] = Σ x[n, i·s + k·d − p, j·s' + l·d' − p', c] · dy[n, i, j, o]` over images
    /// `n` and outputs `i`, `j`.
    ///
    /// It is linear in both operands.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 1, 4, 1])?;
    /// let dy = Tensor::from_vec(vec![1.0, 10.0, 100.0], [1, 1, 3, 1])?;
    /// let dw = x.conv2d_filter_gradient(&dy, &[1, 2, 1, 1], &Conv2dOptions::new())?;
    /// assert_eq!(dw.to_vec(), [321.0, 432.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2dParams::new`] for the input and the filters, and if `gradient` has not the shape
    /// of their convolution.
    pub fn conv2d_filter_gradient(
        &self,
        gradient: &Tensor<T>,
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Tensor<T>> {
        let params = Conv2dParams::resolve(FILTER_GRADIENT, self.shape(), filters, options)?;
        filter_gradient(self, gradient, &params, params.filter_shape())
    }

    /// [`Tensor::conv2d_filter_gradient`] and, as one row more below it, the gradient with respect to
    /// a bias, `db[o] = Σ dy[n, i, j, o]`, from one pass over `gradient` where the algorithm allows.
    /// The rows `[height · width · channels in / groups + 1, channels out]` are those of the
    /// convolution as a product of patches that end with a 1.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 1, 4, 1])?;
    /// let dy = Tensor::from_vec(vec![1.0, 10.0, 100.0], [1, 1, 3, 1])?;
    /// let rows = x.conv2d_filter_and_bias_gradient(&dy, &[1, 2, 1, 1], &Conv2dOptions::new())?;
    /// assert_eq!(rows.to_vec(), [321.0, 432.0, 111.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::conv2d_filter_gradient`].
    pub fn conv2d_filter_and_bias_gradient(
        &self,
        gradient: &Tensor<T>,
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Tensor<T>> {
        named("conv2d_filter_and_bias_gradient", || {
            let params = Conv2dParams::resolve(FILTER_GRADIENT, self.shape(), filters, options)?;
            filter_gradient(self, gradient, &params, filter_and_bias_shape(&params))
        })
    }
}

pub(super) const INPUT_GRADIENT: &str = "conv2d_input_gradient";
pub(super) const FILTER_GRADIENT: &str = "conv2d_filter_gradient";

/// Rows of the filters' gradient, and one of the bias'.
pub(super) fn filter_and_bias_shape(params: &Conv2dParams) -> Shape {
    let patch = params.filter_shape()[..3].iter().product::<usize>();
    Shape::from([patch + 1, params.out_channels])
}

/// The filters' gradient and, if `shape` has room for it, the bias' after it.
fn filter_gradient<T: Float>(
    x: &Tensor<T>,
    gradient: &Tensor<T>,
    params: &Conv2dParams,
    shape: Shape,
) -> Result<Tensor<T>> {
    check_gradient(FILTER_GRADIENT, gradient.shape(), params)?;
    let (x, dy) = (
        x.try_contiguous(FILTER_GRADIENT)?,
        gradient.try_contiguous(FILTER_GRADIENT)?,
    );
    build(FILTER_GRADIENT, shape, |all| {
        let (dw, db) = all.split_at_mut(params.filter_shape().elements());
        let kernel = T::kernels().conv.filter_gradient;
        let has_bias = kernel(params, Execution::best(), slice(&x), slice(&dy), dw, db)?;
        if !has_bias && !db.is_empty() {
            db.copy_from_slice(slice(&dy.sum([0, 1, 2])?));
        }
        Ok(())
    })
}

/// The bias in a row, if it has a number for each output channel.
pub(super) fn checked_bias<T: Float>(
    operation: &str,
    bias: &Tensor<T>,
    filters: &Tensor<T>,
    params: &Conv2dParams,
) -> Result<Tensor<T>> {
    if bias.shape() == &[params.out_channels] {
        return bias.try_contiguous(operation);
    }
    Err(Error::shape(
        operation,
        "the bias must have one number for each output channel",
    )
    .with("bias", bias.shape())
    .with("filters", filters.shape())
    .fix(format!("give it the shape [{}]", params.out_channels)))
}

fn input_gradient<T: Float>(
    dy: &Tensor<T>,
    filters: &Tensor<T>,
    input: &[usize],
    gate: Option<&Tensor<T>>,
    options: &Conv2dOptions,
) -> Result<Tensor<T>> {
    let operation = INPUT_GRADIENT;
    let params = Conv2dParams::resolve(operation, input, filters.shape(), options)?;
    check_gradient(operation, dy.shape(), &params)?;
    let (dy, w) = (
        dy.try_contiguous(operation)?,
        filters.try_contiguous(operation)?,
    );
    let gate = gate
        .map(|gate| gate.try_contiguous(operation))
        .transpose()?;
    build(operation, params.input_shape(), |dx| {
        let kernel = T::kernels().conv.input_gradient;
        let gate = gate.as_ref().map(slice);
        kernel(&params, Execution::best(), slice(&dy), slice(&w), gate, dx)
    })
}

fn check_gradient(operation: &str, gradient: &Shape, params: &Conv2dParams) -> Result<()> {
    let output = params.output_shape();
    if *gradient == output {
        return Ok(());
    }
    Err(Error::shape(
        operation,
        "the gradient has not the shape of the convolution's output",
    )
    .with("gradient", gradient)
    .with("output", &output)
    .with("input", params.input_shape())
    .with("filters", params.filter_shape()))
}

/// The elements of a tensor that was made contiguous.
pub(crate) fn slice<T: Float>(tensor: &Tensor<T>) -> &[T] {
    tensor.as_slice().unwrap_or_default()
}

/// A new tensor whose elements `fill` writes, unless it fails.
pub(super) fn build<T: Float>(
    operation: &str,
    shape: Shape,
    fill: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<Tensor<T>> {
    let len = shape.checked_elements(operation, size_of::<T>())?;
    let mut buffer = Buffer::unspecified(operation, len)?;
    fill(buffer.as_mut_slice())?;
    Ok(Tensor::from_buffer(buffer, shape))
}
