//! Gradient descent.

use serde_json::json;
use tensor::{Factored, Float, Tensor};

use crate::config::{Config, ConfigReader};
use crate::error::Result;
use crate::optimizers::{Optimizer, common, learning_rate, require, slots};

/// Stochastic gradient descent `p ← p − rate·g`; with momentum (Polyak 1964)
/// `v ← momentum·v − rate·g`, `p ← p + v`, or in Nesterov's form `p ← p + momentum·v − rate·g`.
///
/// A weight decay shrinks before the step: `p ← p − p·decay·rate`.
///
/// ```
/// use nn::optimizers::Sgd;
/// let sgd = Sgd::new(0.05).momentum(0.9).nesterov(true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Default for Sgd {
    /// Keras's defaults: rate 0.01, no momentum.
    fn default() -> Self {
        Self::new(0.01)
    }
}

impl Sgd {
    /// Plain gradient descent with this learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Sgd {
            learning_rate,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        }
    }

    /// Sets the share of the last step that is taken again.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets whether momentum looks ahead, in Nesterov's form.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Sets the decoupled weight decay.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Ok(Sgd {
            learning_rate: learning_rate(reader, 0.01)?,
            momentum: reader.number_or("momentum", 0.0)?,
            nesterov: reader.flag_or("nesterov", false)?,
            weight_decay: reader.number_or("weight_decay", 0.0)?,
        })
    }
}

impl<T: Float> Optimizer<T> for Sgd {
    fn class_name(&self) -> &str {
        "SGD"
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
        require(class, "weight decay", self.weight_decay, 0.0..f64::INFINITY)?;
        require(class, "momentum", self.momentum, 0.0..=1.0)
    }

    fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 {
            &[]
        } else {
            &["momentum"]
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
        let decay = T::constant(self.weight_decay * self.learning_rate);
        let momentum = T::constant(self.momentum);
        if self.momentum == 0.0 {
            let [] = slots(state)?;
            return Ok(parameter.update(
                gradient,
                [],
                #[inline(always)]
                move |p, g, []| (p - p * decay - rate * g, []),
            )?);
        }
        let slots = slots::<T, 1>(state)?;
        if self.nesterov {
            return Ok(parameter.update(
                gradient,
                slots,
                #[inline(always)]
                move |p, g, [v]| {
                    let v = momentum * v - rate * g;
                    (p - p * decay + momentum * v - rate * g, [v])
                },
            )?);
        }
        Ok(parameter.update(
            gradient,
            slots,
            #[inline(always)]
            move |p, g, [v]| {
                let v = momentum * v - rate * g;
                (p - p * decay + v, [v])
            },
        )?)
    }

    fn config(&self) -> Config {
        let mut config = common("SGD", self.learning_rate, self.weight_decay);
        config.insert("momentum".to_string(), json!(self.momentum));
        config.insert("nesterov".to_string(), json!(self.nesterov));
        config
    }
}
