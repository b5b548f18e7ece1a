//! The grid, and what must hold at each of its points.

use super::cases::{edges, empty, grid, winograd_cases};
use super::oracle::Case;
use crate::conv::job::Execution;
use crate::conv::product;
use crate::conv::reached::{Path, counted};
use crate::conv::{Conv2dParams, ConvAlgorithm, Padding};
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::{Level, Real};

/// Values that differ along every axis and cancel in no sum.
pub(super) fn values<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // A multiple of 2⁻²³ in −1..1, exact in both types.
            T::from_f64((state >> 40) as f64 / (1 << 23) as f64 - 1.0)
        })
        .collect()
}

fn wide<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// A case with its operands and the oracle's answers.
pub(super) struct Problem<T> {
    case: Case,
    x: Vec<T>,
    w: Vec<T>,
    bias: Vec<T>,
    dy: Vec<T>,
    out: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

impl<T: Real + Compiled> Problem<T> {
    pub(super) fn new(case: Case) -> Self {
        let x = values(case.input.iter().product(), 1);
        let w = values(case.filters.iter().product(), 2);
        let bias = values(case.filters[3], 3);
        let dy = values(case.output().iter().product(), 4);
        let (x64, w64, dy64) = (wide(&x), wide(&w), wide(&dy));
        let out = case.forward(&x64, &w64);
        let dx = case.input_gradient(&dy64, &w64);
        let dw = case.filter_gradient(&x64, &dy64);
        Problem {
            case,
            x,
            w,
            bias,
            dy,
            out,
            dx,
            dw,
        }
    }

    fn params(&self, algorithm: ConvAlgorithm) -> Conv2dParams {
        let options = self.case.options.algorithm(algorithm);
        Conv2dParams::new(&self.case.input, &self.case.filters, &options).unwrap()
    }

    fn run(&self, algorithm: ConvAlgorithm, execution: Execution) -> [Vec<T>; 3] {
        let params = self.params(algorithm);
        // Results must not depend on what was in memory.
        let poison = |len| vec![T::from_f64(f64::NAN); len];
        let (mut out, mut dx, mut dw) = (
            poison(self.out.len()),
            poison(self.dx.len()),
            poison(self.dw.len()),
        );
        (T::kernels().conv.forward)(
            &params,
            execution,
            &self.x,
            self.w[..].into(),
            Epilogue::NONE,
            &mut out,
        )
        .unwrap();
        (T::kernels().conv.input_gradient)(&params, execution, &self.dy, &self.w, None, &mut dx)
            .unwrap();
        let mut db = poison(params.out_channels);
        let kernel = T::kernels().conv.filter_gradient;
        if kernel(&params, execution, &self.x, &self.dy, &mut dw, &mut db).unwrap() {
            for (channel, &sum) in db.iter().enumerate() {
                let column = self.dy.iter().skip(channel).step_by(params.out_channels);
                let expected = column.map(|dy| dy.to_f64()).sum::<f64>();
                let largest = self.dy.len() as f64 / params.out_channels as f64;
                let sum = sum.to_f64();
                let same = sum == expected || sum.is_nan() && expected.is_nan();
                assert!(
                    same || (sum - expected).abs() <= 1e-6 * largest,
                    "sum of channel {channel}: {sum:?}, not {expected}"
                );
            }
        }
        let mut gated = poison(self.dx.len());
        (T::kernels().conv.input_gradient)(
            &params,
            execution,
            &self.dy,
            &self.w,
            Some(&self.x),
            &mut gated,
        )
        .unwrap();
        for (gated, (&dx, &gate)) in gated.iter().zip(dx.iter().zip(&self.x)) {
            let expected = if gate <= T::ZERO { T::ZERO } else { dx };
            let same = *gated == expected || gated.to_f64().is_nan() && expected.to_f64().is_nan();
            assert!(same, "{algorithm:?} {:?}", self.case);
        }
        [out, dx, dw]
    }

    pub(super) fn check(&self, algorithm: ConvAlgorithm, level: Level, tolerance: f64) {
        assert_eq!(self.params(algorithm).output_shape(), self.case.output());
        let par = Par::Sequential;
        let results = self.run(algorithm, Execution { par, level });
        self.compare(&results, &format!("{algorithm:?} at {level:?}"), tolerance);
    }

    /// Output, input gradient and filter gradient against the oracle's.
    fn compare(&self, results: &[Vec<T>; 3], how: &str, tolerance: f64) {
        let names = ["forward", "input gradient", "filter gradient"];
        for ((name, result), expected) in names
            .iter()
            .zip(results)
            .zip([&self.out, &self.dx, &self.dw])
        {
            // Long sums of a filter gradient are large, and so is their rounding.
            let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            let tolerance = tolerance * (largest / 10.0).max(1.0);
            for (index, (result, expected)) in result.iter().zip(expected).enumerate() {
                let error = (result.to_f64() - expected).abs();
                // `is_nan` must fail too, so the comparison is written to be true only for numbers.
                assert!(
                    error <= tolerance,
                    "{name} by {how}: element {index} is {result}, not {expected}\n{:?}",
                    self.case
                );
            }
        }
    }
}

pub(super) const PATCHES: [ConvAlgorithm; 3] = [
    ConvAlgorithm::Im2col,
    ConvAlgorithm::Direct,
    ConvAlgorithm::Auto,
];

#[test]
fn winograd_agrees_with_the_oracle() {
    let counters = counted(|| {
        for case in winograd_cases() {
            let problem = Problem::<f32>::new(case);
            for level in Level::available() {
                problem.check(ConvAlgorithm::Winograd, level, 1e-4);
                problem.check(ConvAlgorithm::Winograd2x2, level, 1e-4);
                problem.check(ConvAlgorithm::Auto, level, 1e-4);
            }
        }
    });
    let sides = [[false, false], [false, true], [true, false], [true, true]];
    let narrow = sides.map(|narrow| (4, narrow));
    for (outputs, narrow) in narrow.into_iter().chain([(2, [false; 2])]) {
        let path = Path::Winograd { outputs, narrow };
        let levels = Level::available().into_iter();
        let missing: Vec<_> = levels
            .filter(|&level| !counters.contains_key(&(level, path)))
            .collect();
        assert!(missing.is_empty(), "{missing:?} have not run {path:?}");
    }
}

#[test]
fn grid_agrees_with_the_oracle_in_f32() {
    for case in grid() {
        let problem = Problem::<f32>::new(case);
        for level in Level::available() {
            for algorithm in PATCHES {
                problem.check(algorithm, level, 2e-5);
            }
        }
    }
}

#[test]
fn grid_agrees_with_the_oracle_in_f64() {
    for case in grid() {
        let problem = Problem::<f64>::new(case);
        for level in Level::available() {
            for algorithm in PATCHES {
                problem.check(algorithm, level, 1e-13);
            }
        }
    }
}

#[test]
fn edges_agree_with_the_oracle() {
    for case in edges() {
        let single = Problem::<f32>::new(case.clone());
        let double = Problem::<f64>::new(case);
        for level in Level::available() {
            for algorithm in PATCHES {
                single.check(algorithm, level, 2e-4);
                double.check(algorithm, level, 1e-12);
            }
        }
    }
}

/// Products, which `Auto` takes for many channels only.
fn products<T: Real + Compiled>(problem: &Problem<T>, execution: Execution) -> [Vec<T>; 3] {
    let params = problem.params(ConvAlgorithm::Auto);
    let [mut out, mut dx, mut dw] = problem.run(ConvAlgorithm::Direct, execution);
    let Problem { x, w, dy, .. } = problem;
    out.fill(T::from_f64(f64::NAN));
    dx.fill(T::from_f64(f64::NAN));
    product::forward(&params, execution, x, w, Epilogue::NONE, &mut out).unwrap();
    product::input_gradient(&params, execution, dy, w, &mut dx).unwrap();
    dw.fill(T::from_f64(f64::NAN));
    product::filter_gradient(&params, execution, x, dy, &mut dw).unwrap();
    [out, dx, dw]
}

#[test]
fn products_agree_with_the_oracle() {
    let pools = pools();
    let cases = grid().into_iter().chain(edges()).chain(empty());
    for case in cases.filter(|case| case.options.group_count() == 1) {
        let single = Problem::<f32>::new(case.clone());
        let double = Problem::<f64>::new(case);
        for level in Level::available() {
            let execution = |par| Execution { par, level };
            let results = products(&single, execution(Par::Sequential));
            single.compare(&results, "products", 2e-4);
            for pool in &pools {
                let others = pool.install(|| products(&single, execution(Par::Threads)));
                assert!(results == others, "{:?}", single.case);
            }
            let results = products(&double, execution(Par::Sequential));
            double.compare(&results, "products", 1e-12);
        }
    }
}

fn pools() -> [rayon::ThreadPool; 3] {
    [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap()
    })
}

#[test]
fn threads_do_not_change_a_bit() {
    let pools = pools();
    let cases = edges().into_iter().chain(grid().into_iter().step_by(17));
    let mut runs: Vec<(Case, ConvAlgorithm)> = cases
        .flat_map(|case| PATCHES.map(|algorithm| (case.clone(), algorithm)))
        .collect();
    for case in winograd_cases() {
        runs.push((case.clone(), ConvAlgorithm::Winograd));
        runs.push((case, ConvAlgorithm::Winograd2x2));
    }
    for (case, algorithm) in runs {
        let problem = Problem::<f32>::new(case);
        {
            let level = Level::best();
            let bits = |par| {
                problem
                    .run(algorithm, Execution { par, level })
                    .map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            let alone = bits(Par::Sequential);
            for pool in &pools {
                assert!(
                    alone == pool.install(|| bits(Par::Threads)),
                    "{:?}",
                    problem.case
                );
            }
        }
    }
}

#[test]
fn bias_and_relu_are_applied_at_the_end() {
    for case in edges().into_iter().chain(grid().into_iter().step_by(29)) {
        let problem = Problem::<f32>::new(case);
        for level in Level::available() {
            for algorithm in PATCHES {
                let params = problem.params(algorithm);
                let par = Par::Sequential;
                let execution = Execution { par, level };
                let mut out = vec![f32::NAN; problem.out.len()];
                let epilogue = Epilogue {
                    bias: Some(&problem.bias[..]),
                    relu: true,
                };
                (f32::kernels().conv.forward)(
                    &params,
                    execution,
                    &problem.x,
                    problem.w[..].into(),
                    epilogue,
                    &mut out,
                )
                .unwrap();
                for (i, (&result, plain)) in out.iter().zip(&problem.out).enumerate() {
                    let bias = f64::from(problem.bias[i % problem.bias.len()]);
                    let error = (f64::from(result) - (plain + bias).max(0.0)).abs();
                    assert!(error <= 2e-4, "{:?}", problem.case);
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_every_output_that_sees_them() {
    for case in grid().into_iter().step_by(7) {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut problem = Problem::<f32>::new(case.clone());
            let (at, dy_at) = (problem.x.len() / 3, problem.dy.len() / 2);
            problem.x[at] = special;
            problem.dy[dy_at] = special;
            let (mut out, mut dx, mut dw) = (vec![], vec![], vec![]);
            out.resize(problem.out.len(), false);
            dx.resize(problem.dx.len(), false);
            dw.resize(problem.dw.len(), false);
            case.for_products(|i, f, o| {
                out[o] |= i == at;
                dx[i] |= o == dy_at;
                dw[f] |= i == at || o == dy_at;
            });
            for algorithm in PATCHES {
                let execution = Execution {
                    par: Par::Sequential,
                    level: Level::best(),
                };
                let results = problem.run(algorithm, execution);
                for (result, expected) in results.iter().zip([&out, &dx, &dw]) {
                    // Padding is zeros, and zero times infinity is NaN.
                    let exact = case.options.padding == Padding::Valid;
                    for (value, &special) in result.iter().zip(expected) {
                        let met = !value.is_finite();
                        assert!(met || !special, "{algorithm:?} {case:?}");
                        assert!(!met || special || !exact, "{algorithm:?} {case:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn empty_operands_give_zeros_or_nothing() {
    for case in empty() {
        let problem = Problem::<f32>::new(case);
        for algorithm in PATCHES {
            for level in Level::available() {
                problem.check(algorithm, level, 0.0);
            }
        }
    }
}
