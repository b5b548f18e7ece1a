//! Pooling: one number a window and channel.

use autograd::Var;
use serde_json::json;
use tensor::{Float, Padding, Pool2dOptions, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions, Reach};
use crate::layers::{
    identity_from, image_sizes, padding_from, padding_to_value, times, with_order,
};
use crate::parameter::Weights;

/// What both kinds of pooling are made of.
#[derive(Clone, Debug, PartialEq)]
struct Pool {
    identity: Identity,
    window: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

impl Pool {
    fn new(window: [usize; 2]) -> Self {
        Pool {
            identity: Identity::default(),
            window,
            stride: window,
            padding: Padding::Valid,
        }
    }

    fn options(&self) -> Pool2dOptions {
        Pool2dOptions::new(self.window)
            .stride(self.stride)
            .padding(self.padding)
    }

    fn output(&self, input: &Shape) -> Result<Shape> {
        let sizes @ [height, width, channels] = image_sizes("pool2d", input)?;
        let output = self.options().output_shape(&[1, height, width, channels]);
        let output = output.map_err(|error| with_order(error, sizes))?;
        Ok(Shape::from(&output[1..]))
    }

    fn config(&self) -> Config {
        config([
            ("pool_size", json!(self.window)),
            ("padding", padding_to_value(self.padding)),
            ("strides", json!(self.stride)),
            ("data_format", json!("channels_last")),
        ])
    }

    fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        reader.require_channels_last()?;
        let window = reader.pair_or("pool_size", [2, 2])?;
        Ok(Pool {
            identity: identity_from(reader)?,
            window,
            stride: reader.pair_or("strides", window)?,
            padding: padding_from(reader)?,
        })
    }

    fn reach(&self) -> Reach {
        Reach::Window {
            extent: self.window,
            stride: self.stride,
        }
    }
}

/// The largest value of each window and channel.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(MaxPool2d::new([2, 2]).input_shape(&[4, 4, 1]));
/// let x = Tensor::<f32>::arange(0.0, 16.0, 1.0)?.reshape([1, 4, 4, 1])?;
/// assert_eq!(model.predict(&x)?.to_vec(), [5.0, 7.0, 13.0, 15.0]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2d(Pool);

/// The mean of each window and channel; padding does not count.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(AvgPool2d::new([2, 2]).input_shape(&[4, 4, 1]));
/// let x = Tensor::<f32>::arange(0.0, 16.0, 1.0)?.reshape([1, 4, 4, 1])?;
/// assert_eq!(model.predict(&x)?.to_vec(), [2.5, 4.5, 10.5, 12.5]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool2d(Pool);

impl MaxPool2d {
    /// Windows of this height and width, side by side, no padding.
    pub fn new(window: [usize; 2]) -> Self {
        MaxPool2d(Pool::new(window))
    }

    /// Sets the distance between neighbouring windows.
    #[must_use]
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.0.stride = stride;
        self
    }

    /// Sets what surrounds the image.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.0.padding = padding;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged, or one that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Pool::from_config(reader).map(MaxPool2d)
    }
}

impl MaxPool2d {
    pub(crate) fn options(&self) -> Pool2dOptions {
        self.0.options()
    }
}

impl AvgPool2d {
    /// Windows of this height and width, side by side, no padding.
    pub fn new(window: [usize; 2]) -> Self {
        AvgPool2d(Pool::new(window))
    }

    /// Sets the distance between neighbouring windows.
    #[must_use]
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.0.stride = stride;
        self
    }

    /// Sets what surrounds the image.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.0.padding = padding;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged, or one that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Pool::from_config(reader).map(AvgPool2d)
    }
}

impl LayerOptions for MaxPool2d {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.0.identity
    }
}

impl LayerOptions for AvgPool2d {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.0.identity
    }
}

impl<T: Float> Layer<T> for MaxPool2d {
    fn class_name(&self) -> &str {
        "MaxPooling2D"
    }
    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        self.0.output(input)
    }
    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        Ok(x.max_pool2d(&self.0.options())?)
    }
    fn config(&self) -> Config {
        self.0.config()
    }
    fn identity(&self) -> Identity {
        self.0.identity.clone()
    }
    fn reach(&self) -> Reach {
        self.0.reach()
    }
    fn label(&self) -> String {
        format!("MaxPool2d {}", times(self.0.window))
    }
}

impl<T: Float> Layer<T> for AvgPool2d {
    fn class_name(&self) -> &str {
        "AveragePooling2D"
    }
    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        self.0.output(input)
    }
    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        Ok(x.avg_pool2d(&self.0.options())?)
    }
    fn config(&self) -> Config {
        self.0.config()
    }
    fn identity(&self) -> Identity {
        self.0.identity.clone()
    }
    fn reach(&self) -> Reach {
        self.0.reach()
    }
    fn label(&self) -> String {
        format!("AvgPool2d {}", times(self.0.window))
    }
}
