//! The layers, one a file: settings, weights, output, and the form in Keras's files.

mod activation;
mod conv2d;
mod dense;
mod dropout;
mod flatten;
mod merge;
mod pool2d;
mod rescaling;

use tensor::{Error, Float, Padding, Shape};

use crate::config::{Config, ConfigReader, Purpose};
use crate::error::Result;
use crate::layer::Layer;

pub use activation::{Activation, ActivationFunction};
pub use conv2d::Conv2d;
pub use dense::Dense;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use merge::{
    Add, Average, Concatenate, Maximum, Merge, MergeOperation, Minimum, Multiply, Subtract,
    operations,
};
pub use pool2d::{AvgPool2d, MaxPool2d};
pub use rescaling::Rescaling;

/// The layer of this class with these settings, as Keras's files describe it.
///
/// ```
/// use nn::layers::from_config;
/// use nn::{Config, Layer};
/// let config: Config = [("rate".to_string(), 0.25.into())].into_iter().collect();
/// let layer: Box<dyn Layer> = from_config("Dropout", &config)?;
/// assert_eq!(layer.label(), "Dropout 0.25");
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// If this crate has no such layer, or not with these settings.
pub fn from_config<T: Float>(class: &str, config: &Config) -> Result<Box<dyn Layer<T>>> {
    from_reader(&ConfigReader::new(class, config))
}

/// The layer for `purpose`, and those of its settings which that does not need and this crate does
/// not have.
pub(crate) fn for_purpose<T: Float>(
    class: &str,
    config: &Config,
    purpose: Purpose,
) -> Result<(Box<dyn Layer<T>>, Config)> {
    let reader = ConfigReader::with_purpose(class, config, purpose);
    let layer = from_reader(&reader)?;
    Ok((layer, reader.into_set_aside()))
}

fn from_reader<T: Float>(reader: &ConfigReader<'_>) -> Result<Box<dyn Layer<T>>> {
    let layer: Box<dyn Layer<T>> = match reader.class() {
        "Conv2D" | "Convolution2D" => Box::new(Conv2d::from_config(reader)?),
        "MaxPooling2D" | "MaxPool2D" => Box::new(MaxPool2d::from_config(reader)?),
        "AveragePooling2D" | "AvgPool2D" => Box::new(AvgPool2d::from_config(reader)?),
        "Dense" => Box::new(Dense::from_config(reader)?),
        "Flatten" => Box::new(Flatten::from_config(reader)?),
        "Dropout" => Box::new(Dropout::from_config(reader)?),
        "Rescaling" => Box::new(Rescaling::from_config(reader)?),
        "Add" => Box::new(Add::from_config(reader)?),
        "Subtract" => Box::new(Subtract::from_config(reader)?),
        "Multiply" => Box::new(Multiply::from_config(reader)?),
        "Average" => Box::new(Average::from_config(reader)?),
        "Maximum" => Box::new(Maximum::from_config(reader)?),
        "Minimum" => Box::new(Minimum::from_config(reader)?),
        "Concatenate" => Box::new(Concatenate::from_config(reader)?),
        "Activation" | "ReLU" | "Softmax" | "ELU" | "LeakyReLU" => {
            Box::new(Activation::from_config(reader)?)
        }
        class => {
            let message = format!("there is no layer of class `{class}`");
            return Err(Error::unsupported("model", message).into());
        }
    };
    reader.finish()?;
    Ok(layer)
}

/// Name and input shape in a configuration, and a look at the other entries that all layers share.
fn identity_from(reader: &ConfigReader<'_>) -> Result<crate::Identity> {
    reader.expect_for_training("trainable", true)?;
    reader.expect_single_or_double()?;
    let name = match reader.get("name") {
        Some(_) => Some(reader.text("name")?.to_string()),
        None => None,
    };
    // Old files give the first layer's input shape here; new ones have an `InputLayer`.
    let input_shape = match reader.get("batch_input_shape") {
        Some(_) => Some(shape_after_batch(reader, "batch_input_shape")?),
        None => None,
    };
    Ok(crate::Identity {
        name,
        input_shape,
        trainable: reader.flag_or("trainable", true)?,
    })
}

/// The shape under `key`, which starts with the (unknown) batch size, without that.
///
/// # Errors
/// If it is not such a shape, or another size is unknown.
pub(crate) fn shape_after_batch(reader: &ConfigReader<'_>, key: &str) -> Result<Shape> {
    let value = reader.required(key)?;
    let sizes = value.as_array().and_then(|sizes| {
        let sizes = sizes.iter().skip(1).map(|size| {
            let size = size.as_u64()?;
            usize::try_from(size).ok()
        });
        sizes.collect::<Option<Vec<usize>>>()
    });
    match sizes {
        Some(sizes) => Ok(Shape::from(&sizes[..])),
        None => Err(reader.unexpected(key, value, "a shape with all sizes known but the batch's")),
    }
}

/// Padding as Keras's files have it. Explicit padding, which Keras's layers don't know, is an
/// object that only this crate reads.
fn padding_to_value(padding: Padding) -> serde_json::Value {
    match padding {
        Padding::Valid => "valid".into(),
        Padding::Same => "same".into(),
        Padding::Explicit { height, width } => {
            serde_json::json!({"height": height, "width": width})
        }
    }
}

fn padding_from(reader: &ConfigReader<'_>) -> Result<Padding> {
    let Some(value) = reader.get("padding") else {
        return Ok(Padding::Valid);
    };
    match value.as_str() {
        Some("valid") => Ok(Padding::Valid),
        Some("same") => Ok(Padding::Same),
        _ => match value.as_object() {
            Some(sides) => {
                let sides = ConfigReader::new(reader.class(), sides);
                let padding = Padding::Explicit {
                    height: sides.pair("height")?,
                    width: sides.pair("width")?,
                };
                sides.finish()?;
                Ok(padding)
            }
            None => Err(reader.unexpected("padding", value, "\"valid\" or \"same\"")),
        },
    }
}

/// The entries with which Keras describes what this crate's layers don't have.
const UNSUPPORTED: [&str; 5] = [
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_constraint",
    "bias_constraint",
];

/// Height, width and channels of a layer's input.
fn image_sizes(operation: &str, input: &Shape) -> Result<[usize; 3]> {
    match input[..] {
        [height, width, channels] => Ok([height, width, channels]),
        _ => Err(Error::shape(operation, "the input is not one of images")
            .with("input", format!("{input}   (without the batch axis)"))
            .fix("give images as [batch, height, width, channels]")
            .into()),
    }
}

/// Adds to an error about the sizes of images what to do if they have their channels first.
fn with_order(error: Error, [height, width, channels]: [usize; 3]) -> Error {
    // As low as images have channels, and neither narrow nor of few channels.
    if !matches!(height, 1 | 3 | 4) || width.min(channels) < 8 {
        return error;
    }
    error.with(
        "note",
        format!(
            "if the {height} are channels and not the height, move them behind height and width: \
             `x.permute(&[0, 2, 3, 1])`"
        ),
    )
}

/// Refuses regularizers and constraints, or sets them aside where they do not count.
fn expect_no_regularizers(reader: &ConfigReader<'_>) -> Result<()> {
    let mut keys = UNSUPPORTED.iter();
    keys.try_for_each(|key| reader.expect_for_training(key, serde_json::Value::Null))
}

/// `3×3`, or `3×5`.
fn times([height, width]: [usize; 2]) -> String {
    format!("{height}×{width}")
}
