//! From a file to a [`SavedModel`].

use std::path::Path;

use tensor::{Float, Tensor};

use super::source::{Node, Source, with_source};
use super::{
    LAYER_NAMES, MODEL_CONFIG, MODEL_WEIGHTS, OPTIMIZER_WEIGHTS, SEED, TRAINING_CONFIG,
    WEIGHT_NAMES, state,
};
use crate::error::FileError;
use crate::files::saved::{SavedModel, SavedState, SavedTraining};

/// Reads a whole model from Keras's `.h5`, written by this crate or by Keras 2 or 3.
///
/// Weights in 32 and 64-bit floating point are converted to `T`. What the optimizer remembers is
/// left out if it is arranged as none of those versions does it.
///
/// ```
/// use nn::files::{read_h5, write_h5, SavedModel};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.h5");
/// # let empty = SavedModel::<f32> { name: "m".into(), seed: 0, input_shape: None, layers: vec![],
/// #     training: None, optimizer_state: None };
/// # write_h5(&path, &empty)?;
/// let model: SavedModel = read_h5(&path)?;
/// for layer in &model.layers {
///     println!("{} is a {}", layer.name, layer.class);
///     for (name, weight) in &layer.weights {
///         println!("  {name} {}", weight.shape());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file cannot be read, is no HDF5, is damaged or cut off, holds weights only, or a model
/// that is not sequential.
pub fn read_h5<T: Float>(path: impl AsRef<Path>) -> Result<SavedModel<T>, FileError> {
    read_parts(path.as_ref(), true)
}

/// [`read_h5`] with or without what belongs to training: loss, metrics, optimizer and its state.
pub(in crate::files) fn read_parts<T: Float>(
    path: &Path,
    training: bool,
) -> Result<SavedModel<T>, FileError> {
    with_source(path, |source| read(source, training))
}

fn read<T: Float>(source: &Source<'_>, training: bool) -> Result<SavedModel<T>, FileError> {
    let root = source.root()?;
    let Some(architecture) = source.json(&root, MODEL_CONFIG)? else {
        return Err(source
            .error(format!(
                "holds no model: there is no attribute `{MODEL_CONFIG}`"
            ))
            .fix("save the whole model with `model.save(\"….h5\")`, not only its weights"));
    };
    let mut model = SavedModel::architecture_from_json(&architecture).map_err(|cause| {
        source
            .error(cause)
            .at(format!("attribute `{MODEL_CONFIG}`"))
    })?;
    if let Some(seed) = source.text(&root, SEED)? {
        let damaged = |_| source.error(format!("attribute `{SEED}` is {seed:?}, not a number"));
        model.seed = seed.parse().map_err(damaged)?;
    }
    read_weights(source, &root, &mut model)?;
    if !training {
        return Ok(model);
    }
    if let Some(training) = source.json(&root, TRAINING_CONFIG)? {
        let training = SavedTraining::from_json(&training).map_err(|cause| {
            source
                .error(cause)
                .at(format!("attribute `{TRAINING_CONFIG}`"))
                .fix("to predict, load with `LoadOptions::new().compile(false)`")
        })?;
        model.training = Some(training);
    }
    if let Some(group) = source.child(&root, OPTIMIZER_WEIGHTS)? {
        let version = source.text(&root, "keras_version")?.unwrap_or_default();
        model.optimizer_state = read_state(source, &group, version, &model)?;
    }
    Ok(model)
}

fn read_weights<T: Float>(
    source: &Source<'_>,
    root: &Node,
    model: &mut SavedModel<T>,
) -> Result<(), FileError> {
    let missing = |what: String| source.error(format!("holds no weights: there is no {what}"));
    let group = source
        .child(root, MODEL_WEIGHTS)?
        .ok_or_else(|| missing(format!("group `{MODEL_WEIGHTS}`")))?;
    let listed = source
        .names(&group, LAYER_NAMES)?
        .ok_or_else(|| missing(format!("attribute `{LAYER_NAMES}`")).at(group.place()))?;
    for layer in &mut model.layers {
        let node = match listed.contains(&layer.name) {
            true => source.child(&group, &layer.name)?,
            false => None,
        };
        let Some(node) = node else {
            let cause = format!("there are no weights for layer `{}`", layer.name);
            return Err(source.error(cause).at(group.place()));
        };
        for path in source.names(&node, WEIGHT_NAMES)?.unwrap_or_default() {
            let tensor = source.tensor(&node, &path)?;
            layer.weights.push((weight_name(&path), tensor));
        }
    }
    Ok(())
}

/// `sequential/conv2d/kernel` → `kernel`, and `kernel:0`, as TensorFlow had it, likewise.
fn weight_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split(':').next().unwrap_or(name).to_string()
}

fn read_state<T: Float>(
    source: &Source<'_>,
    group: &Node,
    version: &str,
    model: &SavedModel<T>,
) -> Result<Option<SavedState<T>>, FileError> {
    let names = source.names(group, WEIGHT_NAMES)?.unwrap_or_default();
    let mut iterations = 0;
    let mut by_weight = state::pairs_by_weight(version);
    let mut tensors = Vec::new();
    let mut slots = Vec::new();
    for path in &names {
        match weight_name(path).as_str() {
            "iteration" => iterations = source.count(group, path)?,
            // The optimizers of old, which newer versions still have beside their own.
            "iter" | "iterations" => {
                iterations = source.count(group, path)?;
                by_weight = false;
            }
            "learning_rate" => {}
            _ => {
                tensors.push(source.tensor(group, path)?);
                slots.push(state::slot(path));
            }
        }
    }
    // RMSprop stores one kind of tensor after the other in all versions.
    by_weight &= slots.first() != slots.get(1);
    let weights: Vec<&Tensor<T>> = model
        .layers
        .iter()
        .flat_map(|layer| layer.weights.iter().map(|(_, weight)| weight))
        .collect();
    let slots = state::arrange(tensors, &weights, by_weight);
    Ok(slots.map(|slots| SavedState {
        iterations,
        slot_names: Vec::new(),
        slots,
    }))
}
