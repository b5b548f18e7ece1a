//! The gradient with respect to the filters, by the transpose of the forward algorithm:
//! `dU = Σ (Bᵀ d B)ᵀ · (A dy Aᵀ)` point by point over all tiles, then `dw = Gᵀ dU G`.

use std::marker::PhantomData;

use crate::conv::correlation::{Correlation, Panels};
use crate::conv::filter_gradient::{MOST_PARTS, PARTS_LEN};
use crate::conv::job::{Execution, input_image, output_image};
use crate::conv::microkernel::{Finish, Loop, Strip, lanes};
use crate::conv::params::Conv2dParams;
use crate::conv::statistics::count_multiplications;
use crate::conv::winograd::minimal::Minimal;
use crate::conv::winograd::tiles::{
    Chunk, Fetch, TransformFilterGradient, TransformGradient, TransformInput,
};
use crate::conv::winograd::{FEWEST_SUMMED_TILES, Tiling};
use crate::error::Result;
use crate::matmul::with_scratch;
use crate::parallel::BLOCK;
use crate::simd::{Level, Real, dispatch};
use crate::storage::Buffer;

/// Overwrites `dw`, and `db` by the sums of `dy` over all pixels; `db` may be empty.
pub(in crate::conv) fn filter_gradient<T: Real, M: Minimal>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: &mut [T],
) -> Result<bool> {
    if dy.is_empty() {
        dw.fill(T::ZERO);
        db.fill(T::ZERO);
        return Ok(true);
    }
    let Execution { par, level } = execution;
    let (channels, outputs) = (params.in_channels, params.out_channels);
    let whole = |channels: usize| channels.next_multiple_of(lanes::<T>(level));
    let panels = Panels::new::<T>(level, channels, outputs);
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
    let blocks_down = tiling.rows.div_ceil(rows);
    let blocks = params.batch.div_ceil(images) * blocks_down;
    let filters_len = M::POINTS * panels.len();
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
            for chunk in tiling.chunks(images, row..(row + rows).min(tiling.rows)) {
                sum.add(&chunk, finish, filters, bias);
                finish = Finish::Add;
            }
        }
    });
    let (total, others) = sums.as_mut_slice().split_at_mut(part_len);
    par.for_chunks(total, BLOCK, |block, total| {
        for part in others.chunks_exact(part_len) {
            let part = &part[block * BLOCK..][..total.len()];
            total
                .iter_mut()
                .zip(part)
                .for_each(|(to, from)| *to += *from);
        }
    });
    let (total, bias) = total.split_at_mut(filters_len);
    db.copy_from_slice(&bias[..db.len()]);
    for index in 0..panels.count() {
        let panel = panels.panel(index);
        let u = &mut total[M::POINTS * panel.start..][..M::POINTS * panels.panel_len(index)];
        let tiling = PhantomData::<M>;
        dispatch(level, TransformFilterGradient { u, tiling });
        // Rows of taps and channels follow each other in both.
        let rows = dw
            .chunks_exact_mut(outputs)
            .zip(u.chunks_exact(panel.width));
        for (dw, u) in rows {
            dw[panel.first..panel.first + panel.columns].copy_from_slice(&u[..panel.columns]);
        }
    }
    Ok(true)
}

struct Sum<'a, T, M> {
    params: &'a Conv2dParams,
    level: Level,
    panels: Panels,
    widths: [usize; 2],
    x: &'a [T],
    dy: &'a [T],
    tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Sum<'_, T, M> {
    /// The rows below those of the chunk, which the next one needs.
    fn fetch(&self, chunk: &Chunk, origin: isize) -> Fetch<'_, T> {
        let inputs = [M::OUTPUT, M::INPUT];
        let inputs = chunk.pixels(input_image(self.params), origin, inputs);
        let outputs = chunk.pixels(output_image(self.params), 0, [M::OUTPUT; 2]);
        let parts = [
            Fetch::after(self.x, &inputs),
            Fetch::after(self.dy, &outputs),
            &[],
        ];
        Fetch { parts }
    }

    /// Stores or adds the products of one chunk of tiles, and adds the sums of its gradient.
    fn add(&self, chunk: &Chunk, finish: Finish<'_, T>, sums: &mut [T], bias: &mut [T]) {
        let tiles = chunk.tiles.len();
        let [v_width, w_width] = self.widths;
        let [v_matrix, w_matrix] = self.widths.map(|width| chunk.matrix_len::<T>(width));
        let (v_len, w_len) = (M::POINTS * v_matrix, M::POINTS * w_matrix);
        let channels = self.params.in_channels;
        count_multiplications([M::POINTS, tiles, channels, self.params.out_channels]);
        let correlation = Correlation::forward(self.params);
        with_scratch(
            v_len + w_len + w_width + M::POINTS * channels,
            |scratch: &mut [T]| {
                let (v, scratch) = scratch.split_at_mut(v_len);
                let (w, scratch) = scratch.split_at_mut(w_len);
                let (pixel_sums, patch) = scratch.split_at_mut(w_width);
                let transform_input = TransformInput::<T, M> {
                    chunk,
                    source: self.x,
                    shape: input_image(self.params),
                    origin: [correlation.rows.offset, correlation.columns.offset],
                    width: v_width,
                    v,
                    patch,
                    tiling: PhantomData,
                };
                dispatch(self.level, transform_input);
                pixel_sums.fill(T::ZERO);
                let transform_gradient = TransformGradient::<T, M> {
                    chunk,
                    source: self.dy,
                    shape: output_image(self.params),
                    width: w_width,
                    w,
                    sums: pixel_sums,
                    tiling: PhantomData,
                };
                dispatch(self.level, transform_gradient);
                for (bias, sum) in bias.iter_mut().zip(pixel_sums) {
                    *bias += *sum;
                }
                let fetch = self.fetch(chunk, correlation.rows.offset);
                let panels = self.panels.count();
                for point in 0..M::POINTS {
                    for (index, panel) in (0..panels).map(|p| self.panels.panel(p)).enumerate() {
                        let inner = Loop {
                            count: tiles,
                            a: v_width,
                            b: w_width,
                        };
                        let strip = Strip {
                            a: &v[point * v_matrix..],
                            a_row: 1,
                            b: &w[point * w_matrix + panel.first..],
                            c_row: panel.width,
                            rows: channels,
                            columns: panel.width,
                            sum: [Loop::ONCE, Loop::ONCE, inner],
                            finish,
                            ahead: fetch.share(point * panels + index, M::POINTS * panels),
                        };
                        let at = M::POINTS * panel.start + point * channels * panel.width;
                        strip.run(self.level, &mut sums[at..]);
                    }
                }
            },
        );
    }
}
