//! Limits on gradients.

use serde_json::Value;
use tensor::{Factored, Float, Tensor};

use crate::config::{Config, ConfigReader};
use crate::error::Result;
use crate::optimizers::{Optimizer, require};

/// An optimizer whose gradients are limited first, so that a rare huge one does no harm.
///
/// ```
/// use nn::optimizers::{Adam, Clipped};
/// let adam = Clipped::global_norm(Adam::default(), 1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Clipped<O> {
    optimizer: O,
    limit: Limit,
}

/// Keras's three kinds of limit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Value(f64),
    Norm(f64),
    GlobalNorm(f64),
}

impl Limit {
    /// The entry in Keras's files.
    fn entry(self) -> (&'static str, f64) {
        match self {
            Limit::Value(limit) => ("clipvalue", limit),
            Limit::Norm(limit) => ("clipnorm", limit),
            Limit::GlobalNorm(limit) => ("global_clipnorm", limit),
        }
    }

    /// The limit in a configuration, if there is one.
    fn from_config(reader: &ConfigReader<'_>) -> Result<Option<Self>> {
        let kinds: [fn(f64) -> Limit; 3] = [Limit::Value, Limit::Norm, Limit::GlobalNorm];
        for kind in kinds {
            let (key, _) = kind(0.0).entry();
            if reader.get(key).is_some() {
                return Ok(Some(kind(reader.number(key)?)));
            }
        }
        Ok(None)
    }
}

impl<O> Clipped<O> {
    /// Limits each element of each gradient to `−limit ..= limit`.
    pub fn value(optimizer: O, limit: f64) -> Self {
        let limit = Limit::Value(limit);
        Clipped { optimizer, limit }
    }

    /// Shrinks each parameter's gradient to the Euclidean norm `limit` where it is larger.
    pub fn norm(optimizer: O, limit: f64) -> Self {
        let limit = Limit::Norm(limit);
        Clipped { optimizer, limit }
    }

    /// Shrinks all gradients by one factor, so that their common Euclidean norm is at most `limit`.
    pub fn global_norm(optimizer: O, limit: f64) -> Self {
        let limit = Limit::GlobalNorm(limit);
        Clipped { optimizer, limit }
    }

    /// `optimizer` with the limit that a configuration names, if it does.
    pub(super) fn from_config<T: Float>(
        optimizer: O,
        reader: &ConfigReader<'_>,
    ) -> Result<Box<dyn Optimizer<T>>>
    where
        O: Optimizer<T> + 'static,
    {
        Ok(match Limit::from_config(reader)? {
            Some(limit) => Box::new(Clipped { optimizer, limit }),
            None => Box::new(optimizer),
        })
    }
}

/// `Σ g²`.
fn square_norm<T: Float>(gradient: &Tensor<T>) -> Result<f64> {
    let squares = gradient.try_map("clip_norm", |g| g * g)?;
    let sum = squares.sum(..)?.item()?.to_f64();
    if sum.is_finite() {
        return Ok(sum);
    }
    // Squares overflow in `T` long before they do here.
    Ok(gradient.iter().map(|g| g.to_f64() * g.to_f64()).sum())
}

/// Multiplies by what brings `norm` down to `limit`; by 1 if it is below. In place. A gradient that
/// is not finite stays as it is, to be noticed.
fn shrink<T: Float>(gradient: &mut Tensor<T>, norm: f64, limit: f64) -> Result<()> {
    if norm > limit && norm.is_finite() {
        let factor = T::constant(limit / norm);
        for value in gradient.try_make_mut("clip_norm")? {
            *value = *value * factor;
        }
    }
    Ok(())
}

impl<T: Float, O: Optimizer<T>> Optimizer<T> for Clipped<O> {
    fn class_name(&self) -> &str {
        self.optimizer.class_name()
    }

    fn learning_rate(&self) -> f64 {
        self.optimizer.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.optimizer.set_learning_rate(rate);
    }

    fn check(&self) -> Result<()> {
        let (name, limit) = self.limit.entry();
        require(self.class_name(), name, limit, 0.0..f64::INFINITY)?;
        self.optimizer.check()
    }

    fn slots(&self) -> &'static [&'static str] {
        self.optimizer.slots()
    }

    fn prepare(&self, gradients: &mut [Tensor<T>]) -> Result<()> {
        match self.limit {
            Limit::Value(limit) => {
                let limit = T::constant(limit);
                for gradient in gradients.iter_mut() {
                    for value in gradient.try_make_mut("clip_value")? {
                        // Comparisons that are false for NaN let it through, to be noticed.
                        if *value > limit {
                            *value = limit;
                        } else if *value < -limit {
                            *value = -limit;
                        }
                    }
                }
            }
            Limit::Norm(limit) => {
                for gradient in gradients.iter_mut() {
                    let norm = square_norm(gradient)?.sqrt();
                    shrink(gradient, norm, limit)?;
                }
            }
            Limit::GlobalNorm(limit) => {
                let squares = gradients.iter().map(square_norm);
                let norm = squares.sum::<Result<f64>>()?.sqrt();
                for gradient in gradients.iter_mut() {
                    shrink(gradient, norm, limit)?;
                }
            }
        }
        self.optimizer.prepare(gradients)
    }

    fn update(
        &self,
        step: u64,
        parameter: &mut Tensor<T>,
        gradient: &Factored<T>,
        state: &mut [Tensor<T>],
    ) -> Result<()> {
        self.optimizer.update(step, parameter, gradient, state)
    }

    fn config(&self) -> Config {
        let mut config = self.optimizer.config();
        let (key, limit) = self.limit.entry();
        config.insert(key.to_string(), Value::from(limit));
        config
    }
}
