//! The table of a model's layers.

use std::fmt;

use autograd::{Graph, GraphNode};
use tensor::{Float, Shape};

use super::Sequential;
use crate::error::Result;
use crate::layer::Reach;

/// The layers of a model with shapes, parameters and receptive fields; see
/// [`Sequential::summary`].
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// One row a layer.
    pub rows: Vec<SummaryRow>,
    /// Numbers that training changes.
    pub parameters: usize,
    /// Bytes that they take.
    pub parameter_bytes: usize,
    /// Bytes of all layers' outputs for one sample: about what training holds for each sample of
    /// a batch.
    pub activation_bytes: usize,
}

/// One layer in a [`Summary`].
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// The layer in a few characters.
    pub label: String,
    /// The shape of its outputs, without the batch axis.
    pub output: Shape,
    /// Numbers that training changes.
    pub parameters: usize,
    /// Height and width of the part of the input image that one output sees; none where it is
    /// all of it.
    pub receptive_field: Option<[usize; 2]>,
}

impl<T: Float> Sequential<T> {
    /// The layers with their output shapes, numbers of parameters and receptive fields. Prints as
    /// a table:
    ///
    /// ```
    /// use nn::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2d::new(32, [3, 3]).input_shape(&[28, 28, 1]));
    /// model.add(Activation::relu());
    /// model.add(MaxPool2d::new([2, 2]));
    /// model.add(Flatten::new());
    /// model.add(Dense::new(10));
    /// let table = model.summary()?.to_string();
    /// assert_eq!(
    ///     table.lines().take(3).collect::<Vec<_>>(),
    ///     [
    ///         "Layer            Output    Parameters  Receptive field",
    ///         "Conv2d 3×3       26×26×32         320  3×3",
    ///         "Activation relu  26×26×32           0  3×3",
    ///     ]
    /// );
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built.
    pub fn summary(&self) -> Result<Summary> {
        self.require_built()?;
        let mut rows = Vec::with_capacity(self.layers.len());
        let mut field = Some(([1, 1], [1, 1]));
        for stage in &self.layers {
            field = field.and_then(|field| widen(field, stage.layer.reach()));
            let sizes = stage.parameters().iter().map(|p| p.value.len());
            rows.push(SummaryRow {
                label: stage.layer.label(),
                output: stage.output_shape().cloned().unwrap_or_default(),
                parameters: sizes.sum(),
                receptive_field: field.map(|(extent, _)| extent),
            });
        }
        let parameters = rows.iter().map(|row| row.parameters).sum::<usize>();
        let outputs = rows.iter().map(|row| row.output.elements()).sum::<usize>();
        Ok(Summary {
            rows,
            parameters,
            parameter_bytes: parameters.saturating_mul(size_of::<T>()),
            activation_bytes: outputs.saturating_mul(size_of::<T>()),
        })
    }

    /// The layers as a graph to be drawn: outputs without the batch axis stand on the edges, the
    /// number of its parameters beside each layer.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2d::new(32, [3, 3]).input_shape(&[28, 28, 1]));
    /// model.add(Flatten::new());
    /// model.add(Dense::new(10));
    /// let picture = model.graph()?.to_svg()?;
    /// assert!(picture.contains("320 parameters") && picture.contains("26×26×32"));
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built.
    pub fn graph(&self) -> Result<Graph> {
        let summary = self.summary()?;
        let mut nodes: Vec<GraphNode> = Vec::new();
        let mut previous = None;
        for (row, stage) in summary.rows.iter().zip(&self.layers) {
            let mut inputs = Vec::from_iter(previous);
            if row.parameters > 0 {
                let text = format!("{} parameters", grouped(row.parameters));
                inputs.push(nodes.len());
                nodes.push(GraphNode::variable(text, row.parameters));
            }
            let mut node = GraphNode::operation(&row.label, &row.output, inputs);
            if previous.is_none() {
                node = node.on_constant(stage.input_shape().cloned().unwrap_or_default());
            }
            node.scope = stage.name().to_string();
            previous = Some(nodes.len());
            nodes.push(node);
        }
        Ok(Graph::new(nodes)?)
    }

    /// Prints [`Sequential::summary`].
    ///
    /// # Errors
    /// If the model is not built.
    pub fn print_summary(&self) -> Result<()> {
        println!("{}", self.summary()?);
        Ok(())
    }
}

/// Extent and stride, in input pixels, of the outputs of a layer that follows outputs of the given
/// extent and stride.
fn widen(
    (extent, stride): ([usize; 2], [usize; 2]),
    reach: Reach,
) -> Option<([usize; 2], [usize; 2])> {
    match reach {
        Reach::Pointwise => Some((extent, stride)),
        Reach::Everything => None,
        Reach::Window {
            extent: window,
            stride: step,
        } => Some((
            [0, 1].map(|axis| {
                let further = (window[axis].saturating_sub(1)).saturating_mul(stride[axis]);
                extent[axis].saturating_add(further)
            }),
            [0, 1].map(|axis| stride[axis].saturating_mul(step[axis])),
        )),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = ["Layer", "Output", "Parameters", "Receptive field"].map(String::from);
        let rows = self.rows.iter().map(|row| {
            [
                row.label.clone(),
                by_times(&row.output),
                grouped(row.parameters),
                row.receptive_field
                    .map_or("all".to_string(), |field| by_times(&field)),
            ]
        });
        let table: Vec<[String; 4]> = std::iter::once(title).chain(rows).collect();
        let width = |column: usize| {
            let widths = table.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let (label, output, parameters) = (width(0), width(1), width(2));
        for row in &table {
            writeln!(
                f,
                "{:<label$}  {:<output$}  {:>parameters$}  {}",
                row[0], row[1], row[2], row[3]
            )?;
        }
        write!(
            f,
            "Total {} parameters ({}); {} of outputs a sample",
            grouped(self.parameters),
            bytes(self.parameter_bytes),
            bytes(self.activation_bytes)
        )
    }
}

/// `26×26×32`.
fn by_times(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    sizes.join("×")
}

/// `1,250,858`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4.8 MB`.
fn bytes(count: usize) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{value:.0} {unit}"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let texts = [0, 999, 1000, 1_250_858].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,250,858"]);
        let texts = [0, 999, 5_003_432, usize::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "5.0 MB", "18446744.1 TB"]);
    }

    #[test]
    fn receptive_fields_grow_by_windows_times_strides() {
        let start = ([1, 1], [1, 1]);
        let conv = Reach::Window {
            extent: [3, 5],
            stride: [1, 1],
        };
        let pool = Reach::Window {
            extent: [2, 2],
            stride: [2, 2],
        };
        let one = widen(start, conv).unwrap();
        let two = widen(one, pool).unwrap();
        let three = widen(two, conv).unwrap();
        assert_eq!((one.0, two.0, three.0), ([3, 5], [4, 6], [8, 14]));
        assert_eq!(widen(three, Reach::Pointwise), Some(three));
        assert_eq!(widen(three, Reach::Everything), None);
    }
}
