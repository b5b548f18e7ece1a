//! What a model file holds, whatever the format: layers by class and configuration, and tensors.

use serde_json::{Map, Value};
use tensor::{Float, Shape, Tensor};

/// A sequential model as files hold it: descriptions, not yet layers.
///
/// Every class and configuration is in Keras's terms; [`Sequential`](crate::Sequential) turns them
/// into layers, and programs that only convert or inspect files need no layers at all.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel<T: Float = f32> {
    /// The model's name.
    pub name: String,
    /// The seed of the model's random choices; 0 where the file does not say it, as Keras's do not.
    pub seed: u64,
    /// The shape of one input, without the batch axis, where the file says it.
    pub input_shape: Option<Shape>,
    /// The layers, first to last.
    pub layers: Vec<SavedLayer<T>>,
    /// Loss, metrics and optimizer, if the model was compiled.
    pub training: Option<SavedTraining>,
    /// What the optimizer remembers.
    pub optimizer_state: Option<SavedState<T>>,
}

/// One layer in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedLayer<T: Float = f32> {
    /// The class, such as `"Conv2D"`.
    pub class: String,
    /// The name, unique in the model.
    pub name: String,
    /// The settings, without the name.
    pub config: Map<String, Value>,
    /// The weights by their names within the layer (`"kernel"`, `"bias"`), in the layer's order.
    pub weights: Vec<(String, Tensor<T>)>,
}

/// What `compile` was given.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTraining {
    /// The loss.
    pub loss: SavedObject,
    /// The names of the metrics.
    pub metrics: Vec<String>,
    /// The optimizer, where the file says it.
    pub optimizer: Option<SavedObject>,
}

/// A loss or an optimizer: its class or name, and its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedObject {
    /// The class, or the name of a function: `"Adam"`, `"categorical_crossentropy"`.
    pub class: String,
    /// The settings; empty for a function.
    pub config: Map<String, Value>,
}

/// What an optimizer remembers from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedState<T: Float = f32> {
    /// The number of steps taken.
    pub iterations: u64,
    /// The name of each tensor that is kept for a weight, such as `["momentum", "velocity"]`;
    /// empty where the file does not say.
    pub slot_names: Vec<String>,
    /// Those tensors for each weight, in the order of the layers and their weights.
    pub slots: Vec<Vec<Tensor<T>>>,
}
