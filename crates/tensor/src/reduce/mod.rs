//! Reductions over any axes, running sums, and softmax.
//!
//! - [`fold`]: what is computed, as small associative folds over tiles of elements;
//! - [`walk`]: how any view is walked fast, on threads, with the same bits on any number of them;
//! - the other files: the methods of [`Tensor`](crate::Tensor).

mod argument;
mod cross_entropy;

mod fold;
mod layout;
mod rows;
mod scan;
mod softmax;
mod statistics;
mod walk;

pub(crate) use fold::{Moment, Moments, TILE_ROWS, join_moments};
pub(crate) use softmax::sum_of;
pub(crate) use walk::fold_columns;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::same_on_any_pool;
