//! Sizes at the ends of their range: each function answers rightly or refuses, and none panics,
//! overflows or runs without end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    Conv2dOptions, ConvAlgorithm, Factored, Pad, Padding, Pool2dOptions, Slice, SparseMatrix,
    Tensor, generator, keepdims,
};

const MAX: usize = usize::MAX;

/// Numbers that products and sums wrap around at, and some that take long to count to.
const SIZES: [usize; 12] = [
    1,
    2,
    3,
    1 << 17,
    1 << 31,
    1 << 45,
    MAX / 32,
    MAX / 16 + 1,
    MAX / 4,
    MAX / 3,
    MAX / 2 + 1,
    MAX,
];

/// What cannot be wrong of a function on a tensor without elements: it returns.
type Call = (&'static str, fn(&Tensor<f32>));

/// Calls `body` with each axis, counted from either end.
fn axes(x: &Tensor<f32>, body: impl Fn(isize)) {
    let rank = x.rank() as isize;
    (-rank..rank).for_each(body);
}

const CALLS: &[Call] = &[
    ("Debug", |x| assert!(format!("{x:?}").len() < 100_000)),
    ("Display", |x| assert!(x.to_string().len() < 100_000)),
    ("to_vec", |x| assert!(x.to_vec().is_empty())),
    ("iter", |x| assert_eq!(x.iter().count(), 0)),
    ("eq", |x| assert!(x == &x.clone())),
    ("get", |x| assert!(x.get(&vec![0; x.rank()]).is_err())),
    ("item", |x| assert!(x.item().is_err())),
    ("make_mut", |x| assert!(x.clone().make_mut().is_empty())),
    ("contiguous", |x| assert!(x.contiguous().is_empty())),
    ("t", |x| assert!(x.t().contiguous().is_empty())),
    ("cast", |x| assert!(x.cast::<i64>().is_empty())),
    ("map", |x| assert!(x.map(|x| x + 1.0).is_empty())),
    ("exp", |x| assert!(x.t().exp().is_empty())),
    ("relu", |x| assert!(x.relu().is_empty())),
    ("add", |x| assert!((x + x).is_empty())),
    ("add a number", |x| assert!((x + 1.0).is_empty())),
    ("add a view", |x| drop(x.add(&x.flip(..).unwrap()))),
    ("choose", |x| {
        let condition = x.gt(x).unwrap();
        assert!(condition.choose(x, x).unwrap().is_empty());
        assert!(condition.not().nonzero().unwrap().is_empty());
        assert!(x.masked_fill(&condition, 1.0).unwrap().is_empty());
    }),
    ("sum", |x| {
        assert_eq!(x.sum(..).unwrap().item().unwrap(), 0.0);
        axes(x, |axis| {
            drop(x.sum(axis));
            drop(x.mean(keepdims(axis)));
            drop(x.prod(axis));
            drop(x.var(axis, 1));
        });
    }),
    ("sum_to_shape", |x| drop(x.sum_to_shape([1]))),
    ("max", |x| axes(x, |axis| drop(x.max(axis)))),
    ("argmax", |x| axes(x, |axis| drop(x.argmax(axis)))),
    ("logsumexp", |x| axes(x, |axis| drop(x.logsumexp(axis)))),
    ("softmax", |x| {
        axes(x, |axis| {
            assert!(x.softmax(axis).unwrap().is_empty());
            assert!(x.log_softmax(axis).unwrap().is_empty());
        });
    }),
    ("cumsum", |x| axes(x, |axis| drop(x.cumsum(axis)))),
    ("sort", |x| {
        axes(x, |axis| {
            drop(x.sort(axis, false));
            drop(x.topk(1, axis));
        });
    }),
    ("slice", |x| {
        axes(x, |axis| {
            for slice in slices() {
                assert!(x.slice_axis(axis, slice).unwrap().is_empty(), "{slice:?}");
            }
        });
    }),
    ("index_axis", |x| {
        axes(x, |axis| {
            let size = x.shape()[x.shape().axis("test", axis).unwrap()];
            for index in [0, size / 2, size.saturating_sub(1), MAX] {
                drop(x.index_axis(axis, index));
            }
        });
    }),
    ("flip", |x| assert!(x.flip(..).unwrap().is_empty())),
    ("flatten", |x| {
        (0..=x.rank()).for_each(|start| drop(x.flatten(start)));
    }),
    ("reshape", |x| {
        for view in [x.clone(), x.t(), x.t().flip(..).unwrap()] {
            assert!(view.reshape([0]).unwrap().is_empty());
            assert!(view.reshape([MAX, 0, MAX]).unwrap().is_empty());
        }
    }),
    ("broadcast_to", |x| {
        let wide = [&[MAX][..], x.shape()].concat();
        assert!(x.broadcast_to(wide).unwrap().is_empty());
    }),
    ("expand_dims", |x| {
        assert!(x.expand_dims(0).unwrap().is_empty())
    }),
    ("roll", |x| {
        axes(x, |axis| {
            for shift in [isize::MIN, -1, 0, 1, isize::MAX] {
                assert_eq!(x.roll(shift, axis).unwrap().shape(), x.shape());
            }
        });
    }),
    ("concat", |x| {
        axes(x, |axis| {
            drop(Tensor::concat(&[x, x], axis));
            drop(Tensor::stack(&[x, x], axis));
            drop(x.chunk(3, axis));
        });
    }),
    ("split", |x| {
        axes(x, |axis| {
            let size = x.shape()[x.shape().axis("test", axis).unwrap()];
            assert_eq!(
                x.split(&[size / 2, size - size / 2], axis).unwrap().len(),
                2
            );
        });
    }),
    ("repeat", |x| {
        axes(x, |axis| {
            drop(x.repeat(2, axis));
            drop(x.repeat(MAX, axis));
        });
        drop(x.tile(&[2, 2, 2]));
        drop(x.tile(&[MAX, MAX, MAX]));
    }),
    ("pad", |x| {
        for pad in [Pad::Constant(1.0), Pad::Edge, Pad::Reflect] {
            drop(x.pad(&vec![(0, 0); x.rank()], pad));
            drop(x.pad(&vec![(1, 2); x.rank()], pad));
            drop(x.pad(&vec![(MAX, MAX); x.rank()], pad));
        }
    }),
    ("place", |x| {
        let whole = vec![Slice::from(..); x.rank()];
        assert!(x.place(x.shape(), &whole).unwrap().is_empty());
    }),
    ("tril", |x| {
        for diagonal in [isize::MIN, 0, isize::MAX] {
            drop(x.tril(diagonal));
            drop(x.triu(diagonal));
        }
    }),
    ("index_select", |x| {
        let [none, first] = [Tensor::<i64>::zeros([0]), Tensor::zeros([1])].map(Result::unwrap);
        axes(x, |axis| {
            drop(x.index_select(axis, &none));
            drop(x.index_select(axis, &first));
            drop(x.index_add(axis, &first, x));
        });
        let everywhere = Tensor::<i64>::zeros(x.shape()).unwrap();
        axes(x, |axis| {
            drop(x.gather(axis, &everywhere));
            drop(x.scatter_add(axis, &everywhere, x));
        });
        drop(everywhere.one_hot::<f32>(MAX));
    }),
    ("matmul", |x| {
        drop(x.matmul(x));
        drop(x.matmul(&x.t()));
        drop(x.t().matmul(x));
        drop(x.outer(x));
    }),
    ("solve", |x| {
        drop(x.inverse());
        drop(x.det());
        drop(x.solve(x));
        drop(x.cholesky());
    }),
    ("sparse_along", |x| {
        let row = [[(0, 1.0)]].into_iter();
        axes(x, |axis| {
            let size = x.shape()[x.shape().axis("test", axis).unwrap()];
            if let Ok(matrix) = SparseMatrix::from_rows(size, row.clone()) {
                assert!(x.sparse_along(axis, &matrix).is_err() || size > 0);
            }
        });
    }),
    ("standardize", |x| {
        axes(x, |axis| drop(x.standardize(axis, 1e-3)));
        let one = Tensor::ones([1]).unwrap();
        drop(x.normalize(0, 1e-3, &one, &one));
    }),
    ("dropout", |x| {
        assert!(x.dropout(0.5, 0, 0).unwrap().is_empty())
    }),
    ("random", |x| {
        let shape = x.shape();
        assert!(
            Tensor::<f32>::normal(shape, 0.0, 1.0, &mut generator(1))
                .unwrap()
                .is_empty()
        );
    }),
    ("from_fn", |x| {
        assert!(Tensor::from_fn(x.shape(), |_| 1.0_f32).unwrap().is_empty())
    }),
    ("softmax_cross_entropy", |x| {
        let labels = Tensor::<i64>::zeros(&x.shape()[..1]);
        labels
            .into_iter()
            .for_each(|labels| drop(x.softmax_cross_entropy(&labels)));
        drop(x.softmax_cross_entropy_with(x));
    }),
    ("conv2d", |x| {
        let options = Conv2dOptions::new().padding(Padding::Same);
        let images = x.expand_dims(0).unwrap();
        drop(images.conv2d(&images, &options));
        drop(images.max_pool2d(&Pool2dOptions::new([1, 1])));
    }),
    ("Factored", |x| {
        drop(Factored::product(x.clone(), x.clone()))
    }),
];

fn slices() -> Vec<Slice> {
    let bounds = [isize::MIN, -2, -1, 0, 1, isize::MAX];
    let mut slices = Vec::new();
    for start in bounds {
        for stop in bounds {
            for step in [isize::MIN, -3, -1, 1, 3, isize::MAX] {
                slices.push(Slice::from(start..stop).step(step));
                slices.push(Slice::from(start..).step(step));
            }
        }
    }
    slices
}

#[test]
fn tensors_of_no_elements_may_have_any_other_size() {
    let mut failed = Vec::new();
    for shape in [
        [MAX, MAX, 0],
        [MAX, 0, MAX],
        [0, MAX, MAX],
        [0, 3, MAX / 2],
        [1 << 40, 0, 1 << 40],
        [1 << 62, 1 << 62, 0],
        [2, 3, 0],
    ] {
        let x = Tensor::<f32>::zeros(shape).unwrap();
        for (name, call) in CALLS {
            if catch_unwind(AssertUnwindSafe(|| call(&x))).is_err() {
                failed.push(format!("{name} of {shape:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Kernels along one axis, by definition and with numbers that cannot overflow.
fn outputs(size: usize, kernel: usize, [stride, dilation]: [usize; 2], pads: [i128; 2]) -> i128 {
    let reach = (kernel as i128 - 1) * dilation as i128 + 1;
    let room = size as i128 + pads[0] + pads[1] - reach;
    if room < 0 {
        0
    } else {
        room / stride as i128 + 1
    }
}

/// What `Padding::Same` adds before and after.
fn same(size: usize, kernel: usize, [stride, dilation]: [usize; 2]) -> [i128; 2] {
    let reach = (kernel as i128 - 1) * dilation as i128 + 1;
    let outputs = size.div_ceil(stride) as i128;
    let total = ((outputs - 1) * stride as i128 + reach - size as i128).max(0);
    [total / 2, total - total / 2]
}

const IMAGE: [usize; 2] = [5, 7];
const KERNEL: [usize; 2] = [2, 3];

/// Calls `body(input, filter, output)` for each product of a convolution of one channel.
fn for_products(
    options: [[usize; 2]; 2],
    pads: [[i128; 2]; 2],
    mut body: impl FnMut(usize, usize, usize),
) -> [usize; 2] {
    let counts = [0, 1].map(|axis| outputs(IMAGE[axis], KERNEL[axis], options[axis], pads[axis]));
    let at = |axis: usize, o: i128, tap: usize| {
        let [stride, dilation] = options[axis].map(|n| n as i128);
        let position = o * stride + tap as i128 * dilation - pads[axis][0];
        usize::try_from(position)
            .ok()
            .filter(|&at| at < IMAGE[axis])
    };
    for row in 0..counts[0] {
        for column in 0..counts[1] {
            for down in 0..KERNEL[0] {
                for across in 0..KERNEL[1] {
                    if let (Some(y), Some(x)) = (at(0, row, down), at(1, column, across)) {
                        let output = (row * counts[1] + column) as usize;
                        body(y * IMAGE[1] + x, down * KERNEL[1] + across, output);
                    }
                }
            }
        }
    }
    counts.map(|count| count as usize)
}

/// Strides, dilations and paddings of any size, of one channel and depthwise of eight that are
/// alike: small integers, so that sums are exact.
#[test]
fn convolutions_of_any_stride_dilation_and_padding_are_right_or_refused() {
    let mut right = 0;
    let mut check = |strides: [usize; 2], dilations: [usize; 2], padding: Padding| {
        let axis = [0, 1].map(|axis| [strides[axis], dilations[axis]]);
        let pads = match padding {
            Padding::Valid => [[0; 2]; 2],
            Padding::Same => [0, 1].map(|i| same(IMAGE[i], KERNEL[i], axis[i])),
            Padding::Explicit { height, width } => {
                [height, width].map(|pads| pads.map(|n| n as i128))
            }
        };
        let counts = [0, 1].map(|i| outputs(IMAGE[i], KERNEL[i], axis[i], pads[i]));
        if counts[0] * counts[1] > 10_000 {
            return;
        }
        let number = |i: usize| (i * i % 7) as f32 - 3.0;
        for channels in [1, 8] {
            for algorithm in [
                ConvAlgorithm::Auto,
                ConvAlgorithm::Direct,
                ConvAlgorithm::Im2col,
            ] {
                let options = Conv2dOptions::new()
                    .stride(strides)
                    .dilation(dilations)
                    .padding(padding)
                    .groups(channels)
                    .algorithm(algorithm);
                let alike = |[a, b]: [usize; 2], shape: [usize; 4]| {
                    let numbers = (0..a * b).flat_map(|i| vec![number(i); channels]);
                    Tensor::from_vec(numbers.collect(), shape).unwrap()
                };
                let x = alike(IMAGE, [1, IMAGE[0], IMAGE[1], channels]);
                let w = alike(KERNEL, [KERNEL[0], KERNEL[1], 1, channels]);
                let Ok(y) = x.conv2d(&w, &options) else {
                    continue;
                };
                let shape = y.shape().clone();
                assert_eq!([shape[1] as i128, shape[2] as i128], counts, "{options:?}");
                let dy = alike([shape[1], shape[2]], [1, shape[1], shape[2], channels]);
                let dx = dy.conv2d_input_gradient(&w, x.shape(), &options).unwrap();
                let dw = x.conv2d_filter_gradient(&dy, w.shape(), &options).unwrap();
                let mut expected =
                    [y.len(), dx.len(), dw.len()].map(|len| vec![0.0; len / channels]);
                for_products(axis, pads, |i, f, o| {
                    expected[0][o] += number(i) * number(f);
                    expected[1][i] += number(o) * number(f);
                    expected[2][f] += number(o) * number(i);
                });
                for (found, expected) in [y, dx, dw].iter().zip(&expected) {
                    let found = found.to_vec();
                    for (pixel, expected) in found.chunks(channels).zip(expected) {
                        assert!(pixel.iter().all(|y| y == expected), "{options:?}");
                    }
                }
                right += 1;
            }
        }
    };
    // Thousands of tiny convolutions, whose threads would only wake one another up.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.unwrap().install(|| {
        for a in SIZES {
            for b in SIZES {
                for [strides, dilations] in [
                    [[a, 1], [b, 1]],
                    [[1, a], [1, b]],
                    [[a, b], [1, 1]],
                    [[1, 1], [a, b]],
                ] {
                    check(strides, dilations, Padding::Valid);
                    check(strides, dilations, Padding::Same);
                }
                for pads in [[b, 0], [0, b], [b, b]] {
                    let (height, width) = (pads, [0, 0]);
                    check([a, 1], [1, 1], Padding::Explicit { height, width });
                    check([a, 1], [b, 1], Padding::Explicit { height, width });
                    let (height, width) = ([0, 0], pads);
                    check([1, a], [1, 1], Padding::Explicit { height, width });
                    check([1, a], [1, b], Padding::Explicit { height, width });
                }
            }
        }
    });
    assert!(right > 1000, "{right}");
}

/// Kernels and images along axes that no element bounds, because there are no channels.
#[test]
fn convolutions_of_nothing_end_at_once() {
    let sum = |y: crate::Result<Tensor<f32>>| y.map_or(0.0, |y| y.to_vec().iter().sum());
    for kernel in SIZES {
        for size in SIZES {
            for stride in [1, 2, (1 << 45) + 1, MAX] {
                for (inputs, outputs) in [(0, 3), (3, 0), (0, 0)] {
                    let image = [1, 4, if inputs == 0 { size } else { 4 }, inputs];
                    let filters = [1, kernel, inputs, outputs];
                    let options = Conv2dOptions::new()
                        .stride([1, stride])
                        .padding(Padding::Same);
                    let Ok(shape) = options.output_shape(&image, &filters) else {
                        continue;
                    };
                    if shape.elements() > 10_000 {
                        continue;
                    }
                    let x = Tensor::<f32>::ones(image).unwrap();
                    let w = Tensor::ones(filters).unwrap();
                    let dy = Tensor::ones(&shape).unwrap();
                    assert_eq!(sum(x.conv2d(&w, &options)), 0.0);
                    assert_eq!(sum(dy.conv2d_input_gradient(&w, &image, &options)), 0.0);
                    assert_eq!(sum(x.conv2d_filter_gradient(&dy, &filters, &options)), 0.0);
                }
            }
        }
    }
}

#[test]
fn poolings_of_any_window_are_right_or_refused() {
    let x = Tensor::from_fn([1, 5, 7, 2], |at| (at[1] * 7 + at[2]) as f32 + 1.0).unwrap();
    let mut right = 0;
    for a in SIZES {
        for b in SIZES {
            for stride in SIZES {
                for (padding, ceil) in [
                    (Padding::Valid, true),
                    (Padding::Same, false),
                    (Padding::symmetric([a / 2, b / 2]), true),
                ] {
                    let options = Pool2dOptions::new([a, b])
                        .stride([stride, stride])
                        .padding(padding)
                        .ceil_mode(ceil)
                        .count_padding(stride.is_multiple_of(2));
                    let Ok(shape) = options.output_shape(x.shape()) else {
                        continue;
                    };
                    if shape.elements() > 10_000 {
                        continue;
                    }
                    let largest = x.max_pool2d_values(&options).unwrap();
                    let mean = x.avg_pool2d(&options).unwrap();
                    assert_eq!(*mean.shape(), shape);
                    drop(mean.avg_pool2d_gradient(x.shape(), &options).unwrap());
                    if let Ok((values, indices)) = x.max_pool2d(&options) {
                        assert_eq!(values, largest);
                        assert_eq!(x.max_pool2d_gather(&indices, &options).unwrap(), values);
                        drop(
                            values
                                .max_pool2d_gradient(&indices, x.shape(), &options)
                                .unwrap(),
                        );
                        // With the options of another pooling, whose windows are larger.
                        let other = Pool2dOptions::new([MAX / 64, MAX / 64]).padding(Padding::Same);
                        drop(values.max_pool2d_gradient(&indices, x.shape(), &other));
                        drop(x.max_pool2d_gather(&indices, &other));
                    }
                    if a.min(b) >= 1 << 17 && padding == Padding::Same {
                        assert_eq!(largest.to_vec()[..2], [35.0, 35.0], "{options:?}");
                    }
                    right += 1;
                }
            }
        }
    }
    assert!(right > 100, "{right}");
}
