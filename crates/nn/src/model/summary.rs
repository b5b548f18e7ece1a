//! The table of a model's layers.

use std::fmt;

use autograd::{Graph, GraphNode};
use tensor::{Float, Shape};

use super::Model;
use crate::error::Result;
use crate::layer::Reach;

/// The layers of a model with shapes, parameters and receptive fields; see
/// [`Model::summary`].
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// One row a layer.
    pub rows: Vec<SummaryRow>,
    /// Numbers in all weights.
    pub parameters: usize,
    /// Those of them that training changes.
    pub trainable: usize,
    /// Bytes that all take.
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
    /// Its name, by which files and errors call it.
    pub name: String,
    /// The shape of its (first) output, without the batch axis.
    pub output: Shape,
    /// Numbers in its weights.
    pub parameters: usize,
    /// The names of the layers and inputs that it takes values from, of all its calls.
    pub inputs: Vec<String>,
    /// Height and width of the part of the input image that one output sees; none where it is
    /// all of it.
    pub receptive_field: Option<[usize; 2]>,
}

impl<T: Float> Model<T> {
    /// The layers with their names, output shapes, numbers of parameters and receptive fields, and,
    /// in a model that is no chain, what they take values from. Prints as a table:
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
    ///         "Layer            Name           Output    Parameters  Receptive field",
    ///         "Conv2d 3×3       conv2d         26×26×32         320  3×3",
    ///         "Activation relu  activation     26×26×32           0  3×3",
    ///     ]
    /// );
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built.
    pub fn summary(&self) -> Result<Summary> {
        self.require_built()?;
        let fields = self.receptive_fields();
        let graph = &self.graph;
        let chain = graph.is_chain();
        let rows = graph.layers.iter().enumerate().map(|(index, stage)| {
            let sizes = stage.parameters().iter().map(|p| p.value.len());
            let first = graph.calls_of(index).next();
            let taken = graph.calls_of(index).flat_map(|call| &call.inputs);
            let inputs = taken.map(|&value| graph.value_name(value).to_string());
            SummaryRow {
                label: stage.layer.label(),
                name: stage.name.clone(),
                output: stage.output_shape().cloned().unwrap_or_default(),
                parameters: sizes.sum(),
                inputs: if chain { Vec::new() } else { inputs.collect() },
                receptive_field: first
                    .and_then(|call| fields[call.outputs.start])
                    .map(|(extent, _)| extent),
            }
        });
        let rows: Vec<SummaryRow> = rows.collect();
        let parameters = rows.iter().map(|row| row.parameters).sum::<usize>();
        let trainable = self.trainable_parameters().map(|p| p.value.len());
        let given = graph.calls.iter().flat_map(|call| call.outputs.clone());
        let outputs = given.map(|value| graph.shapes[value].as_ref().map_or(0, Shape::elements));
        let outputs = outputs.fold(0, usize::saturating_add);
        Ok(Summary {
            rows,
            parameters,
            trainable: trainable.sum(),
            parameter_bytes: parameters.saturating_mul(size_of::<T>()),
            activation_bytes: outputs.saturating_mul(size_of::<T>()),
        })
    }

    /// For each value, how much of the input image it sees, and the distance in the image of
    /// neighbouring places.
    fn receptive_fields(&self) -> Vec<Option<Field>> {
        let graph = &self.graph;
        let mut fields: Vec<Option<Field>> = vec![Some(([1, 1], [1, 1])); graph.shapes.len()];
        for call in &graph.calls {
            let taken = call.inputs.iter().map(|&value| fields[value]);
            let joined = taken.reduce(|a, b| {
                let ((extent, stride), (other, step)) = (a?, b?);
                let larger = |a: [usize; 2], b: [usize; 2]| [0, 1].map(|axis| a[axis].max(b[axis]));
                Some((larger(extent, other), larger(stride, step)))
            });
            let reach = graph.layers[call.layer].layer.reach();
            let field = joined.flatten().and_then(|field| widen(field, reach));
            fields[call.outputs.clone()].fill(field);
        }
        fields
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
        let graph = &self.graph;
        let mut nodes: Vec<GraphNode> = Vec::new();
        // The node that gives each value; the model's inputs are drawn with the layers they enter.
        let mut places: Vec<Option<usize>> = vec![None; graph.shapes.len()];
        // The node with a layer's weights.
        let mut weights: Vec<Option<usize>> = vec![None; graph.layers.len()];
        for call in &graph.calls {
            let row = &summary.rows[call.layer];
            let mut inputs: Vec<usize> = call.inputs.iter().filter_map(|&v| places[v]).collect();
            if row.parameters > 0 {
                let place = *weights[call.layer].get_or_insert_with(|| {
                    let text = format!("{} parameters", grouped(row.parameters));
                    nodes.push(GraphNode::variable(text, row.parameters));
                    nodes.len() - 1
                });
                inputs.push(place);
            }
            let output = graph.shapes[call.outputs.start].clone().unwrap_or_default();
            let mut node = GraphNode::operation(&row.label, &output, inputs);
            for &value in &call.inputs {
                if places[value].is_none() {
                    node = node.on_constant(graph.shapes[value].clone().unwrap_or_default());
                }
            }
            node.scope = row.name.clone();
            places[call.outputs.clone()].fill(Some(nodes.len()));
            nodes.push(node);
        }
        Ok(Graph::new(nodes)?)
    }

    /// Prints [`Model::summary`].
    ///
    /// # Errors
    /// If the model is not built.
    pub fn print_summary(&self) -> Result<()> {
        println!("{}", self.summary()?);
        Ok(())
    }
}

/// Extent and stride along height and width.
type Field = ([usize; 2], [usize; 2]);

/// Extent and stride, in input pixels, of the outputs of a layer that follows outputs of the given
/// extent and stride.
fn widen((extent, stride): Field, reach: Reach) -> Option<Field> {
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
        let mut table = vec![vec![
            "Layer".to_string(),
            "Name".to_string(),
            "Output".to_string(),
            "Parameters".to_string(),
            "Receptive field".to_string(),
        ]];
        for row in &self.rows {
            let field = row.receptive_field.as_ref();
            table.push(vec![
                row.label.clone(),
                row.name.clone(),
                by_times(&row.output),
                grouped(row.parameters),
                field.map_or("all".to_string(), |field| by_times(field)),
            ]);
        }
        if self.rows.iter().any(|row| !row.inputs.is_empty()) {
            table[0].push("Connected to".to_string());
            for (line, row) in table[1..].iter_mut().zip(&self.rows) {
                line.push(row.inputs.join(", "));
            }
        }
        let width = |column: usize| {
            let widths = table.iter().map(|line| line[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
        for line in &table {
            let mut text = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                // Numbers of parameters stand under each other.
                match column {
                    3 => text.push_str(&format!("{cell:>width$}  ")),
                    _ => text.push_str(&format!("{cell:<width$}  ")),
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        write!(
            f,
            "Total {} parameters ({}); {} of outputs a sample",
            grouped(self.parameters),
            bytes(self.parameter_bytes),
            bytes(self.activation_bytes)
        )?;
        if self.trainable < self.parameters {
            write!(
                f,
                "\n{} trainable, {} not",
                grouped(self.trainable),
                grouped(self.parameters - self.trainable)
            )?;
        }
        Ok(())
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
