//! Keras's `.h5`: the legacy whole-model format.
//!
//! The root attribute `model_config` holds the architecture as JSON, `training_config` loss,
//! metrics and optimizer. The group `model_weights` has a group for each layer, whose attribute
//! `weight_names` lists paths of datasets; `optimizer_weights` likewise.
//!
//! Files of this crate end with a [checksum](checksum) that HDF5 takes no notice of.

mod checksum;
mod read;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod write;

pub use read::read_h5;
pub(super) use read::read_parts;
pub(super) use write::check;
pub use write::write_h5;

/// The root attribute with the architecture.
const MODEL_CONFIG: &str = "model_config";
/// The root attribute with loss, metrics and optimizer.
const TRAINING_CONFIG: &str = "training_config";
/// The root attribute, of this crate alone, with the seed of the model's random choices.
const SEED: &str = "tapir_seed";
/// The group of the layers' weights.
const MODEL_WEIGHTS: &str = "model_weights";
/// The group of the optimizer's state.
const OPTIMIZER_WEIGHTS: &str = "optimizer_weights";
/// The attribute that lists the groups of layers.
const LAYER_NAMES: &str = "layer_names";
/// The attribute that lists the datasets of a layer.
const WEIGHT_NAMES: &str = "weight_names";
