//! Images to rows of numbers.

use autograd::Var;
use serde_json::json;
use tensor::{Float, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions, Reach};
use crate::layers::identity_from;
use crate::parameter::Weights;

/// Lays all axes but the batch's out in one, in row-major order: `[batch, height, width, channels]`
/// to `[batch, height·width·channels]`.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Flatten::new().input_shape(&[2, 3, 4]));
/// let y = model.predict(&Tensor::<f32>::zeros([5, 2, 3, 4])?)?;
/// assert_eq!(y.shape(), &[5, 24]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flatten {
    identity: Identity,
}

impl Flatten {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If images are not `[batch, height, width, channels]`.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        reader.require_channels_last()?;
        Ok(Flatten {
            identity: identity_from(reader)?,
        })
    }
}

impl LayerOptions for Flatten {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Flatten {
    fn class_name(&self) -> &str {
        "Flatten"
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        Ok(Shape::from([
            input.checked_elements("flatten", size_of::<T>())?
        ]))
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        let batch = x.shape()[0];
        let rest = x.shape()[1..].iter().product();
        Ok(x.reshape([batch, rest])?)
    }

    fn config(&self) -> Config {
        config([("data_format", json!("channels_last"))])
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn reach(&self) -> Reach {
        Reach::Everything
    }
}
