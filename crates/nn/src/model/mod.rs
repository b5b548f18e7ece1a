//! The sequential model: layers, their weights, and what they do together.

mod compiled;
mod diagnose;
mod forward;
mod half_updated;
mod names;
mod profile;
mod summary;
mod threads;
mod train;
mod update;

use std::collections::HashSet;

use tensor::{ConvAlgorithm, Error, Float, Shape, Tensor};

use crate::config::Config;
use crate::error::Result;
use crate::layer::Layer;
use crate::parameter::{Parameter, Weights};

pub(crate) use compiled::Running;
pub use compiled::{Compiled, Scores};
pub use diagnose::NotFinite;
pub use profile::{Profile, ProfileRow};
pub use summary::{Summary, SummaryRow};

/// A stack of layers, each fed by the one before.
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
pub struct Sequential<T: Float = f32> {
    name: String,
    seed: u64,
    input_shape: Option<Shape>,
    layers: Vec<Stage<T>>,
    compiled: Option<Compiled<T>>,
    /// The step that has changed some weights and not all.
    half_updated: Option<u64>,
}

/// A layer in its place in a model, with its weights.
pub struct Stage<T: Float = f32> {
    name: String,
    layer: Box<dyn Layer<T>>,
    built: Option<Built<T>>,
    /// Settings in the file that the layer came from which this crate does not have and the layer
    /// does not need, unless it is trained.
    set_aside: Config,
}

/// What building gave a layer.
struct Built<T: Float> {
    input: Shape,
    output: Shape,
    parameters: Vec<Parameter<T>>,
}

impl<T: Float> Stage<T> {
    /// The name, unique in the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer.
    pub fn layer(&self) -> &dyn Layer<T> {
        &*self.layer
    }

    /// The shape of its inputs, without the batch axis, once the model is built.
    pub fn input_shape(&self) -> Option<&Shape> {
        self.built.as_ref().map(|built| &built.input)
    }

    /// The shape of its outputs, without the batch axis, once the model is built.
    pub fn output_shape(&self) -> Option<&Shape> {
        self.built.as_ref().map(|built| &built.output)
    }

    /// Its weights; none before the model is built.
    pub fn parameters(&self) -> &[Parameter<T>] {
        self.built.as_ref().map_or(&[], |built| &built.parameters)
    }

    /// Its weights, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        self.built
            .as_mut()
            .map_or(&mut [], |built| &mut built.parameters)
    }

    /// The settings in the form of Keras's files, those included that were set aside.
    pub(crate) fn config(&self) -> Config {
        let mut config = self.layer.config();
        config.extend(self.set_aside.clone());
        config
    }

    /// "`Conv2d 3×3` (conv2d_1)", for errors.
    fn describe(&self) -> String {
        format!("`{}` ({})", self.layer.label(), self.name)
    }
}

impl<T: Float> Default for Sequential<T> {
    /// An empty model in the precision of `T`: `Sequential::<f64>::default()`.
    fn default() -> Self {
        Sequential {
            name: "sequential".to_string(),
            seed: 0,
            input_shape: None,
            layers: Vec::new(),
            compiled: None,
            half_updated: None,
        }
    }
}

impl Sequential {
    /// An empty model in single precision.
    pub fn new() -> Self {
        Self::default()
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
        self.seed = seed;
        self
    }

    /// Sets how the convolutions of all layers that it has are computed; see
    /// [`Conv2d::algorithm`](crate::layers::Conv2d::algorithm). Without Winograd's algorithm, whose
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
        for stage in &mut self.layers {
            stage.layer.set_conv_algorithm(algorithm);
        }
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

    /// Appends a layer. If it cannot take what the layers before it give, whatever uses the model
    /// first reports that ([`Sequential::build`] does nothing else).
    pub fn add(&mut self, layer: impl Layer<T> + 'static) -> &mut Self {
        self.add_boxed(Box::new(layer))
    }

    /// [`Sequential::add`] for a layer that is in a box already, such as
    /// [`layers::from_config`](crate::layers::from_config) makes.
    pub fn add_boxed(&mut self, layer: Box<dyn Layer<T>>) -> &mut Self {
        let identity = layer.identity();
        if self.layers.is_empty() && identity.input_shape.is_some() {
            self.input_shape = identity.input_shape;
        }
        let name = identity.name.unwrap_or_else(|| {
            let taken: HashSet<&str> = self.layers.iter().map(|stage| &*stage.name).collect();
            names::unused(layer.class_name(), &taken)
        });
        self.layers.push(Stage {
            name,
            layer,
            built: None,
            set_aside: Config::new(),
        });
        // A layer that does not fit is reported by the first function that can return an error.
        let _ = self.build_pending();
        self
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
        let index = self.layers.len();
        self.layers.push(Stage {
            name,
            layer,
            built: None,
            set_aside,
        });
        if self.input_shape.is_some() {
            self.layers[index].built = Some(self.build_layer(index, Weights::given(values))?);
        }
        Ok(())
    }

    /// Sets the shape of the inputs of a model without layers.
    pub(crate) fn set_input_shape(&mut self, shape: Shape) {
        self.input_shape = Some(shape);
    }

    /// Creates the weights of all layers; does nothing if they exist.
    ///
    /// # Errors
    /// If there are no layers, the input shape is not known, a layer cannot take what the layers
    /// before it give, or two layers have one name.
    pub fn build(&mut self) -> Result<()> {
        self.build_pending()?;
        self.require_built()
    }

    /// [`Sequential::build`] for inputs of this shape (without the batch axis).
    ///
    /// # Errors
    /// Those of [`Sequential::build`], and if the model was built for another shape.
    pub fn build_for(&mut self, input_shape: &[usize]) -> Result<()> {
        match &self.input_shape {
            Some(shape) if shape[..] != *input_shape => {
                return Err(
                    Error::shape("model", "the model takes inputs of another shape")
                        .with("model", shape)
                        .with("inputs", Shape::from(input_shape))
                        .into(),
                );
            }
            Some(_) => {}
            None => self.input_shape = Some(Shape::from(input_shape)),
        }
        self.build()
    }

    fn build_pending(&mut self) -> Result<()> {
        for index in 0..self.layers.len() {
            if self.layers[index].built.is_none() {
                self.layers[index].built =
                    Some(self.build_layer(index, Weights::new(self.seed, index))?);
            }
        }
        Ok(())
    }

    /// Builds layer `index`, whose predecessors are built.
    fn build_layer(&self, index: usize, mut weights: Weights<T>) -> Result<Built<T>> {
        let stage = &self.layers[index];
        let input = match index {
            0 => self.input_shape.as_ref(),
            _ => self.layers[index - 1].output_shape(),
        };
        let Some(input) = input.cloned() else {
            return Err(
                Error::value("model", "the shape of the inputs is not known yet")
                    .fix("give the first layer an `input_shape(…)`, or `fit` the model first")
                    .into(),
            );
        };
        if self.layers[..index]
            .iter()
            .any(|other| other.name == stage.name)
        {
            let message = format!("two layers are named `{}`", stage.name);
            return Err(Error::value("model", message).into());
        }
        let output = stage.layer.build(&input, &mut weights).map_err(|error| {
            error
                .with(format!("layer {index}"), stage.describe())
                .with("its input", format!("{input}   (without the batch axis)"))
        })?;
        if weights.left_over() > 0 {
            let (own, more) = (weights.parameters.len(), weights.left_over());
            let message = format!("the layer has {own} weights, and {more} more in the file");
            return Err(Error::value("load", message).into());
        }
        Ok(Built {
            input,
            output,
            parameters: weights.parameters,
        })
    }

    /// The error of building, if the model is not built.
    fn require_built(&self) -> Result<()> {
        if self.layers.is_empty() {
            return Err(Error::value("model", "the model has no layers")
                .fix("`add` some")
                .into());
        }
        match self.layers.iter().position(|stage| stage.built.is_none()) {
            Some(index) => {
                let weights = Weights::new(self.seed, index);
                self.build_layer(index, weights).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// The layers with their names, shapes and weights, in order.
    pub fn layers(&self) -> &[Stage<T>] {
        &self.layers
    }

    /// The layers, to change their weights.
    pub fn layers_mut(&mut self) -> &mut [Stage<T>] {
        &mut self.layers
    }

    /// The shape of the inputs, without the batch axis, once it is known.
    pub fn input_shape(&self) -> Option<&Shape> {
        self.input_shape.as_ref()
    }

    /// The shape of the outputs, without the batch axis, once the model is built.
    pub fn output_shape(&self) -> Option<&Shape> {
        self.layers.last().and_then(Stage::output_shape)
    }

    /// All weights, layer by layer.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter<T>> {
        self.layers.iter().flat_map(Stage::parameters)
    }

    /// The number of numbers that training changes.
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

    /// Replaces the values of all weights, given in the order of [`Sequential::weights`]; changes
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
        for (stage, parameter, weight) in self
            .named_parameters()
            .zip(&weights)
            .map(|((s, p), w)| (s, p, w))
        {
            if weight.shape() != parameter.value.shape() {
                return Err(Error::shape("set_weights", "a weight has another shape")
                    .with("weight", format!("{}/{}", stage.name, parameter.name()))
                    .with("the model's", parameter.value.shape())
                    .with("given", weight.shape())
                    .into());
            }
        }
        let parameters = self.layers.iter_mut().flat_map(Stage::parameters_mut);
        for (parameter, weight) in parameters.zip(weights) {
            parameter.value = weight;
        }
        self.half_updated = None;
        Ok(())
    }

    /// All weights with the layers that they belong to.
    fn named_parameters(&self) -> impl Iterator<Item = (&Stage<T>, &Parameter<T>)> {
        self.layers
            .iter()
            .flat_map(|stage| stage.parameters().iter().map(move |p| (stage, p)))
    }

    /// What [`Sequential::compile`] set.
    pub fn compiled(&self) -> Option<&Compiled<T>> {
        self.compiled.as_ref()
    }

    /// What [`Sequential::compile`] set, to change the learning rate or restore a checkpoint.
    pub fn compiled_mut(&mut self) -> Option<&mut Compiled<T>> {
        self.compiled.as_mut()
    }
}
