//! Few pixels under many filters: what `Auto` takes there, and how sums end.

use super::grid::values;
use crate::conv::job::Execution;
use crate::conv::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding};
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::Level;

const CHANNELS: usize = 160;

fn forward(algorithm: ConvAlgorithm, level: Level, epilogue: Epilogue<'_, f32>) -> Vec<f32> {
    let options = Conv2dOptions::new()
        .padding(Padding::Same)
        .algorithm(algorithm);
    let params =
        Conv2dParams::new(&[1, 5, 6, CHANNELS], &[5, 5, CHANNELS, CHANNELS], &options).unwrap();
    let x: Vec<f32> = values(5 * 6 * CHANNELS, 7);
    let w: Vec<f32> = values(25 * CHANNELS * CHANNELS, 8);
    let mut out = vec![f32::NAN; 5 * 6 * CHANNELS];
    let execution = Execution {
        par: Par::Sequential,
        level,
    };
    let forward = f32::kernels().conv.forward;
    forward(&params, execution, &x, w[..].into(), epilogue, &mut out).unwrap();
    out
}

#[test]
fn bias_and_relu_come_last_and_nan_stays() {
    let mut bias: Vec<f32> = values(CHANNELS, 9);
    bias[3] = f32::NAN;
    let epilogue = Epilogue {
        bias: Some(&bias),
        relu: true,
    };
    for level in Level::available() {
        let expected = forward(ConvAlgorithm::Direct, level, epilogue);
        let found = forward(ConvAlgorithm::Auto, level, epilogue);
        assert!(found.contains(&0.0) && found.iter().any(|&y| y > 1.0));
        for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let both_nan = found.is_nan() && expected.is_nan();
            assert!(
                both_nan || (found - expected).abs() < 1e-3,
                "{level:?}, number {i}: {found}, not {expected}"
            );
            assert_eq!(found.is_nan(), i % CHANNELS == 3);
        }
    }
}

#[test]
fn the_way_of_auto_is_a_product() {
    let options = Conv2dOptions::new().padding(Padding::Same);
    let taken = |batch| {
        let input = [batch, 7, 7, CHANNELS];
        let params = Conv2dParams::new(&input, &[5, 5, CHANNELS, CHANNELS], &options).unwrap();
        params
            .algorithm::<f32>(crate::ConvDirection::Forward)
            .unwrap()
    };
    assert_eq!(taken(1), ConvAlgorithm::Im2col);
    assert_eq!(taken(8), ConvAlgorithm::Direct);
}
