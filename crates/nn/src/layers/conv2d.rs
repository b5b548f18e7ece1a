//! The convolutional layer.

use autograd::Var;
use serde_json::{Value, json};
use tensor::{Conv2dOptions, ConvAlgorithm, Error, Float, Padding, Pool2dOptions, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::initializers::Initializer;
use crate::layer::{Context, Identity, Layer, LayerOptions, Reach};
use crate::layers::{
    ActivationFunction, UNSUPPORTED, expect_no_regularizers, identity_from, image_sizes,
    padding_from, padding_to_value, times, with_order,
};
use crate::parameter::Weights;

/// `y = activation(x ∗ kernel + bias)`: each of `filters` filters slides over images
/// `[batch, height, width, channels]`; the weights are `kernel`
/// `[height, width, channels / groups, filters]` and `bias` `[filters]`.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Conv2d::new(8, [3, 3]).padding(Padding::Same).input_shape(&[28, 28, 1]));
/// model.add(Conv2d::new(16, [3, 3]).stride([2, 2]));
/// model.build()?;
/// assert_eq!(model.output_shape().unwrap(), &[13, 13, 16]);
/// assert_eq!(model.parameter_count(), 3 * 3 * 8 + 8 + 3 * 3 * 8 * 16 + 16);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    identity: Identity,
    filters: usize,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    groups: usize,
    algorithm: ConvAlgorithm,
    activation: ActivationFunction,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
}

impl Conv2d {
    /// `filters` filters of `kernel_size` (height and width), stride 1, no padding, no activation
    /// function, a bias of zeros and a Glorot-uniform kernel.
    pub fn new(filters: usize, kernel_size: [usize; 2]) -> Self {
        Conv2d {
            identity: Identity::default(),
            filters,
            kernel_size,
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            groups: 1,
            algorithm: ConvAlgorithm::Auto,
            activation: ActivationFunction::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }

    /// Sets the distance between neighbouring windows along height and width.
    #[must_use]
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the distance between the taps of a filter along height and width.
    #[must_use]
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets what surrounds the image.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Cuts the channels into `groups` that do not see each other.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Chooses how the convolution is computed, instead of leaving it to what is expected to be the
    /// fastest. It belongs to the program, not to the model: files do not keep it. What algorithms
    /// round differs, see [`ConvAlgorithm`];
    /// [`Model::conv_algorithm`](crate::Model::conv_algorithm) sets it for all layers.
    ///
    /// ```
    /// use nn::prelude::*;
    /// use tensor::ConvAlgorithm;
    /// let mut model = Sequential::new();
    /// let exact_order = Conv2d::new(8, [3, 3]).algorithm(ConvAlgorithm::Im2col);
    /// model.add(exact_order.input_shape(&[28, 28, 1]));
    /// model.build()?;
    /// # Ok::<(), nn::Error>(())
    /// ```
    #[must_use]
    pub fn algorithm(mut self, algorithm: ConvAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the activation function.
    #[must_use]
    pub fn activation(mut self, activation: ActivationFunction) -> Self {
        self.activation = activation;
        self
    }

    /// Sets whether a bias is added.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Self {
        self.use_bias = use_bias;
        self
    }

    /// Sets how the kernel's first values are drawn.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
        self.kernel_initializer = initializer;
        self
    }

    /// Sets how the bias's first values are drawn.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
        self.bias_initializer = initializer;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is missing, damaged, or one that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        expect_no_regularizers(reader)?;
        reader.require_channels_last()?;
        Ok(Conv2d {
            identity: identity_from(reader)?,
            filters: reader.size("filters")?,
            kernel_size: reader.pair("kernel_size")?,
            stride: reader.pair_or("strides", [1, 1])?,
            dilation: reader.pair_or("dilation_rate", [1, 1])?,
            padding: padding_from(reader)?,
            groups: match reader.get("groups") {
                Some(_) => reader.size("groups")?,
                None => 1,
            },
            algorithm: ConvAlgorithm::Auto,
            activation: ActivationFunction::from_config(reader)?,
            use_bias: reader.flag_or("use_bias", true)?,
            kernel_initializer: Initializer::from_config(
                reader,
                "kernel_initializer",
                Initializer::GlorotUniform,
            )?,
            bias_initializer: Initializer::from_config(
                reader,
                "bias_initializer",
                Initializer::Zeros,
            )?,
        })
    }

    pub(crate) fn activation_function(&self) -> &ActivationFunction {
        &self.activation
    }

    pub(crate) fn has_bias(&self) -> bool {
        self.use_bias
    }

    /// The convolution, then this activation and max pooling: all in one kernel where there is a
    /// bias and the activation is a rectifier.
    pub(crate) fn forward_fused<T: Float>(
        &self,
        x: &Var<T>,
        weights: &[Var<T>],
        context: &Context,
        activation: &ActivationFunction,
        pooling: Option<&Pool2dOptions>,
    ) -> Result<Var<T>> {
        let algorithm = context.conv_algorithm().unwrap_or(self.algorithm);
        let (filters, options) = (&weights[0], self.options().algorithm(algorithm));
        let y = match (weights.get(1), activation) {
            (Some(bias), ActivationFunction::Relu) => {
                return Ok(match pooling {
                    Some(pool) => x.conv2d_bias_relu_max_pool2d(filters, bias, &options, pool)?,
                    None => x.conv2d_bias(filters, bias, true, &options)?,
                });
            }
            (Some(bias), _) => x.conv2d_bias(filters, bias, false, &options)?,
            (None, _) => x.conv2d(filters, &options)?,
        };
        let y = activation.apply(&y)?;
        match pooling {
            Some(pool) => Ok(y.max_pool2d(pool)?),
            None => Ok(y),
        }
    }

    fn options(&self) -> Conv2dOptions {
        Conv2dOptions::new()
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.padding)
            .groups(self.groups)
            .algorithm(self.algorithm)
    }
}

impl LayerOptions for Conv2d {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Conv2d {
    fn class_name(&self) -> &str {
        "Conv2D"
    }

    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> Result<Shape> {
        let sizes @ [height, width, channels] = image_sizes("conv2d", input)?;
        if self.filters == 0 || channels == 0 {
            return Err(Error::shape("conv2d", "there is nothing to convolve")
                .with("filters", self.filters)
                .with("channels", channels)
                .into());
        }
        if self.groups == 0 || channels % self.groups != 0 {
            return Err(
                Error::shape("conv2d", "the channels do not divide into the groups")
                    .with("channels", channels)
                    .with("groups", self.groups)
                    .into(),
            );
        }
        let [kernel_height, kernel_width] = self.kernel_size;
        let filters = [
            kernel_height,
            kernel_width,
            channels / self.groups,
            self.filters,
        ];
        let output = self
            .options()
            .output_shape(&[1, height, width, channels], &filters)
            .map_err(|error| with_order(error, sizes))?;
        weights.add("kernel", filters, &self.kernel_initializer)?;
        if self.use_bias {
            weights.add("bias", [self.filters], &self.bias_initializer)?;
        }
        Ok(Shape::from(&output[1..]))
    }

    fn forward(&self, x: &Var<T>, weights: &[Var<T>], context: &Context) -> Result<Var<T>> {
        self.forward_fused(x, weights, context, &self.activation, None)
    }

    fn config(&self) -> Config {
        let mut config = config([
            ("filters", json!(self.filters)),
            ("kernel_size", json!(self.kernel_size)),
            ("strides", json!(self.stride)),
            ("padding", padding_to_value(self.padding)),
            ("data_format", json!("channels_last")),
            ("dilation_rate", json!(self.dilation)),
            ("groups", json!(self.groups)),
            ("activation", self.activation.to_value()),
            ("use_bias", json!(self.use_bias)),
            ("kernel_initializer", self.kernel_initializer.to_value()),
            ("bias_initializer", self.bias_initializer.to_value()),
        ]);
        config.extend(UNSUPPORTED.map(|key| (key.to_string(), Value::Null)));
        config
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn reach(&self) -> Reach {
        let extent = |axis: usize| {
            let taps = self.kernel_size[axis].saturating_sub(1);
            taps.saturating_mul(self.dilation[axis]).saturating_add(1)
        };
        Reach::Window {
            extent: [extent(0), extent(1)],
            stride: self.stride,
        }
    }

    fn label(&self) -> String {
        format!("Conv2d {}", times(self.kernel_size))
    }
}
