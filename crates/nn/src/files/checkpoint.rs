//! Our own checkpoints: one safetensors file with all that training needs to go on.
//!
//! Weights are the tensors `model.LAYER.WEIGHT`, what the optimizer remembers is
//! `optimizer.SLOT.LAYER.WEIGHT`. The rest is JSON under the key `checkpoint` of the metadata, and
//! starts with the CRC-32 of the file in which the digits of that sum are zeros.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use flate2::Crc;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde_json::{Map, Value, json};
use tensor::{DType, Float, Tensor};

use super::run::SavedRun;
use super::saved::{SavedModel, SavedState, SavedTraining};
use super::write_atomically;
use crate::error::FileError;

/// A model in the middle of its training.
///
/// All random choices follow from the seed and the counters, so there is no other random state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<T: Float = f32> {
    /// Layers, weights, seed, loss, metrics, optimizer and what it remembers.
    pub model: SavedModel<T>,
    /// The number of epochs that are complete.
    pub epoch: u64,
    /// The training that the file was kept for, if
    /// [`Fit::resume`](crate::training::Fit::resume) has written it.
    pub run: Option<SavedRun<T>>,
}

/// The metadata key.
const KEY: &str = "checkpoint";
/// The version of what is under that key. Files of the first had no checksum.
const FORMAT: u64 = 2;
/// What stands before the digits of the checksum: the start of that JSON, as a string in JSON.
const BEFORE_CHECKSUM: &[u8] = br#""{\"checksum\":\""#;
/// The digits while the sum is computed.
const NO_CHECKSUM: &str = "00000000";

/// Writes `checkpoint` to `path` as safetensors, which many programs read. The same checkpoint
/// gives the same bytes.
///
/// ```
/// use nn::files::{Checkpoint, SavedModel, read_checkpoint, write_checkpoint};
/// let model = SavedModel {
///     name: "empty".into(),
///     seed: 42,
///     input_shape: None,
///     layers: vec![],
///     training: None,
///     optimizer_state: None,
/// };
/// let checkpoint = Checkpoint::<f32> { model, epoch: 3, run: None };
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.safetensors");
/// write_checkpoint(&path, &checkpoint)?;
/// assert_eq!(read_checkpoint(&path)?, checkpoint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If two tensors would have one name, or the file cannot be written; then an older file of that
/// name is left as it was.
pub fn write_checkpoint<T: Float>(
    path: impl AsRef<Path>,
    checkpoint: &Checkpoint<T>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let model = &checkpoint.model;
    let mut tensors = Vec::new();
    for layer in &model.layers {
        for (name, weight) in &layer.weights {
            tensors.push((weight_key(&layer.name, name), Stored(weight)));
        }
    }
    if let Some(state) = &model.optimizer_state {
        for ((layer, name), slots) in weight_names(model).zip(&state.slots) {
            for (slot, tensor) in state.slot_names.iter().zip(slots) {
                tensors.push((slot_key(slot, layer, name), Stored(tensor)));
            }
        }
    }
    let of_run = checkpoint.run.iter().flat_map(SavedRun::tensors);
    tensors.extend(of_run.map(|(name, tensor)| (name, Stored(tensor))));
    let mut taken = HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !taken.insert(name.clone())) {
        let cause = format!("cannot write: two tensors would be named `{name}`");
        return Err(FileError::new(path, cause).fix("give the layers other names"));
    }
    let header = header(checkpoint).to_string();
    let header = format!("{{\"checksum\":\"{NO_CHECKSUM}\",{}", &header[1..]);
    let metadata = HashMap::from([(KEY.to_string(), header)]);
    let mut bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| FileError::new(path, format!("cannot write: {error}")))?;
    if let Some(digits) = checksum_digits(&bytes) {
        let sum = checksum(&bytes, &digits);
        bytes[digits].copy_from_slice(sum.as_bytes());
    }
    write_atomically(path, |file| file.write_all(&bytes))
}

/// Reads what [`write_checkpoint`] wrote, bit for bit.
///
/// # Errors
/// If the file cannot be read, is no checkpoint of this crate, holds another element type than `T`,
/// or is cut off or damaged, be it by a single bit.
pub fn read_checkpoint<T: Float>(path: impl AsRef<Path>) -> Result<Checkpoint<T>, FileError> {
    read_parts(path.as_ref(), true)
}

/// [`read_checkpoint`] with or without what belongs to training: loss, metrics, optimizer and its
/// state.
pub(super) fn read_parts<T: Float>(
    path: &Path,
    training: bool,
) -> Result<Checkpoint<T>, FileError> {
    let bytes = super::read(path)?;
    parse(&bytes, training).map_err(|problem| {
        let error = FileError::new(path, problem.cause);
        match problem.place {
            Some(place) => error.at(place),
            None => error,
        }
    })
}

/// Where the digits of the checksum are in a checkpoint.
fn checksum_digits(bytes: &[u8]) -> Option<Range<usize>> {
    let header = bytes
        .first_chunk()
        .map(|&length| u64::from_le_bytes(length))?;
    let header = usize::try_from(header)
        .ok()?
        .checked_add(size_of::<u64>())?;
    let mut places = bytes.get(..header)?.windows(BEFORE_CHECKSUM.len());
    let start = places.position(|window| window == BEFORE_CHECKSUM)? + BEFORE_CHECKSUM.len();
    let digits = start..start + NO_CHECKSUM.len();
    (digits.end <= header).then_some(digits)
}

/// The checksum of a file whose `digits` are those of the checksum.
fn checksum(bytes: &[u8], digits: &Range<usize>) -> String {
    let mut crc = Crc::new();
    crc.update(&bytes[..digits.start]);
    crc.update(NO_CHECKSUM.as_bytes());
    crc.update(&bytes[digits.end..]);
    format!("{:08x}", crc.sum())
}

/// What is wrong with a file, and where.
struct Problem {
    cause: String,
    place: Option<String>,
}

impl Problem {
    fn new(cause: impl Into<String>) -> Self {
        Problem {
            cause: cause.into(),
            place: None,
        }
    }

    fn at(self, place: impl Into<String>) -> Self {
        Problem {
            place: Some(place.into()),
            ..self
        }
    }
}

/// The JSON in the metadata.
fn header<T: Float>(checkpoint: &Checkpoint<T>) -> Value {
    let model = &checkpoint.model;
    let weights = model.layers.iter().map(|layer| {
        let names = layer.weights.iter().map(|(name, _)| Value::from(&**name));
        names.collect::<Value>()
    });
    let state = model.optimizer_state.as_ref();
    json!({
        "format": FORMAT,
        "seed": model.seed,
        "epoch": checkpoint.epoch,
        "architecture": model.architecture_to_json(),
        "weights": weights.collect::<Value>(),
        "training": model.training.as_ref().map(SavedTraining::to_json),
        "optimizer": state.map(|state| json!({
            "iterations": state.iterations,
            "slots": state.slot_names,
            // Before the first step there are none.
            "started": !state.slots.is_empty(),
        })),
        "run": checkpoint.run.as_ref().map(SavedRun::to_json),
    })
}

fn parse<T: Float>(bytes: &[u8], training: bool) -> Result<Checkpoint<T>, Problem> {
    let damaged = |error| Problem::new(format!("is no safetensors file, or damaged: {error}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(KEY))
        .ok_or_else(|| Problem::new(format!("is no checkpoint: its metadata lack `{KEY}`")))?;
    let in_header = |cause: String| Problem::new(cause).at(format!("metadata `{KEY}`"));
    let header: Map<String, Value> = serde_json::from_str(header)
        .map_err(|error| in_header(format!("is damaged: the JSON is not valid: {error}")))?;
    let entry = |key: &str| header.get(key).unwrap_or(&Value::Null);
    let number = |value: &Value, key: &str| {
        let number = value.as_u64();
        number.ok_or_else(|| in_header(format!("is damaged: `{key}` is {value}")))
    };
    let format = number(entry("format"), "format")?;
    if !(1..=FORMAT).contains(&format) {
        let cause = format!("is of format {format}; this version reads up to format {FORMAT}");
        return Err(in_header(cause));
    }

    let mut model =
        SavedModel::<T>::architecture_from_json(entry("architecture")).map_err(in_header)?;
    let names: Vec<Vec<String>> = serde_json::from_value(entry("weights").clone())
        .ok()
        .filter(|names: &Vec<Vec<String>>| names.len() == model.layers.len())
        .ok_or_else(|| in_header("is damaged: `weights` does not fit the layers".to_string()))?;
    for (layer, names) in model.layers.iter_mut().zip(names) {
        for name in names {
            let tensor = find(&tensors, &weight_key(&layer.name, &name))?;
            layer.weights.push((name, tensor));
        }
    }
    model.training = match entry("training") {
        Value::Null => None,
        _ if !training => None,
        training => Some(SavedTraining::from_json(training).map_err(in_header)?),
    };
    model.optimizer_state = match entry("optimizer") {
        Value::Null => None,
        _ if !training => None,
        state => {
            let iterations = number(&state["iterations"], "iterations")?;
            let slot_names: Vec<String> = serde_json::from_value(state["slots"].clone())
                .map_err(|error| in_header(format!("is damaged: `slots`: {error}")))?;
            let slots = match &state["started"] {
                Value::Bool(false) => Vec::new(),
                _ => weight_names(&model)
                    .map(|(layer, name)| {
                        let slots = slot_names.iter();
                        slots
                            .map(|slot| find(&tensors, &slot_key(slot, layer, name)))
                            .collect()
                    })
                    .collect::<Result<_, _>>()?,
            };
            Some(SavedState {
                iterations,
                slot_names,
                slots,
            })
        }
    };
    model.seed = number(entry("seed"), "seed")?;
    let run = match entry("run") {
        Value::Null => None,
        run => {
            let damaged = |key: &str| in_header(format!("is damaged: `run.{key}` is not valid"));
            let find = |name: &str| find(&tensors, name);
            Some(SavedRun::from_json(run, find, damaged)?)
        }
    };
    let checkpoint = Checkpoint {
        model,
        epoch: number(entry("epoch"), "epoch")?,
        run,
    };
    // Last, because what is wrong in particular says more than that something is.
    let intact = |digits: Range<usize>| checksum(bytes, &digits).as_bytes() == &bytes[digits];
    if format > 1 && !checksum_digits(bytes).is_some_and(intact) {
        let cause = "is damaged, or was changed by another program: its checksum does not match";
        return Err(Problem::new(cause));
    }
    Ok(checkpoint)
}

/// Layer and name of each weight, in order.
fn weight_names<T: Float>(model: &SavedModel<T>) -> impl Iterator<Item = (&str, &str)> {
    model.layers.iter().flat_map(|layer| {
        let names = layer.weights.iter();
        names.map(|(name, _)| (&*layer.name, &**name))
    })
}

fn weight_key(layer: &str, weight: &str) -> String {
    format!("model.{layer}.{weight}")
}

fn slot_key(slot: &str, layer: &str, weight: &str) -> String {
    format!("optimizer.{slot}.{layer}.{weight}")
}

/// The tensor called `name`.
fn find<T: Float>(tensors: &SafeTensors<'_>, name: &str) -> Result<Tensor<T>, Problem> {
    let problem = |cause: String| Problem::new(cause).at(format!("tensor `{name}`"));
    let view = tensors
        .tensor(name)
        .map_err(|_| problem("is damaged: a tensor is missing".to_string()))?;
    if view.dtype() != dtype::<T>() {
        let cause = format!(
            "holds elements of type {:?}; the model's are {}",
            view.dtype(),
            T::DTYPE
        );
        return Err(problem(cause));
    }
    let bytes = view.data();
    let elements: Vec<T> = match T::DTYPE {
        DType::F64 => {
            let (numbers, _) = bytes.as_chunks();
            let numbers = numbers.iter().map(|&bytes| f64::from_le_bytes(bytes));
            numbers.map(T::from_f64).collect()
        }
        _ => {
            let (numbers, _) = bytes.as_chunks();
            let numbers = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes));
            numbers.map(|x| T::from_f64(x.into())).collect()
        }
    };
    Tensor::from_vec(elements, view.shape()).map_err(|error| problem(error.to_string()))
}

fn dtype<T: Float>() -> Dtype {
    match T::DTYPE {
        DType::F64 => Dtype::F64,
        _ => Dtype::F32,
    }
}

/// A tensor as safetensors asks for it: row-major, little-endian.
struct Stored<'a, T: Float>(&'a Tensor<T>);

impl<T: Float> View for Stored<'_, T> {
    fn dtype(&self) -> Dtype {
        dtype::<T>()
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let elements = self.0.iter().map(T::to_f64);
        Cow::Owned(match T::DTYPE {
            DType::F64 => elements.flat_map(f64::to_le_bytes).collect(),
            _ => elements.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.0.len() * size_of::<T>()
    }
}
