//! From gradients to the next weights, by Keras's formulas.

mod adam;
mod clipped;
mod rmsprop;
mod sgd;

use std::fmt;
use std::ops::RangeBounds;

use serde_json::Value;
use tensor::{Error, Factored, Float, Tensor};

use crate::config::{Config, ConfigReader};
use crate::error::Result;

pub use adam::Adam;
pub use clipped::Clipped;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

/// A rule that turns gradients into steps.
///
/// An optimizer is settings only; what it remembers between steps lies in the model, as
/// [`slots`](Optimizer::slots) tensors a parameter, so that checkpoints can hold it.
///
/// ```
/// use nn::optimizers::{Optimizer, slots};
/// use nn::prelude::*;
/// use tensor::{Factored, Float};
///
/// /// Steps of a fixed length in the direction that the gradient's sign says.
/// struct SignDescent(f64);
///
/// impl<T: Float> Optimizer<T> for SignDescent {
///     fn class_name(&self) -> &str {
///         "SignDescent"
///     }
///     fn learning_rate(&self) -> f64 {
///         self.0
///     }
///     fn set_learning_rate(&mut self, rate: f64) {
///         self.0 = rate;
///     }
///     fn slots(&self) -> &'static [&'static str] {
///         &[]
///     }
///     fn update(
///         &self,
///         _step: u64,
///         parameter: &mut Tensor<T>,
///         gradient: &Factored<T>,
///         state: &mut [Tensor<T>],
///     ) -> nn::Result<()> {
///         let [] = slots(state)?;
///         let rate = T::constant(self.0);
///         Ok(parameter.update(gradient, [], |p, g, []| (p - rate * g.signum_zero(), []))?)
///     }
/// }
/// # let _: Box<dyn Optimizer<f32>> = Box::new(SignDescent(0.1));
/// ```
pub trait Optimizer<T: Float = f32>: Send + Sync {
    /// Keras's name of the class: `"Adam"`.
    fn class_name(&self) -> &str;

    /// The learning rate.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate.
    fn set_learning_rate(&mut self, rate: f64);

    /// Looks at the settings, when a model is compiled and before each step.
    ///
    /// # Errors
    /// If training cannot use one: by default a learning rate that is negative, infinite or NaN.
    fn check(&self) -> Result<()> {
        require(
            self.class_name(),
            "learning rate",
            self.learning_rate(),
            0.0..f64::INFINITY,
        )
    }

    /// The names of the tensors that the optimizer keeps for each parameter, Keras's names where
    /// it has them; they start as zeros.
    fn slots(&self) -> &'static [&'static str];

    /// Looks at the gradients of all parameters before the first is used, and may change them.
    ///
    /// # Errors
    /// If memory for what it computes cannot be allocated.
    fn prepare(&self, _gradients: &mut [Tensor<T>]) -> Result<()> {
        Ok(())
    }

    /// Whether the step of each parameter needs that parameter's gradient alone, so that it can be
    /// taken before the other gradients are known. [`Optimizer::prepare`] is then not called.
    fn is_separable(&self) -> bool {
        false
    }

    /// Changes one parameter in place; `step` counts from 1, and `state` has one tensor for each
    /// of [`slots`](Optimizer::slots). A large gradient may come as a product of two matrices, which
    /// [`Tensor::update`] takes as it is and [`Factored::into_tensor`] computes.
    ///
    /// # Errors
    /// If the shapes differ.
    fn update(
        &self,
        step: u64,
        parameter: &mut Tensor<T>,
        gradient: &Factored<T>,
        state: &mut [Tensor<T>],
    ) -> Result<()>;

    /// The settings in the form of Keras's files.
    fn config(&self) -> Config {
        Config::new()
    }
}

impl<T: Float, O: Optimizer<T> + ?Sized> Optimizer<T> for Box<O> {
    fn class_name(&self) -> &str {
        (**self).class_name()
    }
    fn learning_rate(&self) -> f64 {
        (**self).learning_rate()
    }
    fn set_learning_rate(&mut self, rate: f64) {
        (**self).set_learning_rate(rate);
    }
    fn check(&self) -> Result<()> {
        (**self).check()
    }
    fn slots(&self) -> &'static [&'static str] {
        (**self).slots()
    }
    fn prepare(&self, gradients: &mut [Tensor<T>]) -> Result<()> {
        (**self).prepare(gradients)
    }
    fn is_separable(&self) -> bool {
        (**self).is_separable()
    }
    fn update(
        &self,
        step: u64,
        parameter: &mut Tensor<T>,
        gradient: &Factored<T>,
        state: &mut [Tensor<T>],
    ) -> Result<()> {
        (**self).update(step, parameter, gradient, state)
    }
    fn config(&self) -> Config {
        (**self).config()
    }
}

/// What an optimizer remembers of a run.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState<T: Float = f32> {
    /// Steps taken so far.
    pub iterations: u64,
    /// For each parameter, in the order of [`Model::parameters`](crate::Sequential), one
    /// tensor for each of [`Optimizer::slots`]; empty before the first step.
    pub slots: Vec<Vec<Tensor<T>>>,
}

/// The state tensors as an array, to be taken apart by a pattern.
///
/// # Errors
/// If there are any other number.
pub fn slots<T: Float, const N: usize>(state: &mut [Tensor<T>]) -> Result<[&mut Tensor<T>; N]> {
    let count = state.len();
    let slots: std::result::Result<&mut [Tensor<T>; N], _> = state.try_into();
    slots
        .map(<[_; N]>::each_mut)
        .map_err(|_| other_state(count, N))
}

/// The error of a state with `count` tensors a parameter where there must be `expected`.
#[cold]
pub(crate) fn other_state(count: usize, expected: usize) -> crate::Error {
    let message = format!("the state has {count} tensors a parameter, not {expected}");
    Error::value("optimizer", message)
        .fix("restore the state of the same optimizer with the same settings")
        .into()
}

/// Checks that a setting lies in `range`; NaN lies in none.
fn require(
    optimizer: &str,
    setting: &str,
    value: f64,
    range: impl RangeBounds<f64> + fmt::Debug,
) -> Result<()> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(Error::value(optimizer, format!("the {setting} is {value}"))
            .with("allowed", format!("{range:?}"))
            .into()),
    }
}

/// The optimizer of this class with these settings, as Keras's files describe it.
///
/// # Errors
/// If this crate has no such optimizer, or not with these settings.
pub fn from_config<T: Float>(class: &str, config: &Config) -> Result<Box<dyn Optimizer<T>>> {
    let reader = ConfigReader::new(class, config);
    reader.expect("use_ema", false)?;
    // A label, details of the average that is off, and how Keras runs the steps.
    reader.ignore(&[
        "name",
        "ema_momentum",
        "ema_overwrite_frequency",
        "jit_compile",
        "is_legacy_optimizer",
    ]);
    // Before 2.11, Keras made the learning rate smaller at each step by this.
    reader.expect("decay", 0.0)?;
    let optimizer = match class {
        "Adam" | "AdamW" => Clipped::from_config(Adam::from_config(&reader)?, &reader),
        "SGD" => Clipped::from_config(Sgd::from_config(&reader)?, &reader),
        "RMSprop" => Clipped::from_config(RmsProp::from_config(&reader)?, &reader),
        _ => Err(Error::unsupported("model", format!("there is no optimizer `{class}`")).into()),
    }?;
    reader.finish()?;
    Ok(optimizer)
}

/// The learning rate in a configuration; old Keras called it `lr`.
fn learning_rate(reader: &ConfigReader<'_>, default: f64) -> Result<f64> {
    match reader.get("learning_rate") {
        Some(schedule) if schedule.is_object() => Err(reader
            .unsupported("learning_rate", schedule)
            .fix("use a number, and a `LearningRateSchedule` in `fit`")),
        _ => reader.number_or("learning_rate", reader.number_or("lr", default)?),
    }
}

/// Settings that all optimizers of Keras have, at the values that stand for "off".
fn common(name: &str, learning_rate: f64, weight_decay: f64) -> Config {
    let decay = if weight_decay == 0.0 {
        Value::Null
    } else {
        weight_decay.into()
    };
    crate::config::config([
        ("name", name.into()),
        ("learning_rate", learning_rate.into()),
        ("weight_decay", decay),
        ("clipnorm", Value::Null),
        ("global_clipnorm", Value::Null),
        ("clipvalue", Value::Null),
        ("use_ema", false.into()),
        ("ema_momentum", 0.99.into()),
        ("ema_overwrite_frequency", Value::Null),
        ("loss_scale_factor", Value::Null),
        ("gradient_accumulation_steps", Value::Null),
    ])
}
