//! Named weights and the generator that layers draw their first values from.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tensor::{Error, Float, Shape, Tensor};

use crate::error::Result;
use crate::initializers::Initializer;

/// A named tensor of a layer.
#[derive(Clone, Debug)]
pub struct Parameter<T: Float = f32> {
    name: String,
    pub(crate) value: Tensor<T>,
    pub(crate) trainable: bool,
}

impl<T: Float> Parameter<T> {
    /// The name within the layer, Keras's where Keras has one: `"kernel"`, `"bias"`; a path in a
    /// layer made of layers: `"conv1/kernel"`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether gradients change it, if its layer is not frozen. Others, such as moving statistics,
    /// are set by the layer itself in training steps.
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// The value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// If the shape is another one.
    pub fn set_value(&mut self, value: Tensor<T>) -> Result<()> {
        if value.shape() != self.value.shape() {
            return Err(tensor::Error::shape(
                "set_value",
                format!("the new value of `{}` has another shape", self.name),
            )
            .with("parameter", self.value.shape())
            .with("new value", value.shape())
            .into());
        }
        self.value = value;
        Ok(())
    }
}

/// Where [`Layer::build`](crate::Layer::build) creates its parameters, in the order in which
/// `forward` gets them back.
pub struct Weights<T: Float = f32> {
    pub(crate) parameters: Vec<Parameter<T>>,
    values: Values<T>,
    /// What stands before the names: the path of the part that is being built.
    path: String,
}

/// Where the values of parameters come from.
enum Values<T: Float> {
    /// They are drawn as the layer says.
    Drawn(Box<ChaCha8Rng>),
    /// They are those of a file, in order.
    Given(std::vec::IntoIter<Tensor<T>>),
    /// There are none: only shapes are asked for.
    None,
}

impl<T: Float> Weights<T> {
    /// The weights of layer `index` of a model with this seed: each layer draws from its own
    /// stream, so that its first values do not depend on the layers around it.
    pub(crate) fn new(seed: u64, index: usize) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(index as u64);
        Weights {
            parameters: Vec::new(),
            values: Values::Drawn(Box::new(generator)),
            path: String::new(),
        }
    }

    /// The weights of a layer in a file. Nothing is created for a shape that differs from the
    /// file's, however large it may be.
    pub(crate) fn given(values: Vec<Tensor<T>>) -> Self {
        Weights {
            parameters: Vec::new(),
            values: Values::Given(values.into_iter()),
            path: String::new(),
        }
    }

    /// No weights, where only the shapes of outputs are asked for.
    pub(crate) fn without_values() -> Self {
        Weights {
            parameters: Vec::new(),
            values: Values::None,
            path: String::new(),
        }
    }

    /// The number of values given that no parameter took.
    pub(crate) fn left_over(&self) -> usize {
        match &self.values {
            Values::Drawn(_) | Values::None => 0,
            Values::Given(values) => values.len(),
        }
    }

    /// Creates the next parameter.
    ///
    /// # Errors
    /// If the shape is too large for memory, or differs from that in the file being loaded.
    pub fn add(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        initializer: &Initializer,
    ) -> Result<()> {
        self.push(name, shape.into(), true, |shape, random| {
            initializer.sample(shape, random)
        })
    }

    /// Creates the next weight, one that no gradient changes: the layer sets it in training steps
    /// by [`Context::set_state`](crate::Context::set_state).
    ///
    /// # Errors
    /// Those of [`Weights::add`].
    pub fn add_state(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        initializer: &Initializer,
    ) -> Result<()> {
        self.push(name, shape.into(), false, |shape, random| {
            initializer.sample(shape, random)
        })
    }

    /// Creates the next weight with the value that it has in a model already.
    pub(crate) fn add_parameter(&mut self, parameter: &Parameter<T>) -> Result<()> {
        let shape = parameter.value.shape().clone();
        self.push(&parameter.name, shape, parameter.trainable, |_, _| {
            Ok(parameter.value.clone())
        })
    }

    /// Lets `body` create the weights of a part, whose names then begin with `name` and a slash.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn scope<R>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let length = self.path.len();
        self.path.push_str(name);
        self.path.push('/');
        let result = body(self);
        self.path.truncate(length);
        result
    }

    fn push(
        &mut self,
        name: &str,
        shape: Shape,
        trainable: bool,
        draw: impl FnOnce(&Shape, &mut ChaCha8Rng) -> Result<Tensor<T>>,
    ) -> Result<()> {
        let name = format!("{}{name}", self.path);
        let value = match &mut self.values {
            Values::None => return Ok(()),
            Values::Drawn(generator) => draw(&shape, generator)?,
            Values::Given(values) => match values.next() {
                Some(value) if *value.shape() == shape => value,
                Some(value) => {
                    return Err(
                        Error::shape("load", "a weight has another shape in the file")
                            .with("weight", name)
                            .with("in the file", value.shape())
                            .with("by the settings", shape)
                            .into(),
                    );
                }
                None => {
                    let message = format!("the weight `{name}` is missing in the file");
                    return Err(Error::value("load", message).into());
                }
            },
        };
        self.parameters.push(Parameter {
            name,
            value,
            trainable,
        });
        Ok(())
    }
}
