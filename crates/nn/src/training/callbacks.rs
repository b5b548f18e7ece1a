//! What happens between epochs.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use tensor::{Float, Tensor};

use super::history::{EpochRecord, History, csv_line, csv_title};
use super::monitor::Monitor;
use super::resume::CallbackState;
use crate::config::ConfigReader;
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
    /// The name of the value in each [`EpochRecord`] that the callback watches: `fit` makes sure
    /// before the first epoch that there is one. By default none.
    fn monitor(&self) -> Option<&str> {
        None
    }

    /// Whether the callback saves the model. If one does, `fit` says before the first epoch if a
    /// file of the model could not be loaded again (see
    /// [`check_save`](Model::check_save)), unless it is silent.
    fn saves_model(&self) -> bool {
        false
    }

    /// Runs before the first epoch.
    ///
    /// # Errors
    /// An error stops training and is returned by `fit`.
    fn train_begin(&mut self, _model: &mut Model<T>) -> Result<()> {
        Ok(())
    }

    /// What the callback remembers between epochs, for [`Fit::resume`](super::Fit::resume) to keep;
    /// by default nothing.
    fn state(&self) -> CallbackState<T> {
        CallbackState::default()
    }

    /// Runs instead of [`Callback::train_begin`], and by default calls it, where
    /// [`Fit::resume`](super::Fit::resume) goes on with a training: `history` is what has been, and
    /// `state` what [`Callback::state`] gave at its end.
    ///
    /// # Errors
    /// An error stops training and is returned by `fit`.
    fn train_resume(
        &mut self,
        _state: CallbackState<T>,
        _history: &History,
        model: &mut Model<T>,
    ) -> Result<()> {
        self.train_begin(model)
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
    fn monitor(&self) -> Option<&str> {
        (**self).monitor()
    }
    fn saves_model(&self) -> bool {
        (**self).saves_model()
    }
    fn train_begin(&mut self, model: &mut Model<T>) -> Result<()> {
        (**self).train_begin(model)
    }
    fn state(&self) -> CallbackState<T> {
        (**self).state()
    }
    fn train_resume(
        &mut self,
        state: CallbackState<T>,
        history: &History,
        model: &mut Model<T>,
    ) -> Result<()> {
        (**self).train_resume(state, history, model)
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

/// Stops when a value has not become better for a number of epochs.
///
/// Of losses and errors low values are better, of metrics those that
/// [`Metric::higher_is_better`](crate::metrics::Metric::higher_is_better) says; where it does not,
/// [`EarlyStopping::higher_is_better`] must. NaN is never better.
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

    /// Sets whether high values are better than low ones, or the other way round.
    #[must_use]
    pub fn higher_is_better(mut self, higher_is_better: bool) -> Self {
        self.monitor.higher_is_better = Some(higher_is_better);
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
    fn monitor(&self) -> Option<&str> {
        Some(&self.monitor.name)
    }

    fn train_begin(&mut self, model: &mut Model<T>) -> Result<()> {
        self.monitor.higher_is_better(model)?;
        (self.waited, self.monitor.best, self.best_weights) = (0, None, None);
        Ok(())
    }

    fn state(&self) -> CallbackState<T> {
        let mut values = self.monitor.state();
        values.insert(WAITED.to_string(), self.waited.into());
        CallbackState {
            values,
            tensors: self.best_weights.clone().unwrap_or_default(),
        }
    }

    fn train_resume(
        &mut self,
        state: CallbackState<T>,
        _: &History,
        model: &mut Model<T>,
    ) -> Result<()> {
        self.monitor.higher_is_better(model)?;
        self.monitor.restore(&state.values)?;
        self.waited = ConfigReader::new("EarlyStopping", &state.values).size(WAITED)?;
        self.best_weights = (!state.tensors.is_empty()).then_some(state.tensors);
        Ok(())
    }

    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control> {
        if self.monitor.improves(record, model)? {
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

/// The number of epochs without improvement, in the state.
const WAITED: &str = "waited";

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

    /// Sets whether high values are better than low ones, or the other way round; see
    /// [`EarlyStopping`] for what holds without.
    #[must_use]
    pub fn higher_is_better(mut self, higher_is_better: bool) -> Self {
        self.monitor.higher_is_better = Some(higher_is_better);
        self
    }
}

impl<T: Float, F: FnMut(&Model<T>) -> Result<()>> Callback<T> for ModelCheckpoint<F> {
    fn saves_model(&self) -> bool {
        true
    }

    fn monitor(&self) -> Option<&str> {
        Some(&self.monitor.name)
    }

    fn train_begin(&mut self, model: &mut Model<T>) -> Result<()> {
        self.monitor.higher_is_better(model)?;
        Ok(())
    }

    fn state(&self) -> CallbackState<T> {
        CallbackState {
            values: self.monitor.state(),
            tensors: Vec::new(),
        }
    }

    fn train_resume(
        &mut self,
        state: CallbackState<T>,
        _: &History,
        model: &mut Model<T>,
    ) -> Result<()> {
        self.monitor.higher_is_better(model)?;
        self.monitor.restore(&state.values)
    }

    fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model<T>) -> Result<Control> {
        if self.monitor.improves(record, model)? {
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
            optimizer.check()?;
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
    /// Writes to this file, which is replaced when training begins. Where
    /// [`Fit::resume`](super::Fit::resume) goes on with a training, it holds the epochs of before,
    /// too.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        CsvLogger {
            path: path.into(),
            file: None,
        }
    }
}

impl CsvLogger {
    /// Writes `lines` to the file, which is created anew the first time.
    fn write(&mut self, lines: &str) -> Result<()> {
        let failed = |source| FileError::io(&self.path, "write", source);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::create(&self.path).map_err(failed)?,
        };
        file.write_all(lines.as_bytes()).map_err(failed)?;
        self.file = Some(file);
        Ok(())
    }
}

impl<T: Float> Callback<T> for CsvLogger {
    fn train_begin(&mut self, _: &mut Model<T>) -> Result<()> {
        self.file = None;
        Ok(())
    }

    fn train_resume(
        &mut self,
        _: CallbackState<T>,
        history: &History,
        _: &mut Model<T>,
    ) -> Result<()> {
        self.file = None;
        match history.epochs.is_empty() {
            true => Ok(()),
            false => self.write(&history.to_csv()),
        }
    }

    fn epoch_end(&mut self, record: &EpochRecord, _: &mut Model<T>) -> Result<Control> {
        let title = match self.file {
            Some(_) => String::new(),
            None => csv_title(record),
        };
        self.write(&(title + &csv_line(record)))?;
        Ok(Control::Continue)
    }
}
