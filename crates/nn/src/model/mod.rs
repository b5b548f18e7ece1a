//! Models: graphs of layers, their weights, and what they do together.

mod compiled;
mod diagnose;
mod forward;
mod fuse;
mod graph;
mod half_updated;
mod names;
mod nested;
mod profile;
mod sequential;
mod summary;
mod symbol;
mod threads;
mod train;
mod update;

use std::sync::OnceLock;

use tensor::{ConvAlgorithm, Error, Float, Shape, Tensor};

use crate::error::Result;
use crate::parameter::Parameter;
use fuse::Plans;
use graph::Graph;

pub(crate) use compiled::Running;
pub use compiled::{Compiled, Losses, Scores};
pub use diagnose::NotFinite;
pub(crate) use forward::part_key;
pub use graph::Stage;
pub use profile::{Profile, ProfileRow};
pub use sequential::Sequential;
pub use summary::{Summary, SummaryRow};
pub use symbol::{Input, Symbol, Symbols};

/// A model: a directed acyclic graph of layers, with any number of inputs and outputs.
///
/// [`Model::new`] builds one from [symbols](Symbol) in the manner of Keras's functional models, with
/// branches, merges and shared layers; [`Sequential`] builds a chain. Training, prediction, files
/// and summaries are the same for both.
///
/// ```
/// use nn::prelude::*;
///
/// let x = Input::new(&[8, 8, 3]);
/// let a = Conv2d::new(4, [3, 3]).padding(Padding::Same).apply(&x)?;
/// let b = Conv2d::new(4, [5, 5]).padding(Padding::Same).apply(&x)?;
/// let y = Concatenate::new().apply([&a, &b])?;
/// let y = Dense::new(2).apply(&Flatten::new().apply(&y)?)?;
/// let model = Model::new(&x, &y)?;
/// assert_eq!(model.predict(&Tensor::<f32>::ones([5, 8, 8, 3])?)?.shape(), &[5, 2]);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Model<T: Float = f32> {
    name: String,
    seed: u64,
    graph: Graph<T>,
    compiled: Option<Compiled<T>>,
    plans: Plans,
    conv_algorithm: Option<ConvAlgorithm>,
    /// The step that has changed some weights and not all.
    half_updated: Option<u64>,
    /// Whether the weights are those that the seed gave.
    fresh: bool,
    /// The graph of a model without input shape, built for the shapes of its place in another.
    nested: OnceLock<Graph<T>>,
}

impl<T: Float> Model<T> {
    fn of_graph(name: String, graph: Graph<T>) -> Self {
        Model {
            name,
            seed: 0,
            graph,
            compiled: None,
            plans: Plans::default(),
            conv_algorithm: None,
            half_updated: None,
            fresh: true,
            nested: OnceLock::new(),
        }
    }

    /// Sets the seed that all random choices (first weights, shuffling, dropout) follow, and draws
    /// the weights anew; 0 if it is not set. The same seed gives the same bits, whatever the number
    /// of threads.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let x = Input::new(&[2]);
    /// let y = Dense::new(3).apply(&x)?;
    /// let first_weights = |seed: u64| Ok::<_, nn::Error>(Model::new(&x, &y)?.seed(seed)?.weights());
    /// assert_eq!(first_weights(1)?, first_weights(1)?);
    /// assert_ne!(first_weights(1)?, first_weights(2)?);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If memory for the weights cannot be had.
    pub fn seed(mut self, seed: u64) -> Result<Self> {
        self.seed = seed;
        for stage in &mut self.graph.layers {
            stage.built = None;
        }
        (self.fresh, self.half_updated) = (true, None);
        self.build()?;
        Ok(self)
    }

    /// Sets how all convolutions are computed, those of shared layers, of nested models and of layers
    /// that are added later included, whatever
    /// [`Conv2d::algorithm`](crate::layers::Conv2d::algorithm) says. Without Winograd's algorithm, whose
    /// rounding errors follow the largest number of a tile (see [`ConvAlgorithm`]), a model's results
    /// are those of the sums of the definition:
    ///
    /// ```
    /// use nn::prelude::*;
    /// use tensor::ConvAlgorithm;
    /// let mut model = Sequential::new();
    /// model.add(Conv2d::new(16, [3, 3]).input_shape(&[28, 28, 8]));
    /// model.conv_algorithm(ConvAlgorithm::AutoWithoutWinograd);
    /// ```
    ///
    /// [`ConvAlgorithm::allow_winograd`] does it for the whole process.
    pub fn conv_algorithm(&mut self, algorithm: ConvAlgorithm) -> &mut Self {
        self.conv_algorithm = Some(algorithm);
        self
    }

    /// The name of the model in files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the name of the model in files.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.name = name.into();
    }

    /// The seed of the model's random choices.
    pub fn random_seed(&self) -> u64 {
        self.seed
    }

    /// Creates the weights of all layers; does nothing if they exist.
    ///
    /// # Errors
    /// If there are no layers, the shape of an input is not known, a layer cannot take what the
    /// layers before it give, or two layers have one name.
    pub fn build(&mut self) -> Result<()> {
        self.graph.build(self.seed)?;
        self.require_built()
    }

    /// [`Model::build`] for inputs of this shape (without the batch axis).
    ///
    /// # Errors
    /// Those of [`Model::build`], and if the model was built for another shape, or has several
    /// inputs.
    pub fn build_for(&mut self, input_shape: &[usize]) -> Result<()> {
        self.build_for_inputs(&[Shape::from(input_shape)])
    }

    pub(crate) fn build_for_inputs(&mut self, shapes: &[Shape]) -> Result<()> {
        let count = self.graph.inputs.len();
        if shapes.len() != count {
            let message = format!("the model takes {count} inputs, {} are given", shapes.len());
            return Err(Error::value("model", message).into());
        }
        for (own, shape) in self.graph.shapes.iter_mut().zip(shapes) {
            match own {
                Some(own) if own != shape => {
                    return Err(
                        Error::shape("model", "the model takes inputs of another shape")
                            .with("model", &*own)
                            .with("inputs", shape)
                            .into(),
                    );
                }
                Some(_) => {}
                None => *own = Some(shape.clone()),
            }
        }
        self.build()
    }

    /// The error of building, if the model is not built.
    fn require_built(&self) -> Result<()> {
        if self.graph.layers.is_empty() {
            return Err(Error::value("model", "the model has no layers")
                .fix("`add` some")
                .into());
        }
        self.graph.require_built(self.seed)
    }

    /// The layers with their names, shapes and weights, in order.
    pub fn layers(&self) -> &[Stage<T>] {
        &self.graph.layers
    }

    /// The layers, to change their weights or to freeze them.
    pub fn layers_mut(&mut self) -> &mut [Stage<T>] {
        self.fresh = false;
        &mut self.graph.layers
    }

    /// The layer of this name.
    pub fn layer(&self, name: &str) -> Option<&Stage<T>> {
        self.graph.layers.iter().find(|stage| stage.name == name)
    }

    /// The layer of this name, to change its weights or to freeze it.
    pub fn layer_mut(&mut self, name: &str) -> Option<&mut Stage<T>> {
        let mut stages = self.layers_mut().iter_mut();
        stages.find(|stage| stage.name == name)
    }

    /// The shape of the (first) input, without the batch axis, once it is known.
    pub fn input_shape(&self) -> Option<&Shape> {
        self.graph.shapes.first().and_then(Option::as_ref)
    }

    /// The shape of the (first) output, without the batch axis, once the model is built.
    pub fn output_shape(&self) -> Option<&Shape> {
        let first = self.graph.outputs.first();
        first.and_then(|&value| self.graph.shapes[value].as_ref())
    }

    /// The number of inputs.
    pub fn input_count(&self) -> usize {
        self.graph.inputs.len()
    }

    /// The number of outputs.
    pub fn output_count(&self) -> usize {
        self.graph.outputs.len()
    }

    /// The names of the outputs: those of the layers that give them.
    pub fn output_names(&self) -> Vec<&str> {
        let outputs = self.graph.outputs.iter();
        outputs.map(|&value| self.graph.value_name(value)).collect()
    }

    /// All weights, layer by layer.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter<T>> {
        self.graph.layers.iter().flat_map(Stage::parameters)
    }

    /// The weights that gradients change, layer by layer.
    pub fn trainable_parameters(&self) -> impl Iterator<Item = &Parameter<T>> {
        self.named_trainable().map(|(_, parameter)| parameter)
    }

    /// The number of numbers in all weights.
    pub fn parameter_count(&self) -> usize {
        self.parameters()
            .map(|parameter| parameter.value.len())
            .sum()
    }

    /// The values of all weights, layer by layer, as Keras's `get_weights`. They share memory with
    /// the model until it is trained on.
    pub fn weights(&self) -> Vec<Tensor<T>> {
        self.parameters()
            .map(|parameter| parameter.value.clone())
            .collect()
    }

    /// Replaces the values of all weights, given in the order of [`Model::weights`]; changes
    /// nothing if one does not fit.
    ///
    /// # Errors
    /// If there are more or fewer, or one has another shape.
    pub fn set_weights(&mut self, weights: Vec<Tensor<T>>) -> Result<()> {
        self.build()?;
        let count = self.parameters().count();
        if weights.len() != count {
            let message = format!("{} weights given, the model has {count}", weights.len());
            return Err(Error::value("set_weights", message).into());
        }
        for ((stage, parameter), weight) in self.graph.parameters().zip(&weights) {
            if weight.shape() != parameter.value.shape() {
                return Err(Error::shape("set_weights", "a weight has another shape")
                    .with("weight", format!("{}/{}", stage.name, parameter.name()))
                    .with("the model's", parameter.value.shape())
                    .with("given", weight.shape())
                    .into());
            }
        }
        let parameters = self.layers_mut().iter_mut().flat_map(Stage::parameters_mut);
        for (parameter, weight) in parameters.zip(weights) {
            parameter.value = weight;
        }
        self.half_updated = None;
        Ok(())
    }

    /// The weights that gradients change, with the layers that they belong to.
    fn named_trainable(&self) -> impl Iterator<Item = (&Stage<T>, &Parameter<T>)> {
        let all = self.graph.parameters();
        all.filter(|(stage, parameter)| stage.trains(parameter))
    }

    /// What [`Model::compile`] set.
    pub fn compiled(&self) -> Option<&Compiled<T>> {
        self.compiled.as_ref()
    }

    /// What [`Model::compile`] set, to change the learning rate or restore a checkpoint.
    pub fn compiled_mut(&mut self) -> Option<&mut Compiled<T>> {
        self.compiled.as_mut()
    }
}
