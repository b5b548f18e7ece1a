//! Every geometry with every number of channels at every level, and the proof that each kernel ran
//! at each of them.

use super::cases::edges;
use super::grid::{PATCHES, Problem};
use super::oracle::Case;
use crate::conv::depthwise::Kind;
use crate::conv::reached::{Path, counted};
use crate::conv::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding};
use crate::instances::Compiled;
use crate::simd::{Level, Real};

/// More than two vectors of the widest level.
const MOST_CHANNELS: usize = 40;
const STRIDES: [[usize; 2]; 5] = [[1, 1], [2, 2], [1, 2], [2, 1], [3, 3]];
const DILATIONS: [[usize; 2]; 4] = [[1, 1], [2, 2], [1, 2], [2, 1]];
const PADDINGS: [Padding; 3] = [
    Padding::Valid,
    Padding::Same,
    Padding::Explicit {
        height: [2, 0],
        width: [1, 3],
    },
];
/// Odd, and so wide that a row has inner tiles.
const SIZES: [[usize; 2]; 3] = [[7, 15], [9, 17], [5, 21]];
/// Kernels other than 3×3, some larger than the smallest images if they are dilated.
const KERNELS: [[usize; 2]; 6] = [[2, 3], [3, 2], [1, 1], [3, 4], [5, 1], [1, 5]];

/// Each stride with each dilation and padding.
fn geometries() -> impl Iterator<Item = Conv2dOptions> {
    STRIDES.into_iter().flat_map(|stride| {
        DILATIONS.into_iter().flat_map(move |dilation| {
            PADDINGS.into_iter().map(move |padding| {
                Conv2dOptions::new()
                    .stride(stride)
                    .dilation(dilation)
                    .padding(padding)
            })
        })
    })
}

// What is taken in turns goes on by one more with each number of channels, of which all have as many
// geometries: so each geometry meets each size and kernel.

/// Each geometry of a kernel of 3×3 with up to [`MOST_CHANNELS`] channels that have one or two
/// filters each, and others of another kernel.
fn depthwise() -> impl Iterator<Item = Case> {
    let channels = 1..=MOST_CHANNELS;
    let all = channels.flat_map(|channels| geometries().map(move |options| (channels, options)));
    all.enumerate().flat_map(|(i, (channels, options))| {
        let turn = i + channels;
        let [height, width] = SIZES[turn % SIZES.len()];
        let case = move |[down, across]: [usize; 2], multiplier: usize| Case {
            input: [1, height, width, channels],
            filters: [down, across, 1, channels * multiplier],
            options: options.groups(channels),
        };
        let others = KERNELS[turn % KERNELS.len()];
        [case([3, 3], 1), case([3, 3], 2), case(others, 1)]
    })
}

/// Each geometry with up to [`MOST_CHANNELS`] filters of all channels of the input, or of a half.
fn all_channels() -> impl Iterator<Item = Case> {
    let filters = 1..=MOST_CHANNELS;
    let all = filters.flat_map(|filters| geometries().map(move |options| (filters, options)));
    all.enumerate().map(|(i, (filters, options))| {
        let turn = i + filters;
        let [height, width] = SIZES[turn % SIZES.len()];
        let kernel = match turn % 4 {
            0 => KERNELS[turn / 4 % KERNELS.len()],
            _ => [3, 3],
        };
        // Narrow images, too, whose strips have all heights.
        let width = if turn.is_multiple_of(5) {
            5 + turn % 11
        } else {
            width
        };
        let channels = 1 + turn % 7;
        let groups = if turn.is_multiple_of(3) && filters.is_multiple_of(2) {
            2
        } else {
            1
        };
        Case {
            input: [1, height, width, channels * groups],
            filters: [kernel[0], kernel[1], channels, filters],
            options: options.groups(groups),
        }
    })
}

/// Whether the dilated kernel fits the image.
fn exists(case: &Case) -> bool {
    Conv2dParams::new(&case.input, &case.filters, &case.options).is_ok()
}

/// Checks all geometries at all levels, and that each level has run its kernels.
fn check<T: Real + Compiled>(tolerance: f64, own_paths: fn(Level) -> Vec<Path>) {
    let counters = counted(|| {
        for (i, case) in depthwise().filter(exists).enumerate() {
            let problem = Problem::<T>::new(case);
            for level in Level::available() {
                problem.check(ConvAlgorithm::Direct, level, tolerance);
                if i.is_multiple_of(8) {
                    problem.check(ConvAlgorithm::Im2col, level, tolerance);
                }
            }
        }
        for case in all_channels().filter(exists) {
            let problem = Problem::<T>::new(case);
            for level in Level::available() {
                for algorithm in PATCHES {
                    problem.check(algorithm, level, tolerance);
                }
            }
        }
        // Pixels some KiB apart.
        for case in edges().into_iter().filter(|case| case.input[3] >= 256) {
            let problem = Problem::<T>::new(case);
            for level in Level::available() {
                problem.check(ConvAlgorithm::Direct, level, 10.0 * tolerance);
            }
        }
    });
    for level in Level::available() {
        let mut missing = paths(level);
        missing.extend(own_paths(level));
        missing.retain(|&path| !counters.contains_key(&(level, path)));
        assert!(missing.is_empty(), "{level:?} has not run {missing:#?}");
    }
}

/// What numbers of both types have kernels for.
fn paths(level: Level) -> Vec<Path> {
    let mut paths = vec![Path::CopiedRows];
    for gradient in [false, true] {
        paths.extend(
            [Kind::Whole, Kind::Edge, Kind::Parts]
                .into_iter()
                .flat_map(|kind| {
                    [
                        Path::row::<3, 1>(gradient, kind),
                        Path::row::<3, 2>(gradient, kind),
                        Path::row::<2, 1>(gradient, kind),
                    ]
                }),
        );
        paths.extend([Kind::Whole, Kind::Parts].map(|kind| Path::row::<1, 1>(gradient, kind)));
    }
    for yes in [false, true] {
        paths.extend([
            Path::InPlace { copied: yes },
            Path::Packed { dense: yes },
            Path::FilterGradient { copied: yes },
            Path::Pack { turned: yes },
            Path::Product {
                in_place: yes,
                dense: false,
            },
            Path::Product {
                in_place: yes,
                dense: true,
            },
        ]);
    }
    let heights = match level {
        Level::Avx512 => [14, 14],
        _ => [12, 6],
    };
    for (vectors, highest) in (1..).zip(heights) {
        paths.extend((1..=highest).map(|rows| Path::Tile { rows, vectors }));
    }
    paths
}

#[test]
fn each_level_runs_its_kernels_of_f32() {
    check::<f32>(2e-5, |level| match level {
        Level::Baseline => vec![],
        _ => vec![
            Path::Descent { waits: false },
            Path::FilterDescent,
            Path::Phases { tap: 0 },
            Path::Phases { tap: 1 },
        ],
    });
}

#[test]
fn each_level_runs_its_kernels_of_f64() {
    check::<f64>(1e-13, |_| vec![]);
}
