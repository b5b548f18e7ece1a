//! Convolution, ReLU and pooling in one pass against the three one after the other.

use crate::conv::job::Execution;
use crate::conv::winograd::{PooledGradient, Target};
use crate::instances::Compiled;
use crate::parallel::Par;
use crate::simd::Level;
use crate::{
    Conv2dOptions, Conv2dParams, ConvAlgorithm, ConvDirection, Padding, Pool2dOptions, PoolIndices,
    Tensor,
};

/// Sizes at the edges of tiles: whole ones, and one to three rows or columns more.
const SIZES: [[usize; 2]; 6] = [[8, 8], [9, 10], [11, 13], [3, 4], [2, 7], [5, 2]];

fn images(shape: [usize; 4], seed: u64) -> Tensor<f32> {
    Tensor::normal(shape, 0.0, 1.0, &mut crate::generator(seed)).unwrap()
}

#[test]
fn pooling_on_the_way_gives_the_same_bits() {
    let pool = Pool2dOptions::new([2, 2]);
    for algorithm in [
        ConvAlgorithm::Winograd,
        ConvAlgorithm::Winograd2x2,
        ConvAlgorithm::Auto,
        ConvAlgorithm::Direct,
    ] {
        let options = Conv2dOptions::new()
            .padding(Padding::Same)
            .algorithm(algorithm);
        for [height, width] in SIZES {
            // One image, some that share a chunk of tiles, and channels that fill no vector.
            for (batch, channels, filters) in [(1, 8, 16), (5, 9, 21), (40, 16, 8)] {
                let x = images([batch, height, width, channels], 1);
                let w = images([3, 3, channels, filters], 2);
                let bias = images([1, 1, 1, filters], 3).reshape([filters]).unwrap();
                let case = format!("{algorithm:?} {height}×{width}, {batch} images");
                // Fewer outputs may be computed by another algorithm than all.
                let pooled = options
                    .without_unpooled(x.shape(), w.shape(), &pool)
                    .unwrap();
                let params = Conv2dParams::new(x.shape(), w.shape(), &pooled).unwrap();
                let chosen = params.algorithm::<f32>(ConvDirection::Forward).unwrap();
                let options = options.algorithm(chosen);
                // Cut into tiles as the outputs that are read are.
                let cropped = pooled.algorithm(chosen);
                let whole = x.conv2d_fused(&w, Some(&bias), true, &cropped).unwrap();
                let expected = whole.max_pool2d_values(&pool).unwrap();
                let found = x
                    .conv2d_relu_max_pool2d(&w, &bias, &options, &pool)
                    .unwrap();
                assert_eq!(found, expected, "{case}");
                let (_, PoolIndices::Small(expected_positions)) =
                    whole.max_pool2d_gated(&pool).unwrap()
                else {
                    panic!("four positions fit a byte");
                };
                let (found, PoolIndices::Small(positions)) = x
                    .conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)
                    .unwrap()
                else {
                    panic!("four positions fit a byte");
                };
                assert_eq!(found, expected, "{case}");
                assert_eq!(positions, expected_positions, "{case}");
            }
        }
    }
}

#[test]
fn every_level_pools_and_keeps_nan() {
    let mut x = images([2, 9, 10, 8], 1);
    for (place, value) in [(3, f32::NAN), (700, f32::INFINITY), (900, f32::NAN)] {
        x.make_mut()[place] = value;
    }
    let w = images([3, 3, 8, 8], 2);
    let options = Conv2dOptions::new().algorithm(ConvAlgorithm::Winograd);
    let params = Conv2dParams::new(x.shape(), w.shape(), &options).unwrap();
    let (x, w) = (x.to_vec(), w.to_vec());
    let epilogue = crate::matmul::Epilogue {
        bias: None,
        relu: true,
    };
    let kernels = &f32::kernels().conv;
    for level in Level::available() {
        let par = Par::Sequential;
        let execution = Execution { par, level };
        let mut whole = vec![0.0; params.output_shape().elements()];
        (kernels.forward)(&params, execution, &x, w[..].into(), epilogue, &mut whole).unwrap();
        let whole = Tensor::from_vec(whole, params.output_shape()).unwrap();
        let pool = Pool2dOptions::new([2, 2]);
        let (expected, PoolIndices::Small(expected_positions)) =
            whole.max_pool2d_gated(&pool).unwrap()
        else {
            panic!("four positions fit a byte");
        };
        for with_positions in [false, true] {
            let mut found = vec![0.5_f32; expected.len()];
            let mut positions = vec![7_u8; expected.len()];
            let target = Target {
                values: &mut found,
                positions: with_positions.then_some(&mut positions[..]),
            };
            let pooled = kernels.forward_pooled;
            assert!(pooled(&params, execution, &x, w[..].into(), epilogue, target).unwrap());
            assert!(found.iter().any(|y| y.is_nan()) && found.iter().any(|y| y.is_finite()));
            let bits = |y: &f32| if y.is_nan() { u32::MAX } else { y.to_bits() };
            let expected = expected.to_vec();
            assert!(
                found.iter().map(bits).eq(expected.iter().map(bits)),
                "{level:?}"
            );
            if with_positions {
                assert_eq!(positions, expected_positions.to_vec(), "{level:?}");
            }
        }
    }
}

/// A pooling's gradient that is read as it is gives what it gives when it is spread out before.
#[test]
fn every_level_reads_a_pooled_gradient_as_if_it_were_spread_out() {
    let pool = Pool2dOptions::new([2, 2]);
    let padded = Padding::Explicit {
        height: [1, 0],
        width: [0, 2],
    };
    for padding in [Padding::Valid, Padding::Same, padded] {
        for ([height, width], batch, channels, filters) in [
            ([8, 8], 1, 8, 16),
            ([14, 15], 3, 9, 21),
            ([13, 10], 20, 16, 40),
            ([4, 5], 2, 1, 3),
        ] {
            let x = images([batch, height, width, channels], 1);
            let w = images([3, 3, channels, filters], 2);
            let bias = images([1, 1, 1, filters], 3).reshape([filters]).unwrap();
            let options = Conv2dOptions::new()
                .padding(padding)
                .algorithm(ConvAlgorithm::Winograd)
                .without_unpooled(x.shape(), w.shape(), &pool)
                .unwrap_or_else(|error| panic!("{error}"));
            let (y, indices) = x
                .conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)
                .unwrap();
            let dy = images([y.shape()[0], y.shape()[1], y.shape()[2], filters], 4);
            let params = Conv2dParams::new(x.shape(), w.shape(), &options).unwrap();
            let dz = dy
                .max_pool2d_gradient(&indices, &params.output_shape(), &pool)
                .unwrap();
            let PoolIndices::Small(positions) = &indices else {
                panic!("four positions fit a byte");
            };
            let (values, positions) = (dy.to_vec(), positions.to_vec());
            let pooled = PooledGradient {
                values: &values,
                positions: &positions,
            };
            let (x, w, dz) = (x.to_vec(), w.to_vec(), dz.to_vec());
            let kernels = &f32::kernels().conv;
            for level in Level::available() {
                let par = Par::Threads;
                let execution = Execution { par, level };
                let place = format!("{level:?} {padding:?} {height}×{width}");
                let mut expected = vec![0.5; x.len()];
                (kernels.input_gradient)(&params, execution, &dz, &w, Some(&x), &mut expected)
                    .unwrap();
                let mut found = vec![0.25; x.len()];
                let kernel = kernels.pooled_input_gradient;
                assert!(kernel(&params, execution, pooled, &w, Some(&x), &mut found).unwrap());
                assert_eq!(found, expected, "{place}");

                let mut expected = [vec![0.5; w.len()], vec![0.5; filters]];
                let [dw, db] = &mut expected;
                assert!((kernels.filter_gradient)(&params, execution, &x, &dz, dw, db).unwrap());
                let mut found = [vec![0.25; w.len()], vec![0.25; filters]];
                let [dw, db] = &mut found;
                let kernel = kernels.pooled_filter_gradient;
                assert!(kernel(&params, execution, &x, pooled, dw, db).unwrap());
                assert_eq!(found, expected, "{place}");
            }
        }
    }
}

/// Whether the kernels run or the gradient is spread out, the functions on tensors say the same.
#[test]
fn pooled_gradients_of_tensors_do_not_depend_on_the_way() {
    let pool = Pool2dOptions::new([2, 2]);
    let (x, w) = (images([2, 10, 8, 8], 1), images([3, 3, 8, 8], 2));
    let bias = images([1, 1, 1, 8], 3).reshape([8]).unwrap();
    for algorithm in [ConvAlgorithm::Winograd, ConvAlgorithm::Direct] {
        let options = Conv2dOptions::new().algorithm(algorithm);
        let reads = options.reads_pooled_gradients::<f32>(x.shape(), w.shape(), &pool);
        assert_eq!(reads.unwrap(), algorithm == ConvAlgorithm::Winograd);
        let (y, indices) = x
            .conv2d_relu_max_pool2d_gated(&w, &bias, &options, &pool)
            .unwrap();
        let output = options.output_shape(x.shape(), w.shape()).unwrap();
        let dz = y.max_pool2d_gradient(&indices, &output, &pool).unwrap();
        for gate in [None, Some(&x)] {
            let expected = match gate {
                Some(gate) => dz.conv2d_input_gradient_gated(&w, gate, &options),
                None => dz.conv2d_input_gradient(&w, x.shape(), &options),
            };
            let found =
                y.conv2d_input_gradient_pooled(&indices, &w, x.shape(), gate, &options, &pool);
            assert_eq!(found.unwrap(), expected.unwrap(), "{algorithm:?}");
        }
        let expected = x.conv2d_filter_and_bias_gradient(&dz, w.shape(), &options);
        let found =
            x.conv2d_filter_and_bias_gradient_pooled(&y, &indices, w.shape(), &options, &pool);
        assert_eq!(found.unwrap(), expected.unwrap(), "{algorithm:?}");

        let other = images([2, 3, 3, 8], 4);
        let wrong =
            other.conv2d_input_gradient_pooled(&indices, &w, x.shape(), None, &options, &pool);
        assert!(wrong.is_err());
        let wrong =
            y.conv2d_input_gradient_pooled(&indices, &w, x.shape(), Some(&y), &options, &pool);
        assert!(wrong.unwrap_err().to_string().contains("gate"));
    }
}
