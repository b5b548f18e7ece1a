//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use tensor::{Error, Float};

use super::callbacks::{Callback, Control};
use super::history::{EpochRecord, History};
use super::monitor::{VALIDATION, require_known};
use super::progress::{Progress, Verbosity};
use super::resume::{CallbackState, Run};
use crate::config::{Config, config};
use crate::data::{Ahead, Augment, Batches};
use crate::error::Result;
use crate::model::{Model, Running};
use crate::samples::{Inputs, TargetArrays, Targets};

/// How [`Model::fit`] trains.
///
/// ```
/// use nn::prelude::*;
/// let fit: Fit = Fit::new().batch_size(64).epochs(20).validation_split(0.1);
/// ```
#[must_use]
pub struct Fit<'a, T: Float = f32> {
    batch_size: usize,
    epochs: usize,
    initial_epoch: usize,
    resume: Option<PathBuf>,
    shuffle: bool,
    seed: Option<u64>,
    validation: Validation,
    augmentations: Vec<Box<dyn Augment<T>>>,
    verbosity: Verbosity,
    callbacks: Vec<Box<dyn Callback<T> + 'a>>,
}

enum Validation {
    None,
    Data(Box<(Inputs, TargetArrays)>),
    Split(f64),
}

impl<T: Float> Default for Fit<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T: Float> Fit<'a, T> {
    /// Keras's defaults: one epoch of batches of 32, shuffled, no validation.
    pub fn new() -> Self {
        Fit {
            batch_size: 32,
            epochs: 1,
            initial_epoch: 0,
            resume: None,
            shuffle: true,
            seed: None,
            validation: Validation::None,
            augmentations: Vec::new(),
            verbosity: Verbosity::Auto,
            callbacks: Vec::new(),
        }
    }

    /// Sets the number of samples a step; the last batch of an epoch may be smaller.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sets the number of the last epoch: how often all samples are seen, if training starts from
    /// the first.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the epoch to start from, counted from 0: each epoch has its own order of samples.
    /// [`Fit::resume`] does this and all else that a training needs to go on where it stopped.
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// Keeps the training in this file, a checkpoint whose name ends in `.safetensors`, and goes on
    /// from it if there is one: the same program, run again after it was stopped at any moment,
    /// ends with the bits that it would have ended with.
    ///
    /// The file is written when training begins and after each epoch, whole or not at all. It holds
    /// weights, the optimizer with what it remembers and its learning rate, the number of epochs,
    /// their records (the [`History`] that `fit` returns has those of before, too), and what
    /// callbacks [remember](Callback::state): the best value of
    /// [`ModelCheckpoint`](super::ModelCheckpoint), all of [`EarlyStopping`](super::EarlyStopping).
    /// A [`CsvLogger`](super::CsvLogger) keeps the lines of before. The epoch in which the program
    /// was stopped begins again.
    ///
    /// [`Fit::epochs`] stays the number of the last epoch: a training that has reached it, or that
    /// a callback has ended, is only read. To train for longer, set a larger one; to start anew,
    /// delete the file.
    ///
    /// ```
    /// use nn::prelude::*;
    /// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
    /// # let path = folder.path().join("run.safetensors");
    /// # let x = Tensor::from_fn([64, 2], |at| ((at[0] * (at[1] + 3)) % 7) as f32)?;
    /// # let y = Tensor::from_fn([64, 2], |at| f32::from(u8::from(at[0] % 2 == at[1])))?;
    /// let train = |epochs: usize| {
    ///     let mut model = Sequential::new();
    ///     model.add(Dense::new(2).input_shape(&[2]));
    ///     model.compile(MeanSquaredError::new(), Adam::default(), [Accuracy::new()])?;
    ///     let fit = Fit::new().epochs(epochs).resume(&path).verbosity(Verbosity::Silent);
    ///     let history = model.fit(&x, &y, fit)?;
    ///     Ok::<_, nn::Error>((model.weights(), history))
    /// };
    /// let (weights, _) = train(2)?;
    /// assert_eq!(train(2)?.0, weights);   // nothing is left to train
    /// let (_, history) = train(5)?;
    /// assert_eq!(history.epochs.len(), 5);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// `fit` returns an error if the file holds a training of another model, optimizer, seed, batch
    /// size, number of samples or of callbacks; it cannot see whether the samples themselves are the
    /// same.
    pub fn resume(mut self, path: impl Into<PathBuf>) -> Self {
        self.resume = Some(path.into());
        self
    }

    /// Sets whether each epoch takes the samples in a new random order.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Sets the seed of the orders and of augmentations; by default the model's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Evaluates on this data after each epoch.
    pub fn validation_data(mut self, x: impl Into<Inputs>, y: impl Into<TargetArrays>) -> Self {
        self.validation = Validation::Data(Box::new((x.into(), y.into())));
        self
    }

    /// Holds the last `fraction` of the samples (before shuffling) back, and evaluates on them
    /// after each epoch.
    pub fn validation_split(mut self, fraction: f64) -> Self {
        self.validation = Validation::Split(fraction);
        self
    }

    /// Changes each sample at random before it is trained on, anew in every epoch, on the thread
    /// that makes batches ahead; several changes happen in the order in which they were added.
    /// Samples to evaluate on stay as they are. The same seed gives the same bits.
    ///
    /// ```
    /// use nn::prelude::*;
    /// use tensor::{Generator, Shape};
    ///
    /// let mut model = Sequential::new();
    /// model.add(Flatten::new().input_shape(&[8, 8, 1]));
    /// model.add(Dense::new(2));
    /// model.compile(SparseCategoricalCrossentropy::new().from_logits(true), Adam::default(), [Accuracy::new()])?;
    /// let x = Tensor::<f32>::ones([32, 8, 8, 1])?;
    /// let y = Tensor::<i64>::zeros([32])?;
    /// let invert = |sample: &mut [f32], _: &Shape, _: &mut Generator| {
    ///     sample.iter_mut().for_each(|x| *x = 1.0 - *x);
    /// };
    /// let fit = Fit::new()
    ///     .augment(RandomFlip::horizontal())
    ///     .augment(RandomTranslation::new([0.1, 0.1]))
    ///     .augment(invert);
    /// model.fit(&x, &y, fit.verbosity(Verbosity::Silent))?;
    /// # Ok::<(), nn::Error>(())
    /// ```
    pub fn augment(mut self, augmentation: impl Augment<T> + 'static) -> Self {
        self.augmentations.push(Box::new(augmentation));
        self
    }

    /// Sets what is shown on standard output.
    pub fn verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }

    /// Adds code that runs between epochs; several run in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback<T> + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// What the results depend on besides model and data, with names for messages; `seed` is that
    /// of orders and augmentations.
    fn description(&self, samples: usize, seed: u64) -> Config {
        config([
            ("the number of samples", samples.into()),
            ("the batch size", self.batch_size.into()),
            ("shuffling", self.shuffle.into()),
            ("the seed of `fit`", seed.into()),
            (
                "the number of augmentations",
                self.augmentations.len().into(),
            ),
            ("the number of callbacks", self.callbacks.len().into()),
        ])
    }

    /// Refuses to train for no epoch where some were done before.
    fn require_epochs(&self) -> Result<()> {
        let (start, end) = (self.initial_epoch, self.epochs);
        if start == 0 || start < end {
            return Ok(());
        }
        let message = format!("no epoch is left: {start} are done, and the last is number {end}");
        let fix = "`epochs` counts from the first epoch of the training, those done included";
        Err(Error::value("fit", message).fix(fix).into())
    }

    /// Cuts validation data off the end if it is to be taken from there.
    fn cut_validation(&mut self, x: &mut Inputs, y: &mut TargetArrays) -> Result<()> {
        let Validation::Split(fraction) = self.validation else {
            return Ok(());
        };
        let count = x.len();
        // Keras rounds in the same way.
        let kept = (count as f64 * (1.0 - fraction)).floor() as usize;
        if !(0.0..1.0).contains(&fraction) || kept == 0 {
            return Err(
                Error::value("fit", "the validation split leaves nothing to train on")
                    .with("fraction", fraction)
                    .with("samples", count)
                    .fix("use a fraction from 0 up to, but not including, 1")
                    .into(),
            );
        }
        if kept < count {
            self.validation =
                Validation::Data(Box::new((x.slice(kept..count)?, y.slice(kept..count)?)));
        } else {
            self.validation = Validation::None;
        }
        (*x, *y) = (x.slice(0..kept)?, y.slice(0..kept)?);
        Ok(())
    }
}

impl<T: Float> Model<T> {
    /// Trains on samples `x` and targets `y`: each epoch takes all samples in a new order, a batch
    /// a step. Returns loss and metrics of each epoch.
    ///
    /// # Errors
    /// If the model is not compiled, there are no samples or no epochs left, samples or targets do
    /// not fit, a loss, gradient or weight becomes infinite or NaN
    /// ([`NotFinite`](crate::NotFinite) says at which step and layer), the file of [`Fit::resume`]
    /// cannot be used, a callback watches a value that no epoch gives, or returns an error.
    pub fn fit(
        &mut self,
        x: impl Into<Inputs>,
        y: impl Into<TargetArrays>,
        mut fit: Fit<'_, T>,
    ) -> Result<History> {
        let (mut x, mut y) = (x.into(), y.into());
        self.require_compiled("fit")?;
        if self.input_shape().is_none() && !x.is_empty() {
            self.build_for_inputs(&x.sample_shapes())?;
        }
        self.checked_targets("fit", &x.shapes(), &y)?;
        fit.cut_validation(&mut x, &mut y)?;
        if let Validation::Data(held) = &fit.validation {
            let (x, y) = &**held;
            self.checked_targets("validation data", &x.shapes(), y)?;
        }
        let has_validation = matches!(fit.validation, Validation::Data(_));
        for name in fit
            .callbacks
            .iter()
            .filter_map(|callback| callback.monitor())
        {
            require_known(name, self, has_validation)?;
        }
        let mut batches = Batches::for_operation("fit", x, y, fit.batch_size)?;
        let seed = fit.seed.unwrap_or(self.random_seed());
        if fit.shuffle {
            batches = batches.shuffle(seed);
        }
        let run = match fit.resume.take() {
            Some(path) => {
                let settings = fit.description(batches.rows(), seed);
                Some(Run::new(path, self, settings)?)
            }
            None => None,
        };
        let mut callbacks = std::mem::take(&mut fit.callbacks);
        if fit.verbosity != Verbosity::Silent
            && callbacks.iter().any(|callback| callback.saves_model())
            && let Err(error) = self.check_loadable()
        {
            println!("Note: {error}");
        }
        let mut history = History::default();
        let mut stopped = false;
        match run
            .as_ref()
            .map(|run| run.restore(self, fit.epochs))
            .transpose()?
            .flatten()
        {
            Some((epoch, before)) => {
                fit.initial_epoch = epoch;
                (history, stopped) = (before.history, before.stopped);
                let mut states = before.callbacks;
                states.resize_with(callbacks.len(), CallbackState::default);
                for (callback, state) in callbacks.iter_mut().zip(states) {
                    callback.train_resume(state, &history, self)?;
                }
                if fit.verbosity != Verbosity::Silent {
                    println!("Resumed after epoch {epoch}/{}", fit.epochs);
                }
            }
            None => {
                fit.require_epochs()?;
                for callback in &mut callbacks {
                    callback.train_begin(self)?;
                }
                if let Some(run) = &run {
                    run.save(self, fit.initial_epoch, &history, stopped, &callbacks)?;
                }
            }
        }
        let epochs = match stopped {
            true => 0..0,
            false => fit.initial_epoch..fit.epochs,
        };
        let augmentations = std::mem::take(&mut fit.augmentations);
        let mut ahead = match augmentations.is_empty() {
            true => batches.ahead(epochs.clone()),
            false => batches.ahead_augmented(epochs.clone(), seed, augmentations),
        };
        for epoch in epochs {
            for callback in &mut callbacks {
                callback.epoch_begin(epoch, self)?;
            }
            let record = self.epoch(&batches, &mut ahead, &fit, epoch)?;
            for callback in &mut callbacks {
                stopped |= callback.epoch_end(&record, self)? == Control::Stop;
            }
            history.epochs.push(record);
            if let Some(run) = &run {
                run.save(self, epoch + 1, &history, stopped, &callbacks)?;
            }
            if stopped {
                break;
            }
        }
        for callback in &mut callbacks {
            callback.train_end(self)?;
        }
        Ok(history)
    }

    fn epoch(
        &mut self,
        batches: &Batches,
        ahead: &mut Ahead<T>,
        fit: &Fit<'_, T>,
        epoch: usize,
    ) -> Result<EpochRecord> {
        let start = Instant::now();
        let count = batches.rows();
        let is_images = self.input_shape().is_some_and(|shape| shape.rank() == 3);
        let unit = if is_images { "images" } else { "samples" };
        let progress = Progress::new(fit.verbosity, epoch, fit.epochs, batches.len(), count, unit);
        let mut running = Running::default();
        let mut seen = 0;
        for number in 1..=batches.len() {
            let Some(batch) = ahead.next_batch()? else {
                break;
            };
            self.step(&batch.inputs, &batch.targets, &mut running)
                .map_err(|error| error.at_batch(epoch + 1, number))?;
            seen += batch.targets.first().map_or(0, Targets::len);
            let compiled = self.require_compiled("fit")?;
            progress.advance(number, seen, || running.scores(compiled));
        }
        let training_seconds = start.elapsed().as_secs_f64();
        let compiled = self.require_compiled("fit")?;
        let learning_rate = compiled.optimizer().learning_rate();
        let scores = running.scores(compiled);
        let owned = |(name, value): (&str, f64)| (name.to_string(), value);
        let mut values: Vec<(String, f64)> = scores.iter().map(owned).collect();
        if let Validation::Data(held) = &fit.validation {
            let (x, y) = &**held;
            let scores = self.evaluate(x, y)?;
            values.extend(
                scores
                    .iter()
                    .map(|(name, value)| (format!("{VALIDATION}{name}"), value)),
            );
        }
        let record = EpochRecord {
            epoch,
            values,
            learning_rate,
            duration: start.elapsed(),
        };
        progress.finish(&record, training_seconds);
        Ok(record)
    }
}
