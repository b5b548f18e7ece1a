//! A training that is kept in a file, to go on where it was stopped.

use std::path::PathBuf;

use serde_json::{Value, json};
use tensor::{Float, Tensor};

use super::callbacks::Callback;
use super::history::History;
use crate::config::Config;
use crate::error::{FileError, Result};
use crate::files::{LEARNING_RATE, SavedRun, read_run, restore_optimizer};
use crate::model::Model;

/// What a callback remembers between epochs; see [`Callback::state`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallbackState<T: Float = f32> {
    /// Numbers and texts by name.
    pub values: Config,
    /// Tensors, in an order of the callback's own.
    pub tensors: Vec<Tensor<T>>,
}

/// A training and the file that it is kept in.
pub(super) struct Run {
    path: PathBuf,
    /// All that the results depend on, by name.
    settings: Config,
}

impl Run {
    /// The training of `model` with these settings of `fit`.
    ///
    /// # Errors
    /// If the model cannot be saved.
    pub(super) fn new<T: Float>(path: PathBuf, model: &Model<T>, of_fit: Config) -> Result<Self> {
        let mut settings = of_fit;
        settings.extend(model.description("resume")?);
        Ok(Run { path, settings })
    }

    /// The error that the file does not fit the program.
    #[cold]
    fn differs(&self, cause: String) -> crate::Error {
        FileError::new(&self.path, cause)
            .fix("train as that training did; or give another file, or delete this one, to start anew")
            .into()
    }

    /// Brings `model` to where the training in the file was, and returns that; none if there is no
    /// file yet.
    ///
    /// # Errors
    /// If the file cannot be read, holds no training, or one with other settings.
    pub(super) fn restore<T: Float>(
        &self,
        model: &mut Model<T>,
        epochs: usize,
    ) -> Result<Option<(usize, SavedRun<T>)>> {
        if matches!(self.path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let (saved, epoch, run) = read_run::<T>(&self.path)?;
        let rate = json!(run.learning_rate);
        let keys = self.settings.keys().chain(run.settings.keys());
        for key in keys {
            let [here, there] = [&self.settings, &run.settings].map(|settings| settings.get(key));
            // A model that is still in memory has the rate to which a schedule brought it.
            if here != there && !(key == LEARNING_RATE && here == Some(&rate)) {
                let [here, there] = [here, there].map(|value| value.unwrap_or(&Value::Null));
                return Err(self.differs(format!(
                    "holds a training with other settings: {key} was {there}, and is {here} here"
                )));
            }
        }
        if epoch > epochs as u64 {
            return Err(self.differs(format!(
                "holds a training of {epoch} epochs, more than the {epochs} that are wanted"
            )));
        }
        let damaged = |cause: String| FileError::new(&self.path, format!("is damaged: {cause}"));
        let weights = saved.layers.into_iter().flat_map(|layer| layer.weights);
        model
            .set_weights(weights.map(|(_, weight)| weight).collect())
            .map_err(|error| damaged(error.to_string()))?;
        let state = saved.optimizer_state;
        if !state.is_some_and(|state| restore_optimizer(model, state)) {
            let cause = "what the optimizer remembers does not fit the model";
            return Err(damaged(cause.to_string()).into());
        }
        if let Some(compiled) = model.compiled_mut() {
            compiled
                .optimizer_mut()
                .set_learning_rate(run.learning_rate);
        }
        Ok(Some((epoch as usize, run)))
    }

    /// Keeps what there is after `epoch` epochs.
    ///
    /// # Errors
    /// If the file cannot be written; then it is as it was.
    pub(super) fn save<T: Float>(
        &self,
        model: &Model<T>,
        epoch: usize,
        history: &History,
        stopped: bool,
        callbacks: &[Box<dyn Callback<T> + '_>],
    ) -> Result<()> {
        let compiled = model.require_compiled("fit")?;
        let run = SavedRun {
            settings: self.settings.clone(),
            learning_rate: compiled.optimizer().learning_rate(),
            history: history.clone(),
            stopped,
            callbacks: callbacks.iter().map(|callback| callback.state()).collect(),
        };
        model.save_run(&self.path, epoch, run)
    }
}
