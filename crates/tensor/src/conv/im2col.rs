//! Patches packed into a matrix, a block of pixels at a time (*im2col*: Chellapilla et al., *High
//! Performance Convolutional Neural Networks for Document Processing*, 2006).
//!
//! A block of pixels runs on over the ends of rows and images, so that the matrix is tall also
//! where an image has few columns. The whole patch matrix never exists.

use std::ops::Range;

use crate::conv::ahead::Ahead;
use crate::conv::correlation::Correlation;
use crate::conv::direct::is_contiguous;
use crate::conv::job::{Block, ImageShape, Job, Step};
use crate::conv::microkernel::{Loop, Repeat, Strip};
use crate::conv::reached::{Path, reached};
use crate::matmul::with_scratch;
use crate::simd::Real;

/// Numbers in one block of patches: well within a second-level cache.
const PATCHES: usize = 48 << 10;
/// Patches in a block, however long they are.
const FEWEST_PATCHES: usize = 28;

/// The patches of `correlation` in an order of targets: image, row, column.
pub(super) struct Patches<'a, T> {
    pub(super) correlation: &'a Correlation,
    pub(super) shape: ImageShape,
    pub(super) source: &'a [T],
    /// The first image, and the first row of targets in each.
    pub(super) first_image: usize,
    pub(super) rows: Range<usize>,
}

impl<T: Real> Patches<'_, T> {
    /// How many patches to pack at a time.
    pub(super) fn block_len(&self, total: usize) -> usize {
        (PATCHES / self.correlation.patch().max(1))
            .max(FEWEST_PATCHES)
            .min(total)
    }

    /// Image, row and column of the target with number `index`.
    fn place(&self, index: usize) -> [usize; 3] {
        let width = self.correlation.columns.targets;
        let (row, column) = (index / width, index % width);
        let image = self.first_image + row / self.rows.len();
        [image, self.rows.start + row % self.rows.len(), column]
    }

    /// Packs the patches of targets `range`, as `group` sees them, into the rows of `packed`.
    pub(super) fn pack(&self, range: Range<usize>, group: usize, packed: &mut [T]) {
        let patch = self.correlation.patch();
        if patch == 0 {
            return;
        }
        let mut next = self.place(range.start);
        for row in packed.chunks_exact_mut(patch).take(range.len()) {
            let [image, y, x] = next;
            self.pack_one(image, y, x, group, row);
            next = if x + 1 < self.correlation.columns.targets {
                [image, y, x + 1]
            } else if y + 1 < self.rows.end {
                [image, y + 1, 0]
            } else {
                [image + 1, self.rows.start, 0]
            };
        }
    }

    fn pack_one(&self, image: usize, y: usize, x: usize, group: usize, patch: &mut [T]) {
        let Correlation {
            rows,
            columns,
            channels,
            ..
        } = *self.correlation;
        let image = &self.source[image * self.shape.len()..][..self.shape.len()];
        let inside = rows.taps_of(y);
        let across = columns.taps_of(x);
        for (tap, patch) in patch.chunks_exact_mut(columns.taps * channels).enumerate() {
            if !inside.contains(&tap) {
                patch.fill(T::ZERO);
                continue;
            }
            let row = (rows.start(y) + (tap * rows.step) as isize) as usize;
            let row = &image[row * self.shape.row_len()..][..self.shape.row_len()];
            patch[..across.start * channels].fill(T::ZERO);
            patch[across.end * channels..].fill(T::ZERO);
            if across.is_empty() {
                continue;
            }
            let first = (columns.start(x) + (across.start * columns.step) as isize) as usize;
            let from = &row[first * self.shape.channels + group * channels..];
            let patch = &mut patch[across.start * channels..across.end * channels];
            if is_contiguous(self.correlation) {
                patch.copy_from_slice(&from[..patch.len()]);
            } else {
                let apart = columns.step * self.shape.channels;
                for (tap, patch) in patch.chunks_exact_mut(channels).enumerate() {
                    patch.copy_from_slice(&from[tap * apart..][..channels]);
                }
            }
        }
    }
}

/// Computes the targets of `block`, whose memory is `target`.
pub(super) fn block<T: Real>(job: &Job<'_, T>, block: &Block, target: &mut [T]) {
    for step in job.steps {
        let correlation = &step.correlation;
        let rows = correlation.rows.targets_within(&block.rows);
        let total = block.images.len() * rows.len() * correlation.columns.targets;
        if total == 0 {
            continue;
        }
        let patches = Patches {
            correlation,
            shape: job.source_shape,
            source: job.source,
            first_image: block.images.start,
            rows,
        };
        let block_len = patches.block_len(total);
        for first in (0..total).step_by(block_len) {
            let range = first..(first + block_len).min(total);
            let dense = correlation.is_dense();
            reached(Path::Packed { dense }, job.level);
            if dense {
                let channels = job.target_shape.channels;
                let target = &mut target[first * channels..range.end * channels];
                multiply(job, step, &patches, range, target);
            } else {
                spread(job, step, &patches, range, block, target);
            }
        }
    }
}

/// Targets `range` into successive pixels of `target`.
fn multiply<T: Real>(
    job: &Job<'_, T>,
    step: &Step<'_, T>,
    patches: &Patches<'_, T>,
    range: Range<usize>,
    target: &mut [T],
) {
    let patch = step.correlation.patch();
    with_scratch(range.len() * patch, |packed: &mut [T]| {
        for group in 0..step.correlation.groups {
            patches.pack(range.clone(), group, packed);
            for panel in (0..step.panels.count()).map(|p| step.panels.panel(p)) {
                let first_channel = group * step.correlation.targets + panel.first;
                let inner = Loop {
                    count: patch,
                    a: 1,
                    b: panel.width,
                };
                let strip = Strip {
                    a: packed,
                    a_row: patch,
                    b: &step.filters[group * step.panels.len() + panel.start..],
                    c_row: job.target_shape.channels,
                    rows: range.len(),
                    columns: panel.columns,
                    sum: [Loop::ONCE, Loop::ONCE, inner],
                    finish: job.finish(first_channel, panel.columns),
                    repeat: Repeat::ONCE,
                    ahead: Ahead::of(&[]),
                };
                strip.run(job.level, &mut target[first_channel..]);
            }
        }
    });
}

/// Targets `range` to their places, which are some pixels apart.
fn spread<T: Real>(
    job: &Job<'_, T>,
    step: &Step<'_, T>,
    patches: &Patches<'_, T>,
    range: Range<usize>,
    block: &Block,
    target: &mut [T],
) {
    let Correlation { rows, columns, .. } = step.correlation;
    let channels = job.target_shape.channels;
    with_scratch(range.len() * channels, |results: &mut [T]| {
        multiply(job, step, patches, range.clone(), results);
        for (index, result) in range.zip(results.chunks_exact(channels)) {
            let [image, y, x] = patches.place(index);
            let y = rows.target_start + y * rows.target_step - block.rows.start;
            let x = columns.target_start + x * columns.target_step;
            let row = (image - block.images.start) * block.rows.len() + y;
            let start = (row * job.target_shape.width + x) * channels;
            target[start..start + channels].copy_from_slice(result);
        }
    });
}
