//! Gradients that are not complete yet.

use tensor::{Float, Result};

use crate::tape::NodeId;
use crate::var::Var;

/// The gradient of a value by one of its uses, or by all so far.
pub(crate) struct Contribution<T: Float> {
    pub(crate) gradient: Var<T>,
    /// Whether it is 0 wherever the value is not positive; see [`Op::gates_gradient`].
    ///
    /// [`Op::gates_gradient`]: crate::Op::gates_gradient
    pub(crate) gated: bool,
}

impl<T: Float> Contribution<T> {
    /// The sum of both: the one place where gradients accumulate.
    pub(crate) fn plus(self, other: Self, tracked: bool) -> Result<Self> {
        let gradient = if tracked {
            self.gradient.add(&other.gradient)?
        } else {
            Var::constant(self.gradient.into_value() + other.gradient.value())
        };
        let gated = self.gated && other.gated;
        Ok(Contribution { gradient, gated })
    }
}

/// Gradients that wait for their node's turn. A pass over a long chain holds one at a time, so
/// they live in a small pool that a table of four bytes a node points into.
pub(crate) struct Pending<T: Float> {
    slot_of: Vec<u32>,
    slots: Vec<Option<Contribution<T>>>,
    free: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl<T: Float> Pending<T> {
    pub(crate) fn new(last: NodeId) -> Self {
        Pending {
            slot_of: vec![NONE; last as usize + 1],
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Adds a contribution to the gradient of node `id`.
    pub(crate) fn add(&mut self, id: NodeId, new: Contribution<T>, tracked: bool) -> Result<()> {
        let slot = self.slot_of[id as usize];
        if slot == NONE {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
            self.slots[slot as usize] = Some(new);
            self.slot_of[id as usize] = slot;
            return Ok(());
        }
        let slot = &mut self.slots[slot as usize];
        let Some(sum) = slot.take() else {
            *slot = Some(new);
            return Ok(());
        };
        *slot = Some(sum.plus(new, tracked)?);
        Ok(())
    }

    pub(crate) fn take(&mut self, id: NodeId) -> Option<Contribution<T>> {
        let slot = std::mem::replace(&mut self.slot_of[id as usize], NONE);
        if slot == NONE {
            return None;
        }
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}
