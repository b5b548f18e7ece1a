//! Adaptive moments.

use serde_json::json;
use tensor::{Factored, Float, Tensor};

use crate::config::{Config, ConfigReader};
use crate::error::Result;
use crate::optimizers::{Optimizer, common, learning_rate, require, slots};

/// Adam (Kingma and Ba 2015) in Keras's form, with ε outside the corrected root:
///
/// ```text
/// m ← m + (g − m)·(1 − β₁)
/// v ← v + (g² − v)·(1 − β₂)
/// p ← p − m · rate·√(1 − β₂ᵗ)/(1 − β₁ᵗ) / (√v + ε)
/// ```
///
/// With a weight decay it is AdamW (Loshchilov and Hutter 2019): before the step,
/// `p ← p − p·decay·rate`.
///
/// ```
/// use nn::optimizers::{Adam, Optimizer};
/// let adam = Adam::default().beta_1(0.8);
/// assert_eq!(Optimizer::<f32>::learning_rate(&adam), 0.001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    weight_decay: f64,
}

impl Default for Adam {
    /// Keras's defaults: rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7, no weight decay.
    fn default() -> Self {
        Adam {
            learning_rate: 0.001,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            weight_decay: 0.0,
        }
    }
}

impl Adam {
    /// Adam with this learning rate and Keras's defaults for the rest.
    pub fn new(learning_rate: f64) -> Self {
        Adam {
            learning_rate,
            ..Self::default()
        }
    }

    /// AdamW with this learning rate and Keras's defaults for the rest: a weight decay of 0.004.
    pub fn w(learning_rate: f64) -> Self {
        Self::new(learning_rate).weight_decay(0.004)
    }

    /// Sets β₁, the share of the old mean that stays at each step.
    #[must_use]
    pub fn beta_1(mut self, beta_1: f64) -> Self {
        self.beta_1 = beta_1;
        self
    }

    /// Sets β₂, the share of the old mean square that stays at each step.
    #[must_use]
    pub fn beta_2(mut self, beta_2: f64) -> Self {
        self.beta_2 = beta_2;
        self
    }

    /// Sets ε, which keeps steps of parameters with tiny gradients small.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
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
    /// If a setting is damaged, or one that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        reader.expect("amsgrad", false)?;
        let default_decay = if reader.class() == "AdamW" {
            0.004
        } else {
            0.0
        };
        Ok(Adam {
            learning_rate: learning_rate(reader, 0.001)?,
            beta_1: reader.number_or("beta_1", 0.9)?,
            beta_2: reader.number_or("beta_2", 0.999)?,
            epsilon: reader.number_or("epsilon", 1e-7)?,
            weight_decay: reader.number_or("weight_decay", default_decay)?,
        })
    }
}

impl<T: Float> Optimizer<T> for Adam {
    fn class_name(&self) -> &str {
        if self.weight_decay == 0.0 {
            "Adam"
        } else {
            "AdamW"
        }
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
        require(class, "ε", self.epsilon, 0.0..f64::INFINITY)?;
        require(class, "β₁", self.beta_1, 0.0..1.0)?;
        require(class, "β₂", self.beta_2, 0.0..1.0)
    }

    fn slots(&self) -> &'static [&'static str] {
        &["momentum", "velocity"]
    }

    fn is_separable(&self) -> bool {
        true
    }

    fn update(
        &self,
        step: u64,
        parameter: &mut Tensor<T>,
        gradient: &Factored<T>,
        state: &mut [Tensor<T>],
    ) -> Result<()> {
        let t = step as f64;
        let correction = (1.0 - self.beta_2.powf(t)).sqrt() / (1.0 - self.beta_1.powf(t));
        let rate = T::constant(self.learning_rate * correction);
        let fresh_1 = T::constant(1.0 - self.beta_1);
        let fresh_2 = T::constant(1.0 - self.beta_2);
        let epsilon = T::constant(self.epsilon);
        let decay = T::constant(self.weight_decay * self.learning_rate);
        let [m, v] = slots(state)?;
        Ok(parameter.update(
            gradient,
            [m, v],
            #[inline(always)]
            move |p, g, [m, v]| {
                let p = p - p * decay;
                let m = m + (g - m) * fresh_1;
                let v = v + (g * g - v) * fresh_2;
                (p - m * rate / (v.sqrt() + epsilon), [m, v])
            },
        )?)
    }

    fn config(&self) -> Config {
        let name = Optimizer::<T>::class_name(self).to_lowercase();
        let mut config = common(&name, self.learning_rate, self.weight_decay);
        for (key, value) in [
            ("beta_1", json!(self.beta_1)),
            ("beta_2", json!(self.beta_2)),
            ("epsilon", json!(self.epsilon)),
            ("amsgrad", json!(false)),
        ] {
            config.insert(key.to_string(), value);
        }
        config
    }
}
