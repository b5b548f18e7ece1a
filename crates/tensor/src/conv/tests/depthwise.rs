//! Depthwise convolutions of 3×3, which have kernels of their own.

use super::grid::values;
use super::oracle::Case;
use crate::conv::job::Execution;
use crate::conv::reached::{Path, counted};
use crate::conv::{Conv2dOptions, Conv2dParams, Padding};
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::Level;

/// Geometries for the grid.
pub(super) fn cases() -> Vec<Case> {
    let same = Conv2dOptions::new().padding(Padding::Same);
    let valid = Conv2dOptions::new();
    [
        // Windows of 3×3, walked from top to bottom: one row, several pieces, padding beyond the
        // kernel.
        ([2, 1, 9, 16], [3, 3, 1, 16], same.groups(16)),
        ([1, 40, 15, 37], [3, 3, 1, 37], same.groups(37)),
        ([3, 21, 7, 32], [3, 3, 1, 32], valid.groups(32)),
        (
            [2, 18, 9, 20],
            [3, 3, 1, 20],
            valid.groups(20).padding(Padding::Explicit {
                height: [4, 1],
                width: [1, 5],
            }),
        ),
        // Four phases together, of even and odd sizes.
        (
            [2, 13, 28, 40],
            [3, 3, 1, 40],
            same.groups(40).stride([2, 2]),
        ),
        (
            [2, 12, 23, 33],
            [3, 3, 1, 33],
            valid.groups(33).stride([2, 2]),
        ),
        (
            [1, 16, 20, 16],
            [3, 3, 1, 16],
            valid
                .groups(16)
                .stride([2, 2])
                .padding(Padding::symmetric([1, 1])),
        ),
        (
            [1, 16, 19, 48],
            [3, 3, 1, 48],
            valid
                .groups(48)
                .stride([2, 2])
                .padding(Padding::symmetric([0, 1])),
        ),
    ]
    .map(|(input, filters, options)| Case {
        input,
        filters,
        options,
    })
    .into()
}

/// Where stride and dilation are both 2, every second input has all taps on it, the others none.
#[test]
fn targets_of_a_dilated_stride_lie_apart() {
    for channels in [8, 9, 16, 28] {
        let options = Conv2dOptions::new()
            .stride([2, 2])
            .dilation([2, 2])
            .groups(channels);
        let (input, filters) = ([1, 20, 21, channels], [3, 3, 1, channels]);
        let params = Conv2dParams::new(&input, &filters, &options).unwrap();
        let (dy, w) = (vec![1.0; 8 * 9 * channels], vec![1.0; 9 * channels]);
        for level in Level::available() {
            let execution = Execution {
                par: Par::Sequential,
                level,
            };
            let mut dx = vec![f32::NAN; 20 * 21 * channels];
            let gradient = f32::kernels().conv.input_gradient;
            gradient(&params, execution, &dy, &w, None, &mut dx).unwrap();
            let row: Vec<f32> = dx.iter().step_by(channels).take(21).copied().collect();
            let expected = [
                1, 0, 2, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 2, 0, 1,
            ];
            assert_eq!(row, expected.map(|n| n as f32), "{level:?}, {channels}");
        }
    }
}

/// Pixels of 2 KiB whose targets lie as far into a page are written later than others.
#[test]
fn results_do_not_depend_on_where_operands_lie() {
    let channels = 512;
    let options = Conv2dOptions::new().padding(Padding::Same).groups(channels);
    let params = Conv2dParams::new(&[1, 5, 9, channels], &[3, 3, 1, channels], &options).unwrap();
    let image = 5 * 9 * channels;
    let line = 64 / size_of::<f32>();
    let memory: Vec<f32> = values(image + channels, 5);
    let w: Vec<f32> = values(9 * channels, 6);
    for level in Level::available() {
        let execution = Execution {
            par: Par::Sequential,
            level,
        };
        let mut expected: Option<Vec<f32>> = None;
        let mut out = vec![f32::NAN; image + channels];
        let counters = counted(|| {
            // One of these places meets that of the source.
            for shift in (0..channels).step_by(line) {
                let out = &mut out[shift..][..image];
                let forward = f32::kernels().conv.forward;
                let x = &memory[..image];
                forward(&params, execution, x, w[..].into(), Epilogue::NONE, out).unwrap();
                let expected = expected.get_or_insert_with(|| out.to_vec());
                assert!(*expected == out, "{level:?}, {shift} numbers further on");
            }
        });
        let [wait, do_not] = [true, false].map(|waits| {
            let count = counters.get(&(level, Path::Descent { waits }));
            count.is_some_and(|&count| count > 0)
        });
        let has_own_kernels = level > Level::Baseline;
        assert_eq!([wait, do_not], [has_own_kernels; 2], "{level:?}");
    }
}
