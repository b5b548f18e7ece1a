//! The gradient with respect to the filters, by the transpose of the forward algorithm:
//! `dU = Σ (Bᵀ d B)ᵀ · (A dy Aᵀ)` point by point over all tiles, then `dw = Gᵀ dU G`.

use std::marker::PhantomData;

use crate::conv::ahead::{self, Ahead};
use crate::conv::correlation::Correlation;
use crate::conv::filter_gradient::{MOST_PARTS, PARTS_LEN};
use crate::conv::job::{Execution, input_image, output_image};
use crate::conv::microkernel::{Finish, Loop, Repeat, Strip, lanes};
use crate::conv::params::Conv2dParams;
use crate::conv::statistics::count_multiplications;
use crate::conv::winograd::chunk::Chunk;
use crate::conv::winograd::filters::{PointPanels, TransformFilterGradient};
use crate::conv::winograd::image::{Plain, Source, TiledImage};
use crate::conv::winograd::input::TransformInput;
use crate::conv::winograd::minimal::Minimal;
use crate::conv::winograd::output_gradient::TransformOutputGradient;
use crate::conv::winograd::tile::{EachTile, matrix_len};
use crate::conv::winograd::{FEWEST_SUMMED_TILES, Tiling};
use crate::error::Result;
use crate::matmul::with_scratch;
use crate::parallel::BLOCK;
use crate::simd::{Level, Real, dispatch, vectorize_to_avx2};
use crate::storage::Buffer;

/// [`filter_gradient`] for one type and tile.
pub(in crate::conv) type FilterGradient<T> =
    fn(&Conv2dParams, Execution, &[T], Source<'_, T>, &mut [T], &mut [T]) -> Result<()>;

/// Overwrites `dw`, and `db` by the sums of `dy` over all pixels; `db` may be empty.
pub(in crate::conv) fn filter_gradient<T: Real, M: Minimal>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: Source<'_, T>,
    dw: &mut [T],
    db: &mut [T],
) -> Result<()> {
    if params.output_shape().elements() == 0 {
        dw.fill(T::ZERO);
        db.fill(T::ZERO);
        return Ok(());
    }
    let Execution { par, level } = execution;
    let (channels, outputs) = (params.in_channels, params.out_channels);
    let whole = |channels: usize| channels.next_multiple_of(lanes::<T>(level));
    let panels = PointPanels::new::<T, M>(level, channels, outputs);
    let widths = [whole(channels), whole(outputs)];
    let sum = Sum::<T, M> {
        params,
        level,
        panels,
        widths,
        x,
        dy,
        tiling: PhantomData,
    };
    let tiling = Tiling::new::<M>(
        params.batch,
        output_image(params),
        widths,
        FEWEST_SUMMED_TILES,
    );
    let [images, rows] = tiling.block();
    let blocks_down = tiling.rows().div_ceil(rows);
    let blocks = params.batch.div_ceil(images) * blocks_down;
    let filters_len = panels.len::<T>();
    let part_len = filters_len + widths[1];
    let parts = MOST_PARTS.min(blocks).min((PARTS_LEN / part_len).max(1));
    let mut sums = Buffer::unspecified("conv2d_filter_gradient", parts * part_len)?;
    par.for_chunks(sums.as_mut_slice(), part_len, |part, sums| {
        let (filters, bias) = sums.split_at_mut(filters_len);
        bias.fill(T::ZERO);
        // The first chunk finds nothing there that its products would be added to.
        let mut finish = Finish::Store {
            bias: None,
            relu: false,
        };
        for block in part * blocks / parts..(part + 1) * blocks / parts {
            let image = block / blocks_down * images;
            let row = block % blocks_down * rows;
            let images = image..(image + images).min(params.batch);
            for chunk in tiling.chunks(images, row..(row + rows).min(tiling.rows())) {
                sum.add(&chunk, finish, filters, bias);
                finish = Finish::Add;
            }
        }
    });
    let (total, others) = sums.as_mut_slice().split_at_mut(part_len);
    par.for_chunks(total, BLOCK, |block, total| {
        for part in others.chunks_exact(part_len) {
            let part = &part[block * BLOCK..][..total.len()];
            vectorize_to_avx2(
                level,
                #[inline(always)]
                || {
                    total
                        .iter_mut()
                        .zip(part)
                        .for_each(|(to, from)| *to += *from)
                },
            );
        }
    });
    let (total, bias) = total.split_at_mut(filters_len);
    db.copy_from_slice(&bias[..db.len()]);
    for panel in panels.panels::<T>() {
        let len = channels * panel.panel.width;
        let u = &mut total[panel.start..][..M::POINTS * panel.matrix];
        let transform = TransformFilterGradient {
            u,
            matrix: panel.matrix,
            len,
            tiling: PhantomData::<M>,
        };
        dispatch(level, transform);
        let by_tap = u.chunks_exact(panel.matrix);
        for (dw, u) in dw.chunks_exact_mut(channels * outputs).zip(by_tap) {
            let rows = dw
                .chunks_exact_mut(outputs)
                .zip(u.chunks_exact(panel.panel.width));
            let (first, columns) = (panel.panel.first, panel.panel.columns);
            for (dw, u) in rows {
                dw[first..first + columns].copy_from_slice(&u[..columns]);
            }
        }
    }
    Ok(())
}

struct Sum<'a, T, M> {
    params: &'a Conv2dParams,
    level: Level,
    panels: PointPanels,
    widths: [usize; 2],
    x: &'a [T],
    dy: Source<'a, T>,
    tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Sum<'_, T, M> {
    /// The rows below those of the chunk, which the next one needs.
    fn ahead(&self, chunk: &Chunk, origin: isize) -> Ahead<'_, T> {
        let input = input_image(self.params);
        let inputs = chunk.pixels(input, origin, [M::OUTPUT, M::INPUT]);
        let output = output_image(self.params);
        let parts = [
            ahead::after(self.x, &inputs),
            self.dy.after(chunk, output, 0, [M::OUTPUT; 2]),
            &[],
        ];
        Ahead::parts(parts, M::POINTS * self.panels.count())
    }

    /// Stores or adds the products of one chunk of tiles, and adds the sums of its gradient.
    fn add(&self, chunk: &Chunk, finish: Finish<'_, T>, sums: &mut [T], bias: &mut [T]) {
        let tiles = chunk.len();
        let (channels, outputs) = (self.params.in_channels, self.params.out_channels);
        count_multiplications([chunk.multiplications::<M>(), channels, outputs, 1]);
        let [v_width, w_width] = self.widths;
        let [v_matrix, w_matrix] = self.widths.map(|width| matrix_len::<T>(tiles, width));
        let (v_len, w_len) = (M::POINTS * v_matrix, M::POINTS * w_matrix);
        let correlation = Correlation::forward(self.params);
        let origin = [correlation.rows.offset, correlation.columns.offset];
        let tiling = PhantomData::<M>;
        with_scratch(
            v_len + w_len + w_width + M::POINTS * channels.max(outputs),
            |scratch: &mut [T]| {
                let (v, scratch) = scratch.split_at_mut(v_len);
                let (w, scratch) = scratch.split_at_mut(w_len);
                let (pixel_sums, patch) = scratch.split_at_mut(w_width);
                let transform = TransformInput {
                    source: Plain(self.x),
                    shape: input_image(self.params),
                    origin,
                    width: v_width,
                    matrix: v_matrix,
                    v,
                    patch: &mut *patch,
                    tiling,
                };
                dispatch(self.level, EachTile { chunk, transform });
                pixel_sums.fill(T::ZERO);
                match self.dy {
                    Source::Image(dy) => {
                        self.transform_gradient(chunk, Plain(dy), w, pixel_sums, patch);
                    }
                    Source::Pooled(dy) => {
                        self.transform_gradient(chunk, dy, w, pixel_sums, patch);
                    }
                }
                for (bias, sum) in bias.iter_mut().zip(pixel_sums) {
                    *bias += *sum;
                }
                let ahead = self.ahead(chunk, origin[0]);
                for (index, panel) in self.panels.panels::<T>().enumerate() {
                    let width = panel.panel.width;
                    for (points, rows) in chunk.groups::<M>() {
                        let first = points.start;
                        let [v, w] = [(&*v, v_matrix, v_width), (&*w, w_matrix, w_width)].map(
                            |(numbers, matrix, width)| {
                                &numbers[first * matrix + rows.start * width..]
                            },
                        );
                        let inner = Loop {
                            count: rows.len(),
                            a: v_width,
                            b: w_width,
                        };
                        let strip = Strip {
                            a: v,
                            a_row: 1,
                            b: w.get(panel.panel.first..).unwrap_or(&[]),
                            c_row: width,
                            rows: channels,
                            columns: width,
                            sum: [Loop::ONCE, Loop::ONCE, inner],
                            finish,
                            repeat: Repeat {
                                count: points.len(),
                                a: v_matrix,
                                b: w_matrix,
                                c: panel.matrix,
                            },
                            ahead: ahead.from(index * M::POINTS + first),
                        };
                        strip.run(self.level, &mut sums[panel.start + first * panel.matrix..]);
                    }
                }
            },
        );
    }

    /// `W = A dy Aᵀ` of the tiles of `chunk`, and sums of `dy`.
    fn transform_gradient(
        &self,
        chunk: &Chunk,
        source: impl TiledImage<T>,
        w: &mut [T],
        sums: &mut [T],
        patch: &mut [T],
    ) {
        let transform = TransformOutputGradient {
            source,
            shape: output_image(self.params),
            width: self.widths[1],
            matrix: matrix_len::<T>(chunk.len(), self.widths[1]),
            w,
            sums,
            patch,
            tiling: self.tiling,
        };
        dispatch(self.level, EachTile { chunk, transform });
    }
}
