//! The geometries that are compared with the oracle.

use super::depthwise;
use super::oracle::Case;
use crate::conv::{Conv2dOptions, Padding};

/// Stride × dilation × groups × padding, each with sizes of its own that leave a rest.
pub(super) fn grid() -> Vec<Case> {
    let mut cases = Vec::new();
    let paddings = [
        Padding::Valid,
        Padding::Same,
        Padding::Explicit {
            height: [2, 0],
            width: [1, 3],
        },
    ];
    for stride in [[1, 1], [2, 1], [1, 3], [3, 2], [2, 2]] {
        for dilation in [[1, 1], [1, 2], [2, 1], [2, 2]] {
            for (groups, inputs, outputs) in [(1, 3, 5), (2, 4, 6), (4, 4, 8), (3, 3, 3)] {
                for padding in paddings {
                    for (size, kernel) in [([8, 7], [3, 2]), ([5, 10], [2, 3]), ([6, 4], [1, 1])] {
                        cases.push(Case {
                            input: [2, size[0], size[1], inputs],
                            filters: [kernel[0], kernel[1], inputs / groups, outputs],
                            options: Conv2dOptions::new()
                                .stride(stride)
                                .dilation(dilation)
                                .groups(groups)
                                .padding(padding),
                        });
                    }
                }
            }
        }
    }
    cases
}

/// Sizes at the edges of tiles, panels and blocks.
pub(super) fn edges() -> Vec<Case> {
    let same = Conv2dOptions::new().padding(Padding::Same);
    let valid = Conv2dOptions::new();
    [
        ([1, 5, 17, 16], [3, 3, 16, 32], same),
        ([1, 4, 33, 17], [3, 3, 17, 33], valid),
        ([3, 1, 1, 40], [1, 1, 40, 70], valid),
        ([2, 3, 5, 130], [1, 1, 130, 17], valid),
        ([2, 5, 7, 33], [1, 1, 33, 40], valid.stride([2, 3])),
        ([2, 4, 3, 30], [3, 3, 30, 50], same.stride([2, 2])),
        ([9, 2, 2, 5], [2, 2, 5, 15], same),
        ([1, 3, 130, 3], [3, 3, 3, 8], same.stride([1, 2])),
        ([1, 12, 12, 3], [7, 7, 3, 16], same.stride([2, 2])),
        (
            [2, 9, 14, 8],
            [5, 5, 8, 8],
            valid.padding(Padding::symmetric([2, 2])),
        ),
        (
            [1, 3, 3, 2],
            [3, 3, 2, 4],
            valid.padding(Padding::symmetric([4, 5])),
        ),
        ([1, 7, 9, 2], [2, 2, 2, 3], valid.stride([5, 4])),
        ([1, 40, 200, 18], [3, 3, 18, 16], same),
        ([2, 9, 20, 50], [3, 3, 1, 50], same.groups(50)),
        ([2, 7, 16, 33], [5, 5, 1, 33], same.groups(33)),
        (
            [1, 6, 15, 32],
            [3, 4, 1, 32],
            same.groups(32).dilation([1, 2]),
        ),
        (
            [1, 6, 30, 48],
            [4, 7, 1, 48],
            same.groups(48).stride([2, 2]),
        ),
        (
            [1, 11, 16, 37],
            [5, 3, 1, 37],
            valid.groups(37).stride([2, 1]),
        ),
        (
            [3, 4, 19, 64],
            [3, 5, 1, 64],
            same.groups(64).stride([1, 2]),
        ),
        // Pixels some KiB apart, whose rows are copied.
        ([2, 7, 9, 512], [3, 3, 1, 512], same.groups(512)),
        (
            [2, 9, 8, 256],
            [5, 4, 1, 256],
            same.groups(256).dilation([2, 1]),
        ),
        (
            [1, 12, 9, 256],
            [5, 5, 1, 256],
            valid.groups(256).stride([2, 1]),
        ),
        ([2, 9, 11, 9], [3, 3, 9, 10], valid.crop([6, 8])),
        (
            [2, 9, 11, 3],
            [2, 5, 3, 10],
            same.stride([2, 1]).crop([3, 4]),
        ),
        ([1, 9, 20, 40], [3, 3, 1, 40], same.groups(40).crop([8, 17])),
        ([2, 6, 7, 12], [1, 1, 12, 9], valid.crop([5, 3])),
    ]
    .map(|(input, filters, options)| Case {
        input,
        filters,
        options,
    })
    .into_iter()
    .chain(depthwise::cases())
    .collect()
}

/// Kernels of 3×3 for Winograd's algorithm: whole and partial tiles, channels at vector edges,
/// paddings beyond the kernel, several chunks and blocks.
pub(super) fn winograd_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, padding) in [
        ([6, 6], Padding::Valid),
        ([3, 3], Padding::Valid),
        ([1, 2], Padding::Same),
        ([9, 7], Padding::Same),
        ([8, 11], Padding::Valid),
        (
            [5, 4],
            Padding::Explicit {
                height: [3, 0],
                width: [1, 5],
            },
        ),
    ] {
        for channels in [[1, 1], [3, 5], [16, 32], [17, 33], [8, 70]] {
            cases.push(Case {
                input: [3, size[0], size[1], channels[0]],
                filters: [3, 3, channels[0], channels[1]],
                options: Conv2dOptions::new().padding(padding),
            });
        }
    }
    for (input, outputs) in [
        ([2, 45, 70, 9], [45, 70]),
        ([70, 5, 6, 20], [5, 6]),
        ([3, 15, 13, 8], [12, 10]),
        ([2, 9, 9, 17], [2, 1]),
        ([1, 30, 14, 8], [10, 9]),
        ([9, 13, 6, 8], [6, 1]),
    ] {
        cases.push(Case {
            input,
            filters: [3, 3, input[3], 6],
            options: Conv2dOptions::new().padding(Padding::Same).crop(outputs),
        });
    }
    cases
}

/// An axis without elements, each in turn.
pub(super) fn empty() -> Vec<Case> {
    let options = Conv2dOptions::new().padding(Padding::Same);
    [
        ([0, 5, 5, 2], [3, 3, 2, 6]),
        ([2, 0, 5, 2], [3, 3, 2, 6]),
        ([2, 5, 0, 2], [3, 3, 2, 6]),
        ([2, 5, 5, 0], [3, 3, 0, 6]),
        ([2, 5, 5, 2], [3, 3, 2, 0]),
        ([0, 5, 5, 2], [1, 1, 2, 6]),
        ([2, 5, 5, 0], [1, 1, 0, 6]),
        ([2, 5, 5, 2], [1, 1, 2, 0]),
    ]
    .map(|(input, filters)| Case {
        input,
        filters,
        options,
    })
    .into()
}
