//! The trait that a layer implements, and what it sees of the model around it.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use autograd::Var;
use tensor::{ConvAlgorithm, Error, Float, Shape, Tensor};

use crate::config::Config;
use crate::error::Result;
use crate::model::{Symbol, Symbols};
use crate::parameter::Weights;

/// A layer: how its weights are created, and its output from an input and those weights.
///
/// A layer is configuration only. Its weights live in the model, which hands them to
/// [`Layer::forward`] as variables on the tape of a training step, or as constants to predict.
/// A plain struct is a layer:
///
/// ```
/// use autograd::Var;
/// use nn::prelude::*;
/// use nn::{Context, Weights};
/// use tensor::{Float, Shape};
///
/// /// `y = x · a`, one learned factor a channel.
/// struct ChannelScale;
///
/// impl<T: Float> Layer<T> for ChannelScale {
///     fn class_name(&self) -> &str {
///         "ChannelScale"
///     }
///     fn build(&self, input: &Shape, weights: &mut Weights<T>) -> nn::Result<Shape> {
///         weights.add("factor", &input[input.rank() - 1..], &Initializer::Ones)?;
///         Ok(input.clone())
///     }
///     fn forward(&self, x: &Var<T>, weights: &[Var<T>], _: &Context) -> nn::Result<Var<T>> {
///         Ok(x.mul(&weights[0])?)
///     }
/// }
///
/// let mut model = Sequential::new();
/// model.add(Dense::new(3).input_shape(&[2]));
/// model.add(ChannelScale);
/// let y = model.predict(&Tensor::from([[1.0_f32, 2.0]]))?;
/// assert_eq!(y.shape(), &[1, 3]);
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Several inputs or outputs
/// A layer that merges values, or gives several, implements [`Layer::build_many`] and
/// [`Layer::forward_many`] too; [`Layer::build`] and [`Layer::forward`] are then what it does with
/// one input alone.
///
/// # Layers made of layers
/// `build` builds the parts in [`Weights::scope`], which makes the names of their weights paths
/// (`"conv1/kernel"`), and `forward` hands each its share of the weights, with the context that
/// [`Context::part`] gives.
pub trait Layer<T: Float = f32>: Any + Send + Sync {
    /// The name of the class, Keras's where Keras has one: `"Conv2D"`, `"Dense"`.
    fn class_name(&self) -> &str;

    /// Creates the weights for inputs of shape `input` (without the batch axis), and returns the
    /// shape of the outputs (likewise).
    ///
    /// # Errors
    /// If the layer cannot take such inputs.
    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> Result<Shape>;

    /// The output for a batch `x`; `weights` are those that [`Layer::build`] added, in order.
    ///
    /// # Errors
    /// Those of the operations in it.
    fn forward(&self, x: &Var<T>, weights: &[Var<T>], context: &Context) -> Result<Var<T>>;

    /// [`Layer::build`] for any number of inputs and outputs; by default for one of each.
    ///
    /// # Errors
    /// If the layer cannot take so many inputs, or inputs of these shapes.
    fn build_many(&self, inputs: &[Shape], weights: &mut Weights<T>) -> Result<Vec<Shape>> {
        match inputs {
            [input] => Ok(vec![self.build(input, weights)?]),
            _ => Err(one_input(self.class_name(), inputs.len())),
        }
    }

    /// [`Layer::forward`] for any number of inputs and outputs; by default for one of each.
    ///
    /// # Errors
    /// Those of the operations in it.
    fn forward_many(
        &self,
        inputs: &[Var<T>],
        weights: &[Var<T>],
        context: &Context,
    ) -> Result<Vec<Var<T>>> {
        match inputs {
            [x] => Ok(vec![self.forward(x, weights, context)?]),
            _ => Err(one_input(self.class_name(), inputs.len())),
        }
    }

    /// The settings in the form of Keras's files, without the name.
    fn config(&self) -> Config {
        Config::new()
    }

    /// Name and input shape, where the user gave them.
    fn identity(&self) -> Identity {
        Identity::default()
    }

    /// How far along height and width an output looks; by default nowhere but its own place.
    fn reach(&self) -> Reach {
        Reach::Pointwise
    }

    /// The layer in a few characters, for summaries and errors: `"Conv2d 3×3"`.
    fn label(&self) -> String {
        self.class_name().to_string()
    }

    /// The value of this layer at `inputs`, for models that are [built from symbols](crate::Model):
    /// one symbol, or an array, slice or vector of several.
    ///
    /// # Errors
    /// If the layer cannot take inputs of these shapes.
    fn apply(self, inputs: impl Symbols<T>) -> Result<Symbol<T>>
    where
        Self: Sized,
    {
        Shared::new(self).apply(inputs)
    }
}

#[cold]
fn one_input(class: &str, count: usize) -> crate::Error {
    Error::value(
        class,
        format!("the layer takes one input, {count} are given"),
    )
    .fix("merge them first, with `Concatenate` or `Add`")
    .into()
}

/// What can be a layer of a model: layers, and models themselves.
///
/// `Marker` only tells the compiler which of the two it is.
pub trait IntoLayer<T: Float, Marker> {
    /// The layer.
    fn into_layer(self) -> Arc<dyn Layer<T>>;
}

/// Tells [`IntoLayer`] that something is a layer.
pub struct IsLayer;

impl<T: Float, L: Layer<T>> IntoLayer<T, IsLayer> for L {
    fn into_layer(self) -> Arc<dyn Layer<T>> {
        Arc::new(self)
    }
}

/// A layer that is applied several times with the same weights.
///
/// ```
/// use nn::prelude::*;
/// let (a, b) = (Input::new(&[4]), Input::new(&[4]));
/// let encoder = Shared::new(Dense::new(2));
/// let distance = Subtract::new().apply([&encoder.apply(&a)?, &encoder.apply(&b)?])?;
/// let model = Model::new([&a, &b], &distance)?;
/// assert_eq!(model.parameter_count(), 4 * 2 + 2);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Shared<T: Float = f32>(pub(crate) Arc<dyn Layer<T>>);

impl<T: Float> Shared<T> {
    /// The layer, or a model, to be applied by reference.
    pub fn new<M>(layer: impl IntoLayer<T, M>) -> Self {
        Shared(layer.into_layer())
    }

    /// The value of the layer at `inputs`.
    ///
    /// # Errors
    /// If the layer cannot take inputs of these shapes.
    pub fn apply(&self, inputs: impl Symbols<T>) -> Result<Symbol<T>> {
        Symbol::of(&self.0, inputs.symbols())?.single(self.0.class_name())
    }

    /// The values of a layer that gives several.
    ///
    /// # Errors
    /// If the layer cannot take inputs of these shapes.
    pub fn apply_many(&self, inputs: impl Symbols<T>) -> Result<Vec<Symbol<T>>> {
        Ok(Symbol::of(&self.0, inputs.symbols())?.all())
    }
}

impl<T: Float> Clone for Shared<T> {
    /// Another handle on the same layer.
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

/// What the model tells a layer that runs, and what the layer tells back.
#[derive(Clone, Debug)]
pub struct Context {
    training: bool,
    frozen: bool,
    key: u64,
    /// Where the layer's weights begin among those of the model.
    first_weight: usize,
    conv_algorithm: Option<ConvAlgorithm>,
    states: States,
}

/// New values of weights that gradients do not change, by the number of the weight in the model.
#[derive(Clone, Debug, Default)]
struct States(Rc<RefCell<Vec<State>>>);

/// The number of a weight, and its new value, a tensor.
type State = (usize, Box<dyn Any>);

impl Context {
    fn new(training: bool, key: u64) -> Self {
        Context {
            training,
            frozen: false,
            key,
            first_weight: 0,
            conv_algorithm: None,
            states: States::default(),
        }
    }

    /// That of a model whose output alone is asked for.
    pub(crate) fn predicting() -> Self {
        Self::new(false, 0)
    }

    /// That of a model in a training step, with the key of the step's random numbers.
    pub(crate) fn training(key: u64) -> Self {
        Self::new(true, key)
    }

    /// The same, with convolutions computed so where nothing around has chosen yet.
    pub(crate) fn or_conv_algorithm(&self, algorithm: Option<ConvAlgorithm>) -> Self {
        Context {
            conv_algorithm: self.conv_algorithm.or(algorithm),
            ..self.clone()
        }
    }

    /// How the model wants its convolutions computed, whatever the layers say; see
    /// [`Model::conv_algorithm`](crate::Model::conv_algorithm).
    pub fn conv_algorithm(&self) -> Option<ConvAlgorithm> {
        self.conv_algorithm
    }

    /// Whether this is a training step; dropout acts in those only.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether the layer is frozen: batch normalisation then uses its moving statistics.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// A number of this layer in this step of this run: the key of its random numbers. It does
    /// not depend on the number of threads.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Sets what weight `index` of the layer, one that [`Weights::add_state`] added, is after this
    /// training step. Outside of training, nothing changes.
    pub fn set_state<T: Float>(&self, index: usize, value: Tensor<T>) {
        if self.training {
            let weight = self.first_weight + index;
            self.states.0.borrow_mut().push((weight, Box::new(value)));
        }
    }

    /// The context of part `number` of a layer made of layers, whose own weights begin at
    /// `first_weight` of the layer's.
    #[must_use]
    pub fn part(&self, number: usize, first_weight: usize) -> Context {
        self.of_layer(number, first_weight, false)
    }

    /// [`Context::part`] of a part that may be frozen by itself.
    pub(crate) fn of_layer(&self, number: usize, first_weight: usize, frozen: bool) -> Context {
        Context {
            training: self.training,
            frozen: self.frozen || frozen,
            key: crate::model::part_key(self.key, number),
            first_weight: self.first_weight + first_weight,
            conv_algorithm: self.conv_algorithm,
            states: self.states.clone(),
        }
    }

    /// The new values of weights that gradients do not change, by their numbers in the model.
    pub(crate) fn take_states<T: Float>(&self) -> Vec<(usize, Tensor<T>)> {
        let values = std::mem::take(&mut *self.states.0.borrow_mut());
        let typed = values.into_iter().filter_map(|(weight, value)| {
            let value = value.downcast::<Tensor<T>>().ok()?;
            Some((weight, *value))
        });
        typed.collect()
    }
}

/// Name and input shape of a layer, where they were given, and whether training changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The name; a model makes up `conv2d`, `conv2d_1`, … for layers without.
    pub name: Option<String>,
    /// The input shape without the batch axis; needed by the first layer only, and there only if
    /// weights are wanted before data is seen.
    pub input_shape: Option<Shape>,
    /// Whether training changes the weights; true by default.
    pub trainable: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            name: None,
            input_shape: None,
            trainable: true,
        }
    }
}

/// The settings that all layers of this crate have.
pub trait LayerOptions: Sized {
    /// Where they are kept.
    fn identity_mut(&mut self) -> &mut Identity;

    /// Sets the name, by which files and errors call the layer.
    #[must_use]
    fn named(mut self, name: impl Into<String>) -> Self {
        self.identity_mut().name = Some(name.into());
        self
    }

    /// Sets the shape of the inputs, without the batch axis: `[height, width, channels]` for
    /// images.
    #[must_use]
    fn input_shape(mut self, shape: &[usize]) -> Self {
        self.identity_mut().input_shape = Some(Shape::from(shape));
        self
    }

    /// Sets whether training changes the layer's weights. A frozen layer (`trainable(false)`) gets
    /// no gradient and no step of the optimizer; dropout in it acts as ever, and batch
    /// normalisation uses its moving statistics, as in Keras.
    #[must_use]
    fn trainable(mut self, trainable: bool) -> Self {
        self.identity_mut().trainable = trainable;
        self
    }
}

/// How far along height and width one output of a layer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At its own place only.
    Pointwise,
    /// At a window.
    Window {
        /// Height and width of the window, dilation included.
        extent: [usize; 2],
        /// Distance of the windows of neighbouring outputs.
        stride: [usize; 2],
    },
    /// At the whole input.
    Everything,
}
