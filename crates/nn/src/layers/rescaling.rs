//! A fixed linear map of the inputs, kept in the model so that predictions apply it too.

use autograd::Var;
use serde_json::json;
use tensor::{Float, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions};
use crate::layers::identity_from;
use crate::parameter::Weights;

/// `y = x·scale + offset`: brings pixels of 0 … 255 into the range that a network likes, and
/// travels with the model into its file.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Rescaling::new(1.0 / 256.0).input_shape(&[2]));
/// let pixels = Tensor::from([[0_u8, 128]]);
/// assert_eq!(model.predict(&pixels)?.to_vec(), [0.0, 0.5]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rescaling {
    identity: Identity,
    scale: f64,
    offset: f64,
}

impl Rescaling {
    /// `y = x·scale`.
    pub fn new(scale: f64) -> Self {
        Rescaling {
            identity: Identity::default(),
            scale,
            offset: 0.0,
        }
    }

    /// Sets the offset that is added after scaling.
    #[must_use]
    pub fn offset(mut self, offset: f64) -> Self {
        self.offset = offset;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If the scale or offset is missing or not one number.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Ok(Rescaling {
            identity: identity_from(reader)?,
            scale: reader.number("scale")?,
            offset: reader.number_or("offset", 0.0)?,
        })
    }
}

impl LayerOptions for Rescaling {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Rescaling {
    fn class_name(&self) -> &str {
        "Rescaling"
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        Ok(input.clone())
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        let scaled = x.scale(self.scale);
        Ok(if self.offset == 0.0 {
            scaled
        } else {
            scaled.shift(self.offset)
        })
    }

    fn config(&self) -> Config {
        config([("scale", json!(self.scale)), ("offset", json!(self.offset))])
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }
}
