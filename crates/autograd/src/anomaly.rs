//! Anomaly mode: the first value or gradient that is not finite stops, with its origin.

use std::panic::Location;

use tensor::{Float, Result, Tensor};

use crate::tape::Tape;
use crate::var::{Var, gradient_error};

/// The first element that is not finite, with its index.
fn first_bad<T: Float>(value: &Tensor<T>) -> Option<(Vec<usize>, T)> {
    let (position, bad) = value.iter().enumerate().find(|(_, x)| !x.is_finite())?;
    let mut index = vec![0; value.rank()];
    let mut rest = position;
    for axis in (0..value.rank()).rev() {
        index[axis] = rest % value.shape()[axis];
        rest /= value.shape()[axis];
    }
    Some((index, bad))
}

/// Notes an output that is not finite, if it is the first.
pub(crate) fn check_value<T: Float>(
    tape: &Tape<T>,
    name: &str,
    inputs: &[&Var<T>],
    value: &Tensor<T>,
    location: &'static Location<'static>,
) {
    let mut first = tape.0.anomaly.borrow_mut();
    if first.is_some() {
        return;
    }
    let Some((index, bad)) = first_bad(value) else {
        return;
    };
    let mut error = gradient_error(name, format!("the value at {index:?} is {bad}"))
        .with("operation", tape.0.describe(name, tape.0.scope(), location))
        .with("output", value.shape());
    for (i, input) in inputs.iter().enumerate() {
        let state = if first_bad(input.value()).is_some() {
            ", not finite itself"
        } else {
            ""
        };
        error = error.with(format!("input {i}"), format!("{}{state}", input.shape()));
    }
    *first = Some(error);
}

/// Refuses to differentiate what is not finite, as a variable may be that no operation made.
pub(crate) fn check_output<T: Float>(output: &Var<T>) -> Result<()> {
    let Some((place, bad)) = first_bad(output.value()) else {
        return Ok(());
    };
    Err(
        gradient_error("backward", format!("the value at {place:?} is {bad}"))
            .with("output", output.description())
            .with("shape", output.shape()),
    )
}

/// Refuses a gradient that is not finite.
pub(crate) fn check_gradient<T: Float>(
    operation: &str,
    name: &str,
    index: usize,
    gradient: &Var<T>,
) -> Result<()> {
    let Some((place, bad)) = first_bad(gradient.value()) else {
        return Ok(());
    };
    let message = format!("the gradient of input {index} is {bad} at {place:?}");
    Err(gradient_error(name, message)
        .with("operation", operation)
        .with("gradient", gradient.shape()))
}
