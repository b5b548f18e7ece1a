//! What numbers that are very large, or not finite, do to Winograd's algorithm: errors stay within the
//! bound that [`ConvAlgorithm`] states, and infinities and NaN where a direct computation has them.

use super::grid::values;
use super::oracle::Case;
use crate::conv::job::Execution;
use crate::conv::winograd::PooledGradient;
use crate::conv::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding};
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::Level;
use crate::{Pool2dOptions, PoolIndices, Tensor};

const ALGORITHMS: [ConvAlgorithm; 2] = [ConvAlgorithm::Winograd, ConvAlgorithm::Winograd2x2];

/// Whole tiles, narrow ones and parts of them; channels that fill vectors and that do not.
fn cases() -> Vec<Case> {
    let padded = Padding::Explicit {
        height: [2, 0],
        width: [1, 3],
    };
    [
        ([1, 8, 8, 8], 8, Padding::Same),
        ([2, 13, 10, 17], 9, Padding::Valid),
        ([3, 7, 15, 3], 21, padded),
        ([1, 6, 5, 70], 33, Padding::Same),
    ]
    .map(|(input, outputs, padding)| Case {
        input,
        filters: [3, 3, input[3], outputs],
        options: Conv2dOptions::new().padding(padding),
    })
    .into()
}

fn executions() -> impl Iterator<Item = Execution> {
    let par = Par::Threads;
    Level::available()
        .into_iter()
        .map(move |level| Execution { par, level })
}

fn algorithms_and_executions() -> impl Iterator<Item = (ConvAlgorithm, Execution)> {
    ALGORITHMS
        .into_iter()
        .flat_map(move |algorithm| executions().map(move |execution| (algorithm, execution)))
}

/// The operands of one convolution and of its gradients.
#[derive(Clone)]
struct Operands {
    case: Case,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    /// The gate of the input's gradient.
    gate: Vec<f32>,
}

impl Operands {
    fn new(case: Case) -> Self {
        let inputs: usize = case.input.iter().product();
        Operands {
            x: values(inputs, 1),
            w: values(case.filters.iter().product(), 2),
            dy: values(case.output().iter().product(), 3),
            gate: values(inputs, 4),
            case,
        }
    }

    fn params(&self, algorithm: ConvAlgorithm) -> Conv2dParams {
        let options = self.case.options.algorithm(algorithm);
        Conv2dParams::new(&self.case.input, &self.case.filters, &options).unwrap()
    }

    fn forward(&self, algorithm: ConvAlgorithm, execution: Execution, relu: bool) -> Vec<f32> {
        let bias: Vec<f32> = values(self.case.filters[3], 5);
        let bias = relu.then_some(&bias[..]);
        let mut out = vec![0.5; self.dy.len()];
        let (params, w) = (self.params(algorithm), self.w[..].into());
        let epilogue = Epilogue { bias, relu };
        let kernel = f32::kernels().conv.forward;
        kernel(&params, execution, &self.x, w, epilogue, &mut out).unwrap();
        out
    }

    fn input_gradient(
        &self,
        algorithm: ConvAlgorithm,
        execution: Execution,
        gated: bool,
    ) -> Vec<f32> {
        let gate = gated.then_some(&self.gate[..]);
        let mut dx = vec![0.5; self.x.len()];
        let (params, kernel) = (self.params(algorithm), f32::kernels().conv.input_gradient);
        kernel(&params, execution, &self.dy, &self.w, gate, &mut dx).unwrap();
        dx
    }

    fn filter_gradient(&self, algorithm: ConvAlgorithm, execution: Execution) -> Vec<f32> {
        let mut dw = vec![0.5; self.w.len()];
        let (params, kernel) = (self.params(algorithm), f32::kernels().conv.filter_gradient);
        kernel(&params, execution, &self.x, &self.dy, &mut dw, &mut []).unwrap();
        dw
    }
}

/// Places of pixels at the edges of `shape`, of tiles, and between, with a channel each.
fn places([batch, height, width, channels]: [usize; 4]) -> Vec<usize> {
    let at = |n: usize, y: usize, x: usize, c: usize| ((n * height + y) * width + x) * channels + c;
    vec![
        at(0, 0, 0, 0),
        at(batch - 1, height - 1, width - 1, channels - 1),
        at(0, height / 2, width / 2, channels / 2),
        at(batch - 1, 3, 4, channels - 1),
        at(0, 4, 0, 0),
        at(batch / 2, height - 2, 3, channels / 2),
    ]
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| f64::from(number)).collect()
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

/// The factor of the bound, and the outputs of a tile along an axis.
fn factor_and_side(algorithm: ConvAlgorithm) -> (f64, usize) {
    match algorithm {
        ConvAlgorithm::Winograd => (160.0, 4),
        _ => (16.0, 2),
    }
}

/// Roundings of the transforms.
const TRANSFORMS: usize = 27;
/// The unit roundoff of `f32`.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// The bound for each of the outputs of shape `shape`: by the largest of `source`, of shape
/// `source_shape`, in its tile, which begins at `origin` for the first, and by the sum of magnitudes of
/// the filters of its channel.
fn tile_bounds(
    algorithm: ConvAlgorithm,
    shape: [usize; 4],
    (source, source_shape): (&[f64], [usize; 4]),
    origin: [isize; 2],
    filters: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let (factor, side) = factor_and_side(algorithm);
    let [batch, height, width, channels] = shape;
    let [_, rows, columns, summed] = source_shape;
    let scale = factor * (summed + TRANSFORMS) as f64 * UNIT;
    let filters: Vec<f64> = (0..channels).map(filters).collect();
    let window = |start: usize, origin: isize, size: usize| {
        let clip = |at: isize| at.clamp(0, size as isize) as usize;
        let first = (start / side * side) as isize + origin;
        clip(first)..clip(first + side as isize + 2)
    };
    let mut bounds = Vec::new();
    for (n, y, x) in
        (0..batch).flat_map(|n| (0..height).flat_map(move |y| (0..width).map(move |x| (n, y, x))))
    {
        let mut in_tile = 0.0_f64;
        for row in window(y, origin[0], rows) {
            let across = window(x, origin[1], columns);
            let at = |column| ((n * rows + row) * columns + column) * summed;
            in_tile = in_tile.max(largest(&source[at(across.start)..at(across.end)]));
        }
        bounds.extend(filters.iter().map(|filters| scale * in_tile * filters));
    }
    bounds
}

/// Padding before, along both axes, by the first tap that the first output has on the input.
fn padding_before(case: &Case) -> [isize; 2] {
    match case.options.padding {
        Padding::Valid => [0, 0],
        Padding::Same => [1, 1],
        Padding::Explicit { height, width } => [height[0] as isize, width[0] as isize],
    }
}

#[track_caller]
fn assert_within(found: &[f32], expected: &[f64], bounds: &[f64], what: &str) {
    for (i, ((&found, &expected), &bound)) in found.iter().zip(expected).zip(bounds).enumerate() {
        let error = (f64::from(found) - expected).abs();
        // Written so that NaN fails.
        assert!(
            error <= bound,
            "{what} at {i}: {found} for {expected} ± {bound}"
        );
    }
}

#[test]
fn errors_stay_within_the_stated_bound() {
    for case in cases() {
        let ordinary = Operands::new(case.clone());
        let [height, width, channels, outputs] = case.filters;
        let ones = Operands {
            x: vec![1.0; ordinary.x.len()],
            dy: vec![1.0; ordinary.dy.len()],
            ..ordinary.clone()
        };
        let mut all = vec![ordinary.clone(), ones.clone()];
        for operands in [ordinary, ones] {
            // The last overflows in transforms, but not in the sums of the definition.
            for outlier in [1e6, -1e8, 1e20, 3e38] {
                let mut operands = operands.clone();
                let (input, output) = (places(case.input), places(case.output()));
                operands.x[input[2]] = outlier;
                operands.dy[output[3]] = outlier;
                all.push(operands.clone());
                if outlier < 1e38 {
                    operands.x[input[5]] = -outlier;
                    operands.dy[output[0]] = outlier;
                    all.push(operands);
                }
            }
        }
        for operands in all {
            let [x, w, dy] = [&operands.x, &operands.w, &operands.dy].map(|numbers| wide(numbers));
            let by_filter = |sees: &dyn Fn(usize) -> bool| -> f64 {
                let magnitudes = w.iter().enumerate().filter(|(at, _)| sees(*at));
                magnitudes.map(|(_, w)| w.abs()).sum()
            };
            let before = padding_before(&case);
            let (out, dx) = (case.forward(&x, &w), case.input_gradient(&dy, &w));
            // A product of two outliers is no number of `f32`.
            let dw = (largest(&x) * largest(&dy) < 1e37).then(|| case.filter_gradient(&x, &dy));
            for algorithm in ALGORITHMS {
                let (factor, side) = factor_and_side(algorithm);
                let output_bounds = tile_bounds(
                    algorithm,
                    case.output(),
                    (&x, case.input),
                    before.map(|before| -before),
                    |output| by_filter(&|at| at % outputs == output),
                );
                let input_bounds = tile_bounds(
                    algorithm,
                    case.input,
                    (&dy, case.output()),
                    before.map(|before| before - 2),
                    |input| by_filter(&|at| at / outputs % channels == input),
                );
                let [batch, rows, columns, _] = case.output();
                let tiles = batch * rows.div_ceil(side) * columns.div_ceil(side);
                let scale = factor * (tiles + TRANSFORMS) as f64 * UNIT * largest(&x);
                let sums: Vec<f64> = (0..outputs)
                    .map(|output| dy.iter().skip(output).step_by(outputs))
                    .map(|dy| scale * dy.map(|dy| dy.abs()).sum::<f64>())
                    .collect();
                let filter_bounds = sums.repeat(height * width * channels);
                for execution in executions() {
                    let what = format!("{algorithm:?} {:?} {case:?}", execution.level);
                    let found = operands.forward(algorithm, execution, false);
                    assert_within(&found, &out, &output_bounds, &what);
                    let found = operands.input_gradient(algorithm, execution, false);
                    assert_within(&found, &dx, &input_bounds, &what);
                    if let Some(dw) = &dw {
                        let found = operands.filter_gradient(algorithm, execution);
                        assert_within(&found, dw, &filter_bounds, &what);
                    }
                }
            }
        }
    }
}

/// Tiles overflow at some point or other, in products or sums, where sums of the definition do not.
#[test]
fn tiles_of_numbers_near_the_largest_are_right() {
    for case in cases() {
        for scale in [1e36, 3e36, 1e37, 3e37, 1e38] {
            let mut operands = Operands::new(case.clone());
            for number in operands.x.iter_mut().chain(&mut operands.dy) {
                *number *= scale;
            }
            let [x, w, dy] = [&operands.x, &operands.w, &operands.dy].map(|numbers| wide(numbers));
            let (out, dx) = (case.forward(&x, &w), case.input_gradient(&dy, &w));
            let sums = 9.0 * scale * case.filters[2].max(case.filters[3]) as f32;
            for (algorithm, execution) in algorithms_and_executions() {
                let what = format!("{algorithm:?} {:?} {scale} {case:?}", execution.level);
                // Partial sums overflow in one order and not in another.
                let direct = operands.forward(ConvAlgorithm::Direct, execution, false);
                let mut found = operands.forward(algorithm, execution, false);
                leave_open(&mut found, &direct, &out);
                assert_alike(&found, &direct, sums, &what);
                let direct = operands.input_gradient(ConvAlgorithm::Direct, execution, false);
                let mut found = operands.input_gradient(algorithm, execution, false);
                leave_open(&mut found, &direct, &dx);
                assert_alike(&found, &direct, sums, &what);
            }
        }
    }
}

/// The largest outlier changes no bit of an output that is computed from other tiles.
#[test]
fn an_outlier_stays_in_its_tiles() {
    let case = Case {
        input: [2, 16, 20, 9],
        filters: [3, 3, 9, 10],
        options: Conv2dOptions::new().padding(Padding::Same),
    };
    let operands = Operands::new(case.clone());
    let [_, height, width, channels] = case.input;
    let (row, column) = (7, 10);
    for outlier in [1e8, 3e38, f32::INFINITY, f32::NAN] {
        let mut changed = operands.clone();
        changed.x[((height + row) * width + column) * channels + 4] = outlier;
        for algorithm in ALGORITHMS {
            let (_, side) = factor_and_side(algorithm);
            for execution in executions() {
                let before = operands.forward(algorithm, execution, false);
                let after = changed.forward(algorithm, execution, false);
                let outputs = before.chunks_exact(10).zip(after.chunks_exact(10));
                for (pixel, (before, after)) in outputs.enumerate() {
                    let (n, y, x) = (
                        pixel / width / height,
                        pixel / width % height,
                        pixel % width,
                    );
                    let holds = |output: usize, input: usize| {
                        let first = output / side * side;
                        (first..first + side + 2).contains(&(input + 1))
                    };
                    if n == 0 || !holds(y, row) || !holds(x, column) {
                        assert_eq!(before, after, "{algorithm:?} {outlier} {y} {x}");
                    }
                }
            }
        }
    }
}

/// Whether both are the same infinity, both NaN, or both finite and nearly the same: compared to
/// `scale`, which sums of what is left in a window have.
#[track_caller]
fn assert_alike(found: &[f32], direct: &[f32], scale: f32, what: &str) {
    assert_eq!(found.len(), direct.len());
    for (i, (&found, &direct)) in found.iter().zip(direct).enumerate() {
        let alike = match direct.is_finite() {
            true => (found - direct).abs() <= 1e-5 * scale.max(direct.abs()),
            false => found == direct || (found.is_nan() && direct.is_nan()),
        };
        assert!(alike, "{what} at {i}: {found} for {direct}");
    }
}

const NOT_FINITE: [f32; 3] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Infinities and NaN in images and gradients.
#[test]
fn what_is_not_finite_stays_in_its_windows() {
    for case in cases() {
        let sums = (9 * case.filters[2].max(case.filters[3])) as f32;
        let pixels = case.output()[..3].iter().product::<usize>() as f32;
        let direct = ConvAlgorithm::Direct;
        for value in NOT_FINITE {
            let original = Operands::new(case.clone());
            for (i, place) in places(case.input).into_iter().enumerate() {
                let mut operands = original.clone();
                operands.x[place] = value;
                let mut other = original.clone();
                other.dy[places(case.output())[i]] = value;
                other.gate[place] = value;
                for (algorithm, execution) in algorithms_and_executions() {
                    let what = format!("{algorithm:?} {:?} {value} {case:?}", execution.level);
                    for flag in [false, true] {
                        let expected = operands.forward(direct, execution, flag);
                        let found = operands.forward(algorithm, execution, flag);
                        assert_alike(&found, &expected, sums, &format!("{what}, forward"));
                        let expected = other.input_gradient(direct, execution, flag);
                        let found = other.input_gradient(algorithm, execution, flag);
                        assert_alike(&found, &expected, sums, &format!("{what}, input"));
                    }
                    for operands in [&operands, &other] {
                        let expected = operands.filter_gradient(direct, execution);
                        let found = operands.filter_gradient(algorithm, execution);
                        assert_alike(&found, &expected, pixels, &format!("{what}, filters"));
                    }
                }
            }
        }
    }
}

/// A filter that is not finite leaves the other outputs alone. Direct convolutions multiply it by some
/// of the padding's zeros, too, which is left open.
#[test]
fn filters_that_are_not_finite_reach_their_outputs_alone() {
    for case in cases() {
        for value in NOT_FINITE {
            let mut operands = Operands::new(case.clone());
            let place = operands.w.len() / 2 + 1;
            operands.w[place] = value;
            let [x, w, dy] = [&operands.x, &operands.w, &operands.dy].map(|numbers| wide(numbers));
            let (out, dx) = (case.forward(&x, &w), case.input_gradient(&dy, &w));
            let sums = (9 * case.filters[2].max(case.filters[3])) as f32;
            for (algorithm, execution) in algorithms_and_executions() {
                let what = format!("{algorithm:?} {:?} {value} {case:?}", execution.level);
                let direct = operands.forward(ConvAlgorithm::Direct, execution, false);
                let mut found = operands.forward(algorithm, execution, false);
                leave_open(&mut found, &direct, &out);
                assert_alike(&found, &direct, sums, &what);
                let direct = operands.input_gradient(ConvAlgorithm::Direct, execution, false);
                let mut found = operands.input_gradient(algorithm, execution, false);
                leave_open(&mut found, &direct, &dx);
                assert_alike(&found, &direct, sums, &what);
            }
        }
    }
}

/// Makes `found` what `direct` is where that alone is not finite, and not the sum of the definition.
fn leave_open(found: &mut [f32], direct: &[f32], defined: &[f64]) {
    for ((found, &direct), defined) in found.iter_mut().zip(direct).zip(defined) {
        if !direct.is_finite() && defined.is_finite() {
            *found = direct;
        }
    }
}

fn bits(numbers: &Tensor<f32>) -> Vec<u32> {
    // NaN has many patterns, of which none is promised.
    let pattern = |x: f32| {
        if x.is_nan() {
            f32::NAN.to_bits()
        } else {
            x.to_bits()
        }
    };
    numbers.iter().map(pattern).collect()
}

/// Pooled on the way, and read before it is spread out, what is not finite is the same.
#[test]
fn pooled_kernels_agree_on_what_is_not_finite() {
    let pool = Pool2dOptions::new([2, 2]);
    for (shape, filters) in [([2, 12, 13, 8], 16), ([1, 10, 6, 5], 9)] {
        for (value, algorithm) in NOT_FINITE
            .into_iter()
            .chain([3e38])
            .flat_map(|value| ALGORITHMS.map(|algorithm| (value, algorithm)))
        {
            let w = Tensor::from_vec(values(9 * shape[3] * filters, 2), [3, 3, shape[3], filters]);
            let (w, bias) = (w.unwrap(), Tensor::from_vec(values(filters, 3), [filters]));
            let (bias, what) = (bias.unwrap(), format!("{algorithm:?} {value} {shape:?}"));
            for place in places(shape) {
                let mut x = values::<f32>(shape.iter().product(), 1);
                x[place] = value;
                let x = Tensor::from_vec(x, shape).unwrap();
                let options = Conv2dOptions::new()
                    .padding(Padding::Same)
                    .algorithm(algorithm)
                    .without_unpooled(x.shape(), w.shape(), &pool)
                    .unwrap();
                let (y, indices) = x
                    .conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)
                    .unwrap();
                let z = x.conv2d_fused(&w, Some(&bias), true, &options).unwrap();
                let (expected, expected_indices) = z.max_pool2d_gated(&pool).unwrap();
                assert_eq!(bits(&y), bits(&expected), "{what}");
                let [PoolIndices::Small(found), PoolIndices::Small(expected)] =
                    [&indices, &expected_indices]
                else {
                    panic!("four positions fit a byte");
                };
                assert_eq!(found.to_vec(), expected.to_vec(), "{what}");
                let alone = x.conv2d_relu_max_pool2d(&w, &bias, &options, &pool);
                assert_eq!(bits(&alone.unwrap()), bits(&y), "{what}");

                let mut dy = values::<f32>(y.len(), 4);
                let last = dy.len() - 1;
                dy[place.min(last)] = value;
                let dy = Tensor::from_vec(dy, y.shape().clone()).unwrap();
                let dz = dy.max_pool2d_gradient(&indices, z.shape(), &pool).unwrap();
                let expected = dz.conv2d_input_gradient_gated(&w, &x, &options);
                let (shape, gate) = (x.shape(), Some(&x));
                let found =
                    dy.conv2d_input_gradient_pooled(&indices, &w, shape, gate, &options, &pool);
                assert_eq!(bits(&found.unwrap()), bits(&expected.unwrap()), "{what}");
                let expected = x.conv2d_filter_and_bias_gradient(&dz, w.shape(), &options);
                let (shape, x) = (w.shape(), &x);
                let found =
                    x.conv2d_filter_and_bias_gradient_pooled(&dy, &indices, shape, &options, &pool);
                assert_eq!(bits(&found.unwrap()), bits(&expected.unwrap()), "{what}");
            }
        }
    }
}

/// The kernel that reads a pooling's gradient does so at every level.
#[test]
fn every_level_reads_a_pooled_gradient_that_is_not_finite() {
    let case = Case {
        input: [2, 12, 10, 9],
        filters: [3, 3, 9, 11],
        options: Conv2dOptions::new().padding(Padding::Same),
    };
    let mut operands = Operands::new(case);
    let pooled = Tensor::from_vec(values(2 * 6 * 5 * 11, 7), [2, 6, 5, 11]).unwrap();
    for value in NOT_FINITE {
        let mut dy = pooled.clone();
        dy.make_mut()[137] = value;
        let positions: Vec<u8> = (0..dy.len()).map(|i| [0, 3, 255, 2, 1][i % 5]).collect();
        let indices =
            PoolIndices::Small(Tensor::from_vec(positions.clone(), [2, 6, 5, 11]).unwrap());
        let pool = Pool2dOptions::new([2, 2]);
        let dz = dy.max_pool2d_gradient(&indices, &[2, 12, 10, 11], &pool);
        operands.dy = dz.unwrap().to_vec();
        let values = dy.to_vec();
        let (values, positions) = (&values[..], &positions[..]);
        for execution in executions() {
            let params = operands.params(ConvAlgorithm::Winograd);
            let mut found = vec![0.5; operands.x.len()];
            let gradient = PooledGradient { values, positions };
            let (kernel, gate) = (
                f32::kernels().conv.pooled_input_gradient,
                Some(&operands.gate[..]),
            );
            assert!(kernel(&params, execution, gradient, &operands.w, gate, &mut found).unwrap());
            let expected = operands.input_gradient(ConvAlgorithm::Winograd, execution, true);
            assert_alike(&found, &expected, 0.0, &format!("{value} {execution:?}"));
        }
    }
}
