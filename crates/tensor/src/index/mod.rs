//! Reading and writing by index, one-hot codes, masks, triangles, and order.

mod gather;
mod mask;
mod order;
mod scatter;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// An error for the first of `index` that is not in `0..size`.
pub(crate) fn check_indices(
    operation: &str,
    index: &Tensor<i64>,
    axis: usize,
    size: usize,
) -> Result<()> {
    let inside = |&i: &i64| usize::try_from(i).is_ok_and(|i| i < size);
    let outside = match index.as_slice() {
        Some(slice) => slice.iter().position(|i| !inside(i)),
        None => index.iter().position(|i| !inside(&i)),
    };
    let Some(position) = outside else {
        return Ok(());
    };
    let value = index.iter().nth(position).unwrap_or_default();
    Err(outside_axis(
        operation,
        &unravel(position, &index.shape),
        value,
        axis,
        size,
    ))
}

#[cold]
fn outside_axis(
    operation: &str,
    position: &[usize],
    value: i64,
    axis: usize,
    size: usize,
) -> Error {
    let error = Error::index(
        operation,
        format!("index {value} at {position:?} is outside axis {axis} of size {size}"),
    );
    match size {
        0 => error.fix("the axis is empty: nothing can be taken from it"),
        _ => error.fix(format!("indices go from 0 to {}", size - 1)),
    }
}

/// The index of element number `position` in row-major order.
fn unravel(mut position: usize, shape: &Shape) -> Vec<usize> {
    let mut index = vec![0; shape.rank()];
    for (index, &size) in index.iter_mut().zip(&shape[..]).rev() {
        *index = position % size.max(1);
        position /= size.max(1);
    }
    index
}

/// That `index` has the rank of `shape` and is nowhere longer, except along `axis`.
fn check_index_shape(
    operation: &str,
    index: &Tensor<i64>,
    what: &str,
    shape: &Shape,
    axis: usize,
) -> Result<()> {
    let fits = index.rank() == shape.rank()
        && (0..shape.rank()).all(|a| a == axis || index.shape[a] <= shape[a]);
    if fits {
        return Ok(());
    }
    Err(
        Error::shape(operation, format!("the index does not fit the {what}"))
            .with(what, shape)
            .with("index", &index.shape)
            .fix(format!(
                "it needs as many axes, none longer but axis {axis}"
            )),
    )
}
