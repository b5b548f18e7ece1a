//! What every operation brings along for its tests and its row in the documentation.
//!
//! An op stands in its file beside a function `entries()` that describes it and gives sample
//! inputs; [`operations`] lists all of them. From being in that list an op inherits the gradient
//! checks of first and second order, the checks on views, broadcasts and repeated variables, and
//! its row in `docs/ops.md`; a count test refuses methods and ops that are not in it.
//!
//! Functions of this list are `#[inline]`: so they, and with them every operation on `f64` with all
//! its derivatives, are compiled where the list is used, which is in tests, and not in every build.

use std::ops::Range;

use tensor::{Result, Tensor};

use crate::var::Var;

/// A differentiable operation with its documentation and sample inputs.
pub struct OpEntry {
    name: &'static str,
    formula: String,
    derivative: String,
    edges: &'static str,
    samples: Vec<Sample>,
}

/// A function of the sampled operation, and the inputs that it is checked at.
pub struct Sample {
    inputs: Vec<Input>,
    function: Function,
    distinct: bool,
}

type Function = Box<dyn Fn(&[Var<f64>]) -> Result<Var<f64>>>;

/// An input that is made when the sample is used.
enum Input {
    /// Distinct values spread over a range, in a scrambled order.
    Spread {
        shape: Vec<usize>,
        range: Range<f64>,
    },
    /// These values.
    Given(fn() -> Result<Tensor<f64>>),
}

impl OpEntry {
    /// An entry without samples; `formula` and `derivative` are Markdown.
    pub(crate) fn new(
        name: &'static str,
        formula: impl Into<String>,
        derivative: impl Into<String>,
    ) -> Self {
        OpEntry {
            name,
            formula: formula.into(),
            derivative: derivative.into(),
            edges: "",
            samples: Vec::new(),
        }
    }

    /// What happens at kinks, ties and special values.
    pub(crate) fn edges(self, edges: &'static str) -> Self {
        OpEntry { edges, ..self }
    }

    /// Samples `function` at inputs of these shapes with distinct values in `−2 .. 2`.
    pub(crate) fn sample(
        self,
        shapes: &[&[usize]],
        function: impl Fn(&[Var<f64>]) -> Result<Var<f64>> + 'static,
    ) -> Self {
        self.sample_on(-2.0..2.0, shapes, function)
    }

    /// Samples `function` at inputs of these shapes with distinct values in `range`.
    pub(crate) fn sample_on(
        mut self,
        range: Range<f64>,
        shapes: &[&[usize]],
        function: impl Fn(&[Var<f64>]) -> Result<Var<f64>> + 'static,
    ) -> Self {
        let inputs = shapes.iter().map(|shape| Input::Spread {
            shape: shape.to_vec(),
            range: range.clone(),
        });
        self.samples.push(Sample {
            inputs: inputs.collect(),
            function: Box::new(function),
            distinct: false,
        });
        self
    }

    /// Samples `function` at these inputs.
    pub(crate) fn sample_at(
        mut self,
        inputs: &[fn() -> Result<Tensor<f64>>],
        function: impl Fn(&[Var<f64>]) -> Result<Var<f64>> + 'static,
    ) -> Self {
        self.samples.push(Sample {
            inputs: inputs.iter().map(|&input| Input::Given(input)).collect(),
            function: Box::new(function),
            distinct: false,
        });
        self
    }

    /// The latest sample has a kink where values of an input are equal, or needs values that do
    /// not repeat for another reason.
    pub(crate) fn distinct(mut self) -> Self {
        if let Some(sample) = self.samples.last_mut() {
            sample.distinct = true;
        }
        self
    }

    /// The name of the method on [`Var`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The row of `docs/ops.md`: op, formula, derivative, edge rules, orders checked.
    fn row(&self) -> String {
        let Self {
            name,
            formula,
            derivative,
            edges,
            ..
        } = self;
        // A bar would end the cell.
        let cell = |text: &str| text.replace('|', "\\|");
        format!(
            "| `{name}` | {} | {} | {} | 1, 2 |\n",
            cell(formula),
            cell(derivative),
            cell(edges)
        )
    }
}

impl Sample {
    /// The function under check.
    pub fn call(&self, inputs: &[Var<f64>]) -> Result<Var<f64>> {
        (self.function)(inputs)
    }

    /// Whether the function may only be differentiated where the values of an input differ.
    pub fn needs_distinct_values(&self) -> bool {
        self.distinct
    }

    /// The inputs, where the function is smooth.
    ///
    /// # Errors
    /// If an input cannot be made.
    pub fn inputs(&self) -> Result<Vec<Tensor<f64>>> {
        self.inputs
            .iter()
            .enumerate()
            .map(|(position, input)| match input {
                Input::Spread { shape, range } => spread(shape, range, position),
                Input::Given(make) => make(),
            })
            .collect()
    }
}

/// Values `low + (i + offset) / n · (high − low)` for scrambled `i`; the offset differs from input
/// to input, and keeps off the middle of the range, where many functions have their kink.
fn spread(shape: &[usize], range: &Range<f64>, position: usize) -> Result<Tensor<f64>> {
    let count = shape.iter().product::<usize>().max(1);
    let offset = [0.3, 0.22, 0.37, 0.26, 0.33][position % 5];
    // A stride that has no factor in common with the count visits every i once.
    let stride = [7919, 104_729, 1_299_709, 15_485_863]
        .into_iter()
        .find(|prime| count % prime != 0)
        .unwrap_or(1);
    let mut next = position * 31;
    Tensor::from_fn(shape, |_| {
        next = (next + stride) % count;
        let part = (next as f64 + offset) / count as f64;
        range.start + part * (range.end - range.start)
    })
}

/// Every operation on [`Var`], elementwise functions included, each with its samples.
///
/// ```
/// use autograd::{gradcheck, operations};
/// for op in operations() {
///     for sample in op.samples().iter().take(1) {
///         gradcheck(|x| sample.call(x), &sample.inputs()?)?;
///     }
/// }
/// # Ok::<(), autograd::Error>(())
/// ```
#[inline]
pub fn operations() -> Vec<OpEntry> {
    crate::ops::entries()
}

/// The table of all operations in Markdown, as `docs/ops.md` holds it.
#[inline]
pub fn operations_table() -> String {
    let mut table = String::from(
        "# Operations\n\n\
         Every differentiable operation: its value, its derivative (`dy` is the gradient of the \
         result, `dx` that of the operand `x`), what happens at kinks and special values, and the \
         orders of derivative that are checked by finite differences. Operands broadcast where the \
         formula is elementwise; the gradient of what was repeated is summed back.\n\n\
         This file is written by `cargo run -p autograd --example ops_table > docs/ops.md`.\n\n\
         | Operation | Formula | Derivative | Edge rules | Orders |\n\
         |---|---|---|---|---|\n",
    );
    for entry in operations() {
        table += &entry.row();
    }
    table
}
