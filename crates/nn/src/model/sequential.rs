//! Models that are chains.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tensor::{Error, Float, Shape, Tensor};

use super::graph::{Graph, Stage};
use super::{Model, names};
use crate::config::Config;
use crate::error::Result;
use crate::layer::{IntoLayer, Layer};
use crate::parameter::Weights;

/// A stack of layers, each fed by the one before: a [`Model`] that is a chain, with all that models
/// do.
///
/// The weights are created as soon as the shape of the inputs is known: from the first layer's
/// [`input_shape`](crate::LayerOptions::input_shape), or from the first data.
///
/// ```
/// use nn::prelude::*;
///
/// let mut model = Sequential::new();
/// model.add(Dense::new(16).input_shape(&[2]));
/// model.add(Activation::tanh());
/// model.add(Dense::new(2));
/// model.add(Activation::softmax());
/// model.compile(CategoricalCrossentropy::new(), Adam::new(0.05), [Accuracy::new()])?;
///
/// let x = Tensor::from([[0.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
/// let y = Tensor::from([[1.0_f32, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]); // exclusive or
/// model.fit(&x, &y, Fit::new().epochs(200).verbosity(Verbosity::Silent))?;
/// assert_eq!(model.evaluate(&x, &y)?["accuracy"], 1.0);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Sequential<T: Float = f32>(Model<T>);

impl<T: Float> Deref for Sequential<T> {
    type Target = Model<T>;
    fn deref(&self) -> &Model<T> {
        &self.0
    }
}

impl<T: Float> DerefMut for Sequential<T> {
    fn deref_mut(&mut self) -> &mut Model<T> {
        &mut self.0
    }
}

impl<T: Float> Default for Sequential<T> {
    /// An empty model in the precision of `T`: `Sequential::<f64>::default()`.
    fn default() -> Self {
        let inputs = vec![("input_layer".to_string(), None)];
        Sequential(Model::of_graph(
            "sequential".to_string(),
            Graph::of_inputs(inputs),
        ))
    }
}

impl Sequential {
    /// An empty model in single precision.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Float> From<Sequential<T>> for Model<T> {
    fn from(sequential: Sequential<T>) -> Self {
        sequential.0
    }
}

impl<T: Float> TryFrom<Model<T>> for Sequential<T> {
    type Error = crate::Error;

    /// The same model, to which layers can be added.
    ///
    /// # Errors
    /// If it is not a chain of layers that are each called once.
    fn try_from(model: Model<T>) -> Result<Self> {
        if model.graph.is_chain() {
            return Ok(Sequential(model));
        }
        let message = "the model is no chain: it has branches, merges or shared layers";
        Err(Error::value("sequential", message)
            .fix("use `Model` instead of `Sequential`")
            .into())
    }
}

impl<T: Float> Sequential<T> {
    /// Sets the seed that all random choices (first weights, shuffling, dropout) follow; 0 if it
    /// is not set. The same seed gives the same bits, whatever the number of threads. To be called
    /// before layers are added.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let first_weights = |seed: u64| {
    ///     let mut model = Sequential::new().seed(seed);
    ///     model.add(Dense::new(3).input_shape(&[2]));
    ///     model.weights()
    /// };
    /// assert_eq!(first_weights(1), first_weights(1));
    /// assert_ne!(first_weights(1), first_weights(2));
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Appends a layer, or a model, which becomes a [part](Model::apply) of this one. If it cannot take what the layers before it give, whatever uses the model
    /// first reports that ([`Model::build`] does nothing else).
    pub fn add<M>(&mut self, layer: impl IntoLayer<T, M>) -> &mut Self {
        self.push(layer.into_layer())
    }

    /// [`Sequential::add`] for a layer that is in a box already, such as
    /// [`layers::from_config`](crate::layers::from_config) makes.
    pub fn add_boxed(&mut self, layer: Box<dyn Layer<T>>) -> &mut Self {
        self.push(layer.into())
    }

    fn push(&mut self, layer: Arc<dyn Layer<T>>) -> &mut Self {
        let identity = layer.identity();
        if self.0.graph.layers.is_empty() && identity.input_shape.is_some() {
            self.0.graph.shapes[0] = identity.input_shape;
        }
        let name = identity
            .name
            .unwrap_or_else(|| names::unused(layer.class_name(), &self.0.graph.names()));
        self.append(name, layer);
        // A layer that does not fit is reported by the first function that can return an error.
        let _ = self.0.graph.build(self.0.seed);
        self
    }

    /// Adds a call of a new layer on the last value, which becomes the output; returns its place.
    fn append(&mut self, name: String, layer: Arc<dyn Layer<T>>) -> usize {
        let graph = &mut self.0.graph;
        let number = graph.push_layer(Stage::new(name, layer));
        graph.outputs = vec![graph.push_call(number, graph.outputs.clone(), 1)];
        self.0.plans.clear();
        number
    }

    /// Appends a layer of a file, with the values of its weights, and the settings that were set
    /// aside.
    ///
    /// # Errors
    /// If the layer cannot take what the layers before it give, or takes other weights.
    pub(crate) fn add_with_weights(
        &mut self,
        layer: Box<dyn Layer<T>>,
        values: Vec<Tensor<T>>,
        set_aside: Config,
    ) -> Result<()> {
        let name = layer.identity().name.unwrap_or_default();
        let number = self.append(name, layer.into());
        self.0.graph.layers[number].set_aside = set_aside;
        self.0.fresh = false;
        if self.0.graph.knows_inputs() {
            self.0.graph.build_call(number, Weights::given(values))?;
        }
        Ok(())
    }

    /// Sets the shape of the inputs of a model without layers.
    pub(crate) fn set_input_shape(&mut self, shape: Shape) {
        self.0.graph.shapes[0] = Some(shape);
    }
}
