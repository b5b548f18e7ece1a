//! What the caches fetch while products are computed.

use std::ops::Range;

/// Numbers that whoever comes next will need, fetched by steps of a computation that does not wait
/// for memory itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<'a, T> {
    /// In the order of their use; some may be empty.
    pub(super) parts: [&'a [T]; 3],
    /// The steps of a computation of [`Ahead::steps`] that these are.
    pub(super) first: usize,
    pub(super) steps: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// `numbers`, by a computation of one step.
    pub(super) fn of(numbers: &'a [T]) -> Self {
        Ahead::parts([numbers, &[], &[]], 1)
    }

    /// `parts`, by a computation of `steps` steps.
    pub(super) fn parts(parts: [&'a [T]; 3], steps: usize) -> Self {
        Ahead {
            parts,
            first: 0,
            steps,
        }
    }

    /// What the steps from `first` on fetch.
    pub(super) fn from(self, first: usize) -> Self {
        Ahead { first, ..self }
    }

    /// What step `step` fetches, counted from the first of these.
    pub(super) fn share(&self, step: usize) -> &'a [T] {
        let used = self.parts.iter().filter(|part| !part.is_empty());
        let steps_a_part = self.steps.div_ceil(used.clone().count().max(1)).max(1);
        let step = self.first + step;
        let Some(part) = used.clone().nth(step / steps_a_part) else {
            return &[];
        };
        let (i, len) = (step % steps_a_part, part.len());
        &part[i * len / steps_a_part..(i + 1) * len / steps_a_part]
    }
}

/// The numbers that follow `range` in `all`, as many as it has.
pub(super) fn after<'a, T>(all: &'a [T], range: &Range<usize>) -> &'a [T] {
    let start = range.end.min(all.len());
    &all[start..(start + range.len()).min(all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_share_all_parts() {
        let numbers: Vec<usize> = (0..30).collect();
        let parts = [&numbers[..17], &[], &numbers[17..]];
        let ahead = Ahead::parts(parts, 8);
        let fetched: Vec<usize> = (0..8).flat_map(|i| ahead.share(i).to_vec()).collect();
        assert_eq!(fetched, numbers);
        assert_eq!(ahead.from(5).share(1), ahead.share(6));
        assert!(Ahead::<f32>::of(&[]).share(0).is_empty());
    }
}
