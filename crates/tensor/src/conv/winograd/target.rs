//! Where a convolution's outputs go.

use crate::parallel::Par;

/// Images of outputs, and where a pooling's maxima were, if that is asked for.
pub(crate) struct Target<'a, T> {
    pub(crate) values: &'a mut [T],
    /// For each value the number of the tap of its window, 255 where it is not positive.
    pub(crate) positions: Option<&'a mut [u8]>,
}

impl<'a, T: Send> Target<'a, T> {
    pub(in crate::conv) fn values(values: &'a mut [T]) -> Self {
        Target {
            values,
            positions: None,
        }
    }

    /// `body(i, chunk)` for chunks of `len` values.
    pub(super) fn for_chunks(
        self,
        par: Par,
        len: usize,
        body: impl Fn(usize, Target<'_, T>) + Sync + Send,
    ) {
        match self.positions {
            None => par.for_chunks(self.values, len, |i, values| {
                body(i, Target::values(values));
            }),
            Some(positions) => {
                par.for_chunk_pairs(self.values, positions, len, |i, values, positions| {
                    let positions = Some(positions);
                    body(i, Target { values, positions });
                });
            }
        }
    }

    /// The same place, for a shorter time.
    pub(super) fn reborrow(&mut self) -> Target<'_, T> {
        Target {
            values: self.values,
            positions: self.positions.as_deref_mut(),
        }
    }
}
