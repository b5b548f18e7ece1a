//! The options of a convolution, and the geometry that follows from them and two shapes.

use crate::conv::algorithm::ConvAlgorithm;
use crate::conv::padding::{Axis, Padding, Rounding, WindowAxis};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shape::Shape;

/// What is computed of a convolution; see [`Conv2dParams::algorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvDirection {
    /// [`Tensor::conv2d`](crate::Tensor::conv2d).
    Forward,
    /// [`Tensor::conv2d_input_gradient`](crate::Tensor::conv2d_input_gradient).
    InputGradient,
    /// [`Tensor::conv2d_filter_gradient`](crate::Tensor::conv2d_filter_gradient).
    FilterGradient,
}

/// Stride, dilation, padding, groups and algorithm of a two-dimensional convolution.
///
/// Each pair is `[height, width]`. The default is stride 1, dilation 1, no padding, one group.
///
/// ```
/// use tensor::{Conv2dOptions, Padding};
/// let options = Conv2dOptions::new().stride([2, 1]).padding(Padding::Same);
/// assert_eq!(options.output_shape(&[32, 100, 100, 3], &[3, 3, 3, 64])?, [32, 50, 100, 64]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Conv2dOptions {
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) padding: Padding,
    pub(crate) groups: usize,
    /// The most outputs along each axis.
    pub(crate) crop: [usize; 2],
    pub(crate) algorithm: ConvAlgorithm,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions {
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            groups: 1,
            crop: [usize::MAX; 2],
            algorithm: ConvAlgorithm::Auto,
        }
    }
}

impl Conv2dOptions {
    /// Stride 1, dilation 1, no padding, one group, the fastest algorithm.
    pub fn new() -> Self {
        Self::default()
    }

    /// The distance between neighbouring windows, at least 1.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// The distance between neighbouring taps of a filter, at least 1.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// What surrounds the image.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Cuts input and output channels into so many groups; a group of outputs sees only its group
    /// of inputs. Both channel counts must be multiples of it. As many groups as input channels
    /// make a depthwise convolution.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// The number of groups.
    pub fn group_count(&self) -> usize {
        self.groups
    }

    /// Computes the first `[height, width]` rows and columns of outputs only, or all where there are
    /// fewer. To the gradients the others are outputs that nothing depends on.
    ///
    /// ```
    /// use tensor::Conv2dOptions;
    /// let options = Conv2dOptions::new().crop([12, 12]);
    /// assert_eq!(options.output_shape(&[32, 15, 10, 3], &[3, 3, 3, 64])?, [32, 12, 8, 64]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    pub fn crop(mut self, outputs: [usize; 2]) -> Self {
        self.crop = outputs;
        self
    }

    /// Asks for one algorithm.
    pub fn algorithm(mut self, algorithm: ConvAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The shape `[batch, height, width, channels out]` that `conv2d` returns for an input of
    /// shape `[batch, height, width, channels in]` and filters of shape
    /// `[height, width, channels in / groups, channels out]`.
    ///
    /// # Errors
    /// As [`Conv2dParams::new`].
    pub fn output_shape(&self, input: &[usize], filters: &[usize]) -> Result<Shape> {
        Ok(Conv2dParams::new(input, filters, self)?.output_shape())
    }
}

/// The checked geometry of one convolution: all sizes resolved once, so that kernels need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dParams {
    pub(crate) batch: usize,
    pub(crate) rows: WindowAxis,
    pub(crate) columns: WindowAxis,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) groups: usize,
    pub(crate) algorithm: ConvAlgorithm,
}

impl Conv2dParams {
    /// The geometry of `options` on an input `[batch, height, width, channels in]` and filters
    /// `[height, width, channels in / groups, channels out]`.
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Conv2dParams};
    /// let options = Conv2dOptions::new();
    /// let params = Conv2dParams::new(&[1, 5, 5, 4], &[3, 3, 4, 8], &options)?;
    /// assert_eq!(params.output_shape(), [1, 3, 3, 8]);
    /// assert_eq!(params.multiplications(), 3 * 3 * 8 * 3 * 3 * 4);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a shape has not four axes, the channels do not fit together or are no multiples of the
    /// groups, a kernel, stride, dilation or group count is 0, the dilated kernel is larger than
    /// the padded input, or a size exceeds the address space.
    pub fn new(input: &[usize], filters: &[usize], options: &Conv2dOptions) -> Result<Self> {
        Self::resolve("conv2d", input, filters, options)
    }

    /// [`Conv2dParams::new`] on behalf of `operation`.
    pub(crate) fn resolve(
        operation: &str,
        input: &[usize],
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Self> {
        Self::checked(operation, input, filters, options).map_err(|error| {
            error
                .with(
                    "input",
                    format!("{input:?}   (batch, height, width, channels)"),
                )
                .with(
                    "filters",
                    format!("{filters:?}   (height, width, channels in, channels out)"),
                )
        })
    }

    fn checked(
        operation: &str,
        input: &[usize],
        filters: &[usize],
        options: &Conv2dOptions,
    ) -> Result<Self> {
        let &[batch, height, width, in_channels] = input else {
            return Err(Error::shape(
                operation,
                format!("the input must have 4 axes, not {}", input.len()),
            )
            .fix("reshape it to (batch, height, width, channels)"));
        };
        let &[kernel_height, kernel_width, filter_channels, out_channels] = filters else {
            return Err(Error::shape(
                operation,
                format!("the filters must have 4 axes, not {}", filters.len()),
            )
            .fix("reshape them to (height, width, channels in, channels out)"));
        };
        let groups = options.groups;
        if groups == 0 {
            return Err(Error::value(
                operation,
                "there must be at least 1 group, not 0",
            ));
        }
        if !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            return Err(Error::shape(
                operation,
                format!(
                    "{in_channels} input and {out_channels} output channels cannot both be cut \
                     into {groups} groups"
                ),
            )
            .fix("both channel counts must be multiples of the groups"));
        }
        if filter_channels != in_channels / groups {
            let message = if groups == 1 {
                format!(
                    "the input has {in_channels} channels but the filters expect {filter_channels}"
                )
            } else {
                format!(
                    "the input has {in_channels} channels, {} in each of {groups} groups, but the \
                     filters expect {filter_channels}",
                    in_channels / groups
                )
            };
            return Err(Error::shape(operation, message));
        }
        let axis = |axis, size, kernel, i: usize| {
            WindowAxis::resolve(
                operation,
                axis,
                size,
                kernel,
                options.stride[i],
                options.dilation[i],
                options.padding,
                Rounding::Down,
            )
            .map(|resolved| WindowAxis {
                output: resolved.output.min(options.crop[i]),
                ..resolved
            })
            .map_err(|error| error.with("options", describe(options)))
        };
        let params = Conv2dParams {
            batch,
            rows: axis(Axis::Height, height, kernel_height, 0)?,
            columns: axis(Axis::Width, width, kernel_width, 1)?,
            in_channels,
            out_channels,
            groups,
            algorithm: options.algorithm,
        };
        // Kernels index with products of some of the sizes, also where another is 0.
        for shape in [
            params.input_shape(),
            params.filter_shape(),
            params.output_shape(),
        ] {
            shape.check_products(operation)?;
        }
        let (rows, columns) = (params.rows.positions(), params.columns.positions());
        let channels = in_channels.max(out_channels);
        let all = Shape::from([batch, rows, columns, channels]);
        if all.check_products(operation).is_err() {
            return Err(Error::size(
                operation,
                "the images with their padding and the dilated kernel exceed the address space",
            )
            .with("options", describe(options)));
        }
        Ok(params)
    }

    /// `[batch, height, width, channels in]`.
    pub fn input_shape(&self) -> Shape {
        Shape::from([
            self.batch,
            self.rows.input,
            self.columns.input,
            self.in_channels,
        ])
    }

    /// `[height, width, channels in / groups, channels out]`.
    pub fn filter_shape(&self) -> Shape {
        Shape::from([
            self.rows.kernel,
            self.columns.kernel,
            self.group_inputs(),
            self.out_channels,
        ])
    }

    /// `[batch, height, width, channels out]`.
    pub fn output_shape(&self) -> Shape {
        Shape::from([
            self.batch,
            self.rows.output,
            self.columns.output,
            self.out_channels,
        ])
    }

    /// The multiplications of a direct computation, padding included: outputs × kernel area ×
    /// channels in a group. Saturates.
    pub fn multiplications(&self) -> u64 {
        [
            self.rows.kernel,
            self.columns.kernel,
            self.group_inputs(),
            self.output_shape().elements(),
        ]
        .into_iter()
        .fold(1, |product: u64, size| product.saturating_mul(size as u64))
    }

    /// The algorithm that computes this convolution or gradient of it for elements of type `T`;
    /// never [`ConvAlgorithm::Auto`] or [`ConvAlgorithm::AutoWithoutWinograd`].
    ///
    /// ```
    /// use tensor::{Conv2dOptions, Conv2dParams, ConvAlgorithm, ConvDirection};
    /// let params = Conv2dParams::new(&[8, 32, 32, 16], &[3, 3, 16, 16], &Conv2dOptions::new())?;
    /// let algorithm = params.algorithm::<f32>(ConvDirection::InputGradient)?;
    /// assert_eq!(algorithm, ConvAlgorithm::Winograd);
    /// let algorithm = params.algorithm::<f64>(ConvDirection::InputGradient)?;
    /// assert_eq!(algorithm, ConvAlgorithm::Direct);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the options ask for an algorithm that does not exist for the geometry and type.
    pub fn algorithm<T: Float>(&self, direction: ConvDirection) -> Result<ConvAlgorithm> {
        (T::kernels().conv.algorithm)(self, direction)
    }

    /// Input channels of one group.
    pub(crate) fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of one group.
    pub(crate) fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }
}

/// The options that are not the default, for messages.
fn describe(options: &Conv2dOptions) -> String {
    let mut text = format!("stride {:?}", options.stride);
    if options.dilation != [1, 1] {
        text += &format!(", dilation {:?}", options.dilation);
    }
    text + &format!(", padding {}", options.padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn message(input: &[usize], filters: &[usize], options: Conv2dOptions) -> String {
        Conv2dParams::new(input, filters, &options)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn channel_mismatch_reads_well() {
        assert_eq!(
            message(&[32, 100, 100, 4], &[3, 3, 3, 32], Conv2dOptions::new()),
            "conv2d: the input has 4 channels but the filters expect 3\n  \
             input    [32, 100, 100, 4]   (batch, height, width, channels)\n  \
             filters  [3, 3, 3, 32]   (height, width, channels in, channels out)"
        );
        assert_eq!(
            message(&[1, 9, 9, 8], &[3, 3, 8, 4], Conv2dOptions::new().groups(2)),
            "conv2d: the input has 8 channels, 4 in each of 2 groups, but the filters expect 8\n  \
             input    [1, 9, 9, 8]   (batch, height, width, channels)\n  \
             filters  [3, 3, 8, 4]   (height, width, channels in, channels out)"
        );
        assert_eq!(
            message(&[1, 9, 9, 8], &[3, 3, 2, 6], Conv2dOptions::new().groups(4)),
            "conv2d: 8 input and 6 output channels cannot both be cut into 4 groups\n  \
             input    [1, 9, 9, 8]   (batch, height, width, channels)\n  \
             filters  [3, 3, 2, 6]   (height, width, channels in, channels out)\n  \
             fix: both channel counts must be multiples of the groups"
        );
    }

    #[test]
    fn small_input_reads_well() {
        let options = Conv2dOptions::new()
            .dilation([1, 2])
            .padding(Padding::Explicit {
                height: [0, 0],
                width: [1, 0],
            });
        assert_eq!(
            message(&[1, 5, 3, 2], &[3, 3, 2, 6], options),
            "conv2d: the input is smaller than the kernel along the width: the kernel of 3 with \
             dilation 2 covers 5, the input has 3 and 1 + 0 of padding\n  \
             options  stride [1, 1], dilation [1, 2], padding [0, 0] (above, below), [1, 0] (left, right)\n  \
             input    [1, 5, 3, 2]   (batch, height, width, channels)\n  \
             filters  [3, 3, 2, 6]   (height, width, channels in, channels out)\n  \
             fix: use a larger input, a smaller kernel, or `Padding::Same`"
        );
    }

    #[test]
    fn wrong_ranks_and_zeros_are_errors() {
        let options = Conv2dOptions::new();
        for (input, filters, options, kind) in [
            (&[5, 5, 2][..], &[3, 3, 2, 6][..], options, ErrorKind::Shape),
            (&[1, 5, 5, 2], &[3, 2, 6], options, ErrorKind::Shape),
            (&[], &[], options, ErrorKind::Shape),
            (&[1, 5, 5, 2], &[0, 3, 2, 6], options, ErrorKind::Value),
            (
                &[1, 5, 5, 2],
                &[3, 3, 2, 6],
                options.stride([1, 0]),
                ErrorKind::Value,
            ),
            (
                &[1, 5, 5, 2],
                &[3, 3, 2, 6],
                options.dilation([0, 1]),
                ErrorKind::Value,
            ),
            (
                &[1, 5, 5, 2],
                &[3, 3, 2, 6],
                options.groups(0),
                ErrorKind::Value,
            ),
            (
                &[1 << 40, 5, 5, 2],
                &[3, 3, 2, 1 << 40],
                options,
                ErrorKind::Size,
            ),
            (
                &[1 << 20, 5, 5, 2],
                &[3, 3, 2, 6],
                options.padding(Padding::symmetric([1 << 50, 1 << 50])),
                ErrorKind::Size,
            ),
        ] {
            let error = Conv2dParams::new(input, filters, &options).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.operation(), "conv2d");
        }
    }

    #[test]
    fn empty_inputs_have_empty_outputs() {
        let same = Conv2dOptions::new().padding(Padding::Same);
        let shape = |input: &[usize], filters: &[usize]| same.output_shape(input, filters).unwrap();
        assert_eq!(shape(&[0, 5, 5, 2], &[3, 3, 2, 6]), [0, 5, 5, 6]);
        assert_eq!(shape(&[2, 0, 5, 2], &[3, 3, 2, 6]), [2, 0, 5, 6]);
        assert_eq!(shape(&[2, 5, 5, 0], &[3, 3, 0, 6]), [2, 5, 5, 6]);
        assert_eq!(shape(&[2, 5, 5, 2], &[3, 3, 2, 0]), [2, 5, 5, 0]);
    }
}
