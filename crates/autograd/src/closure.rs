//! Closures that may use no tracked variable but those that they are given.

use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;
use tensor::{Error, Float, Result};

use crate::joining::tapes_made;
use crate::tape::{NodeId, Tape};
use crate::var::{Recording, Var, gradient_error, with_recording};

/// What the closure that is running may use.
struct Given {
    /// All tapes from this number on: they were made by the closure.
    tapes: u64,
    /// The tape of the arguments, and its length when the closure began: what lies beyond was made by
    /// the closure.
    tape: Option<(u64, NodeId)>,
    /// The places of the arguments.
    arguments: SmallVec<[NodeId; 4]>,
}

thread_local! {
    static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
}

/// Puts back what an outer closure may use, also after a panic.
struct Restore(Option<Given>);

impl Drop for Restore {
    fn drop(&mut self) {
        GIVEN.replace(self.0.take());
    }
}

/// Runs `closure`, in which an operation on a tracked variable is an error, unless it is one of the
/// `arguments` or made by the closure; so is such a variable among the results.
pub(crate) fn run_given<T: Float, R: AsRef<[Var<T>]>>(
    arguments: &[&Var<T>],
    closure: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let tape = arguments.iter().find_map(|argument| argument.tape());
    let given = Given {
        tapes: tapes_made(),
        tape: tape.map(|tape| (tape.0.whereabouts.number, tape.len() as NodeId)),
        arguments: arguments
            .iter()
            .filter_map(|argument| argument.id())
            .collect(),
    };
    let _restore = Restore(GIVEN.replace(Some(given)));
    let results = with_recording(Recording::OfGiven, closure)?;
    match results.as_ref().iter().any(is_captured) {
        true => Err(captured("", "gives")),
        false => Ok(results),
    }
}

/// Refuses inputs of an operation that the closure that is running was not given.
#[cold]
pub(crate) fn require_given<T: Float>(operation: &str, inputs: &[&Var<T>]) -> Result<()> {
    match inputs.iter().any(|input| is_captured(input)) {
        true => Err(captured(operation, "uses")),
        false => Ok(()),
    }
}

/// Whether the closure that is running neither was given the variable nor made it.
fn is_captured<T: Float>(var: &Var<T>) -> bool {
    let (Some(tape), Some(id)) = (var.tape(), var.id()) else {
        return false;
    };
    GIVEN.with_borrow(|given| {
        let Some(given) = given else {
            return false;
        };
        let number = tape.0.whereabouts.number;
        let of_argument = given.tape.is_some_and(|(tape, length)| {
            number == tape && (id >= length || given.arguments.contains(&id))
        });
        number < given.tapes && !of_argument
    })
}

fn captured(operation: &str, uses: &str) -> Error {
    let message = format!(
        "a closure {uses} a tracked variable that it was not given, whose gradient would be lost"
    );
    gradient_error(operation, message).fix("pass the variable as an input, or `detach()` it")
}

/// Refuses a closure that the tape would keep, and that holds a variable on that tape: each would keep
/// the other alive for ever.
pub(crate) fn require_no_cycle<T: Float>(tape: &Tape<T>, closure: &impl Clone) -> Result<()> {
    let handles = || Rc::strong_count(&tape.0);
    let before = handles();
    // A copy of the closure holds as many variables as the closure.
    let copy = closure.clone();
    let after = handles();
    drop(copy);
    if after == before {
        return Ok(());
    }
    let message = "the closure holds a tracked variable that it was not given: the tape would keep \
                   the closure, and the variable the tape, and neither would ever be freed";
    Err(gradient_error("", message).fix(
        "pass the variable as an input; where its value is enough, give the closure \
         `x.value().clone()`",
    ))
}
