//! Pooling on tensors: shapes are checked here, kernels get slices.

use crate::conv::slice;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::parallel::Par;
use crate::pool::kernels::PositionKernels;
use crate::pool::max::Position;
use crate::pool::params::{Pool2dOptions, Pool2dParams};
use crate::shape::Shape;
use crate::simd::Level;
use crate::storage::Buffer;
use crate::tensor::Tensor;

/// Where the maxima of a max pooling were: for each output the number of the tap within its
/// window, `row · window width + column`, in the smallest type that holds it.
#[derive(Clone)]
pub enum PoolIndices {
    /// For windows of up to 256 positions.
    Small(Tensor<u8>),
    /// For larger windows.
    Large(Tensor<i32>),
}

/// Positions of a window that a byte can number.
const SMALL_WINDOW: usize = 256;

impl PoolIndices {
    /// The shape `[batch, height, width, channels]` of the pooling's output.
    pub fn shape(&self) -> &Shape {
        match self {
            PoolIndices::Small(indices) => indices.shape(),
            PoolIndices::Large(indices) => indices.shape(),
        }
    }

    /// The memory that the indices take.
    pub fn bytes(&self) -> usize {
        match self {
            PoolIndices::Small(indices) => indices.len(),
            PoolIndices::Large(indices) => indices.len() * size_of::<i32>(),
        }
    }
}

impl PoolIndices {
    /// The same in row-major memory.
    fn try_contiguous(&self, operation: &str) -> Result<Self> {
        Ok(match self {
            PoolIndices::Small(indices) => PoolIndices::Small(indices.try_contiguous(operation)?),
            PoolIndices::Large(indices) => PoolIndices::Large(indices.try_contiguous(operation)?),
        })
    }
}

impl std::fmt::Debug for PoolIndices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolIndices({}, {} bytes)", self.shape(), self.bytes())
    }
}

impl<T: Float> Tensor<T> {
    /// The largest value under each window of an image `[batch, height, width, channels]`:
    /// `y[n, i, j, c] = max x[n, i·s + k − p, j·s' + l − p', c]` over the window's rows `k` and
    /// columns `l`; and where it was, for the gradient.
    ///
    /// Padding never wins. The first of equal values does; NaN does over everything before it.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f32, 5.0, 3.0, 2.0], [1, 2, 2, 1])?;
    /// let (y, indices) = x.max_pool2d(&Pool2dOptions::new([2, 2]))?;
    /// assert_eq!(y.to_vec(), [5.0]);
    /// assert_eq!(indices.bytes(), 1);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`], and if the window has more than 2³¹ − 1 positions.
    pub fn max_pool2d(&self, options: &Pool2dOptions) -> Result<(Tensor<T>, PoolIndices)> {
        max_pool(self, options, false)
    }

    /// [`Tensor::max_pool2d`] of what a rectifier gave, with indices that name no input where the
    /// maximum is not positive: [`Tensor::max_pool2d_gradient`] by these indices is the gradient
    /// with respect to what the rectifier got, so that its output need not be kept.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]);
    /// let x = Tensor::from_vec(vec![0.0_f64, 5.0, 0.0, 0.0], [1, 1, 4, 1])?;
    /// let (y, indices) = x.max_pool2d_gated(&options)?;
    /// assert_eq!(y.to_vec(), [5.0, 0.0]);
    /// let dy = Tensor::from_vec(vec![10.0, 1.0], [1, 1, 2, 1])?;
    /// let dx = dy.max_pool2d_gradient(&indices, x.shape(), &options)?;
    /// assert_eq!(dx.to_vec(), [0.0, 10.0, 0.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d`].
    pub fn max_pool2d_gated(&self, options: &Pool2dOptions) -> Result<(Tensor<T>, PoolIndices)> {
        max_pool(self, options, true).map_err(|error| error.in_operation("max_pool2d_gated"))
    }

    /// The values of [`Tensor::max_pool2d`] alone, for prediction.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let x = Tensor::from_vec(vec![-3.0_f32, -1.0, -2.0], [1, 1, 3, 1])?;
    /// let y = x.max_pool2d_values(&Pool2dOptions::new([1, 2]).stride([1, 1]))?;
    /// assert_eq!(y.to_vec(), [-1.0, -1.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`].
    pub fn max_pool2d_values(&self, options: &Pool2dOptions) -> Result<Tensor<T>> {
        let operation = "max_pool2d_values";
        let params = Pool2dParams::resolve(operation, self.shape(), options)?;
        let x = self.try_contiguous(operation)?;
        Tensor::build(operation, params.output_shape(), |y| {
            if !y.is_empty() {
                (T::kernels().pool.values)(&params, Par::Threads, Level::best(), slice(&x), y);
            }
        })
    }

    /// The gradient of [`Tensor::max_pool2d`] with respect to its input of shape `input`; `self`
    /// is the gradient with respect to its values:
    ///
    /// `dx[i] = Σ dy[o]` over the windows `o` whose maximum was input `i`.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]).stride([1, 1]);
    /// let x = Tensor::from_vec(vec![1.0_f64, 5.0, 2.0], [1, 1, 3, 1])?;
    /// let (_, indices) = x.max_pool2d(&options)?;
    /// let dy = Tensor::from_vec(vec![10.0, 1.0], [1, 1, 2, 1])?;
    /// let dx = dy.max_pool2d_gradient(&indices, x.shape(), &options)?;
    /// assert_eq!(dx.to_vec(), [0.0, 11.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`], and if `self` or `indices` have not the output's shape.
    pub fn max_pool2d_gradient(
        &self,
        indices: &PoolIndices,
        input: &[usize],
        options: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        max_pool_gradient(self, indices, input, None, options)
    }

    /// [`Tensor::max_pool2d_gradient`] where `gate`, which has the shape of the input, is positive
    /// or NaN, and 0 elsewhere, in one pass over memory: the gradient with respect to what a
    /// rectifier got, if `gate` is what it gave.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]);
    /// let x = Tensor::from_vec(vec![0.0_f64, 5.0, 0.0, 0.0], [1, 1, 4, 1])?;
    /// let (_, indices) = x.max_pool2d(&options)?;
    /// let dy = Tensor::from_vec(vec![10.0, 1.0], [1, 1, 2, 1])?;
    /// let dx = dy.max_pool2d_gradient_gated(&indices, &x, &options)?;
    /// assert_eq!(dx.to_vec(), [0.0, 10.0, 0.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d_gradient`].
    pub fn max_pool2d_gradient_gated(
        &self,
        indices: &PoolIndices,
        gate: &Tensor<T>,
        options: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        max_pool_gradient(self, indices, gate.shape(), Some(gate), options)
            .map_err(|error| error.in_operation("max_pool2d_gradient_gated"))
    }

    /// The values of `self` at the positions that won a max pooling of the same geometry:
    /// `y[o] = x[position of o]`.
    ///
    /// This is the derivative of [`Tensor::max_pool2d`] along a direction, and the gradient of
    /// [`Tensor::max_pool2d_gradient`].
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]);
    /// let x = Tensor::from_vec(vec![1.0_f64, 5.0, 4.0, 2.0], [1, 1, 4, 1])?;
    /// let (_, indices) = x.max_pool2d(&options)?;
    /// let direction = Tensor::from_vec(vec![0.1, 0.2, 0.3, 0.4], [1, 1, 4, 1])?;
    /// assert_eq!(direction.max_pool2d_gather(&indices, &options)?.to_vec(), [0.2, 0.3]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`], and if `indices` have not the output's shape.
    pub fn max_pool2d_gather(
        &self,
        indices: &PoolIndices,
        options: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        let operation = "max_pool2d_gather";
        let params = Pool2dParams::resolve(operation, self.shape(), options)?;
        check_output(operation, "indices", indices.shape(), &params)?;
        let x = self.try_contiguous(operation)?;
        let indices = indices.try_contiguous(operation)?;
        Tensor::build(operation, params.output_shape(), |y| {
            if y.is_empty() {
                return;
            }
            let (par, level) = (Par::Threads, Level::best());
            let kernels = &T::kernels().pool;
            match &indices {
                PoolIndices::Small(indices) => {
                    let positions = indices.as_slice().unwrap_or_default();
                    (kernels.small.gather)(&params, par, level, slice(&x), positions, y);
                }
                PoolIndices::Large(indices) => {
                    let positions = indices.as_slice().unwrap_or_default();
                    (kernels.large.gather)(&params, par, level, slice(&x), positions, y);
                }
            }
        })
    }

    /// The mean under each window of an image `[batch, height, width, channels]`:
    /// `y[n, i, j, c] = Σ x[n, i·s + k − p, j·s' + l − p', c] / count` over the window's rows `k`
    /// and columns `l`. Padding counts as zeros or, by default, not at all
    /// ([`Pool2dOptions::count_padding`]).
    ///
    /// ```
    /// use tensor::{Padding, Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]).padding(Padding::Same);
    /// let x = Tensor::from_vec(vec![1.0_f32, 5.0, 4.0], [1, 1, 3, 1])?;
    /// assert_eq!(x.avg_pool2d(&options)?.to_vec(), [3.0, 4.0]);
    /// assert_eq!(x.avg_pool2d(&options.count_padding(true))?.to_vec(), [3.0, 2.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`].
    pub fn avg_pool2d(&self, options: &Pool2dOptions) -> Result<Tensor<T>> {
        let operation = "avg_pool2d";
        let params = Pool2dParams::resolve(operation, self.shape(), options)?;
        let x = self.try_contiguous(operation)?;
        Tensor::build(operation, params.output_shape(), |y| {
            if !y.is_empty() {
                (T::kernels().pool.average)(&params, Par::Threads, Level::best(), slice(&x), y);
            }
        })
    }

    /// The gradient of [`Tensor::avg_pool2d`] with respect to its input of shape `input`; `self`
    /// is the gradient with respect to its output:
    ///
    /// `dx[i] = Σ dy[o] / count of o` over the windows `o` over input `i`.
    ///
    /// ```
    /// use tensor::{Pool2dOptions, Tensor};
    /// let options = Pool2dOptions::new([1, 2]).stride([1, 1]);
    /// let dy = Tensor::from_vec(vec![10.0_f64, 1.0], [1, 1, 2, 1])?;
    /// let dx = dy.avg_pool2d_gradient(&[1, 1, 3, 1], &options)?;
    /// assert_eq!(dx.to_vec(), [5.0, 5.5, 0.5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool2dParams::new`], and if `self` has not the output's shape.
    pub fn avg_pool2d_gradient(
        &self,
        input: &[usize],
        options: &Pool2dOptions,
    ) -> Result<Tensor<T>> {
        let operation = "avg_pool2d_gradient";
        let params = Pool2dParams::resolve(operation, input, options)?;
        check_output(operation, "gradient", self.shape(), &params)?;
        let dy = self.try_contiguous(operation)?;
        Tensor::build(operation, params.input_shape(), |dx| {
            if !dx.is_empty() {
                (T::kernels().pool.average_gradient)(
                    &params,
                    Par::Threads,
                    Level::best(),
                    slice(&dy),
                    dx,
                );
            }
        })
    }
}

const MAX: &str = "max_pool2d";

fn max_pool_gradient<T: Float>(
    dy: &Tensor<T>,
    indices: &PoolIndices,
    input: &[usize],
    gate: Option<&Tensor<T>>,
    options: &Pool2dOptions,
) -> Result<Tensor<T>> {
    let operation = "max_pool2d_gradient";
    let params = Pool2dParams::resolve(operation, input, options)?;
    check_output(operation, "gradient", dy.shape(), &params)?;
    check_output(operation, "indices", indices.shape(), &params)?;
    let dy = dy.try_contiguous(operation)?;
    let indices = indices.try_contiguous(operation)?;
    let gate = gate
        .map(|gate| gate.try_contiguous(operation))
        .transpose()?;
    Tensor::build(operation, params.input_shape(), |dx| {
        if dx.is_empty() {
            return;
        }
        let (par, level) = (Par::Threads, Level::best());
        let gate = gate.as_ref().map(slice);
        let kernels = &T::kernels().pool;
        match &indices {
            PoolIndices::Small(indices) => {
                let positions = indices.as_slice().unwrap_or_default();
                (kernels.small.scatter)(&params, par, level, slice(&dy), positions, gate, dx);
            }
            PoolIndices::Large(indices) => {
                let positions = indices.as_slice().unwrap_or_default();
                (kernels.large.scatter)(&params, par, level, slice(&dy), positions, gate, dx);
            }
        }
    })
}

fn max_pool<T: Float>(
    x: &Tensor<T>,
    options: &Pool2dOptions,
    gated: bool,
) -> Result<(Tensor<T>, PoolIndices)> {
    let params = Pool2dParams::resolve(MAX, x.shape(), options)?;
    let kernels = &T::kernels().pool;
    // A byte of a gated pooling has one more value to hold.
    if params.window_area() + usize::from(gated) <= SMALL_WINDOW {
        let (values, indices) = max_and_positions(x, &params, gated, &kernels.small)?;
        Ok((values, PoolIndices::Small(indices)))
    } else if i32::try_from(params.window_area()).is_ok() {
        let (values, indices) = max_and_positions(x, &params, gated, &kernels.large)?;
        Ok((values, PoolIndices::Large(indices)))
    } else {
        Err(Error::size(MAX, "the window has too many positions")
            .with("window", format!("{:?}", options.window)))
    }
}

fn max_and_positions<T: Float, P: Position>(
    x: &Tensor<T>,
    params: &Pool2dParams,
    gated: bool,
    kernels: &PositionKernels<T, P>,
) -> Result<(Tensor<T>, Tensor<P>)> {
    let shape = params.output_shape();
    let x = x.try_contiguous(MAX)?;
    let mut values = Buffer::unspecified(MAX, shape.elements())?;
    let mut positions = Buffer::unspecified(MAX, shape.elements())?;
    let (to, at) = (values.as_mut_slice(), positions.as_mut_slice());
    if !to.is_empty() {
        let (par, level) = (Par::Threads, Level::best());
        (kernels.max)(params, par, level, slice(&x), gated, to, at);
    }
    Ok((
        Tensor::from_buffer(values, shape.clone()),
        Tensor::from_buffer(positions, shape),
    ))
}

fn check_output(
    operation: &str,
    operand: &str,
    shape: &Shape,
    params: &Pool2dParams,
) -> Result<()> {
    let output = params.output_shape();
    if *shape == output {
        return Ok(());
    }
    Err(Error::shape(
        operation,
        format!("the shape of the {operand} is not that of the pooling's output"),
    )
    .with(operand, shape)
    .with("output", &output)
    .with("input", params.input_shape()))
}
