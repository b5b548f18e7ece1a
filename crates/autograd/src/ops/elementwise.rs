//! The catalogue of elementwise functions as methods of [`Var`], and elementwise ops from two
//! closures.

use std::ops::Range;

use tensor::{Float, Result, Tensor, elementwise_catalogue, slopes, values};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Checked, Var, keeps_nothing, unwrap};

/// One function of the catalogue, ready to record.
struct Function<T: Float> {
    name: &'static str,
    forward: fn(&Tensor<T>) -> Result<Tensor<T>>,
    saves: Saves,
    derivative: fn(&Backward<'_, T>) -> Result<Var<T>>,
    /// The gradient in one pass, for those with derivatives of many steps.
    in_one_pass: Option<InOnePass<T>>,
}

/// The gradient from what a function saves, the input or the output, and `dy`.
type InOnePass<T> = fn(&Tensor<T>, &Tensor<T>) -> Result<Tensor<T>>;

impl<T: Float> Rule<T> for Function<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn compute(&self, inputs: &[&Var<T>]) -> Result<Tensor<T>> {
        (self.forward)(inputs[0].value())
    }
    fn saves(&self) -> Saves {
        self.saves
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            if let Some(in_one_pass) = self.in_one_pass {
                let saved = match self.saves.has_output() {
                    true => at.output()?,
                    false => at.input(0)?,
                };
                if keeps_nothing(&[&saved, dy]) {
                    return in_one_pass(saved.value(), dy.value()).map(Var::constant);
                }
            }
            dy.mul(&(self.derivative)(at)?)
        })
    }
}

/// A function on plain tensors.
type Plain<T> = fn(&Tensor<T>) -> Tensor<T>;

/// A function of the catalogue with what its tests need.
#[derive(Clone, Copy)]
pub struct CatalogueEntry {
    /// The name of the method on `Tensor` and `Var`.
    pub name: &'static str,
    /// The documentation: formula and edge rules.
    pub doc: &'static str,
    /// The derivative, as written.
    pub derivative: &'static str,
    /// The function on tracked values.
    pub function: fn(&Var<f64>) -> Var<f64>,
    /// The function on tracked values of single precision.
    pub function_f32: fn(&Var<f32>) -> Var<f32>,
    /// The function on plain `f64` and `f32` tensors.
    pub forward: (Plain<f64>, Plain<f32>),
    /// Where it is smooth enough for finite differences.
    pub smooth_on: &'static [Range<f64>],
    /// The same function by an independent formula.
    pub reference: fn(f64) -> f64,
}

/// Which of `x` and `y` a derivative's parameter list names.
macro_rules! saved {
    (x) => {
        Saves::INPUTS
    };
    (y) => {
        Saves::OUTPUT
    };
}

/// Fetches what the parameter list names.
macro_rules! fetch {
    (x, $at:ident) => {
        &$at.input(0)?
    };
    (y, $at:ident) => {
        &$at.output()?
    };
}

/// The function of the catalogue that computes a gradient in one pass, if there is one.
macro_rules! in_one_pass {
    ($name:ident) => {
        None
    };
    ($name:ident $of:ident) => {
        Some(slopes::$name)
    };
}

macro_rules! var_methods {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident($x:ident) -> $y:ident {
            forward: $forward:expr,
            derivative($($saved:ident),*): $derivative:expr,
            $(slope($of:ident): $slope:expr,)?
            smooth_on: $smooth_on:expr,
            reference: $reference:expr $(,)?
        }
    )*) => {
        /// The elementwise functions of the catalogue.
        impl<T: Float> Var<T> {
            $(
                $(#[doc = $doc])*
                #[doc = ""]
                #[doc = concat!("Derivative: `", stringify!($derivative), "`.")]
                #[must_use]
                #[track_caller]
                #[allow(clippy::should_implement_trait)]
                pub fn $name(&self) -> Var<T> {
                    unwrap(self.checked().$name())
                }
            )*
        }

        /// The elementwise functions of the catalogue.
        impl<T: Float> Checked<'_, T> {
            $(
                #[track_caller]
                pub(crate) fn $name(self) -> Result<Var<T>> {
                    const { &Function {
                        name: stringify!($name),
                        forward: values::$name,
                        saves: Saves::NOTHING $(.and(saved!($saved)))*,
                        derivative: |at| {
                            $(let $saved = fetch!($saved, at);)*
                            Ok($derivative)
                        },
                        in_one_pass: in_one_pass!($name $($of)?),
                    } }
                    .apply(&[self.0])
                }
            )*
        }

        /// Every elementwise function that exists, for tests and tables.
        pub(crate) fn catalogue() -> Vec<CatalogueEntry> {
            vec![$(
                CatalogueEntry {
                    name: stringify!($name),
                    doc: concat!($($doc),*),
                    derivative: stringify!($derivative),
                    function: Var::$name,
                    function_f32: Var::$name,
                    forward: (Tensor::$name, Tensor::$name),
                    smooth_on: &$smooth_on,
                    reference: $reference,
                },
            )*]
        }
    };
}

elementwise_catalogue!(var_methods);

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let entry = |function: CatalogueEntry| {
        let (formula, edges) = split_doc(function.doc);
        let derivative = function
            .derivative
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace(" :: ", "::")
            .replace("std::f64::consts::", "");
        let entry = OpEntry::new(function.name, formula, format!("`dy · ({derivative})`"));
        let entry = entry.edges(edges);
        function.smooth_on.iter().fold(entry, |entry, range| {
            entry.sample_on(range.clone(), &[&[2, 4]], move |v| {
                Ok((function.function)(&v[0]))
            })
        })
    };
    catalogue().into_iter().map(entry).collect()
}

/// The first sentence of a documentation, and the rest: formula and edge rules.
fn split_doc(doc: &'static str) -> (&'static str, &'static str) {
    let doc = doc.trim();
    let end = [". ", "; "].iter().filter_map(|end| doc.find(end)).min();
    match end {
        Some(end) => (&doc[..end], doc[end + 1..].trim()),
        None => (doc.trim_end_matches('.'), ""),
    }
}

/// An elementwise op made of two closures; see [`elementwise`].
pub struct Elementwise<F, D> {
    name: &'static str,
    forward: F,
    derivative: D,
}

/// An elementwise op from the value of one element and the derivative in tracked operations,
/// `derivative(x, y)`; apply it to a variable with [`Op::apply`]. The derivative may use no tracked
/// variables but its arguments, and hold none of their tape: that is an error when the operation is
/// applied (the closure is cloned to find out).
///
/// ```
/// use autograd::{Op, Tape, elementwise};
/// use tensor::Tensor;
///
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::from([1.0, 2.0]));
/// // The softsign x / (1 + |x|), whose derivative is 1 / (1 + |x|)².
/// let softsign = elementwise(
///     "softsign",
///     |x: f64| x / (1.0 + x.abs()),
///     |x, _y| (x.abs() + 1.0).reciprocal().square(),
/// );
/// let y = softsign.apply(&[&x])?;
/// assert_eq!(y.sum(..)?.backward()?.of(&x)?.to_vec(), [0.25, 1.0 / 9.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
pub fn elementwise<T, F, D>(name: &'static str, forward: F, derivative: D) -> Elementwise<F, D>
where
    T: Float,
    F: Fn(T) -> T + Copy + Send + Sync + 'static,
    D: Fn(&Var<T>, &Var<T>) -> Var<T> + Clone + 'static,
{
    Elementwise {
        name,
        forward,
        derivative,
    }
}

impl<T, F, D> Op<T> for Elementwise<F, D>
where
    T: Float,
    F: Fn(T) -> T + Copy + Send + Sync + 'static,
    D: Fn(&Var<T>, &Var<T>) -> Var<T> + Clone + 'static,
{
    fn name(&self) -> &str {
        self.name
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        inputs.require_no_cycle(&self.derivative)?;
        x.try_map(self.name, self.forward)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            dy.mul(&(self.derivative)(&at.input(0)?, &at.output()?))
        })
    }
}
