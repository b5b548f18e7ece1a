//! The differentiable operations, one family a file; each stands beside its derivative and what
//! its tests need.

mod activation;
mod arithmetic;
mod choose;
mod conv;
mod conv_gradient;
mod dropout;
mod einsum;
mod elementwise;
mod extremes;
mod index;
mod join;
mod linalg;
mod loss;
mod matmul;
mod normalize;
mod operators;
mod plane;
mod pool;
mod powers;
mod reduce;
mod resize;
mod rule;
mod scan;
mod shape;
mod softmax;
mod sparse;
mod views;

pub(crate) use elementwise::catalogue;
pub use elementwise::{CatalogueEntry, Elementwise, elementwise};
pub use loss::CrossEntropy;
pub(crate) use rule::{Rule1, Rule2};

use crate::samples::OpEntry;

/// Every operation, family by family.
#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let families = [
        arithmetic::entries,
        powers::entries,
        plane::entries,
        elementwise::entries,
        activation::entries,
        choose::entries,
        shape::entries,
        views::entries,
        join::entries,
        index::entries,
        reduce::entries,
        matmul::entries,
        extremes::entries,
        scan::entries,
        softmax::entries,
        conv::entries,
        pool::entries,
        dropout::entries,
        einsum::entries,
        linalg::entries,
        normalize::entries,
        sparse::entries,
        resize::entries,
        loss::entries,
    ];
    families.iter().flat_map(|entries| entries()).collect()
}
