//! Saving and loading a [`Sequential`].

use std::path::Path;

use tensor::{Error, Float};

use super::run::SavedRun;
use super::saved::{SavedLayer, SavedModel, SavedObject, SavedState, SavedTraining};
use crate::config::Purpose;
use crate::error::{FileError, Result};
use crate::layers;
use crate::losses::{self, Loss};
use crate::metrics::{self, Metric};
use crate::model::{Model, Sequential};
use crate::optimizers::{self, Optimizer, OptimizerState, RmsProp};

/// What [`Model::save_with`] puts into a file.
///
/// ```
/// use nn::files::SaveOptions;
/// let options = SaveOptions::new().optimizer_state(true);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveOptions {
    optimizer_state: bool,
}

impl SaveOptions {
    /// Architecture, weights, loss, metrics and the optimizer's settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether an `.h5` also holds what the optimizer remembers; by default it does not.
    ///
    /// Without, Keras and this crate train on with a fresh optimizer. With it, this crate goes on
    /// where it was, but Keras 3 cannot train the model at all: of a file with such a state, its
    /// own included, it loads and evaluates the model, and `fit` raises an error (seen in 3.15.1).
    /// Checkpoints always hold the state.
    #[must_use]
    pub fn optimizer_state(mut self, optimizer_state: bool) -> Self {
        self.optimizer_state = optimizer_state;
        self
    }
}

/// How models are loaded, where [`Sequential::load`] does not do.
///
/// ```
/// use nn::files::LoadOptions;
/// use nn::prelude::*;
/// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
/// # let path = folder.path().join("m.h5");
/// # let mut model = Sequential::new();
/// # model.add(Dense::new(3).input_shape(&[2]));
/// # model.save(&path)?;
/// let precise: Sequential<f64> = LoadOptions::new().compile(false).load(&path)?;
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    compile: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadOptions {
    /// All that is in the file.
    pub fn new() -> Self {
        LoadOptions { compile: true }
    }

    /// Sets whether loss, metrics and optimizer are restored, so that `evaluate` and `fit` work at
    /// once.
    ///
    /// Without, all that only training looks at need not be known to this crate: loss, metrics and
    /// optimizer, and of the layers regularizers, constraints and whether they are trained. Such
    /// settings of layers are kept for the next file, and
    /// [`compile`](Model::compile) names what is missing.
    #[must_use]
    pub fn compile(mut self, compile: bool) -> Self {
        self.compile = compile;
        self
    }

    /// [`Sequential::load`] in the precision of `T`. Weights of the other precision are converted;
    /// those of checkpoints must be of this one.
    ///
    /// # Errors
    /// Those of [`Sequential::load`].
    pub fn load<T: Float>(self, path: impl AsRef<Path>) -> Result<Sequential<T>> {
        let path = path.as_ref();
        match format_of(path)? {
            Format::H5 => Ok(self.model(read_h5(path, self.compile)?, path)?.0),
            Format::Checkpoint => Ok(self.load_checkpoint(path)?.0),
        }
    }

    /// [`Sequential::load_checkpoint`] in the precision of `T`.
    ///
    /// # Errors
    /// Those of [`Sequential::load_checkpoint`].
    pub fn load_checkpoint<T: Float>(
        self,
        path: impl AsRef<Path>,
    ) -> Result<(Sequential<T>, usize)> {
        let path = path.as_ref();
        let (saved, epoch, _) = read_checkpoint(path, self.compile)?;
        let epoch = usize::try_from(epoch).unwrap_or(usize::MAX);
        let (model, restored) = self.model(saved, path)?;
        // An optimizer that starts afresh would not go on as if it had never stopped.
        if self.compile && !restored {
            let cause = "is damaged: what the optimizer remembers does not fit the model";
            return Err(FileError::new(path, cause).into());
        }
        Ok((model, epoch))
    }

    /// The model of the file at `path`, and whether its optimizer remembers what the file says.
    fn model<T: Float>(self, saved: SavedModel<T>, path: &Path) -> Result<(Sequential<T>, bool)> {
        let purpose = match (&saved.input_shape, self.compile) {
            // There are no weights yet, so they will be drawn.
            (None, _) => Purpose::Start,
            (Some(_), true) => Purpose::GoOn,
            (Some(_), false) => Purpose::Predict,
        };
        from_saved(saved, purpose, path)
    }
}

impl Sequential {
    /// Reads a model from an `.h5` of this crate or of Keras 2 or 3, or from a checkpoint: layers,
    /// weights and, if it was compiled, loss, metrics and optimizer, so that `evaluate` and `fit`
    /// work at once. [`LoadOptions`] loads in double precision, or without the latter.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, or if it has a layer, loss, metric or optimizer
    /// that this crate does not have; the error names it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        LoadOptions::new().load(path)
    }

    /// Reads what [`Model::save_checkpoint`] wrote: the model, and the epoch to go on with.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or is no checkpoint of this precision.
    pub fn load_checkpoint(path: impl AsRef<Path>) -> Result<(Self, usize)> {
        LoadOptions::new().load_checkpoint(path)
    }
}

/// The formats of model files.
pub(super) enum Format {
    H5,
    Checkpoint,
}

/// The format that the name of a file promises.
pub(super) fn format_of(path: &Path) -> Result<Format, FileError> {
    let extension = path.extension().map(|name| name.to_ascii_lowercase());
    match extension.as_deref().and_then(|name| name.to_str()) {
        Some("h5" | "hdf5") => Ok(Format::H5),
        Some("safetensors") => Ok(Format::Checkpoint),
        Some("keras") => {
            let cause = "files of the `.keras` format are not supported";
            Err(FileError::new(path, cause).fix("use `.h5`, which Keras reads and writes too"))
        }
        _ => {
            let cause = "the name does not end in that of a model format";
            Err(FileError::new(path, cause)
                .fix("use `.h5` to exchange with Keras, `.safetensors` for checkpoints"))
        }
    }
}

impl<T: Float> Model<T> {
    /// Writes the model to `path`, whole or not at all: `.h5` is Keras's legacy whole-model
    /// format, which `keras.models.load_model` opens; `.safetensors` is a
    /// [checkpoint](Model::save_checkpoint).
    ///
    /// ```
    /// use nn::prelude::*;
    /// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
    /// # let path = folder.path().join("digits.h5");
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(3).input_shape(&[2]));
    /// model.add(Activation::softmax());
    /// model.compile(CategoricalCrossentropy::new(), Adam::default(), [Accuracy::new()])?;
    /// model.save(&path)?;
    ///
    /// let loaded = Sequential::load(&path)?;
    /// let x = Tensor::from([[1.0_f32, -1.0]]);
    /// assert_eq!(loaded.predict(&x)?, model.predict(&x)?);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the extension is none of these, the model is not built, or the file cannot be written;
    /// then an older file of that name is left as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, SaveOptions::new())
    }

    /// Says whether what [`Model::save`] would write to `path` could be loaded again, writing
    /// nothing: to be asked before a long training. `fit` asks it by itself where a callback
    /// [saves the model](crate::training::Callback::saves_model), and prints a note.
    ///
    /// Layers, losses, metrics and optimizers of one's own can be saved, but only those of this
    /// crate are made again from a file. [`Model::load_weights`] reads the weights of any model
    /// into the same model built in code.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let mut model = Sequential::new();
    /// let padding = Padding::Explicit { height: [1, 0], width: [1, 0] };
    /// model.add(Conv2d::new(8, [2, 2]).padding(padding).input_shape(&[8, 8, 1]));
    /// model.check_save("run.safetensors")?;
    /// let error = model.check_save("model.h5").unwrap_err();
    /// assert!(error.to_string().contains("layer `conv2d` pads by given amounts"));
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the format of that name cannot hold the model, the model is not built, or a part of it is
    /// not of this crate; the error names it.
    pub fn check_save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = format_of(path)?;
        let mut saved = self.to_saved("check_save")?;
        saved.optimizer_state = None;
        if let Format::H5 = format {
            check_h5(path, &saved)?;
        }
        self.check_loadable()
    }

    /// Whether this crate can make the model again from its description.
    pub(crate) fn check_loadable(&self) -> Result<()> {
        let refused = |what: String, reason: String| {
            Err(
                Error::unsupported("load", "a saved file of this model could not be loaded")
                    .with(what, reason)
                    .fix("build the model in code, and `load_weights` from the file")
                    .into(),
            )
        };
        let changed = || "its settings are not those that a file gives it".to_string();
        let purpose = match self.compiled() {
            Some(_) => Purpose::GoOn,
            None => Purpose::Predict,
        };
        for stage in self.layers() {
            let what = || format!("layer `{}`", stage.name());
            let class = stage.layer().class_name();
            match layers::for_purpose::<T>(class, &stage.config(), purpose) {
                Err(error) => return refused(what(), error.to_string()),
                Ok((layer, _)) if layer.config() != stage.layer().config() => {
                    return refused(what(), changed());
                }
                Ok(_) => {}
            }
        }
        let Some(compiled) = self.compiled() else {
            return Ok(());
        };
        let (name, config) = compiled.loss().config();
        match losses::from_config::<T>(name, &config) {
            Err(error) => return refused("loss".into(), error.to_string()),
            Ok(loss) if loss.config() != (name, config) => {
                return refused("loss".into(), changed());
            }
            Ok(_) => {}
        }
        let config = compiled.optimizer().config();
        match optimizers::from_config::<T>(compiled.optimizer().class_name(), &config) {
            Err(error) => return refused("optimizer".into(), error.to_string()),
            Ok(optimizer) if optimizer.config() != config => {
                return refused("optimizer".into(), changed());
            }
            Ok(_) => {}
        }
        for metric in compiled.metrics() {
            if let Err(error) = metrics::from_name::<T>(metric.name()) {
                return refused("metric".into(), error.to_string());
            }
        }
        Ok(())
    }

    /// [`Model::save`] with a choice of what an `.h5` holds.
    ///
    /// # Errors
    /// Those of [`Model::save`].
    pub fn save_with(&self, path: impl AsRef<Path>, options: SaveOptions) -> Result<()> {
        let path = path.as_ref();
        match format_of(path)? {
            Format::H5 => {
                let mut saved = self.to_saved("save")?;
                if !options.optimizer_state {
                    saved.optimizer_state = None;
                }
                write_h5(path, &saved)
            }
            Format::Checkpoint => self.save_checkpoint(path, 0),
        }
    }

    /// Replaces the weights by those in a model file whose layers with weights are the same, in
    /// the same order; names do not matter. Changes nothing if a weight does not fit.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, or a weight is missing or of another shape; the
    /// error names layer, weight and both shapes.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let saved = match format_of(path)? {
            Format::H5 => read_h5(path, false)?,
            Format::Checkpoint => read_checkpoint(path, false)?.0,
        };
        match (&saved.input_shape, self.input_shape()) {
            (Some(shape), None) => self.build_for(shape)?,
            _ => self.build()?,
        }
        let stored = saved.layers.into_iter().filter(|l| !l.weights.is_empty());
        let stored: Vec<SavedLayer<T>> = stored.collect();
        let own = self.layers().iter().filter(|l| !l.parameters().is_empty());
        let own: Vec<_> = own.collect();
        if own.len() != stored.len() {
            let (ours, theirs) = (own.len(), stored.len());
            let cause =
                format!("holds weights of {theirs} layers; {ours} layers of the model have some");
            return Err(FileError::new(path, cause).into());
        }
        for (stage, layer) in own.iter().zip(&stored) {
            let shapes = stage.parameters().iter().map(|p| p.value().shape());
            let stored = layer.weights.iter().map(|(_, weight)| weight.shape());
            if shapes.clone().eq(stored.clone()) {
                continue;
            }
            let list = |shapes: Vec<String>| shapes.join(", ");
            let cause = format!(
                "the weights of layer `{}` have the shapes {}; layer `{}` of the model takes {}",
                layer.name,
                list(stored.map(ToString::to_string).collect()),
                stage.name(),
                list(shapes.map(ToString::to_string).collect()),
            );
            return Err(FileError::new(path, cause).into());
        }
        let weights = stored.into_iter().flat_map(|layer| layer.weights);
        self.set_weights(weights.map(|(_, weight)| weight).collect())
    }

    /// Writes all that training needs to go on as if it had never stopped, bit for bit: layers and
    /// weights, loss, metrics, the optimizer with what it remembers, the seed, and `epoch`, the
    /// number of complete epochs. All random choices follow from seed, epoch and step.
    ///
    /// The file is in the safetensors format, which many programs read.
    /// [`Fit::resume`](crate::training::Fit::resume) keeps such a file by itself, with the history
    /// and what callbacks remember.
    ///
    /// ```
    /// use nn::prelude::*;
    /// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
    /// # let path = folder.path().join("run.safetensors");
    /// # let x = Tensor::from_fn([64, 2], |at| ((at[0] * (at[1] + 3)) % 7) as f32)?;
    /// # let y = Tensor::from_fn([64, 2], |at| f32::from(u8::from(at[0] % 2 == at[1])))?;
    /// let fit = || Fit::new().verbosity(Verbosity::Silent);
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(&[2]));
    /// model.compile(MeanSquaredError, Adam::default(), [Accuracy::new()])?;
    /// model.fit(&x, &y, fit().epochs(2))?;
    /// model.save_checkpoint(&path, 2)?;
    ///
    /// let (mut resumed, epoch) = Sequential::load_checkpoint(&path)?;
    /// resumed.fit(&x, &y, fit().initial_epoch(epoch).epochs(5))?;
    /// model.fit(&x, &y, fit().initial_epoch(2).epochs(5))?;
    /// assert_eq!(resumed.weights(), model.weights());
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built, or the file cannot be written; then an older file of that name
    /// is left as it was.
    pub fn save_checkpoint(&self, path: impl AsRef<Path>, epoch: usize) -> Result<()> {
        let saved = self.to_saved("save_checkpoint")?;
        write_checkpoint(path.as_ref(), saved, epoch as u64, None)
    }

    /// The model as files hold it.
    pub(super) fn to_saved(&self, operation: &str) -> Result<SavedModel<T>> {
        self.require_whole(operation)?;
        if !self.is_plain_chain() {
            let message = "models with branches, merges, shared layers or models inside cannot be \
                           saved";
            return Err(Error::unsupported(operation, message)
                .fix("keep the tensors of `weights()`, and `set_weights` in the same model built in code")
                .into());
        }
        if self.input_shape().is_none() {
            return Err(Error::value(operation, "the model has no weights yet")
                .fix("give the first layer an `input_shape(…)`, or `fit` the model first")
                .into());
        }
        let layers = self.layers().iter().map(|stage| SavedLayer {
            class: stage.layer().class_name().to_string(),
            name: stage.name().to_string(),
            config: stage.config(),
            weights: stage
                .parameters()
                .iter()
                .map(|parameter| (parameter.name().to_string(), parameter.value().clone()))
                .collect(),
        });
        let compiled = self.compiled();
        Ok(SavedModel {
            name: self.name().to_string(),
            seed: self.random_seed(),
            input_shape: self.input_shape().cloned(),
            layers: layers.collect(),
            training: compiled.map(|compiled| {
                let (loss, config) = compiled.loss().config();
                let optimizer = compiled.optimizer();
                SavedTraining {
                    loss: SavedObject {
                        class: loss.to_string(),
                        config,
                    },
                    metrics: compiled.metrics().map(|m| m.name().to_string()).collect(),
                    optimizer: Some(SavedObject {
                        class: optimizer.class_name().to_string(),
                        config: optimizer.config(),
                    }),
                }
            }),
            optimizer_state: compiled.map(|compiled| SavedState {
                iterations: compiled.state().iterations,
                slot_names: compiled
                    .optimizer()
                    .slots()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                slots: compiled.state().slots.clone(),
            }),
        })
    }
}

fn from_saved<T: Float>(
    saved: SavedModel<T>,
    purpose: Purpose,
    path: &Path,
) -> Result<(Sequential<T>, bool)> {
    let mut model = Sequential::<T>::default().seed(saved.seed);
    model.set_name(saved.name);
    let has_weights = saved.layers.iter().any(|layer| !layer.weights.is_empty());
    match saved.input_shape {
        Some(shape) => model.set_input_shape(shape),
        None if has_weights => {
            let cause = "does not say the shape of the model's inputs";
            return Err(FileError::new(path, cause)
                .fix("give the first layer an input shape before saving")
                .into());
        }
        None => {}
    }
    for layer in saved.layers {
        let place = format!("layer `{}`, a `{}`", layer.name, layer.class);
        add_layer(&mut model, layer, purpose)
            .map_err(|error| FileError::new(path, error.to_string()).at(place))?;
    }
    if let Some(training) = saved.training {
        compile(&mut model, training).map_err(|error| {
            FileError::new(path, error.to_string())
                .at("the training configuration")
                .fix("load with `LoadOptions::new().compile(false)` and `compile` the model anew")
        })?;
    }
    let restored = match saved.optimizer_state {
        Some(state) => restore_optimizer(&mut model, state),
        None => true,
    };
    Ok((model, restored))
}

fn add_layer<T: Float>(
    model: &mut Sequential<T>,
    saved: SavedLayer<T>,
    purpose: Purpose,
) -> Result<()> {
    let mut config = saved.config;
    config.insert("name".to_string(), saved.name.into());
    let (layer, set_aside) = layers::for_purpose(&saved.class, &config, purpose)?;
    let weights = saved.weights.into_iter().map(|(_, weight)| weight);
    model.add_with_weights(layer, weights.collect(), set_aside)
}

fn compile<T: Float>(model: &mut Model<T>, training: SavedTraining) -> Result<()> {
    let loss: Box<dyn Loss<T>> = losses::from_config(&training.loss.class, &training.loss.config)?;
    let optimizer: Box<dyn Optimizer<T>> = match training.optimizer {
        Some(optimizer) => optimizers::from_config(&optimizer.class, &optimizer.config)?,
        // Keras's own default.
        None => Box::new(RmsProp::default()),
    };
    let metrics = training.metrics.iter().map(|name| metrics::from_name(name));
    let metrics: Vec<Box<dyn Metric<T>>> = metrics.collect::<Result<_>>()?;
    model.compile(loss, optimizer, metrics)
}

/// Hands the optimizer what it remembered, if that is of this optimizer and this model; says
/// whether it is.
pub(crate) fn restore_optimizer<T: Float>(model: &mut Model<T>, state: SavedState<T>) -> bool {
    let shapes: Vec<_> = model
        .trainable_parameters()
        .map(|p| p.value().shape().clone())
        .collect();
    let Some(compiled) = model.compiled_mut() else {
        return false;
    };
    let count = compiled.optimizer().slots().len();
    let fits = state.slots.is_empty()
        || state.slots.len() == shapes.len()
            && state.slots.iter().zip(&shapes).all(|(slots, shape)| {
                slots.len() == count && slots.iter().all(|slot| slot.shape() == shape)
            });
    if fits {
        compiled.set_state(OptimizerState {
            iterations: state.iterations,
            slots: state.slots,
        });
    }
    fits
}

#[cfg(feature = "hdf5")]
fn write_h5<T: Float>(path: &Path, saved: &SavedModel<T>) -> Result<()> {
    Ok(super::write_h5(path, saved)?)
}

#[cfg(feature = "hdf5")]
fn check_h5<T: Float>(path: &Path, saved: &SavedModel<T>) -> Result<()> {
    Ok(super::h5::check(path, saved)?)
}

#[cfg(not(feature = "hdf5"))]
fn check_h5<T: Float>(path: &Path, _: &SavedModel<T>) -> Result<()> {
    Err(without_feature(path, "hdf5"))
}

#[cfg(feature = "hdf5")]
fn read_h5<T: Float>(path: &Path, training: bool) -> Result<SavedModel<T>> {
    Ok(super::h5::read_parts(path, training)?)
}

#[cfg(not(feature = "hdf5"))]
fn write_h5<T: Float>(path: &Path, _: &SavedModel<T>) -> Result<()> {
    Err(without_feature(path, "hdf5"))
}

#[cfg(not(feature = "hdf5"))]
fn read_h5<T: Float>(path: &Path, _: bool) -> Result<SavedModel<T>> {
    Err(without_feature(path, "hdf5"))
}

/// Model, epoch and training of a checkpoint.
pub(super) type Parts<T> = (SavedModel<T>, u64, Option<SavedRun<T>>);

#[cfg(feature = "safetensors")]
pub(super) fn write_checkpoint<T: Float>(
    path: &Path,
    model: SavedModel<T>,
    epoch: u64,
    run: Option<SavedRun<T>>,
) -> Result<()> {
    Ok(super::write_checkpoint(
        path,
        &super::Checkpoint { model, epoch, run },
    )?)
}

#[cfg(feature = "safetensors")]
pub(super) fn read_checkpoint<T: Float>(path: &Path, training: bool) -> Result<Parts<T>> {
    let checkpoint = super::checkpoint::read_parts(path, training)?;
    Ok((checkpoint.model, checkpoint.epoch, checkpoint.run))
}

#[cfg(not(feature = "safetensors"))]
pub(super) fn write_checkpoint<T: Float>(
    path: &Path,
    _: SavedModel<T>,
    _: u64,
    _: Option<SavedRun<T>>,
) -> Result<()> {
    Err(without_feature(path, "safetensors"))
}

#[cfg(not(feature = "safetensors"))]
pub(super) fn read_checkpoint<T: Float>(path: &Path, _: bool) -> Result<Parts<T>> {
    Err(without_feature(path, "safetensors"))
}

#[cfg(not(all(feature = "hdf5", feature = "safetensors")))]
fn without_feature(path: &Path, feature: &str) -> crate::Error {
    let cause = "this program was built without support for the format";
    FileError::new(path, cause)
        .fix(format!("build crate `nn` with its feature `{feature}`"))
        .into()
}
