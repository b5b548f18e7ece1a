//! From a [`SavedModel`] to a file.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};
use tensor::{DType, Float, Tensor};

use super::checksum::write_with_checksum;
use super::{
    LAYER_NAMES, MODEL_CONFIG, MODEL_WEIGHTS, OPTIMIZER_WEIGHTS, SEED, TRAINING_CONFIG,
    WEIGHT_NAMES,
};
use crate::error::FileError;
use crate::files::saved::{SavedLayer, SavedModel, SavedState};
use crate::files::write_atomically;

/// The oldest Keras whose conventions the file follows; Keras looks whether it is 1.
const KERAS_VERSION: &str = "3.0.0";
/// The library whose orientation of filters the file follows; old Keras turns those of others.
const BACKEND: &str = "tensorflow";

/// Writes a whole model as Keras's `.h5`, which `keras.models.load_model` opens.
///
/// The model's [`optimizer_state`](SavedModel::optimizer_state) is written if there is one. Leave
/// it out for files that Keras is to train on: Keras 3 opens files with such a state, its own
/// included, and predicts with them, but `fit` raises an error (seen in 3.15.1).
///
/// See [`read_h5`](super::read_h5) for an example.
///
/// # Errors
/// If a name cannot be one in HDF5 or occurs twice, a layer pads by given amounts, which Keras has no
/// word for, or the file cannot be written; then an older file of that name is left as it was.
pub fn write_h5<T: Float>(path: impl AsRef<Path>, model: &SavedModel<T>) -> Result<(), FileError> {
    let path = path.as_ref();
    let file = build_for(path, model)?;
    write_atomically(path, |out| {
        write_with_checksum(out, |out| {
            file.finish_to(out).map_err(|error| match error {
                hdf5_pure::Error::Io(error) => error,
                error => io::Error::other(error.to_string()),
            })
        })
    })
}

/// Refuses what [`write_h5`] would refuse, but for what the operating system refuses.
pub(in crate::files) fn check<T: Float>(
    path: &Path,
    model: &SavedModel<T>,
) -> Result<(), FileError> {
    build_for(path, model).map(|_| ())
}

fn build_for<T: Float>(path: &Path, model: &SavedModel<T>) -> Result<FileBuilder, FileError> {
    let explicit =
        |layer: &&SavedLayer<T>| layer.config.get("padding").is_some_and(|p| !p.is_string());
    if let Some(layer) = model.layers.iter().find(explicit) {
        let cause = format!(
            "cannot write: layer `{}` pads by given amounts, and Keras only knows `valid` and `same`",
            layer.name
        );
        return Err(FileError::new(path, cause).fix(
            "save a checkpoint (`.safetensors`), or use `Padding::Valid` or `Padding::Same`",
        ));
    }
    build(model).map_err(|cause| FileError::new(path, cause))
}

pub(super) fn build<T: Float>(model: &SavedModel<T>) -> Result<FileBuilder, String> {
    let mut file = FileBuilder::new();
    let text = |text: &str| AttrValue::VarLenString(text.to_string());
    file.set_attr("keras_version", text(KERAS_VERSION));
    file.set_attr("backend", text(BACKEND));
    file.set_attr(SEED, text(&model.seed.to_string()));
    file.set_attr(MODEL_CONFIG, json(&model.architecture_to_json()));
    if let Some(training) = &model.training {
        file.set_attr(TRAINING_CONFIG, json(&training.to_json()));
    }

    let mut weights = file.create_group(MODEL_WEIGHTS);
    let names = model
        .layers
        .iter()
        .map(|layer| layer.name.clone())
        .collect();
    set_names(&mut weights, LAYER_NAMES, names);
    let text = |text: &str| AttrValue::VarLenAsciiString(text.to_string());
    weights.set_attr("keras_version", text(KERAS_VERSION));
    weights.set_attr("backend", text(BACKEND));
    let mut layers = HashSet::new();
    for layer in &model.layers {
        check_name("layer", &layer.name, &mut layers)?;
        let mut group = weights.create_group(&layer.name);
        let mut paths = Vec::new();
        if !layer.weights.is_empty() {
            check_name("model", &model.name, &mut HashSet::new())?;
            let mut outer = group.create_group(&model.name);
            let mut inner = outer.create_group(&layer.name);
            let mut names = HashSet::new();
            for (name, weight) in &layer.weights {
                check_name("weight", name, &mut names)?;
                add_tensor(&mut inner, name, weight)?;
                paths.push(format!("{}/{}/{name}", model.name, layer.name));
            }
            outer.add_group(inner.finish());
            group.add_group(outer.finish());
        }
        set_names(&mut group, WEIGHT_NAMES, paths);
        weights.add_group(group.finish());
    }
    file.add_group(weights.finish());
    if let Some(state) = &model.optimizer_state {
        add_state(&mut file, model, state)?;
    }
    Ok(file)
}

fn add_state<T: Float>(
    file: &mut FileBuilder,
    model: &SavedModel<T>,
    state: &SavedState<T>,
) -> Result<(), String> {
    let optimizer = model
        .training
        .as_ref()
        .and_then(|training| training.optimizer.as_ref());
    let class = optimizer.map_or("optimizer", |optimizer| &*optimizer.class);
    let folder = class.to_lowercase();
    check_name("optimizer", &folder, &mut HashSet::new())?;
    let mut outer = file.create_group(OPTIMIZER_WEIGHTS);
    let mut inner = outer.create_group(&folder);
    let mut taken = HashSet::new();
    let mut paths = Vec::new();
    let iterations = i64::try_from(state.iterations).unwrap_or(i64::MAX);
    inner
        .create_dataset("iteration")
        .with_i64_data(&[iterations])
        .with_shape(&[]);
    paths.push(format!("{folder}/iteration"));
    let rate = optimizer.and_then(|optimizer| optimizer.config.get("learning_rate")?.as_f64());
    if let Some(rate) = rate {
        inner
            .create_dataset("learning_rate")
            .with_f32_data(&[rate as f32])
            .with_shape(&[]);
        paths.push(format!("{folder}/learning_rate"));
    }
    let weights = model.layers.iter().flat_map(|layer| {
        let names = layer.weights.iter();
        names.map(|(name, _)| format!("{}_{}_{name}", model.name, layer.name))
    });
    for (weight, slots) in weights.zip(&state.slots) {
        for (index, slot) in slots.iter().enumerate() {
            let name = match state.slot_names.get(index) {
                Some(slot_name) => format!("{weight}_{slot_name}"),
                None => format!("{weight}_{index}"),
            };
            check_name("state", &name, &mut taken)?;
            add_tensor(&mut inner, &name, slot)?;
            paths.push(format!("{folder}/{name}"));
        }
    }
    outer.add_group(inner.finish());
    set_names(&mut outer, WEIGHT_NAMES, paths);
    file.add_group(outer.finish());
    Ok(())
}

fn add_tensor<T: Float>(
    group: &mut GroupBuilder,
    name: &str,
    tensor: &Tensor<T>,
) -> Result<(), String> {
    /// The elements as `U`.
    fn elements<T: Float, U: Float>(tensor: &Tensor<T>) -> Result<Vec<U>, String> {
        let converted = tensor.try_cast("write_h5");
        let elements = converted.and_then(|converted| converted.try_to_vec("write_h5"));
        elements.map_err(|error| error.to_string())
    }

    let shape: Vec<u64> = tensor.shape().iter().map(|&size| size as u64).collect();
    let dataset = group.create_dataset(name);
    match T::DTYPE {
        DType::F64 => dataset.with_f64_data(&elements(tensor)?),
        _ => dataset.with_f32_data(&elements(tensor)?),
    };
    dataset.with_shape(&shape);
    Ok(())
}

/// JSON in ASCII, as Python writes it and the attribute's type promises.
fn json(value: &serde_json::Value) -> AttrValue {
    let mut ascii = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            // Outside strings JSON is ASCII, and inside them this stands for the character.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    AttrValue::VarLenAsciiString(ascii)
}

/// Sets a list of names, split into `attribute0`, `attribute1`, … where it is too long for one
/// attribute of 64 kB: a name takes 16 bytes there.
fn set_names(group: &mut GroupBuilder, attribute: &str, names: Vec<String>) {
    const LONGEST: usize = 4000;
    if names.is_empty() {
        // What h5py makes of an empty list.
        group.set_attr(attribute, AttrValue::F64Array(Vec::new()));
    } else if names.len() <= LONGEST {
        group.set_attr(attribute, AttrValue::VarLenAsciiStringArray(names));
    } else {
        for (part, names) in names.chunks(LONGEST).enumerate() {
            let names = AttrValue::VarLenAsciiStringArray(names.to_vec());
            group.set_attr(&format!("{attribute}{part}"), names);
        }
    }
}

fn check_name(what: &str, name: &str, taken: &mut HashSet<String>) -> Result<(), String> {
    if name.is_empty() || name == "." || name.contains(['/', '\0']) {
        return Err(format!("the {what} name {name:?} cannot be a name in HDF5"));
    }
    match taken.insert(name.to_string()) {
        true => Ok(()),
        false => Err(format!("the {what} name `{name}` occurs twice")),
    }
}
