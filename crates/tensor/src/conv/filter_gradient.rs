//! The gradient with respect to the filters: `dw = Σ patchᵀ · dy` over all pixels of all images.
//!
//! The sum over pixels is cut into parts, each summed by one task into memory of its own, and the
//! parts are added in order: so the bits do not depend on the number of threads.

use std::ops::Range;

use crate::conv::ahead::Ahead;
use crate::conv::correlation::{Correlation, Panel, Panels};
use crate::conv::depthwise;
use crate::conv::direct::is_contiguous;
use crate::conv::im2col;
use crate::conv::job::{Block, Execution, ImageShape, Patches, input_image, output_image};
use crate::conv::microkernel::{Finish, Loop, Repeat, Strip, fitting};
use crate::conv::params::Conv2dParams;
use crate::conv::reached::{Path, reached};
use crate::conv::statistics::count_multiplications;
use crate::conv::windows::{Windows, for_windows};
use crate::error::Result;
use crate::matmul::with_scratch;
use crate::parallel::BLOCK;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};
use crate::storage::Buffer;

/// Parts that the sum is cut into, at most.
pub(super) const MOST_PARTS: usize = 16;
/// Numbers that all parts may take, unless a single one takes more.
pub(super) const PARTS_LEN: usize = 8 << 20;
/// Numbers of input and gradient in a block: so many that the sums, which each block fetches and
/// stores once, take little of its time. Where there is work for fewer than [`MOST_PARTS`] such
/// blocks, they are smaller, …
const LARGEST_BLOCK: usize = 512 << 10;
/// … down to so many.
const SMALLEST_BLOCK: usize = 256 << 10;
/// The small tiles of 16 registers read a block many times, so it must be near; where there are no
/// more sums than these, …
const NEAR_SUMS: usize = 16 << 10;
/// … which cost little to fetch and store, a block is at most so many numbers: a quarter of a
/// second-level cache of 1 MiB.
const NEAR_BLOCK: usize = 64 << 10;

/// `dw[ky, kx, ci, co] = Σ x[n, oy·s + ky·d − before, …, ci] · dy[n, oy, ox, co]`; overwrites `dw`, and
/// `db`, unless that is empty, by `Σ dy` over all pixels. Returns whether it did the latter.
pub(super) fn filter_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    patches: Patches,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: &mut [T],
) -> Result<bool> {
    if dw.is_empty() {
        return Ok(false);
    }
    if dy.is_empty() {
        dw.fill(T::ZERO);
        return Ok(false);
    }
    if patches == Patches::Depthwise {
        depthwise::filter_gradient(params, execution, x, dy, dw)?;
        return Ok(false);
    }
    let par = execution.par;
    let correlation = Correlation::forward(params);
    let level = fitting::<T>(execution.level, correlation.targets);
    let panels = correlation.panels::<T>(level);
    let sum = Sum {
        level,
        correlation: &correlation,
        x,
        x_shape: input_image(params),
        dy,
        dy_shape: output_image(params),
    };
    let filters_len = correlation.groups * panels.len();
    // The filters' sums, then the bias'.
    let part_len = filters_len + db.len();
    let blocks = sum.blocks(params.batch);
    let parts = (MOST_PARTS.min(blocks.count)).min((PARTS_LEN / part_len).max(1));
    let mut sums = Buffer::unspecified("conv2d_filter_gradient", parts * part_len)?;
    // Where there are few parts, some panels (or groups) of a part are a task of their own.
    let (unit_len, units) = match correlation.groups {
        1 => (panels.chunk(), panels.count()),
        groups => (panels.len(), groups),
    };
    let task_len = units.div_ceil(MOST_PARTS / parts) * unit_len;
    par.for_chunks(sums.as_mut_slice(), part_len, |part, sums| {
        let bounds = |part| part * blocks.count / parts;
        let blocks = || (bounds(part)..bounds(part + 1)).map(|i| blocks.block(i));
        let (filters, bias) = sums.split_at_mut(filters_len);
        let add = |task: usize, block: &Block, sums: &mut [T]| {
            let pieces = Pieces {
                panels,
                start: task * task_len,
                end: task * task_len + sums.len(),
            };
            sum.count(block, &pieces);
            match patches {
                Patches::Packed => sum.add_packed(block, &pieces, sums),
                Patches::InPlace | Patches::Depthwise => sum.add_in_place(block, &pieces, sums),
            }
        };
        bias.fill(T::ZERO);
        if task_len >= filters_len {
            filters.fill(T::ZERO);
            for block in blocks() {
                add(0, &block, filters);
                // While the block is still near.
                sum.add_bias(&block, bias);
            }
        } else {
            par.for_chunks(filters, task_len, |task, sums| {
                sums.fill(T::ZERO);
                blocks().for_each(|block| add(task, &block, sums));
            });
            blocks().for_each(|block| sum.add_bias(&block, bias));
        }
    });
    let sums = sums.as_slice();
    add_parts(execution, &correlation, &panels, (sums, part_len), dw);
    db.fill(T::ZERO);
    for part in sums.chunks_exact(part_len) {
        let bias = &part[filters_len..];
        db.iter_mut().zip(bias).for_each(|(to, from)| *to += *from);
    }
    Ok(!db.is_empty())
}

/// `dw = Σ parts`, from panels back to rows of filters.
fn add_parts<T: Real>(
    execution: Execution,
    correlation: &Correlation,
    panels: &Panels,
    (parts, part_len): (&[T], usize),
    dw: &mut [T],
) {
    let channels = correlation.groups * correlation.targets;
    let rows = (BLOCK / channels).max(1);
    execution.par.for_chunks(dw, rows * channels, |i, dw| {
        for (row, dw) in (i * rows..).zip(dw.chunks_exact_mut(channels)) {
            for (group, dw) in dw.chunks_exact_mut(correlation.targets).enumerate() {
                for panel in (0..panels.count()).map(|p| panels.panel(p)) {
                    let dw = &mut dw[panel.first..panel.first + panel.columns];
                    let start = group * panels.len() + panel.start + row * panel.width;
                    for (part, sums) in parts.chunks_exact(part_len).enumerate() {
                        let sums = &sums[start..start + panel.columns];
                        if part == 0 {
                            dw.copy_from_slice(sums);
                        } else {
                            dw.iter_mut().zip(sums).for_each(|(to, from)| *to += *from);
                        }
                    }
                }
            }
        }
    });
}

/// The panels of all groups whose sums lie in `start..end` of a part.
struct Pieces {
    panels: Panels,
    start: usize,
    end: usize,
}

impl Pieces {
    /// Group, panel, and where its sums begin in the task's memory.
    fn iter(&self) -> impl Iterator<Item = (usize, Panel, usize)> {
        let group_len = self.panels.len();
        (self.start / group_len..self.end.div_ceil(group_len)).flat_map(move |group| {
            (0..self.panels.count())
                .map(|p| self.panels.panel(p))
                .map(move |panel| (group, panel, group * group_len + panel.start))
                .filter(|&(.., at)| (self.start..self.end).contains(&at))
                .map(|(group, panel, at)| (group, panel, at - self.start))
        })
    }
}

/// How the pixels of all images are cut into blocks.
struct Blocks {
    count: usize,
    batch: usize,
    height: usize,
    images: usize,
    rows: usize,
}

impl Blocks {
    fn block(&self, index: usize) -> Block {
        let per_image = self.height.div_ceil(self.rows);
        let (image, row) = (
            index / per_image * self.images,
            index % per_image * self.rows,
        );
        Block {
            images: image..(image + self.images).min(self.batch),
            rows: row..(row + self.rows).min(self.height),
        }
    }
}

struct Sum<'a, T> {
    level: Level,
    correlation: &'a Correlation,
    x: &'a [T],
    x_shape: ImageShape,
    dy: &'a [T],
    dy_shape: ImageShape,
}

impl<T: Real> Sum<'_, T> {
    /// Numbers of input and gradient under one row of outputs.
    fn row_numbers(&self) -> usize {
        let new_rows = self.correlation.rows.stride.min(self.x_shape.height);
        new_rows * self.x_shape.row_len() + self.dy_shape.row_len()
    }

    fn blocks(&self, batch: usize) -> Blocks {
        let numbers = (self.x.len() + self.dy.len()) / MOST_PARTS;
        let mut numbers = numbers.clamp(SMALLEST_BLOCK, LARGEST_BLOCK);
        let panels = self.correlation.panels::<T>(self.level);
        if self.level < Level::Avx512 && self.correlation.groups * panels.len() <= NEAR_SUMS {
            numbers = numbers.min(NEAR_BLOCK);
        }
        let height = self.dy_shape.height;
        let all_rows = numbers / self.row_numbers();
        let images = (all_rows / height).clamp(1, batch);
        let rows = all_rows.clamp(1, height);
        Blocks {
            count: batch.div_ceil(images) * height.div_ceil(rows),
            batch,
            height,
            images,
            rows,
        }
    }

    fn count(&self, block: &Block, pieces: &Pieces) {
        let columns: usize = pieces.iter().map(|(_, panel, _)| panel.columns).sum();
        let pixels = [block.images.len(), block.rows.len(), self.dy_shape.width];
        let [images, rows, across] = pixels;
        count_multiplications([images, rows, across, self.correlation.patch(), columns]);
    }

    /// Adds the sums of the gradient in one block to `bias`, which may be empty.
    fn add_bias(&self, block: &Block, bias: &mut [T]) {
        if bias.is_empty() {
            return;
        }
        let row_len = self.dy_shape.row_len();
        for image in block.images.clone() {
            for row in block.rows.clone() {
                let start = (image * self.dy_shape.height + row) * row_len;
                let pixels = &self.dy[start..start + row_len];
                dispatch(self.level, AddPixels { pixels, bias });
            }
        }
    }

    /// Adds the products of one block, its patches read in place.
    fn add_in_place(&self, block: &Block, pieces: &Pieces, sums: &mut [T]) {
        for_windows(
            self.correlation,
            self.x_shape,
            self.x,
            &block.images,
            &block.rows,
            |windows| {
                for (group, panel, at) in pieces.iter() {
                    self.add_windows(windows, &block.images, group, panel, &mut sums[at..]);
                }
            },
        );
    }

    fn add_windows(
        &self,
        windows: &Windows<'_, T>,
        images: &Range<usize>,
        group: usize,
        panel: Panel,
        sums: &mut [T],
    ) {
        let Correlation {
            rows,
            columns,
            channels,
            ..
        } = *self.correlation;
        let (across_taps, run) = if is_contiguous(self.correlation) {
            (1, columns.taps * channels)
        } else {
            (columns.taps, channels)
        };
        for down in 0..rows.taps {
            let mut reached = windows
                .targets
                .clone()
                .filter(|&o| rows.taps_of(o).contains(&down));
            let Some(first) = reached.next() else {
                continue;
            };
            let count = 1 + reached.count();
            let position = rows.start(first) + (down * rows.step) as isize;
            let gradient = Gradient {
                images: images.clone(),
                rows: first..first + count,
                columns: windows.across.clone(),
                first_channel: group * self.correlation.targets + panel.first,
                width: panel.width,
            };
            self.with_gradient(&gradient, |dy, [per_image, per_row, per_column]| {
                for tap in 0..across_taps {
                    let a = windows.row(position)
                        + tap * columns.step * self.x_shape.channels
                        + group * channels;
                    let c = (down * columns.taps + tap) * channels * panel.width;
                    let strip = Strip {
                        a: &windows.numbers[a..],
                        a_row: 1,
                        b: dy,
                        c_row: panel.width,
                        rows: run,
                        columns: panel.width,
                        sum: [
                            Loop {
                                count: images.len(),
                                a: windows.image_len,
                                b: per_image,
                            },
                            Loop {
                                count,
                                a: rows.stride * windows.row_len,
                                b: per_row,
                            },
                            Loop {
                                count: windows.across.len(),
                                a: columns.stride * self.x_shape.channels,
                                b: per_column,
                            },
                        ],
                        finish: Finish::Add,
                        repeat: Repeat::ONCE,
                        ahead: Ahead::of(&[]),
                    };
                    strip.run(self.level, &mut sums[c..]);
                }
            });
        }
    }

    /// Adds the products of one block, its patches packed.
    fn add_packed(&self, block: &Block, pieces: &Pieces, sums: &mut [T]) {
        let correlation = self.correlation;
        let patches = im2col::Patches {
            correlation,
            shape: self.x_shape,
            source: self.x,
            first_image: block.images.start,
            rows: block.rows.clone(),
        };
        let patch = correlation.patch();
        let total = block.images.len() * block.rows.len() * correlation.columns.targets;
        let block_len = patches.block_len(total);
        // Rows of a block follow each other without gaps: it is whole images or rows of one.
        let origin = block.images.start * self.dy_shape.height + block.rows.start;
        let origin = origin * self.dy_shape.width;
        with_scratch(block_len * patch, |packed: &mut [T]| {
            for first in (0..total).step_by(block_len) {
                let range = first..(first + block_len).min(total);
                let mut packed_group = None;
                for (group, panel, at) in pieces.iter() {
                    if packed_group != Some(group) {
                        patches.pack(range.clone(), group, packed);
                        packed_group = Some(group);
                    }
                    let gradient = Gradient {
                        images: 0..1,
                        rows: 0..1,
                        columns: origin + range.start..origin + range.end,
                        first_channel: group * correlation.targets + panel.first,
                        width: panel.width,
                    };
                    self.with_gradient(&gradient, |dy, [.., per_column]| {
                        let inner = Loop {
                            count: range.len(),
                            a: patch,
                            b: per_column,
                        };
                        let strip = Strip {
                            a: packed,
                            a_row: 1,
                            b: dy,
                            c_row: panel.width,
                            rows: patch,
                            columns: panel.width,
                            sum: [Loop::ONCE, Loop::ONCE, inner],
                            finish: Finish::Add,
                            repeat: Repeat::ONCE,
                            ahead: Ahead::of(&[]),
                        };
                        strip.run(self.level, &mut sums[at..]);
                    });
                }
            }
        });
    }

    /// Runs `body` with the part of `dy` that `gradient` names, and the distances between its
    /// images, rows and columns.
    ///
    /// A panel's vectors may reach into the following channels; what is summed from there is never
    /// read. Only where they would reach beyond the end of `dy` the part is copied.
    fn with_gradient(&self, gradient: &Gradient, body: impl FnOnce(&[T], [usize; 3])) {
        let shape = self.dy_shape;
        let steps = [shape.len(), shape.row_len(), shape.channels];
        let at = |image: usize, row: usize, column: usize| {
            image * steps[0] + row * steps[1] + column * steps[2] + gradient.first_channel
        };
        let Gradient {
            images,
            rows,
            columns,
            width,
            ..
        } = gradient;
        let first = at(images.start, rows.start, columns.start);
        let last = at(images.end - 1, rows.end - 1, columns.end - 1);
        let copied = last + width > self.dy.len();
        reached(Path::FilterGradient { copied }, self.level);
        if !copied {
            return body(&self.dy[first..], steps);
        }
        let row_len = columns.len() * width;
        let image_len = rows.len() * row_len;
        with_scratch(images.len() * image_len, |copy: &mut [T]| {
            let mut copies = copy.chunks_exact_mut(*width);
            for image in images.clone() {
                for row in rows.clone() {
                    for (column, copy) in columns.clone().zip(&mut copies) {
                        let from = &self.dy[at(image, row, column)..];
                        let count = from.len().min(*width);
                        copy[..count].copy_from_slice(&from[..count]);
                        copy[count..].fill(T::ZERO);
                    }
                }
            }
            body(copy, [image_len, row_len, *width]);
        });
    }
}

/// Pixels and channels of `dy`.
struct Gradient {
    images: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
    first_channel: usize,
    width: usize,
}

/// Adds to `bias` the sum of `pixels`, which have as many channels.
struct AddPixels<'a, T> {
    pixels: &'a [T],
    bias: &'a mut [T],
}

impl<T: Real> Kernel for AddPixels<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Chains of additions that do not wait for each other.
        const CHAINS: usize = 4;
        let lanes = T::Vector::<S>::LANES;
        let channels = self.bias.len();
        for first in (0..channels).step_by(lanes) {
            let columns = first..(first + lanes).min(channels);
            let load = |pixel: &[T]| T::Vector::<S>::load_partial(simd, &pixel[columns.clone()]);
            let mut sums = [T::Vector::<S>::zero(simd); CHAINS];
            let mut several = self.pixels.chunks_exact(CHAINS * channels);
            for pixels in several.by_ref() {
                for chain in 0..CHAINS {
                    sums[chain] = sums[chain] + load(&pixels[chain * channels..]);
                }
            }
            let [a, b, c, d] = sums;
            let mut sum = (a + b) + (c + d);
            for pixel in several.remainder().chunks_exact(channels) {
                sum = sum + load(pixel);
            }
            (load(self.bias) + sum).store_partial(&mut self.bias[columns]);
        }
    }
}
