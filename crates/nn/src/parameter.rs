//! Named weights and the generator that layers draw their first values from.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tensor::{Error, Float, Shape, Tensor};

use crate::error::Result;
use crate::initializers::Initializer;

/// A named tensor of a layer: a weight that training changes.
#[derive(Clone, Debug)]
pub struct Parameter<T: Float = f32> {
    name: String,
    pub(crate) value: Tensor<T>,
}

impl<T: Float> Parameter<T> {
    /// The name within the layer, Keras's where Keras has one: `"kernel"`, `"bias"`.
    pub fn name(&self) -> &str {
        &self.name
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
}

/// Where the values of parameters come from.
enum Values<T: Float> {
    /// They are drawn as the layer says.
    Drawn(Box<ChaCha8Rng>),
    /// They are those of a file, in order.
    Given(std::vec::IntoIter<Tensor<T>>),
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
        }
    }

    /// The weights of a layer in a file. Nothing is created for a shape that differs from the
    /// file's, however large it may be.
    pub(crate) fn given(values: Vec<Tensor<T>>) -> Self {
        Weights {
            parameters: Vec::new(),
            values: Values::Given(values.into_iter()),
        }
    }

    /// The number of values given that no parameter took.
    pub(crate) fn left_over(&self) -> usize {
        match &self.values {
            Values::Drawn(_) => 0,
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
        let shape = shape.into();
        let value = match &mut self.values {
            Values::Drawn(generator) => initializer.sample(&shape, generator)?,
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
            name: name.to_string(),
            value,
        });
        Ok(())
    }
}
