//! What a process allows its convolutions to be computed by, and when Winograd's algorithm computes
//! tiles directly, by counters. Alone in its process: both belong to the whole of it.

use rayon::ThreadPoolBuilder;
use tensor::{
    Conv2dOptions, Conv2dParams, ConvAlgorithm, ConvDirection, ConvStatistics, Padding,
    Pool2dOptions, Result, Tensor, conv_statistics, generator,
};

const INPUT: [usize; 4] = [3, 22, 26, 16];
const FILTERS: [usize; 4] = [3, 3, 16, 24];

/// Convolutions that [`ConvAlgorithm::Auto`] computes by Winograd's algorithm, with all their
/// gradients.
fn results(x: &Tensor<f32>, options: &Conv2dOptions) -> Result<Vec<Tensor<f32>>> {
    let mut generator = generator(2);
    let w = Tensor::normal(FILTERS, 0.0, 0.1, &mut generator)?;
    let bias = Tensor::normal([FILTERS[3]], 0.0, 1.0, &mut generator)?;
    let pool = Pool2dOptions::new([2, 2]);
    let y = x.conv2d(&w, options)?;
    let rectified = x.conv2d_fused(&w, Some(&bias), true, options)?;
    let pooled = x.conv2d_relu_max_pool2d(&w, &bias, options, &pool)?;
    let (gated, indices) = x.conv2d_relu_max_pool2d_gated(&w, &bias, options, &pool)?;
    Ok(vec![
        y.conv2d_input_gradient(&w, &INPUT, options)?,
        y.conv2d_input_gradient_gated(&w, x, options)?,
        x.conv2d_filter_gradient(&y, &FILTERS, options)?,
        x.conv2d_filter_and_bias_gradient(&y, &FILTERS, options)?,
        gated.conv2d_input_gradient_pooled(&indices, &w, &INPUT, None, options, &pool)?,
        x.conv2d_filter_and_bias_gradient_pooled(&gated, &indices, &FILTERS, options, &pool)?,
        y,
        rectified,
        pooled,
        gated,
    ])
}

/// The bits of [`results`] on so many threads, and what the counters said before and after.
fn run(
    threads: usize,
    x: &Tensor<f32>,
    options: &Conv2dOptions,
) -> (Vec<Vec<u32>>, [ConvStatistics; 2]) {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let before = conv_statistics();
    let results = pool.unwrap().install(|| results(x, options).unwrap());
    let bits = |result: &Tensor<f32>| result.iter().map(f32::to_bits).collect();
    let bits = results.iter().map(bits).collect();
    (bits, [before, conv_statistics()])
}

fn normal() -> Tensor<f32> {
    Tensor::normal(INPUT, 0.0, 1.0, &mut generator(1)).unwrap()
}

fn winograd_runs(options: &Conv2dOptions, expected: bool) {
    let x = normal();
    let (bits, [before, after]) = run(1, &x, options);
    assert_eq!(after.winograd > before.winograd, expected, "{after:?}");
    assert_eq!(after.winograd_2x2, before.winograd_2x2);
    assert_eq!(after.direct_tiles, before.direct_tiles);
    for threads in [2, 3, 5] {
        assert_eq!(run(threads, &x, options).0, bits, "{threads} threads");
    }
    let params = Conv2dParams::new(&INPUT, &FILTERS, options).unwrap();
    for direction in [
        ConvDirection::Forward,
        ConvDirection::InputGradient,
        ConvDirection::FilterGradient,
    ] {
        let algorithm = params.algorithm::<f32>(direction).unwrap();
        assert_eq!(algorithm == ConvAlgorithm::Winograd, expected);
    }
}

#[test]
fn winograd_runs_where_it_may_and_directly_where_it_must() {
    let auto = Conv2dOptions::new().padding(Padding::Same);
    let without = auto.algorithm(ConvAlgorithm::AutoWithoutWinograd);
    winograd_runs(&auto, true);
    winograd_runs(&without, false);
    ConvAlgorithm::allow_winograd(false);
    winograd_runs(&auto, false);
    winograd_runs(&without, false);
    // By name it runs all the same.
    winograd_runs(&auto.algorithm(ConvAlgorithm::Winograd), true);
    ConvAlgorithm::allow_winograd(true);
    winograd_runs(&auto, true);

    tiles_are_computed_directly_one_by_one(&auto);
}

fn tiles_are_computed_directly_one_by_one(options: &Conv2dOptions) {
    let w = Tensor::<f32>::ones(FILTERS).unwrap();
    // A pixel in one tile, in two and in four.
    for (place, tiles) in [([1, 5, 9, 3], 1), ([2, 5, 11, 0], 2), ([0, 8, 12, 15], 4)] {
        for value in [f32::NAN, f32::INFINITY, 3e38] {
            let mut x = normal();
            let at = (0..3).fold(0, |at, axis| (at + place[axis]) * INPUT[axis + 1]) + place[3];
            x.make_mut()[at] = value;
            let before = conv_statistics().direct_tiles;
            x.conv2d(&w, options).unwrap();
            let counted = conv_statistics().direct_tiles - before;
            // At the corner of a tile, what is finite is not multiplied by more than 1.
            if !value.is_finite() || tiles < 4 {
                assert_eq!(counted, tiles, "{place:?} {value}");
            }
            let (bits, _) = run(1, &x, options);
            for threads in [2, 3, 5] {
                assert_eq!(
                    run(threads, &x, options).0,
                    bits,
                    "{threads} threads, {value}"
                );
            }
        }
    }
}
