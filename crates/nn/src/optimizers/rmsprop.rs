//! Gradients divided by their recent size.

use serde_json::json;
use tensor::{Factored, Float, Tensor};

use crate::config::{Config, ConfigReader};
use crate::error::Result;
use crate::optimizers::{Optimizer, common, learning_rate, require, slots};

/// RMSprop (Hinton 2012) in Keras's form, with ε under the root:
///
/// ```text
/// v ← ρ·v + (1 − ρ)·g²
/// p ← p − rate·g / √(v + ε)
/// ```
///
/// Centered, `v − a²` stands under the root, with the mean gradient `a ← ρ·a + (1 − ρ)·g`. With
/// momentum, the step is `s ← momentum·s + rate·g / √(…)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    learning_rate: f64,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
}

impl Default for RmsProp {
    /// Keras's defaults: rate 0.001, ρ 0.9, ε 1e-7, no momentum, not centered.
    fn default() -> Self {
        RmsProp {
            learning_rate: 0.001,
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
        }
    }
}

impl RmsProp {
    /// RMSprop with this learning rate and Keras's defaults for the rest.
    pub fn new(learning_rate: f64) -> Self {
        RmsProp {
            learning_rate,
            ..Self::default()
        }
    }

    /// Sets ρ, the share of the old mean square that stays at each step.
    #[must_use]
    pub fn rho(mut self, rho: f64) -> Self {
        self.rho = rho;
        self
    }

    /// Sets the share of the last step that is taken again.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets ε.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Sets whether the variance stands under the root instead of the mean square.
    #[must_use]
    pub fn centered(mut self, centered: bool) -> Self {
        self.centered = centered;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged, or one that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        reader.expect("weight_decay", 0.0)?;
        Ok(RmsProp {
            learning_rate: learning_rate(reader, 0.001)?,
            rho: reader.number_or("rho", 0.9)?,
            momentum: reader.number_or("momentum", 0.0)?,
            epsilon: reader.number_or("epsilon", 1e-7)?,
            centered: reader.flag_or("centered", false)?,
        })
    }
}

impl<T: Float> Optimizer<T> for RmsProp {
    fn class_name(&self) -> &str {
        "RMSprop"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = rate;
    }

    fn check(&self) -> Result<()> {
        let class = Optimizer::<T>::class_name(self);
        require(
            class,
            "learning rate",
            self.learning_rate,
            0.0..f64::INFINITY,
        )?;
        require(class, "ε", self.epsilon, 0.0..f64::INFINITY)?;
        require(class, "momentum", self.momentum, 0.0..=1.0)?;
        require(class, "ρ", self.rho, 0.0..=1.0)
    }

    fn slots(&self) -> &'static [&'static str] {
        match (self.momentum > 0.0, self.centered) {
            (false, false) => &["velocity"],
            (true, false) => &["velocity", "momentum"],
            (false, true) => &["velocity", "average_gradient"],
            (true, true) => &["velocity", "momentum", "average_gradient"],
        }
    }

    fn is_separable(&self) -> bool {
        true
    }

    fn update(
        &self,
        _step: u64,
        parameter: &mut Tensor<T>,
        gradient: &Factored<T>,
        state: &mut [Tensor<T>],
    ) -> Result<()> {
        let rate = T::constant(self.learning_rate);
        let (rho, fresh) = (T::constant(self.rho), T::constant(1.0 - self.rho));
        let epsilon = T::constant(self.epsilon);
        let momentum = T::constant(self.momentum);
        let result = match (self.momentum > 0.0, self.centered) {
            (false, false) => parameter.update(gradient, slots(state)?, move |p, g, [v]| {
                let v = rho * v + fresh * (g * g);
                (p - rate * g / (v + epsilon).sqrt(), [v])
            }),
            (true, false) => parameter.update(gradient, slots(state)?, move |p, g, [v, s]| {
                let v = rho * v + fresh * (g * g);
                let s = momentum * s + rate * g / (v + epsilon).sqrt();
                (p - s, [v, s])
            }),
            (false, true) => parameter.update(gradient, slots(state)?, move |p, g, [v, a]| {
                let v = rho * v + fresh * (g * g);
                let a = rho * a + fresh * g;
                (p - rate * g / (v - a * a + epsilon).sqrt(), [v, a])
            }),
            (true, true) => parameter.update(gradient, slots(state)?, move |p, g, [v, s, a]| {
                let v = rho * v + fresh * (g * g);
                let a = rho * a + fresh * g;
                let s = momentum * s + rate * g / (v - a * a + epsilon).sqrt();
                (p - s, [v, s, a])
            }),
        };
        Ok(result?)
    }

    fn config(&self) -> Config {
        let mut config = common("rmsprop", self.learning_rate, 0.0);
        for (key, value) in [
            ("rho", json!(self.rho)),
            ("momentum", json!(self.momentum)),
            ("epsilon", json!(self.epsilon)),
            ("centered", json!(self.centered)),
        ] {
            config.insert(key.to_string(), value);
        }
        config
    }
}
