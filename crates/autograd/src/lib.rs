//! Reverse-mode automatic differentiation on a tape, to any order.
//!
//! A [`Tape`] records the operations that run on its variables; [`Var::backward`] walks the
//! recording in reverse. The tape knows no operation by name: every one implements the open trait
//! [`Op`], and its derivative is written in recorded operations, so that gradients of gradients
//! need no further code.
//!
//! ```
//! use autograd::Tape;
//! use tensor::Tensor;
//!
//! let tape = Tape::new();
//! let x = tape.variable(Tensor::from([0.5, 1.0]));
//! let loss = (x.sin() * x.exp()).sum(..)?;
//! println!("{}", loss.backward()?.of(&x)?);
//! # Ok::<(), autograd::Error>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod anomaly;
mod backward;
mod closure;
mod custom;
mod functional;
mod gradcheck;
mod gradients;
mod inspect;
mod joining;
mod nodes;
mod op;
mod ops;
mod pending;
mod reverse;
mod samples;
mod saves;
mod tape;
mod trace;
mod var;

pub use backward::{Backward, InputGradients};
pub use custom::{checkpoint, custom_gradient};
pub use functional::{
    Outcome, grad, hessian, hessian_vector_product, jacobian, jvp, value_and_grad, vjp,
};
pub use gradcheck::{GradCheck, assert_gradients, gradcheck, gradgradcheck};
pub use gradients::Gradients;
pub use inspect::{Graph, GraphNode, GraphNodeKind};
pub use op::{Inputs, Op};
pub use ops::{CatalogueEntry, CrossEntropy, Elementwise, elementwise};
pub use reverse::Reverse;
pub use samples::{OpEntry, Sample, operations, operations_table};
pub use saves::Saves;
pub use tape::Tape;
// The signatures of [`Op`] are made of these, so a crate that adds operations depends on this one
// alone, and cannot meet a second version of them.
pub use tensor::{self, Error, ErrorKind, Float, Result, Shape, Tensor};
pub use trace::{Span, SpanKind, is_watched, section, trace};
pub use var::{Var, no_grad};

/// The elementwise functions that exist, each with what its tests and its row in the
/// documentation need.
pub fn catalogue() -> Vec<CatalogueEntry> {
    ops::catalogue()
}
