//! The trait that a layer implements, and what it sees of the model around it.

use autograd::Var;
use tensor::{ConvAlgorithm, Float, Pool2dOptions, Shape};

use crate::config::Config;
use crate::error::Result;
use crate::layers::ActivationFunction;
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
pub trait Layer<T: Float = f32>: Send + Sync {
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

    /// The settings in the form of Keras's files, without the name.
    fn config(&self) -> Config {
        Config::new()
    }

    /// Name and input shape, where the user gave them.
    fn identity(&self) -> Identity {
        Identity::default()
    }

    /// What the layer has to do with activation functions; by default nothing.
    fn activation(&self) -> ActivationRole {
        ActivationRole::None
    }

    /// For layers that are a max pooling: how. The layer before, if it can
    /// ([`Layer::takes_pooling`]), then pools its own output, and this layer does not run.
    fn pooling(&self) -> Option<Pool2dOptions> {
        None
    }

    /// Whether the layer, where it ends with this activation, can go on with the max pooling that
    /// [`Context::pooling`] tells it.
    fn takes_pooling(&self, _activation: &ActivationFunction) -> bool {
        false
    }

    /// Sets how the layer's convolutions are computed, if it has any; by default it has none. A layer
    /// that is made of others passes it on.
    fn set_conv_algorithm(&mut self, _algorithm: ConvAlgorithm) {}

    /// How far along height and width an output looks; by default nowhere but its own place.
    fn reach(&self) -> Reach {
        Reach::Pointwise
    }

    /// The layer in a few characters, for summaries and errors: `"Conv2d 3×3"`.
    fn label(&self) -> String {
        self.class_name().to_string()
    }
}

/// What the model tells a layer that runs.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) training: bool,
    pub(crate) key: u64,
    pub(crate) activation: ActivationFunction,
    pub(crate) pooling: Option<Pool2dOptions>,
}

impl Context {
    /// Whether this is a training step; dropout acts in those only.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// A number of this layer in this step of this run: the key of its random numbers. It does
    /// not depend on the number of threads.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// For layers that can apply an activation to their output
    /// ([`ActivationRole::AtEnd`]): the one to apply. It may be that of the layer that follows,
    /// and is [`ActivationFunction::Linear`] where the loss takes the activation over.
    pub fn activation(&self) -> &ActivationFunction {
        &self.activation
    }

    /// For layers that [take a pooling](Layer::takes_pooling): that of the layer that follows.
    pub fn pooling(&self) -> Option<&Pool2dOptions> {
        self.pooling.as_ref()
    }
}

/// Name and input shape of a layer, where they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The name; a model makes up `conv2d`, `conv2d_1`, … for layers without.
    pub name: Option<String>,
    /// The input shape without the batch axis; needed by the first layer only, and there only if
    /// weights are wanted before data is seen.
    pub input_shape: Option<Shape>,
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
}

/// What a layer has to do with activation functions.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivationRole {
    /// Nothing.
    None,
    /// It ends with this one, and can end with any other that [`Context::activation`] names.
    AtEnd(ActivationFunction),
    /// It is nothing but this function.
    Alone(ActivationFunction),
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
