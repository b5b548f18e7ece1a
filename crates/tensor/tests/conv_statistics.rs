//! Counters of convolutions. Alone in its process: the counters belong to the whole of it.

use tensor::{Conv2dOptions, ConvStatistics, Padding, Pool2dOptions, Tensor, conv_statistics};

/// What `work` adds to the counters.
fn counted(work: impl FnOnce()) -> ConvStatistics {
    let before = conv_statistics();
    work();
    let mut after = conv_statistics();
    after.multiplications -= before.multiplications;
    after.direct_multiplications -= before.direct_multiplications;
    after.im2col -= before.im2col;
    after.direct -= before.direct;
    after.winograd -= before.winograd;
    after.winograd_2x2 -= before.winograd_2x2;
    after.depthwise -= before.depthwise;
    after.product -= before.product;
    after.filter_transforms -= before.filter_transforms;
    after
}

/// Forward and both gradients.
fn all_directions(input: [usize; 4], filters: [usize; 4], options: Conv2dOptions) {
    let x = Tensor::<f32>::ones(input).unwrap();
    let w = Tensor::ones(filters).unwrap();
    let y = x.conv2d(&w, &options).unwrap();
    y.conv2d_input_gradient(&w, &input, &options).unwrap();
    x.conv2d_filter_gradient(&y, &filters, &options).unwrap();
}

#[test]
fn winograd_and_products_do_their_share() {
    winograd_does_its_quarter_of_the_multiplications();
    pointwise_convolutions_are_products();
    filters_are_transformed_twice_and_then_kept();
}

fn filters_are_transformed_twice_and_then_kept() {
    let options = Conv2dOptions::new();
    let x = Tensor::<f32>::ones([1, 20, 20, 32]).unwrap();
    let mut w = Tensor::ones([3, 3, 32, 64]).unwrap();
    let (bias, pool) = (Tensor::ones([64]).unwrap(), Pool2dOptions::new([2, 2]));
    let transforms = |work: &dyn Fn()| counted(work).filter_transforms;
    for _ in 0..3 {
        let predict = || drop(x.conv2d(&w, &options).unwrap());
        // Who writes after each use, as training does, keeps nothing.
        assert_eq!(transforms(&predict), 1);
        w.make_mut()[0] += 1.0;
        let predict = || drop(x.conv2d(&w, &options).unwrap());
        assert_eq!([(); 4].map(|()| transforms(&predict)), [1, 1, 0, 0]);
        // Another operation has the same filters.
        let pooled = || {
            drop(
                x.conv2d_relu_max_pool2d(&w, &bias, &options, &pool)
                    .unwrap(),
            )
        };
        assert_eq!(transforms(&pooled), 0);
        let dy = x.conv2d(&w, &options).unwrap();
        let gradient = || drop(dy.conv2d_input_gradient(&w, x.shape(), &options).unwrap());
        assert_eq!([(); 3].map(|()| transforms(&gradient)), [1; 3]);
        assert_eq!(transforms(&predict), 0);
        w.make_mut()[0] += 1.0;
    }
    // Filters that leave the cache anyway.
    let x = Tensor::<f32>::ones([1, 20, 20, 192]).unwrap();
    let w = Tensor::ones([3, 3, 192, 192]).unwrap();
    let predict = || drop(x.conv2d(&w, &options).unwrap());
    assert_eq!([(); 3].map(|()| transforms(&predict)), [1; 3]);
}

fn pointwise_convolutions_are_products() {
    for options in [Conv2dOptions::new(), Conv2dOptions::new().stride([2, 2])] {
        let counted = counted(|| all_directions([2, 8, 8, 256], [1, 1, 256, 512], options));
        assert_eq!(counted.product, 3, "{counted:?}");
        assert_eq!(counted.multiplications, counted.direct_multiplications);
    }
    // Few filters: their gradient stays in a cache.
    let counted = counted(|| all_directions([2, 8, 8, 16], [1, 1, 16, 32], Conv2dOptions::new()));
    assert_eq!((counted.product, counted.direct), (2, 1), "{counted:?}");
}

fn winograd_does_its_quarter_of_the_multiplications() {
    let valid = Conv2dOptions::new();
    let same = valid.padding(Padding::Same);
    // The layers with many channels of a small image classifier, one image each.
    for (input, filters, options) in [
        ([1, 100, 100, 32], [3, 3, 32, 32], valid),
        ([1, 49, 49, 32], [3, 3, 32, 64], same),
        ([1, 49, 49, 64], [3, 3, 64, 64], valid),
        ([1, 28, 28, 32], [3, 3, 32, 32], same),
    ] {
        let counted = counted(|| all_directions(input, filters, options));
        assert_eq!(counted.winograd, 3, "{counted:?}");
        let ratio = counted.multiplications as f64 / counted.direct_multiplications as f64;
        assert!((0.25..=0.3).contains(&ratio), "{input:?}: {ratio}");
    }
    // Few channels in, or a large kernel: computed directly.
    for (input, filters, options) in [
        ([1, 100, 100, 3], [3, 3, 3, 32], same),
        ([2, 16, 18, 8], [5, 5, 8, 8], valid),
    ] {
        let counted = counted(|| all_directions(input, filters, options));
        assert_eq!((counted.direct, counted.winograd), (3, 0), "{counted:?}");
        let ratio = counted.multiplications as f64 / counted.direct_multiplications as f64;
        // The input gradient of a valid convolution also meets the zeros around its input.
        assert!((1.0..1.3).contains(&ratio), "{input:?}: {ratio}");
    }
}
