//! A training between two epochs, beside the model in its checkpoint.

use std::path::Path;

use serde_json::{Value, json};
use tensor::Float;

use super::model::{Format, format_of, read_checkpoint, write_checkpoint};
use super::saved::{SavedModel, SavedObject, SavedTraining};
use crate::config::Config;
use crate::error::{FileError, Result};
use crate::model::Model;
use crate::training::{CallbackState, History};

/// The setting that the training itself may change.
pub(crate) const LEARNING_RATE: &str = "the learning rate at the start";

/// What a checkpoint that [`Fit::resume`](crate::training::Fit::resume) keeps holds besides the
/// model.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedRun<T: Float = f32> {
    /// All that the results depend on besides the data, by name, as the training began: batch size,
    /// seeds, layers, loss, optimizer.
    pub settings: Config,
    /// The learning rate now.
    pub learning_rate: f64,
    /// The records of the epochs that are complete.
    pub history: History,
    /// Whether a callback has ended the training.
    pub stopped: bool,
    /// What each callback remembers, in their order.
    pub callbacks: Vec<CallbackState<T>>,
}

impl<T: Float> Model<T> {
    /// [`Model::save_checkpoint`] with the training that goes on.
    pub(crate) fn save_run(&self, path: &Path, epoch: usize, run: SavedRun<T>) -> Result<()> {
        match format_of(path)? {
            Format::Checkpoint => {
                write_checkpoint(path, self.to_saved("fit")?, epoch as u64, Some(run))
            }
            Format::H5 => Err(not_a_run(path)),
        }
    }

    /// All that training depends on besides data, weights and their order: seed, layers, loss,
    /// metrics and optimizer, by names for messages.
    pub(crate) fn description(&self, operation: &str) -> Result<Config> {
        let saved = self.to_saved(operation)?;
        let mut entries = Config::new();
        entries.insert("the seed".to_string(), saved.seed.into());
        let input = saved.input_shape.iter().flat_map(|shape| shape.iter());
        let input = input.map(|&size| Value::from(size)).collect::<Value>();
        entries.insert("the input shape".to_string(), input);
        for (index, layer) in saved.layers.into_iter().enumerate() {
            let layer = json!([layer.class, layer.name, layer.config]);
            entries.insert(format!("layer {index}"), layer);
        }
        if let Some(SavedTraining {
            loss,
            metrics,
            optimizer,
        }) = saved.training
        {
            entries.insert("the loss".to_string(), json!([loss.class, loss.config]));
            entries.insert("the metrics".to_string(), json!(metrics));
            if let Some(SavedObject { class, mut config }) = optimizer {
                config.remove("learning_rate");
                entries.insert("the optimizer".to_string(), json!([class, config]));
            }
        }
        if let Some(compiled) = self.compiled() {
            let rate = compiled.optimizer().learning_rate();
            entries.insert(LEARNING_RATE.to_string(), rate.into());
        }
        Ok(entries)
    }
}

/// A training that [`Fit::resume`](crate::training::Fit::resume) keeps: the model, the number of
/// complete epochs, and the rest.
pub(crate) fn read_run<T: Float>(path: &Path) -> Result<(SavedModel<T>, u64, SavedRun<T>)> {
    let (model, epoch, run) = match format_of(path)? {
        Format::Checkpoint => read_checkpoint(path, true)?,
        Format::H5 => return Err(not_a_run(path)),
    };
    Ok((model, epoch, run.ok_or_else(|| not_a_run(path))?))
}

#[cold]
fn not_a_run(path: &Path) -> crate::Error {
    FileError::new(path, "holds a model, but no training that could be resumed")
        .fix(
            "give `Fit::resume` a file of its own, ending in `.safetensors`; a model of \
             `save_checkpoint` goes on by `load_checkpoint` and `Fit::initial_epoch`",
        )
        .into()
}

#[cfg(feature = "safetensors")]
mod in_checkpoint {
    //! The JSON and the names of tensors in a checkpoint.

    use std::time::Duration;

    use serde_json::{Map, Value, json};
    use tensor::{Float, Tensor};

    use super::SavedRun;
    use crate::config::{float, float_to_json};
    use crate::training::{CallbackState, EpochRecord, History};

    /// The name of tensor `number` of a callback.
    fn tensor_key(callback: usize, number: usize) -> String {
        format!("callback.{callback}.{number}")
    }

    impl<T: Float> SavedRun<T> {
        /// The tensors with their names.
        pub(in crate::files) fn tensors(&self) -> impl Iterator<Item = (String, &Tensor<T>)> {
            let callbacks = self.callbacks.iter().enumerate();
            callbacks.flat_map(|(callback, state)| {
                let tensors = state.tensors.iter().enumerate();
                tensors.map(move |(number, tensor)| (tensor_key(callback, number), tensor))
            })
        }

        /// All but the tensors.
        pub(in crate::files) fn to_json(&self) -> Value {
            let records = self.history.epochs.iter().map(record_to_json);
            let callbacks = self
                .callbacks
                .iter()
                .map(|state| json!({"values": state.values, "tensors": state.tensors.len()}));
            json!({
                "settings": self.settings,
                "learning_rate": float_to_json(self.learning_rate),
                "history": records.collect::<Value>(),
                "stopped": self.stopped,
                "callbacks": callbacks.collect::<Value>(),
            })
        }

        /// Reads [`SavedRun::to_json`]; `find` gets the tensor of a name, and `damaged` makes an
        /// error about an entry.
        pub(in crate::files) fn from_json<E>(
            json: &Value,
            find: impl Fn(&str) -> Result<Tensor<T>, E>,
            damaged: impl Fn(&str) -> E,
        ) -> Result<Self, E> {
            let list = |key: &str| json[key].as_array().ok_or_else(|| damaged(key));
            let records = list("history")?.iter().map(record_from_json);
            let epochs: Option<Vec<EpochRecord>> = records.collect();
            let mut callbacks = Vec::new();
            for (callback, state) in list("callbacks")?.iter().enumerate() {
                let values = state["values"].as_object();
                let count = state["tensors"].as_u64();
                let (Some(values), Some(count)) = (values, count) else {
                    return Err(damaged("callbacks"));
                };
                let mut tensors = Vec::new();
                for number in 0..count {
                    tensors.push(find(&tensor_key(callback, number as usize))?);
                }
                callbacks.push(CallbackState {
                    values: values.clone(),
                    tensors,
                });
            }
            let settings: &Map<_, _> = json["settings"]
                .as_object()
                .ok_or_else(|| damaged("settings"))?;
            let stopped = json["stopped"].as_bool();
            Ok(SavedRun {
                settings: settings.clone(),
                learning_rate: float(&json["learning_rate"])
                    .ok_or_else(|| damaged("learning_rate"))?,
                history: History {
                    epochs: epochs.ok_or_else(|| damaged("history"))?,
                },
                stopped: stopped.ok_or_else(|| damaged("stopped"))?,
                callbacks,
            })
        }
    }

    fn record_to_json(record: &EpochRecord) -> Value {
        let values = record.values.iter();
        let values = values.map(|(name, value)| json!([name, float_to_json(*value)]));
        json!({
            "epoch": record.epoch,
            "values": values.collect::<Value>(),
            "learning_rate": float_to_json(record.learning_rate),
            "nanoseconds": u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    fn record_from_json(json: &Value) -> Option<EpochRecord> {
        let values = json["values"].as_array()?.iter().map(|pair| {
            let name = pair[0].as_str()?.to_string();
            Some((name, float(&pair[1])?))
        });
        Some(EpochRecord {
            epoch: usize::try_from(json["epoch"].as_u64()?).ok()?,
            values: values.collect::<Option<_>>()?,
            learning_rate: float(&json["learning_rate"])?,
            duration: Duration::from_nanos(json["nanoseconds"].as_u64()?),
        })
    }
}
