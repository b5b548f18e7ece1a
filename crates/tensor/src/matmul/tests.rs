//! Products against sums in `f64`, at the edges of blocks and at every level.

use super::*;
use crate::Tensor;
use crate::parallel::Par;
use crate::simd::{Level, Real};

/// Numbers without structure, in ±1.
fn noise<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
    };
    (0..len).map(next).collect()
}

/// The layouts that operands come in.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Rows,
    Columns,
    /// Rows and columns are apart from one another.
    Sparse,
    /// Rows and columns in reverse.
    Backward,
    /// All rows are the same memory.
    SameRow,
    /// All columns are the same memory.
    SameColumn,
}

const LAYOUTS: [Layout; 6] = [
    Layout::Rows,
    Layout::Columns,
    Layout::Sparse,
    Layout::Backward,
    Layout::SameRow,
    Layout::SameColumn,
];

struct Operand<T> {
    data: Vec<T>,
    offset: usize,
    size: [usize; 2],
    strides: [isize; 2],
}

impl<T: Real> Operand<T> {
    fn new([rows, columns]: [usize; 2], layout: Layout, seed: u64) -> Self {
        let (r, c) = (rows as isize, columns as isize);
        let strides = match layout {
            Layout::Rows => [c, 1],
            Layout::Columns => [1, r],
            Layout::Sparse => [3 * c + 2, 3],
            Layout::Backward => [-c, -1],
            Layout::SameRow => [0, 1],
            Layout::SameColumn => [1, 0],
        };
        let reach = |count: usize, stride: isize| count.saturating_sub(1) * stride.unsigned_abs();
        let span = reach(rows, strides[0]) + reach(columns, strides[1]);
        let offset = 1 + if strides[0] < 0 { span } else { 0 };
        Operand {
            data: noise(span + 2, seed),
            offset,
            size: [rows, columns],
            strides,
        }
    }

    fn matrix(&self) -> MatrixRef<'_, T> {
        MatrixRef::new(&self.data, self.offset, self.size, self.strides).unwrap()
    }
}

/// Sums in `f64`, with the sum of magnitudes for a bound on rounding.
fn oracle<T: Real>(a: MatrixRef<'_, T>, b: MatrixRef<'_, T>, i: usize, j: usize) -> [f64; 2] {
    let mut sums = [0.0, 0.0];
    for p in 0..a.columns() {
        let product = a.get(i, p).to_f64() * b.get(p, j).to_f64();
        sums[0] += product;
        sums[1] += product.abs();
    }
    sums
}

fn epsilon<T: Real>() -> f64 {
    if size_of::<T>() == 4 {
        f64::from(f32::EPSILON)
    } else {
        f64::EPSILON
    }
}

/// All ways to the product of two operands, at every level, against the oracle.
fn check<T: Real>(size: [usize; 3], layouts: [Layout; 2]) {
    let [m, k, n] = size;
    let a = Operand::<T>::new([m, k], layouts[0], 1);
    let b = Operand::<T>::new([k, n], layouts[1], 2);
    let (a, b) = (a.matrix(), b.matrix());
    let bias = noise::<T>(n, 3);
    let stride = n + 3;
    let before = noise::<T>(m.max(1) * stride, 4);
    let expected: Vec<[f64; 2]> = (0..m * n).map(|at| oracle(a, b, at / n, at % n)).collect();
    for level in Level::available() {
        for (accum, bias, relu) in [
            (Accum::Replace, None, false),
            (Accum::Add, None, false),
            (Accum::Replace, Some(&bias[..]), true),
            (Accum::Add, Some(&bias[..]), true),
        ] {
            let epilogue = Epilogue { bias, relu };
            for way in 0..3 {
                let mut data = before.clone();
                let c = MatrixMut::new(&mut data, [m, n], stride).unwrap();
                let par = Par::Threads;
                match way {
                    0 => gemm(a, Right::Matrix(b), c, accum, epilogue, par, level),
                    1 if m * n * k > 0 => {
                        let b = Right::Matrix(b);
                        gemm::packing(&a, b, c, accum, epilogue, par, level)
                    }
                    1 => continue,
                    _ => {
                        let b = PackedColumns::new(b, par, level).unwrap();
                        gemm(a, Right::Packed(&b), c, accum, epilogue, par, level)
                    }
                }
                .unwrap();
                for i in 0..m {
                    for j in 0..n {
                        let [sum, magnitude] = expected[i * n + j];
                        let mut sum = sum;
                        if accum == Accum::Add {
                            sum += before[i * stride + j].to_f64();
                        }
                        sum += bias.map_or(0.0, |bias| bias[j].to_f64());
                        if relu {
                            sum = sum.max(0.0);
                        }
                        // Each of k + 3 roundings is off by half an epsilon at most.
                        let bound = (k as f64 + 3.0) * epsilon::<T>() / 2.0 * (magnitude + 3.0);
                        let got = data[i * stride + j].to_f64();
                        assert!(
                            (got - sum).abs() <= bound,
                            "{size:?} {layouts:?} {level:?} way {way} {accum:?} ({i}, {j}): \
                             {got} is not {sum}"
                        );
                    }
                }
                for (at, (after, before)) in data.iter().zip(&before).enumerate() {
                    let outside = at % stride >= n || at / stride >= m;
                    assert!(
                        !outside || after == before,
                        "{size:?} {level:?} wrote at {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn sizes_at_the_edges_of_tiles() {
    for m in [1, 2, 3, 5, 6, 7, 13, 14, 15, 28, 29] {
        for n in [1, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65] {
            check::<f32>([m, 9, n], [Layout::Rows; 2]);
            check::<f64>([m, 5, n], [Layout::Rows; 2]);
        }
    }
}

#[test]
fn sizes_at_the_edges_of_blocks() {
    for k in [1, 2, 7, 8, 191, 192, 193, 383, 385, 512, 513, 1025, 2050] {
        check::<f32>([15, k, 33], [Layout::Rows; 2]);
        check::<f64>([7, k, 17], [Layout::Rows, Layout::Columns]);
    }
    check::<f32>([130, 70, 90], [Layout::Rows; 2]);
    check::<f32>([300, 40, 1], [Layout::Rows; 2]);
    check::<f32>([2, 300, 500], [Layout::Rows; 2]);
    check::<f32>([40, 300, 100], [Layout::Rows; 2]);
    check::<f32>([29, 150, 4500], [Layout::Rows; 2]);
    check::<f32>([140, 2100, 200], [Layout::Rows; 2]);
    check::<f64>([100, 520, 600], [Layout::Rows; 2]);
    check::<f64>([57, 60, 130], [Layout::Rows; 2]);
}

#[test]
fn few_rows_or_columns_and_much_depth() {
    let (rows, columns) = (Layout::Rows, Layout::Columns);
    for few in 1..10 {
        for k in [64, 65, 100, 135] {
            for layouts in [
                [rows, rows],
                [rows, columns],
                [columns, columns],
                [columns, rows],
            ] {
                check::<f32>([few, k, 11], layouts);
                check::<f32>([11, k, few], layouts);
            }
            check::<f64>([few, k, few], [rows, columns]);
        }
    }
}

#[test]
fn one_row_or_little_depth() {
    for k in 1..20 {
        check::<f32>([1, k, 75], [Layout::Rows; 2]);
        check::<f32>([75, k, 1], [Layout::Columns; 2]);
        check::<f64>([3, k, 64], [Layout::Backward, Layout::Rows]);
        check::<f32>([3, k, 83], [Layout::Rows; 2]);
    }
    check::<f32>([1, 1030, 1040], [Layout::Rows; 2]);
    // Rows that are taken three and two at a time, with every remainder.
    for m in 1..10 {
        check::<f32>([m, 21, 83], [Layout::Rows; 2]);
        for k in 1..9 {
            check::<f32>([m, k, 70], [Layout::Rows; 2]);
            check::<f64>([m + 7, k, 69], [Layout::Rows, Layout::Columns]);
        }
    }
}

/// A row times a transposed matrix beyond the second-level cache of most machines.
#[test]
fn one_row_and_many_contiguous_columns() {
    for [k, n] in [[1000, 1200], [333, 3100]] {
        check::<f32>([1, k, n], [Layout::Rows, Layout::Columns]);
    }
}

#[test]
fn long_and_narrow() {
    check::<f32>([130, 260, 33], [Layout::Columns, Layout::Rows]);
    check::<f32>([700, 40, 50], [Layout::Rows; 2]);
    check::<f64>([700, 40, 50], [Layout::Columns, Layout::Rows]);
    check::<f32>([18, 261, 4099], [Layout::Rows, Layout::Columns]);
    check::<f64>([17, 131, 4097], [Layout::Rows, Layout::Columns]);
}

#[test]
fn every_layout_of_both_operands() {
    for left in LAYOUTS {
        for right in LAYOUTS {
            check::<f32>([17, 23, 37], [left, right]);
            check::<f64>([17, 23, 37], [left, right]);
            check::<f32>([64, 65, 66], [left, right]);
            check::<f32>([9, 200, 45], [left, right]);
        }
    }
}

#[test]
fn empty_matrices_and_depth_zero() {
    for size in [[0, 3, 4], [3, 3, 0], [0, 0, 0], [3, 0, 4], [30, 0, 40]] {
        check::<f32>(size, [Layout::Rows; 2]);
        check::<f64>(size, [Layout::Rows; 2]);
    }
}

/// `f32` at every level: the element (1, 1) of a product with special values at depth `p`.
fn special(size: [usize; 3], left: f32, right: f32) -> Vec<f32> {
    let [m, k, n] = size;
    let mut a = vec![1.0; m * k];
    let mut b = vec![1.0; k * n];
    a[k + k / 2] = left;
    b[(k / 2) * n + 1] = right;
    let run = |level| {
        let mut data = vec![0.0; m * n];
        let c = MatrixMut::row_major(&mut data, [m, n]).unwrap();
        gemm(
            MatrixRef::row_major(&a, [m, k]).unwrap(),
            Right::Matrix(MatrixRef::row_major(&b, [k, n]).unwrap()),
            c,
            Accum::Replace,
            Epilogue {
                bias: None,
                relu: true,
            },
            Par::Threads,
            level,
        )
        .unwrap();
        data[n + 1]
    };
    Level::available().into_iter().map(run).collect()
}

#[test]
fn nan_and_infinity_propagate() {
    for size in [[2, 3, 2], [8, 8, 8], [70, 80, 90], [5, 400, 300]] {
        for (left, right) in [
            (f32::NAN, 1.0),
            (1.0, f32::NAN),
            (0.0, f32::NAN),
            (0.0, f32::INFINITY),
            (f32::NEG_INFINITY, 0.0),
            (-0.0, f32::INFINITY),
        ] {
            for value in special(size, left, right) {
                assert!(value.is_nan(), "{left} · {right} in {size:?}: {value}");
            }
        }
        for value in special(size, f32::INFINITY, 2.0) {
            assert_eq!(value, f32::INFINITY);
        }
    }
}

#[test]
fn same_bits_on_any_number_of_threads() {
    for [m, k, n] in [
        [300, 250, 200],
        [32, 3000, 300],
        [1000, 700, 24],
        [24, 900, 1000],
        [5, 9000, 300],
        [2000, 3, 100],
        [1, 3000, 1000],
        [3000, 100, 5],
        [2, 900, 2000],
        [4, 900, 2000],
        [100, 7, 900],
        [3003, 100, 5],
        [100, 1200, 900],
        [1, 20_000, 500],
        [40, 20_000, 500],
    ] {
        let (a, b) = (noise::<f32>(m * k, 5), noise::<f32>(k * n, 6));
        let run = || {
            let mut data = vec![0.0; m * n];
            let c = MatrixMut::row_major(&mut data, [m, n]).unwrap();
            let (a, b) = (
                MatrixRef::row_major(&a, [m, k]).unwrap(),
                MatrixRef::row_major(&b, [k, n]).unwrap(),
            );
            let (par, level) = (Par::Threads, Level::best());
            let b = Right::Matrix(b);
            gemm(a, b, c, Accum::Replace, Epilogue::NONE, par, level).unwrap();
            data.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(run)
        };
        let one = on(1);
        assert_eq!(one, on(2), "{m} × {k} × {n}");
        assert_eq!(one, on(5), "{m} × {k} × {n}");
    }
}

#[test]
fn views_outside_of_their_data_are_refused() {
    let data = [0.0_f32; 12];
    let refused = |offset, size, strides| MatrixRef::new(&data, offset, size, strides).is_err();
    assert!(!refused(0, [3, 4], [4, 1]));
    assert!(refused(1, [3, 4], [4, 1]));
    assert!(refused(0, [3, 4], [-4, 1]));
    assert!(!refused(8, [3, 4], [-4, 1]));
    assert!(refused(0, [usize::MAX, 2], [isize::MAX, isize::MAX]));
    assert!(refused(usize::MAX, [1, 1], [0, 0]));
    assert!(!refused(100, [0, 4], [4, 1]));
    assert!(MatrixRef::row_major(&data, [1, usize::MAX]).is_err());
    assert!(MatrixMut::new(&mut [0.0_f32; 12], [2, 4], 3).is_err());
    assert!(MatrixMut::new(&mut [0.0_f32; 12], [usize::MAX, 4], 4).is_err());
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let data = [0.0_f32; 12];
    let run = |b: [usize; 2], c: [usize; 2], bias: Option<&[f32]>| {
        let mut out = [0.0; 12];
        gemm(
            MatrixRef::row_major(&data, [2, 3]).unwrap(),
            MatrixRef::row_major(&data, b).unwrap(),
            MatrixMut::row_major(&mut out, c).unwrap(),
            Accum::Replace,
            Epilogue { bias, relu: false },
            Par::Sequential,
            Level::Baseline,
        )
    };
    assert!(run([3, 4], [2, 4], None).is_ok());
    assert!(run([3, 4], [2, 4], Some(&data[..3])).is_err());
    assert!(run([3, 4], [2, 3], None).is_err());
    let message = run([4, 3], [2, 3], None).unwrap_err().to_string();
    assert_eq!(
        message,
        "gemm: A has not as many columns as B has rows\n  A  2 × 3\n  B  4 × 3\n  C  2 × 3"
    );
}

/// Sizes at which a large B that lies by columns, or by rows with more rows than a block, takes
/// ways of its own.
#[test]
fn dense_layers_and_their_gradients_agree_with_naive_sums() {
    let (batch, inputs, outputs) = (19, 2600, 450);
    let number = |seed: usize| move |at: &[usize]| ((at[0] * 7 + at[1] * 13 + seed) % 23) as f32;
    let x = Tensor::from_fn([batch, inputs], number(1)).unwrap();
    let w = Tensor::from_fn([inputs, outputs], number(2)).unwrap();
    let dy = Tensor::from_fn([batch, outputs], number(3)).unwrap();
    let naive = |a: &Tensor<f32>, b: &Tensor<f32>| {
        Tensor::from_fn([a.shape()[0], b.shape()[1]], |at| {
            // Small whole numbers, so that every order of adding gives the same sum.
            let products = (0..a.shape()[1]).map(|p| a[[at[0], p]] * b[[p, at[1]]]);
            products.sum::<f32>()
        })
        .unwrap()
    };
    assert_eq!(x.matmul(&w).unwrap(), naive(&x, &w));
    assert_eq!(dy.matmul(&w.t()).unwrap(), naive(&dy, &w.t()));
    assert_eq!(x.t().matmul(&dy).unwrap(), naive(&x.t(), &dy));
}
