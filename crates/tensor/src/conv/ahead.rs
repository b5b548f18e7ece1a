//! What the caches fetch while products are computed.

use std::ops::Range;

/// Numbers that whoever comes next will need, fetched by steps of a computation that does not wait
/// for memory itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<'a, T> {
    /// In the order of their use, and the numbers of each that a step fetches.
    parts: [(&'a [T], usize); 3],
    steps_a_part: usize,
    /// The step that these begin with.
    first: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// `numbers`, by a computation of one step.
    pub(super) fn of(numbers: &'a [T]) -> Self {
        Ahead::parts([numbers, &[], &[]], 1)
    }

    /// `parts` in the order of their use, by a computation of `steps` steps; some may be empty.
    pub(super) fn parts(parts: [&'a [T]; 3], steps: usize) -> Self {
        let used = parts.iter().filter(|part| !part.is_empty());
        let steps_a_part = steps.div_ceil(used.clone().count().max(1)).max(1);
        let mut ahead = Ahead {
            parts: [(&[], 0); 3],
            steps_a_part,
            first: 0,
        };
        for (place, part) in ahead.parts.iter_mut().zip(used) {
            *place = (part, part.len().div_ceil(steps_a_part));
        }
        ahead
    }

    /// What the steps from `first` on fetch.
    pub(super) fn from(self, first: usize) -> Self {
        Ahead { first, ..self }
    }

    /// What step `step` fetches, counted from the first of these.
    #[inline(always)]
    pub(super) fn share(&self, step: usize) -> &'a [T] {
        let step = self.first + step;
        let Some((part, len)) = self.parts.get(step / self.steps_a_part) else {
            return &[];
        };
        let start = (step % self.steps_a_part * len).min(part.len());
        &part[start..(start + len).min(part.len())]
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
