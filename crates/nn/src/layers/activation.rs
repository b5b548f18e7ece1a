//! Activation functions, and the layer that is one.

use autograd::Var;
use serde_json::{Value, json};
use tensor::{Float, Shape};

use crate::config::{Config, ConfigReader, config, nested_object};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions};
use crate::layers::identity_from;
use crate::parameter::Weights;

/// The functions that follow a layer's weights.
#[derive(Clone, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum ActivationFunction {
    /// `x`.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `eˣⁱ / Σ eˣʲ` over the last axis.
    Softmax,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `tanh x`.
    Tanh,
    /// `x` above 0, `alpha·(eˣ − 1)` below (Clevert et al. 2015).
    Elu {
        /// Keras's default is 1.
        alpha: f64,
    },
    /// The self-normalising `1.0507·elu(x, 1.6733)` (Klambauer et al. 2017).
    Selu,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x·Φ(x)`, with the distribution function of the normal distribution (Hendrycks and Gimpel
    /// 2016).
    Gelu,
    /// `x / (1 + e⁻ˣ)`, also called swish.
    Silu,
    /// `x` above 0, `slope·x` below.
    LeakyRelu {
        /// Keras's default is 0.2 by name and 0.3 as a layer.
        slope: f64,
    },
    /// `eˣ`.
    Exponential,
}

impl ActivationFunction {
    /// The function of `x`.
    ///
    /// # Errors
    /// Softmax of a 0-d value.
    pub fn apply<T: Float>(&self, x: &Var<T>) -> Result<Var<T>> {
        Ok(match *self {
            Self::Linear => x.clone(),
            Self::Relu => x.relu(),
            Self::Softmax => x.softmax(-1)?,
            Self::Sigmoid => x.sigmoid(),
            Self::Tanh => x.tanh(),
            Self::Elu { alpha } => x.elu(alpha),
            Self::Selu => x.selu(),
            Self::Softplus => x.softplus(),
            Self::Softsign => x.div(&x.abs().shift(1.0))?,
            Self::Gelu => x.gelu(),
            Self::Silu => x.silu(),
            Self::LeakyRelu { slope } => x.leaky_relu(slope),
            Self::Exponential => x.exp(),
        })
    }

    /// Keras's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Relu => "relu",
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Elu { .. } => "elu",
            Self::Selu => "selu",
            Self::Softplus => "softplus",
            Self::Softsign => "softsign",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Exponential => "exponential",
        }
    }

    /// The function of this name, with Keras's default parameters.
    ///
    /// ```
    /// use nn::layers::ActivationFunction;
    /// assert_eq!(ActivationFunction::from_name("swish"), Some(ActivationFunction::Silu));
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "linear" => Self::Linear,
            "relu" => Self::Relu,
            "softmax" => Self::Softmax,
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "elu" => Self::Elu { alpha: 1.0 },
            "selu" => Self::Selu,
            "softplus" => Self::Softplus,
            "softsign" => Self::Softsign,
            "gelu" => Self::Gelu,
            "silu" | "swish" => Self::Silu,
            "leaky_relu" => Self::LeakyRelu { slope: 0.2 },
            "exponential" => Self::Exponential,
            _ => return None,
        })
    }

    /// The form of the `activation` entry in Keras's files: the name, where it says everything.
    pub(crate) fn to_value(&self) -> Value {
        if Self::from_name(self.name()).as_ref() == Some(self) {
            return self.name().into();
        }
        let (class, config) = class_and_config(self);
        crate::config::object("keras.layers", class, config)
    }

    /// Reads the `activation` entry of a configuration.
    pub(crate) fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        let Some(value) = reader.get("activation") else {
            return Ok(Self::Linear);
        };
        let unknown =
            || reader.unexpected("activation", value, "an activation function of this crate");
        let (class, config) = nested_object(value).ok_or_else(unknown)?;
        if let Some(function) = Self::from_name(&class)
            && config.is_empty()
        {
            return Ok(function);
        }
        let reader = ConfigReader::new(&class, &config);
        let function = from_class(&reader)?.ok_or_else(unknown)?;
        identity_from(&reader)?;
        reader.finish()?;
        Ok(function)
    }
}

/// An activation function as a layer of its own.
///
/// Directly after a [`Conv2d`](crate::layers::Conv2d) or [`Dense`](crate::layers::Dense) without
/// one, it runs as part of that layer. A softmax at the end of the model runs as part of a
/// cross-entropy loss.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Activation::relu().input_shape(&[2]));
/// assert_eq!(model.predict(&Tensor::from([[-1.0_f32, 2.0]]))?.to_vec(), [0.0, 2.0]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    identity: Identity,
    function: ActivationFunction,
}

impl Activation {
    /// The layer of this function.
    pub fn new(function: ActivationFunction) -> Self {
        Activation {
            identity: Identity::default(),
            function,
        }
    }

    /// `max(x, 0)`.
    pub fn relu() -> Self {
        Self::new(ActivationFunction::Relu)
    }

    /// Probabilities `eˣⁱ / Σ eˣʲ` over the last axis.
    pub fn softmax() -> Self {
        Self::new(ActivationFunction::Softmax)
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid() -> Self {
        Self::new(ActivationFunction::Sigmoid)
    }

    /// `tanh x`.
    pub fn tanh() -> Self {
        Self::new(ActivationFunction::Tanh)
    }

    /// `x` above 0, `eˣ − 1` below.
    pub fn elu() -> Self {
        Self::new(ActivationFunction::Elu { alpha: 1.0 })
    }

    /// The self-normalising exponential unit.
    pub fn selu() -> Self {
        Self::new(ActivationFunction::Selu)
    }

    /// `ln(1 + eˣ)`.
    pub fn softplus() -> Self {
        Self::new(ActivationFunction::Softplus)
    }

    /// `x·Φ(x)`.
    pub fn gelu() -> Self {
        Self::new(ActivationFunction::Gelu)
    }

    /// `x / (1 + e⁻ˣ)`.
    pub fn silu() -> Self {
        Self::new(ActivationFunction::Silu)
    }

    /// `x` above 0, `slope·x` below.
    pub fn leaky_relu(slope: f64) -> Self {
        Self::new(ActivationFunction::LeakyRelu { slope })
    }

    /// `x`.
    pub fn linear() -> Self {
        Self::new(ActivationFunction::Linear)
    }

    /// The function.
    pub fn function(&self) -> &ActivationFunction {
        &self.function
    }

    /// Reads the settings of an `Activation` layer of Keras, or of one of the layers that Keras
    /// has for single functions.
    ///
    /// # Errors
    /// If it is a function that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        let function = if reader.class() == "Activation" {
            ActivationFunction::from_config(reader)?
        } else {
            from_class(reader)?.unwrap_or_default()
        };
        Ok(Activation {
            identity: identity_from(reader)?,
            function,
        })
    }
}

/// The layer class that Keras has for a function with parameters, or `Activation`.
fn class_and_config(function: &ActivationFunction) -> (&'static str, Config) {
    match *function {
        ActivationFunction::LeakyRelu { slope } => {
            ("LeakyReLU", config([("negative_slope", json!(slope))]))
        }
        ActivationFunction::Elu { alpha } if alpha != 1.0 => {
            ("ELU", config([("alpha", json!(alpha))]))
        }
        _ => (
            "Activation",
            config([("activation", json!(function.name()))]),
        ),
    }
}

/// The function of one of Keras's layers for a single function, if it is one.
fn from_class(reader: &ConfigReader<'_>) -> Result<Option<ActivationFunction>> {
    Ok(Some(match reader.class() {
        "ReLU" => {
            reader.expect("max_value", Value::Null)?;
            reader.expect("negative_slope", 0.0)?;
            reader.expect("threshold", 0.0)?;
            ActivationFunction::Relu
        }
        "Softmax" => {
            reader.expect("axis", -1)?;
            ActivationFunction::Softmax
        }
        "ELU" => ActivationFunction::Elu {
            alpha: reader.number_or("alpha", 1.0)?,
        },
        // Keras 2 called the slope alpha.
        "LeakyReLU" => ActivationFunction::LeakyRelu {
            slope: reader.number_or("negative_slope", reader.number_or("alpha", 0.3)?)?,
        },
        _ => return Ok(None),
    }))
}

impl LayerOptions for Activation {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Activation {
    fn class_name(&self) -> &str {
        class_and_config(&self.function).0
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        Ok(input.clone())
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        self.function.apply(x)
    }

    fn config(&self) -> Config {
        class_and_config(&self.function).1
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn label(&self) -> String {
        format!("Activation {}", self.function.name())
    }
}
