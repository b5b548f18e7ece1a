//! Every kernel and level against naive loops over a grid of geometries.

use super::max::Position;
use super::{Pool2dOptions, Pool2dParams, PoolIndices, average, max};
use crate::conv::Padding;
use crate::float::Float;
use crate::parallel::Par;
use crate::simd::Level;
use crate::tensor::Tensor;

/// Values on a coarse scale, so that windows have ties.
fn values(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 58) as f64 / 8.0 - 5.0
        })
        .collect()
}

/// Input index and tap number of every input position under each output, by the definition.
fn windows(
    input: [usize; 4],
    options: &Pool2dOptions,
    outputs: &[usize],
) -> Vec<Vec<(usize, usize)>> {
    let [_, height, width, channels] = input;
    let before = |axis: usize| match options.padding {
        Padding::Valid => 0,
        Padding::Explicit { height, width } => [height[0], width[0]][axis],
        Padding::Same => {
            let size = [height, width][axis];
            let last = (size.div_ceil(options.stride[axis]) - 1) * options.stride[axis];
            (last + options.window[axis]).saturating_sub(size) / 2
        }
    };
    let mut windows = Vec::new();
    for n in 0..outputs[0] {
        for oy in 0..outputs[1] {
            for ox in 0..outputs[2] {
                for c in 0..channels {
                    let mut window = Vec::new();
                    for ky in 0..options.window[0] {
                        for kx in 0..options.window[1] {
                            let y = (oy * options.stride[0] + ky).wrapping_sub(before(0));
                            let x = (ox * options.stride[1] + kx).wrapping_sub(before(1));
                            if y < height && x < width {
                                let index = ((n * height + y) * width + x) * channels + c;
                                window.push((index, ky * options.window[1] + kx));
                            }
                        }
                    }
                    windows.push(window);
                }
            }
        }
    }
    windows
}

fn grid() -> Vec<([usize; 4], Pool2dOptions)> {
    let mut cases = Vec::new();
    for window in [[2, 2], [3, 2], [1, 3], [4, 5]] {
        for stride in [[2, 2], [1, 1], [3, 2], [1, 4]] {
            for padding in [
                Padding::Valid,
                Padding::Same,
                Padding::Explicit {
                    height: [window[0] - 1, 0],
                    width: [0, window[1] / 2],
                },
            ] {
                for ceil_mode in [false, true] {
                    for size in [[5, 8], [7, 6]] {
                        let options = Pool2dOptions::new(window)
                            .stride(stride)
                            .padding(padding)
                            .ceil_mode(ceil_mode);
                        cases.push(([2, size[0], size[1], 19], options));
                    }
                }
            }
        }
    }
    // More than 256 positions.
    cases.push(([2, 18, 17, 3], Pool2dOptions::new([17, 16]).stride([1, 1])));
    cases
}

fn check_max<T: Float, P: Position>(input: [usize; 4], options: Pool2dOptions, level: Level) {
    let params = Pool2dParams::new(&input, &options).unwrap();
    let windows = windows(input, &options, &params.output_shape());
    let x64 = values(input.iter().product(), 1);
    let dy64 = values(windows.len(), 2);
    let cast = |values: &[f64]| -> Vec<T> { values.iter().map(|&v| T::from_f64(v)).collect() };
    let (x, dy) = (cast(&x64), cast(&dy64));
    let (par, nan) = (Par::Sequential, T::from_f64(f64::NAN));
    let context = format!("{input:?} {options:?} {level:?}");

    let mut y = vec![nan; windows.len()];
    let mut positions = vec![P::new(99); windows.len()];
    max::forward(&params, par, level, &x, false, &mut y, &mut positions);
    let mut only_values = vec![nan; windows.len()];
    max::values(&params, par, level, &x, &mut only_values);
    assert!(y == only_values, "{context}");
    let mut dx = vec![nan; x.len()];
    max::scatter(&params, par, level, &dy, &positions, None, &mut dx);
    let mut gathered = vec![nan; windows.len()];
    max::gather(&params, par, level, &x, &positions, &mut gathered);
    assert!(gathered == y, "{context}");

    let mut expected_dx = vec![0.0; x.len()];
    for (o, window) in windows.iter().enumerate() {
        let largest = window.iter().map(|&(i, _)| x64[i]).fold(f64::MIN, f64::max);
        let &(index, tap) = window.iter().find(|&&(i, _)| x64[i] == largest).unwrap();
        assert_eq!(y[o].to_f64(), largest, "{context}");
        assert_eq!(positions[o].to_i64(), tap as i64, "{context}");
        expected_dx[index] += dy64[o];
    }
    assert!(dx == cast(&expected_dx), "{context}");

    let mut closed = positions.clone();
    max::forward(&params, par, level, &x, true, &mut y, &mut closed);
    for ((closed, &position), y) in closed.iter().zip(&positions).zip(&y) {
        let expected = if y.to_f64() <= 0.0 {
            P::CLOSED
        } else {
            position
        };
        assert!(*closed == expected, "{context}");
    }

    let mut gated = vec![nan; x.len()];
    max::scatter(&params, par, level, &dy, &positions, Some(&x), &mut gated);
    for (dx, x) in expected_dx.iter_mut().zip(&x64) {
        *dx = if *x <= 0.0 { 0.0 } else { *dx };
    }
    assert!(gated == cast(&expected_dx), "{context}");
}

fn check_average<T: Float>(
    input: [usize; 4],
    options: Pool2dOptions,
    level: Level,
    tolerance: f64,
) {
    let params = Pool2dParams::new(&input, &options).unwrap();
    let outputs = params.output_shape();
    let windows = windows(input, &options, &outputs);
    let x64 = values(input.iter().product(), 1);
    let dy64 = values(windows.len(), 2);
    let cast = |values: &[f64]| -> Vec<T> { values.iter().map(|&v| T::from_f64(v)).collect() };
    let nan = T::from_f64(f64::NAN);
    let mut y = vec![nan; windows.len()];
    average::forward(&params, Par::Sequential, level, &cast(&x64), &mut y);
    let mut dx = vec![nan; x64.len()];
    average::gradient(&params, Par::Sequential, level, &cast(&dy64), &mut dx);
    let mut expected_dx = vec![0.0; x64.len()];
    for (o, window) in windows.iter().enumerate() {
        let pixel = o / input[3];
        let (row, column) = (pixel / outputs[2] % outputs[1], pixel % outputs[2]);
        let count = if options.count_padding {
            params.divisor(row, column) as f64
        } else {
            window.len() as f64
        };
        let mean = window.iter().map(|&(i, _)| x64[i]).sum::<f64>() / count;
        assert!(
            (y[o].to_f64() - mean).abs() <= tolerance,
            "{input:?} {options:?}"
        );
        for &(i, _) in window {
            expected_dx[i] += dy64[o] / count;
        }
    }
    for (dx, expected) in dx.iter().zip(expected_dx) {
        assert!(
            (dx.to_f64() - expected).abs() <= tolerance,
            "{input:?} {options:?}"
        );
    }
}

#[test]
fn max_agrees_with_the_oracle() {
    for (input, options) in grid() {
        for level in Level::available() {
            if options.window[0] * options.window[1] <= 256 {
                check_max::<f32, u8>(input, options, level);
                check_max::<f64, u8>(input, options, level);
            }
            check_max::<f32, i32>(input, options, level);
        }
    }
}

#[test]
fn average_agrees_with_the_oracle() {
    for (input, options) in grid() {
        for level in Level::available() {
            for options in [options, options.count_padding(true)] {
                check_average::<f32>(input, options, level, 2e-5);
                check_average::<f64>(input, options, level, 1e-13);
            }
        }
    }
}

#[test]
fn special_values_win_and_padding_does_not() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let options = Pool2dOptions::new([1, 3])
        .stride([1, 1])
        .padding(Padding::symmetric([0, 1]));
    let pool = |row: &[f32]| {
        let x = Tensor::from_vec(row.to_vec(), [1, 1, row.len(), 1]).unwrap();
        let (y, indices) = x.max_pool2d(&options).unwrap();
        let PoolIndices::Small(indices) = indices else {
            panic!("a small window has small indices");
        };
        (y.to_vec(), indices.to_vec())
    };
    assert_eq!(
        pool(&[-3.0, -2.0, -9.0]),
        (vec![-2.0, -2.0, -2.0], vec![2, 1, 0])
    );
    assert_eq!(pool(&[-inf, -inf, -inf]), (vec![-inf; 3], vec![1, 0, 0]));
    assert_eq!(pool(&[7.0, 7.0, 7.0]), (vec![7.0; 3], vec![1, 0, 0]));
    let (y, indices) = pool(&[nan, 1.0, 2.0, nan]);
    assert!(y[0].is_nan() && y[1].is_nan() && y[2].is_nan() && y[3].is_nan());
    assert_eq!(indices, [1, 0, 2, 1]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let input = [3, 61, 60, 33];
    let x: Vec<f32> = values(input.iter().product(), 1)
        .iter()
        .map(|&v| v as f32 * 0.1)
        .collect();
    let x = Tensor::from_vec(x, input).unwrap();
    let options = Pool2dOptions::new([3, 3])
        .stride([2, 2])
        .padding(Padding::Same);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let (y, indices) = x.max_pool2d(&options).unwrap();
            let dx = y.max_pool2d_gradient(&indices, &input, &options).unwrap();
            let mean = x.avg_pool2d(&options).unwrap();
            let mean_dx = mean.avg_pool2d_gradient(&input, &options).unwrap();
            [y, dx, mean, mean_dx].map(|t| t.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        })
    };
    let alone = run(1);
    assert!(alone == run(2) && alone == run(5));
}

#[test]
fn empty_images_and_wrong_shapes() {
    let options = Pool2dOptions::new([2, 2]);
    let empty = Tensor::<f32>::zeros([0, 4, 4, 3]).unwrap();
    let (y, indices) = empty.max_pool2d(&options).unwrap();
    assert_eq!(y.shape(), &[0, 2, 2, 3]);
    assert_eq!(indices.bytes(), 0);
    let same = options.padding(Padding::Same);
    let flat = Tensor::<f32>::zeros([2, 0, 4, 3]).unwrap();
    assert_eq!(flat.avg_pool2d(&same).unwrap().shape(), &[2, 0, 2, 3]);
    assert_eq!(
        flat.avg_pool2d(&same)
            .unwrap()
            .avg_pool2d_gradient(flat.shape(), &same)
            .unwrap()
            .shape(),
        flat.shape()
    );

    let x = Tensor::<f32>::zeros([1, 4, 4, 3]).unwrap();
    let (y, indices) = x.max_pool2d(&options).unwrap();
    assert_eq!(
        x.max_pool2d_gradient(&indices, x.shape(), &options)
            .unwrap_err()
            .to_string(),
        "max_pool2d_gradient: the shape of the gradient is not that of the pooling's output\n  \
         gradient  [1, 4, 4, 3]\n  \
         output    [1, 2, 2, 3]\n  \
         input     [1, 4, 4, 3]"
    );
    let error = y
        .max_pool2d_gradient(&indices, &[2, 4, 4, 3], &options)
        .unwrap_err();
    assert!(
        error.to_string().contains("output    [2, 2, 2, 3]"),
        "{error}"
    );
    assert!(y.max_pool2d_gather(&indices, &options).is_err());
}

#[test]
fn indices_of_another_window_match_nothing() {
    let x = Tensor::<f32>::ones([1, 2, 2, 1]).unwrap();
    let options = Pool2dOptions::new([2, 2]);
    let indices = PoolIndices::Small(Tensor::from_vec(vec![200], [1, 1, 1, 1]).unwrap());
    let dy = Tensor::<f32>::ones([1, 1, 1, 1]).unwrap();
    let dx = dy
        .max_pool2d_gradient(&indices, x.shape(), &options)
        .unwrap();
    assert_eq!(dx.to_vec(), [0.0; 4]);
    assert_eq!(
        x.max_pool2d_gather(&indices, &options).unwrap().to_vec(),
        [0.0]
    );
}
