//! Random silence while training.

use autograd::Var;
use serde_json::{Value, json};
use tensor::{Error, Float, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions};
use crate::layers::identity_from;
use crate::parameter::Weights;

/// While training, sets each element to 0 with probability `rate` and multiplies the others by
/// `1 / (1 − rate)`, so that the expectation stays; otherwise passes everything through
/// (Srivastava et al. 2014).
///
/// Which elements fall depends on the seed of the run, the step and the layer, not on the number
/// of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    identity: Identity,
    rate: f64,
}

impl Dropout {
    /// Drops with this probability, `0 ≤ rate < 1`; other rates are refused when the model is
    /// built.
    pub fn new(rate: f64) -> Self {
        Dropout {
            identity: Identity::default(),
            rate,
        }
    }

    /// The probability.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If the rate is missing, or the noise has a shape of its own.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        reader.expect_for_training("noise_shape", Value::Null)?;
        // It seeds Keras's generator, whose numbers are others.
        reader.ignore(&["seed"]);
        // Keras 1 called the rate p.
        let rate = match reader.get("rate") {
            Some(_) => reader.number("rate")?,
            None => reader.number("p")?,
        };
        Ok(Dropout {
            identity: identity_from(reader)?,
            rate,
        })
    }
}

impl LayerOptions for Dropout {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Dropout {
    fn class_name(&self) -> &str {
        "Dropout"
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        if !(0.0..1.0).contains(&self.rate) {
            let message = format!("the rate is {}", self.rate);
            return Err(Error::value("dropout", message)
                .fix("use a rate from 0 up to, but not including, 1")
                .into());
        }
        Ok(input.clone())
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], context: &Context) -> Result<Var<T>> {
        if !context.is_training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        Ok(x.dropout(self.rate, context.key(), 0)?)
    }

    fn config(&self) -> Config {
        config([
            ("rate", json!(self.rate)),
            ("seed", Value::Null),
            ("noise_shape", Value::Null),
        ])
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn label(&self) -> String {
        format!("Dropout {}", self.rate)
    }
}
