//! A training step happens whole, or the model refuses to go on.
//!
//! Most optimizers change each weight as soon as its gradient is known, so that no room is needed
//! for all gradients. If the pass fails after that, the weights are those of no step: neither the
//! old ones, of which no copy exists, nor the next. Whatever would use them says so, until they are
//! replaced.

use tensor::{Error, Float};

use super::Model;
use crate::error::Result;
use crate::optimizers::OptimizerState;

/// What errors say of such a model.
pub(super) const HALF_UPDATED: &str = "half updated: replace all its weights (`load_weights`, \
                                       `set_weights`) before it is used again";

impl<T: Float> Model<T> {
    /// One step of the optimizer: `updates` calls [`Model::update_parameter`] for each
    /// parameter. The step counts once all of it has happened.
    ///
    /// If it fails before the first parameter is touched, everything is as before. After that the
    /// model is half updated, and what the optimizer remembers, half updated too, is forgotten.
    pub(super) fn whole_step(
        &mut self,
        updates: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.prepare_state()?;
        let result = updates(self);
        let half_updated = self.half_updated.is_some();
        if let Some(compiled) = &mut self.compiled {
            match &result {
                Ok(()) => compiled.state.iterations = compiled.state.iterations.saturating_add(1),
                Err(_) if half_updated => compiled.state = OptimizerState::default(),
                Err(_) => {}
            }
        }
        match result {
            Ok(()) => self.half_updated = None,
            Err(error) if half_updated => return Err(error.half_updated(HALF_UPDATED)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The number of the step that comes next, counted from 1.
    pub(super) fn next_step(&self) -> u64 {
        let state = self.compiled.as_ref().map(|compiled| &compiled.state);
        state.map_or(0, |state| state.iterations).saturating_add(1)
    }

    /// Refuses a model that is half updated.
    pub(crate) fn require_whole(&self, operation: &str) -> Result<()> {
        match self.half_updated {
            None => Ok(()),
            Some(step) => Err(Error::value(
                operation,
                format!(
                    "the model is half updated: step {step} failed after it had changed weights"
                ),
            )
            .fix(
                "replace all weights (`load_weights`, `set_weights`), and let the optimizer start \
                 afresh or give it its state (`Compiled::set_state`); or load a checkpoint",
            )
            .into()),
        }
    }
}
