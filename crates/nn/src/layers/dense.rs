//! The fully connected layer.

use autograd::Var;
use serde_json::{Value, json};
use tensor::{Error, Float, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::initializers::Initializer;
use crate::layer::{Context, Identity, Layer, LayerOptions, Reach};
use crate::layers::{ActivationFunction, UNSUPPORTED, expect_no_regularizers, identity_from};
use crate::parameter::Weights;

/// `y = activation(x · kernel + bias)`, from `[batch, …, in]` to `[batch, …, units]`, with the
/// weights `kernel` `[in, units]` and `bias` `[units]`.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Dense::new(10).input_shape(&[7]));
/// let y = model.predict(&Tensor::<f32>::ones([4, 7])?)?;
/// assert_eq!(y.shape(), &[4, 10]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    identity: Identity,
    units: usize,
    activation: ActivationFunction,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
}

impl Dense {
    /// A layer with `units` outputs, no activation function, a bias of zeros and a Glorot-uniform
    /// kernel.
    pub fn new(units: usize) -> Self {
        Dense {
            identity: Identity::default(),
            units,
            activation: ActivationFunction::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
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
        Ok(Dense {
            identity: identity_from(reader)?,
            units: reader.size("units")?,
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

    /// The product, then this activation: in one kernel where there is a bias and it is a
    /// rectifier.
    pub(crate) fn forward_fused<T: Float>(
        &self,
        x: &Var<T>,
        weights: &[Var<T>],
        activation: &ActivationFunction,
    ) -> Result<Var<T>> {
        let y = match (weights.get(1), activation) {
            (Some(bias), ActivationFunction::Relu) => {
                return Ok(x.matmul_bias(&weights[0], bias, true)?);
            }
            (Some(bias), _) => x.matmul_bias(&weights[0], bias, false)?,
            (None, _) => x.matmul(&weights[0])?,
        };
        activation.apply(&y)
    }
}

impl LayerOptions for Dense {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Dense {
    fn class_name(&self) -> &str {
        "Dense"
    }

    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> Result<Shape> {
        let Some((&inputs, outer)) = input.split_last() else {
            return Err(Error::shape("dense", "the input has no axis beside the batch's").into());
        };
        if self.units == 0 || inputs == 0 {
            return Err(Error::shape("dense", "there is nothing to connect")
                .with("inputs", inputs)
                .with("units", self.units)
                .into());
        }
        weights.add("kernel", [inputs, self.units], &self.kernel_initializer)?;
        if self.use_bias {
            weights.add("bias", [self.units], &self.bias_initializer)?;
        }
        let mut output = Shape::from(outer);
        output.push(self.units);
        Ok(output)
    }

    fn forward(&self, x: &Var<T>, weights: &[Var<T>], _: &Context) -> Result<Var<T>> {
        self.forward_fused(x, weights, &self.activation)
    }

    fn config(&self) -> Config {
        let mut config = config([
            ("units", json!(self.units)),
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
        Reach::Everything
    }

    fn label(&self) -> String {
        format!("Dense {}", self.units)
    }
}
