//! What happens between epochs.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use tensor::{Error, Float, Tensor};

use super::history::{EpochRecord, csv_line, csv_title};
use crate::error::{FileError, Result};
use crate::model::Model;

/// Whether training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// With the next epoch.
    Continue,
    /// Not beyond this epoch.
    Stop,
}

/// Code that runs between epochs.
///
/// ```
/// use nn::prelude::*;
/// use nn::training::{Callback, Control, EpochRecord};
/// use tensor::Float;
///
/// /// Stops as soon as the accuracy is high enough.
/// struct GoodEnough(f64);
///
/// impl<T: Float> Callback<T> for GoodEnough {
///     fn epoch_end(&mut self, record: &EpochRecord, _: &mut Model<T>) -> nn::Result<Control> {
///         Ok(match record.get("accuracy") {
///             Some(accuracy) if accuracy >= self.0 => Control::Stop,
///             _ => Control::Continue,
///         })
///     }
/// }
/// let fit: Fit = Fit::new().epochs(100).callback(GoodEnough(0.99));
/// ```
pub trait Callback<T: Float = f32> {
    /// Runs before the first epoch.
    ///
    /// # Errors
    /// An error stops training and is returned by `fit`.
    fn train_begin(&mut self, _model: &mut Model<T>) -> Result<()> {
        Ok(())
    }

    /// Runs before each epoch, which is counted from 0.
    ///
    /// # Errors
    /// An error stops training and is returned by `fit`.
    fn epoch_begin(&mut self, _epoch: usize, _model: &mut Model<T>) -> Result<()> {
        Ok(())
    }

    /// Runs after each epoch and its validation.
    ///
    /// # Errors
    /// An error stops training and is returned by `fit`.
    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control>;

    /// Runs after the last epoch, also where one stopped training, but not after an error.
    ///
    /// # Errors
    /// An error is returned by `fit`.
    fn train_end(&mut self, _model: &mut Model<T>) -> Result<()> {
        Ok(())
    }
}

impl<T: Float, C: Callback<T> + ?Sized> Callback<T> for &mut C {
    fn train_begin(&mut self, model: &mut Model<T>) -> Result<()> {
        (**self).train_begin(model)
    }
    fn epoch_begin(&mut self, epoch: usize, model: &mut Model<T>) -> Result<()> {
        (**self).epoch_begin(epoch, model)
    }
    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control> {
        (**self).epoch_end(record, model)
    }
    fn train_end(&mut self, model: &mut Model<T>) -> Result<()> {
        (**self).train_end(model)
    }
}

/// A value of the records that is watched for its best.
#[derive(Clone, Debug)]
struct Monitor {
    name: String,
    min_delta: f64,
    best: Option<f64>,
}

impl Monitor {
    fn new(name: &str) -> Self {
        Monitor {
            name: name.to_string(),
            min_delta: 0.0,
            best: None,
        }
    }

    /// Whether the record is better than all before; losses and errors are better when small, all
    /// else (accuracies) when large.
    fn improves(&mut self, record: &EpochRecord) -> Result<bool> {
        let Some(value) = record.get(&self.name) else {
            let known: Vec<&str> = record.values.iter().map(|(name, _)| &**name).collect();
            return Err(
                Error::value("fit", format!("there is no `{}` to watch", self.name))
                    .with("there are", known.join(", "))
                    .fix("give validation data for names with `val_`")
                    .into(),
            );
        };
        let small_is_good = self.name.contains("loss") || self.name.contains("error");
        let better = self.best.is_none_or(|best| {
            if small_is_good {
                value < best - self.min_delta
            } else {
                value > best + self.min_delta
            }
        });
        if better {
            self.best = Some(value);
        }
        Ok(better)
    }
}

/// Stops when a value has not become better for a number of epochs.
///
/// ```
/// use nn::prelude::*;
/// use nn::training::EarlyStopping;
/// let fit: Fit = Fit::new()
///     .epochs(1000)
///     .validation_split(0.1)
///     .callback(EarlyStopping::new("val_loss").patience(5).restore_best_weights());
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping<T: Float = f32> {
    monitor: Monitor,
    patience: usize,
    waited: usize,
    restore: bool,
    best_weights: Option<Vec<Tensor<T>>>,
}

impl<T: Float> EarlyStopping<T> {
    /// Watches the value of this name: `"val_loss"`, `"accuracy"`, …
    pub fn new(monitor: &str) -> Self {
        EarlyStopping {
            monitor: Monitor::new(monitor),
            patience: 0,
            waited: 0,
            restore: false,
            best_weights: None,
        }
    }

    /// Sets after how many epochs in a row without improvement training stops; by default (as by
    /// 1) after the first.
    #[must_use]
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// Sets how much better counts as better.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// Puts the weights of the best epoch back at the end.
    #[must_use]
    pub fn restore_best_weights(mut self) -> Self {
        self.restore = true;
        self
    }
}

impl<T: Float> Callback<T> for EarlyStopping<T> {
    fn train_begin(&mut self, _: &mut Model<T>) -> Result<()> {
        (self.waited, self.monitor.best, self.best_weights) = (0, None, None);
        Ok(())
    }

    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control> {
        if self.monitor.improves(record)? {
            self.waited = 0;
            if self.restore {
                self.best_weights = Some(model.weights());
            }
            return Ok(Control::Continue);
        }
        self.waited += 1;
        Ok(if self.waited >= self.patience {
            Control::Stop
        } else {
            Control::Continue
        })
    }

    fn train_end(&mut self, model: &mut Model<T>) -> Result<()> {
        match self.best_weights.take() {
            Some(weights) => model.set_weights(weights),
            None => Ok(()),
        }
    }
}

/// Saves the model after each epoch that is the best so far, by a function that you give.
///
/// ```
/// use nn::prelude::*;
/// use nn::training::ModelCheckpoint;
/// let mut best = None;
/// let keep = ModelCheckpoint::new("val_accuracy", |model: &Model| {
///     best = Some(model.weights());
///     Ok(())
/// });
/// let fit: Fit = Fit::new().epochs(20).validation_split(0.1).callback(keep);
/// ```
pub struct ModelCheckpoint<F> {
    monitor: Monitor,
    save: F,
}

impl<F> ModelCheckpoint<F> {
    /// Watches the value of this name, and calls `save` whenever it is the best so far.
    pub fn new<T: Float>(monitor: &str, save: F) -> Self
    where
        F: FnMut(&Model<T>) -> Result<()>,
    {
        ModelCheckpoint {
            monitor: Monitor::new(monitor),
            save,
        }
    }
}

impl<T: Float, F: FnMut(&Model<T>) -> Result<()>> Callback<T> for ModelCheckpoint<F> {
    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control> {
        if self.monitor.improves(record)? {
            (self.save)(model)?;
        }
        Ok(Control::Continue)
    }
}

/// Sets the learning rate before each epoch, by a function of the epoch (counted from 0) and the
/// rate so far.
///
/// ```
/// use nn::prelude::*;
/// use nn::training::LearningRateSchedule;
/// let halve = LearningRateSchedule::new(|epoch, rate| if epoch % 10 == 9 { rate / 2.0 } else { rate });
/// let fit: Fit = Fit::new().epochs(30).callback(halve);
/// ```
pub struct LearningRateSchedule<F>(F);

impl<F: FnMut(usize, f64) -> f64> LearningRateSchedule<F> {
    /// The rate of each epoch.
    pub fn new(rate: F) -> Self {
        LearningRateSchedule(rate)
    }
}

impl<T: Float, F: FnMut(usize, f64) -> f64> Callback<T> for LearningRateSchedule<F> {
    fn epoch_begin(&mut self, epoch: usize, model: &mut Model<T>) -> Result<()> {
        if let Some(compiled) = model.compiled_mut() {
            let optimizer = compiled.optimizer_mut();
            let rate = (self.0)(epoch, optimizer.learning_rate());
            optimizer.set_learning_rate(rate);
        }
        Ok(())
    }

    fn epoch_end(&mut self, _: &EpochRecord, _: &mut Model<T>) -> Result<Control> {
        Ok(Control::Continue)
    }
}

/// Writes a line a epoch to a CSV file as soon as the epoch ends, so that a run can be watched.
#[derive(Debug)]
pub struct CsvLogger {
    path: PathBuf,
    file: Option<File>,
}

impl CsvLogger {
    /// Writes to this file, which is replaced when training begins.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        CsvLogger {
            path: path.into(),
            file: None,
        }
    }
}

impl<T: Float> Callback<T> for CsvLogger {
    fn train_begin(&mut self, _: &mut Model<T>) -> Result<()> {
        self.file = None;
        Ok(())
    }

    fn epoch_end(&mut self, record: &EpochRecord, _: &mut Model<T>) -> Result<Control> {
        let failed = |source| FileError::io(&self.path, "write", source);
        let mut lines = csv_line(record);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                lines.insert_str(0, &csv_title(record));
                File::create(&self.path).map_err(failed)?
            }
        };
        file.write_all(lines.as_bytes()).map_err(failed)?;
        self.file = Some(file);
        Ok(Control::Continue)
    }
}
