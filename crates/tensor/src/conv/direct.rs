//! Patches read in place: neighbouring patches are overlapping rows of the image.

use crate::conv::ahead::Ahead;
use crate::conv::correlation::Correlation;
use crate::conv::job::{Block, Job, Step};
use crate::conv::microkernel::{Loop, Repeat, Strip};
use crate::conv::reached::{Path, reached};
use crate::conv::windows::{Windows, for_windows};
use crate::simd::Real;

/// Computes the targets of `block`, whose memory is `target`.
pub(super) fn block<T: Real>(job: &Job<'_, T>, block: &Block, target: &mut [T]) {
    let target_len = target.len() / block.images.len();
    for (image, target) in block.images.clone().zip(target.chunks_mut(target_len)) {
        for step in job.steps {
            for_windows(
                &step.correlation,
                job.source_shape,
                job.source,
                &(image..image + 1),
                &step.correlation.rows.targets_within(&block.rows),
                |windows| strips(job, step, windows, block.rows.start, target),
            );
        }
    }
}

/// Whether the taps of a patch's row, with their channels, are one run in memory: unless other
/// groups' channels or skipped columns lie between them.
pub(super) fn is_contiguous(correlation: &Correlation) -> bool {
    correlation.columns.step == 1 && correlation.groups == 1
}

/// One strip for each row of targets and panel of channels. `top` is the image's row at the
/// beginning of `target`.
fn strips<T: Real>(
    job: &Job<'_, T>,
    step: &Step<'_, T>,
    windows: &Windows<'_, T>,
    top: usize,
    target: &mut [T],
) {
    let Correlation {
        rows,
        columns,
        groups,
        channels,
        ..
    } = step.correlation;
    let copied = windows.row_len != job.source_shape.row_len();
    reached(Path::InPlace { copied }, job.level);
    let source_channels = job.source_shape.channels;
    let target_channels = job.target_shape.channels;
    let group_len = step.panels.len();
    for (group, panel) in (0..groups).flat_map(|g| (0..step.panels.count()).map(move |p| (g, p))) {
        let panel = step.panels.panel(panel);
        let filters = &step.filters[group * group_len + panel.start..];
        let first_channel = group * step.correlation.targets + panel.first;
        let tap_len = channels * panel.width;
        let (middle, run) = if is_contiguous(&step.correlation) {
            (Loop::ONCE, columns.taps * channels)
        } else {
            let middle = Loop {
                count: columns.taps,
                a: columns.step * source_channels,
                b: tap_len,
            };
            (middle, channels)
        };
        let inner = Loop {
            count: run,
            a: 1,
            b: panel.width,
        };
        for o in windows.targets.clone() {
            let taps = rows.taps_of(o);
            let outer = Loop {
                count: taps.len(),
                a: rows.step * windows.row_len,
                b: columns.taps * tap_len,
            };
            let (a, b) = if taps.is_empty() {
                (0, 0)
            } else {
                let row = rows.start(o) + (taps.start * rows.step) as isize;
                (
                    windows.row(row) + group * channels,
                    taps.start * columns.taps * tap_len,
                )
            };
            let y = rows.target_start + o * rows.target_step - top;
            let x = columns.target_start + windows.across.start * columns.target_step;
            let c = x * target_channels + first_channel;
            // The first panel fetches the row below for all, so that nothing is written before it
            // is near.
            let row_len = job.target_shape.row_len();
            let (row, below) = target[y * row_len..].split_at_mut(row_len);
            let below = below.get((rows.target_step - 1) * row_len..);
            let ahead = match below {
                Some(below) if first_channel == 0 => &below[..below.len().min(row_len)],
                _ => &[],
            };
            let strip = Strip {
                a: &windows.numbers[a..],
                a_row: columns.stride * source_channels,
                b: &filters[b..],
                c_row: columns.target_step * target_channels,
                rows: windows.across.len(),
                columns: panel.columns,
                sum: [outer, middle, inner],
                finish: job.finish(first_channel, panel.columns),
                repeat: Repeat::ONCE,
                ahead: Ahead::of(ahead),
            };
            strip.run(job.level, &mut row[c..]);
        }
    }
}
