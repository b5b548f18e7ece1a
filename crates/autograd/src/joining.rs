//! Tapes that move into others.
//!
//! A functional tool such as [`grad`](crate::grad) records its function on a tape of its own where the
//! argument is a constant: most often nothing else is involved. If the function turns out to use a
//! variable of an outer tape as well, what was recorded so far moves to the end of the outer tape, so
//! that derivatives by the outer variable find it there. Neither part can depend on the other before
//! they meet, so inputs still precede their nodes.

use std::cell::{Cell, OnceCell};

use tensor::Float;

use crate::tape::{CONSTANT, Kind, NodeId, Tape};

thread_local! {
    static TAPES: Cell<u64> = const { Cell::new(0) };
}

/// The number of tapes that this thread has made, which is that of the next one.
pub(crate) fn tapes_made() -> u64 {
    TAPES.get()
}

/// A number for a new tape, larger than those of all older ones of the thread.
pub(crate) fn next_tape() -> u64 {
    TAPES.replace(TAPES.get() + 1)
}

/// Marks a variable that [`Reverse::hand_out`](crate::Reverse::hand_out) does not number.
pub(crate) const UNNUMBERED: u32 = u32::MAX;

/// Where the nodes of a tape are.
pub(crate) struct Whereabouts<T: Float> {
    /// Older tapes have smaller numbers.
    pub(crate) number: u64,
    /// Whether the nodes may move into another tape.
    may_move: bool,
    /// The tape that they are on since they moved, and the place of the first.
    moved: OnceCell<(Tape<T>, NodeId)>,
    /// Reverse passes that are running over them, and know their places.
    pub(crate) passes: Cell<u32>,
}

impl<T: Float> Whereabouts<T> {
    pub(crate) fn new(may_move: bool) -> Self {
        Whereabouts {
            number: next_tape(),
            may_move,
            moved: OnceCell::new(),
            passes: Cell::new(0),
        }
    }

    fn may_move_now(&self) -> bool {
        self.may_move && self.passes.get() == 0
    }
}

impl<T: Float> Tape<T> {
    /// The tape that the nodes of this one are on: itself, unless they have moved.
    #[inline]
    pub(crate) fn home(&self) -> &Tape<T> {
        match self.0.whereabouts.moved.get() {
            None => self,
            Some((next, _)) => next.home(),
        }
    }

    /// How far the places of its nodes have moved.
    #[inline]
    pub(crate) fn shift(&self) -> NodeId {
        match self.0.whereabouts.moved.get() {
            None => 0,
            Some((next, shift)) => shift + next.shift(),
        }
    }

    pub(crate) fn has_moved(&self) -> bool {
        self.0.whereabouts.moved.get().is_some()
    }

    /// Moves the nodes of one of the tapes to the other, the younger first; `false` if neither may move.
    pub(crate) fn join(&self, other: &Tape<T>) -> bool {
        let (a, b) = (self.home(), other.home());
        if a.is_same(b) {
            return true;
        }
        let (older, younger) = match a.0.whereabouts.number < b.0.whereabouts.number {
            true => (a, b),
            false => (b, a),
        };
        if younger.0.whereabouts.may_move_now() {
            younger.move_into(older);
        } else if older.0.whereabouts.may_move_now() {
            older.move_into(younger);
        } else {
            return false;
        }
        true
    }

    fn move_into(&self, target: &Tape<T>) {
        let (from, to) = (&self.0, &target.0);
        let shift = target.len() as NodeId;
        let scope_around = to.scope();
        let scopes_before = to.scopes.borrow().len() as u32;
        to.scopes.borrow_mut().append(&mut from.scopes.borrow_mut());
        let mut nodes = to.nodes.borrow_mut();
        for mut node in from.nodes.borrow_mut().take() {
            node.scope = match node.scope {
                0 => scope_around,
                scope => scope + scopes_before,
            };
            match &mut node.kind {
                // The numbers are for the leaves that the caller of the other tape makes.
                Kind::Variable(number) => *number = UNNUMBERED,
                Kind::Operation(operation) => {
                    let tracked = operation.inputs.iter_mut().filter(|id| **id != CONSTANT);
                    tracked.for_each(|id| *id += shift);
                }
                Kind::Freed => {}
            }
            nodes.push(node);
        }
        drop(nodes);
        let hooks = from.hooks.take().into_iter();
        let hooks = hooks.map(|(id, hooks)| (id + shift, hooks));
        to.hooks.borrow_mut().extend(hooks);
        let derivatives = from.derivatives.take();
        let mut all = to.derivatives.borrow_mut();
        for (steps, of) in derivatives.steps {
            let steps = steps.start + shift..steps.end + shift;
            all.steps.push((steps, of + shift));
        }
        for (gradient, of) in derivatives.gradients {
            all.gradients.push((gradient + shift, of + shift));
        }
        if let Some(anomaly) = from.anomaly.take() {
            to.anomaly.borrow_mut().get_or_insert(anomaly);
        }
        // It has not moved before, as it was at home.
        let _ = from.whereabouts.moved.set((target.clone(), shift));
    }
}
