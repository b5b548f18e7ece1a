//! Matrix products beside those of `matrixmultiply` and `gemm`.
//!
//! `cargo run --release --manifest-path tests/peers/matmul/Cargo.toml [-- FILTER [PARTS]]`,
//! where FILTER is a part of a row's name and size, such as `im2col` or `| 1 ×`, and PARTS are some of `f32 f64 threads levels` (the peers always
//! choose their own level). The three take turns on each shape, so that whatever else the machine
//! does meets all of them; the table, in Markdown, has the first quartile of each one's times: the
//! least is now and then one that the clock of a virtual machine has made up.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tensor::matmul::{Accum, Epilogue, MatrixMut, MatrixRef, gemm};
use tensor::{Level, Par};

/// `C[m, n] = A[m, k] · B[k, n]`; a transposed operand is stored as the other one's layout.
struct Case {
    name: &'static str,
    size: [usize; 3],
    transposed: [bool; 2],
}

const fn case(name: &'static str, m: usize, k: usize, n: usize) -> Case {
    Case {
        name,
        size: [m, k, n],
        transposed: [false; 2],
    }
}

const fn transposed(name: &'static str, [m, k, n]: [usize; 3], transposed: [bool; 2]) -> Case {
    Case {
        name,
        size: [m, k, n],
        transposed,
    }
}

const CASES: &[Case] = &[
    case("cube", 4, 4, 4),
    case("cube", 8, 8, 8),
    case("cube", 12, 12, 12),
    case("cube", 16, 16, 16),
    case("cube", 24, 24, 24),
    case("cube", 32, 32, 32),
    case("cube", 48, 48, 48),
    case("cube", 64, 64, 64),
    case("cube", 96, 96, 96),
    case("cube", 100, 100, 100),
    case("cube", 128, 128, 128),
    case("cube", 192, 192, 192),
    case("cube", 256, 256, 256),
    case("cube", 384, 384, 384),
    case("cube", 512, 512, 512),
    case("cube", 768, 768, 768),
    case("cube", 1024, 1024, 1024),
    case("cube", 2048, 2048, 2048),
    transposed("A transposed", [256, 256, 256], [true, false]),
    transposed("B transposed", [256, 256, 256], [false, true]),
    transposed("both transposed", [256, 256, 256], [true, true]),
    transposed("A transposed", [64, 64, 64], [true, false]),
    transposed("B transposed", [64, 64, 64], [false, true]),
    transposed("B transposed", [16, 16, 16], [false, true]),
    case("row times matrix", 1, 1024, 1024),
    transposed("row times transposed", [1, 1024, 1024], [false, true]),
    case("matrix times column", 1024, 1024, 1),
    transposed("transposed times column", [1024, 1024, 1], [true, false]),
    case("dot product", 1, 65536, 1),
    case("outer product", 1024, 1, 1024),
    case("three rows", 3, 1024, 1024),
    case("three columns", 1024, 1024, 3),
    case("depth three", 1024, 3, 1024),
    case("eight rows", 8, 512, 512),
    case("eight columns", 512, 512, 8),
    case("forty rows", 40, 1000, 1000),
    case("forty columns", 1000, 1000, 40),
    case("hundred rows", 100, 1000, 4000),
    case("odd sizes", 17, 31, 61),
    case("odd sizes", 127, 129, 131),
    case("odd sizes", 333, 555, 777),
    case("depth eight", 512, 8, 512),
    case("dense 512 → 6", 32, 512, 6),
    transposed("input gradient 512 → 6", [32, 6, 512], [false, true]),
    transposed("weight gradient 512 → 6", [512, 32, 6], [true, false]),
    case("dense 33856 → 512", 32, 33856, 512),
    transposed(
        "input gradient 33856 → 512",
        [32, 512, 33856],
        [false, true],
    ),
    transposed(
        "weight gradient 33856 → 512",
        [33856, 32, 512],
        [true, false],
    ),
    case("dense 2304 → 512", 32, 2304, 512),
    transposed("input gradient 2304 → 512", [32, 512, 2304], [false, true]),
    transposed("weight gradient 2304 → 512", [2304, 32, 512], [true, false]),
    case("dense 512 → 6", 1, 512, 6),
    transposed("input gradient 512 → 6", [1, 6, 512], [false, true]),
    transposed("weight gradient 512 → 6", [512, 1, 6], [true, false]),
    case("dense 33856 → 512", 1, 33856, 512),
    transposed("input gradient 33856 → 512", [1, 512, 33856], [false, true]),
    transposed(
        "weight gradient 33856 → 512",
        [33856, 1, 512],
        [true, false],
    ),
    case("dense 2304 → 512", 1, 2304, 512),
    transposed("input gradient 2304 → 512", [1, 512, 2304], [false, true]),
    transposed("weight gradient 2304 → 512", [2304, 1, 512], [true, false]),
    case("dense 512 → 6", 128, 512, 6),
    transposed("input gradient 512 → 6", [128, 6, 512], [false, true]),
    transposed("weight gradient 512 → 6", [512, 128, 6], [true, false]),
    case("dense 33856 → 512", 128, 33856, 512),
    transposed(
        "input gradient 33856 → 512",
        [128, 512, 33856],
        [false, true],
    ),
    transposed(
        "weight gradient 33856 → 512",
        [33856, 128, 512],
        [true, false],
    ),
    case("dense 2304 → 512", 128, 2304, 512),
    transposed("input gradient 2304 → 512", [128, 512, 2304], [false, true]),
    transposed(
        "weight gradient 2304 → 512",
        [2304, 128, 512],
        [true, false],
    ),
    case("dense 512 → 2304", 128, 512, 2304),
    case("im2col 3 → 32", 10000, 27, 32),
    case("im2col 32 → 32", 10000, 288, 32),
    case("im2col 32 → 64", 2401, 288, 64),
    case("im2col 64 → 64", 2401, 576, 64),
    transposed("filter gradient 32 → 32", [288, 10000, 32], [true, false]),
    case("1×1 conv 256 → 64", 3136, 256, 64),
];

/// Values without structure, in ±1.
fn noise(len: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..len).map(next).collect()
}

/// Numbers that begin at a cache line, as those of a tensor do.
struct Aligned<T>(Vec<T>, usize);

impl<T: Copy> Aligned<T> {
    fn new(numbers: impl ExactSizeIterator<Item = T>, filler: T) -> Self {
        let mut memory = vec![filler; numbers.len() + 64];
        let start = memory.as_ptr().align_offset(64);
        for (place, number) in memory[start..].iter_mut().zip(numbers) {
            *place = number;
        }
        Aligned(memory, start)
    }

    fn numbers(&mut self) -> &mut [T] {
        &mut self.0[self.1..]
    }
}

/// What the two peers are called with: pointer, row stride, column stride.
type Operand<T> = (*const T, isize, isize);

/// A peer: C, its row stride, A, B.
type Peer<T> = fn([usize; 3], *mut T, Operand<T>, Operand<T>);

/// The time that a measurement starts or ends at: of this thread alone where one is measured, so
/// that it need not have the machine for itself; of the wall where several are.
fn clock(threads: usize) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    if threads > 1 {
        return START.elapsed();
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure<T: tensor::Float>(
    peers: &[(&'static str, Peer<T>)],
    threads: usize,
    level: Level,
    filter: &str,
) {
    let par = if threads == 1 {
        Par::Sequential
    } else {
        Par::Threads
    };
    println!(
        "\n{} · {} thread(s) · {} · GFLOP/s\n",
        T::DTYPE,
        threads,
        level.name()
    );
    print!("| product | m × k × n | Tapir |");
    for (name, _) in peers {
        print!(" {name} |");
    }
    println!(" of the best |");
    println!("|---|---|{}", "---|".repeat(peers.len() + 2));
    for Case {
        name,
        size,
        transposed,
    } in CASES
    {
        let [m, k, n] = *size;
        let label = format!("{name} | {m} × {k} × {n}");
        if !label.contains(filter) {
            continue;
        }
        let operand = |len| Aligned::new(noise(len).into_iter().map(T::from_f64), T::ZERO);
        let (mut a, mut b, mut c) = (operand(m * k), operand(k * n), operand(m * n));
        let (a, b, c) = (a.numbers(), b.numbers(), c.numbers());
        let strides = |[rows, columns]: [usize; 2], transposed: bool| match transposed {
            false => [columns as isize, 1],
            true => [1, rows as isize],
        };
        let (sa, sb) = (
            strides([m, k], transposed[0]),
            strides([k, n], transposed[1]),
        );
        let ours = |c: &mut [T]| {
            gemm(
                MatrixRef::new(a, 0, [m, k], sa).unwrap(),
                MatrixRef::new(b, 0, [k, n], sb).unwrap(),
                MatrixMut::row_major(c, [m, n]).unwrap(),
                Accum::Replace,
                Epilogue::NONE,
                par,
                level,
            )
            .unwrap();
        };
        let mut times = vec![Vec::new(); 1 + peers.len()];
        let flops = 2.0 * m as f64 * k as f64 * n as f64;
        // Repetitions to a sample of at least a few microseconds, samples to half a second, at
        // least seven.
        let repetitions = (2e5 / flops).ceil().max(1.0) as u32;
        let start = Instant::now();
        let mut rounds = 0;
        while rounds < 7 || start.elapsed() < Duration::from_millis(500) && rounds < 4000 {
            rounds += 1;
            for (which, times) in times.iter_mut().enumerate() {
                let start = clock(threads);
                for _ in 0..repetitions {
                    match which {
                        0 => ours(c),
                        _ => {
                            let a = (a.as_ptr(), sa[0], sa[1]);
                            let b = (b.as_ptr(), sb[0], sb[1]);
                            peers[which - 1].1(*size, c.as_mut_ptr(), a, b);
                        }
                    }
                    black_box(&mut *c);
                }
                let time = clock(threads) - start;
                times.push(time.div_f64(f64::from(repetitions)));
            }
        }
        let rate = |times: &mut Vec<Duration>| {
            times.sort();
            flops / times[times.len() / 4].as_secs_f64() / 1e9
        };
        let rates: Vec<f64> = times.iter_mut().map(rate).collect();
        print!("| {label} |");
        for rate in &rates {
            print!(" {rate:.1} |");
        }
        let others = rates[1..].iter().copied().fold(0.0, f64::max);
        println!(" {:.2} |", rates[0] / others);
    }
}

fn matrixmultiply_f32([m, k, n]: [usize; 3], c: *mut f32, a: Operand<f32>, b: Operand<f32>) {
    // SAFETY: operands and result are whole matrices of these sizes.
    unsafe {
        matrixmultiply::sgemm(
            m, k, n, 1.0, a.0, a.1, a.2, b.0, b.1, b.2, 0.0, c, n as isize, 1,
        );
    }
}

fn matrixmultiply_f64([m, k, n]: [usize; 3], c: *mut f64, a: Operand<f64>, b: Operand<f64>) {
    // SAFETY: operands and result are whole matrices of these sizes.
    unsafe {
        matrixmultiply::dgemm(
            m, k, n, 1.0, a.0, a.1, a.2, b.0, b.1, b.2, 0.0, c, n as isize, 1,
        );
    }
}

fn gemm_on<T: 'static + Copy + tensor::Float>(
    par: gemm::Parallelism,
    [m, k, n]: [usize; 3],
    c: *mut T,
    a: Operand<T>,
    b: Operand<T>,
) {
    // SAFETY: operands and result are whole matrices of these sizes.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            n as isize,
            false,
            a.0,
            a.2,
            a.1,
            b.0,
            b.2,
            b.1,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            par,
        );
    }
}

fn gemm_one<T: tensor::Float>(size: [usize; 3], c: *mut T, a: Operand<T>, b: Operand<T>) {
    gemm_on(gemm::Parallelism::None, size, c, a, b);
}

fn gemm_all<T: tensor::Float>(size: [usize; 3], c: *mut T, a: Operand<T>, b: Operand<T>) {
    gemm_on(gemm::Parallelism::Rayon(0), size, c, a, b);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let parts = arguments.next().unwrap_or("f32 f64 threads".into());
    let best = Level::best();
    let f32_alone: &[(&str, Peer<f32>)] =
        &[("matrixmultiply", matrixmultiply_f32), ("gemm", gemm_one)];
    if parts.contains("f32") {
        measure(f32_alone, 1, best, &filter);
    }
    let f64_alone: &[(&str, Peer<f64>)] =
        &[("matrixmultiply", matrixmultiply_f64), ("gemm", gemm_one)];
    if parts.contains("f64") {
        measure(f64_alone, 1, best, &filter);
    }
    if parts.contains("levels") {
        for level in Level::available() {
            measure(f32_alone, 1, level, &filter);
        }
    }
    let f32_together: &[(&str, Peer<f32>)] = &[("gemm", gemm_all)];
    if parts.contains("threads") {
        measure(f32_together, rayon::current_num_threads(), best, &filter);
    }
}
