//! The operations on tensors: views, errors, and relations between the three directions.

use crate::conv::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding};
use crate::tensor::Tensor;

fn counting(shape: &[usize]) -> Tensor<f64> {
    let mut next = 0.0;
    Tensor::from_fn(shape, |_| {
        next += 1.0;
        (next * 0.37_f64).sin()
    })
    .unwrap()
}

fn inner(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

#[test]
fn the_three_directions_are_adjoint() {
    let options = Conv2dOptions::new()
        .stride([2, 1])
        .dilation([1, 2])
        .groups(2)
        .padding(Padding::Same);
    let x = counting(&[2, 7, 6, 4]);
    let w = counting(&[3, 2, 2, 6]);
    let dy = counting(&options.output_shape(x.shape(), w.shape()).unwrap());
    let expected = inner(&x.conv2d(&w, &options).unwrap(), &dy);
    let dx = dy.conv2d_input_gradient(&w, x.shape(), &options).unwrap();
    let dw = x.conv2d_filter_gradient(&dy, w.shape(), &options).unwrap();
    assert!((inner(&x, &dx) - expected).abs() < 1e-12);
    assert!((inner(&w, &dw) - expected).abs() < 1e-12);
}

#[test]
fn views_are_taken_by_value() {
    let options = Conv2dOptions::new().padding(Padding::Same);
    let x = counting(&[4, 6, 5, 2]).permute(&[3, 2, 1, 0]).unwrap();
    let w = counting(&[3, 1, 1, 4]).permute(&[0, 1, 3, 2]).unwrap();
    let w = w.broadcast_to([3, 3, 4, 1]).unwrap();
    let y = x.conv2d(&w, &options).unwrap();
    let copies = x.contiguous().conv2d(&w.contiguous(), &options).unwrap();
    assert_eq!(y.to_vec(), copies.to_vec());
}

#[test]
fn errors_name_the_operands() {
    let options = Conv2dOptions::new();
    let x = counting(&[1, 5, 5, 2]);
    let w = counting(&[3, 3, 2, 6]);
    let error = |result: crate::Result<Tensor<f64>>| result.unwrap_err().to_string();
    assert_eq!(
        error(x.conv2d_fused(&w, Some(&counting(&[5])), false, &options)),
        "conv2d_fused: the bias must have one number for each output channel\n  \
         bias     [5]\n  \
         filters  [3, 3, 2, 6]\n  \
         fix: give it the shape [6]"
    );
    let dy = counting(&[1, 3, 4, 6]);
    assert_eq!(
        error(dy.conv2d_input_gradient(&w, x.shape(), &options)),
        "conv2d_input_gradient: the gradient has not the shape of the convolution's output\n  \
         gradient  [1, 3, 4, 6]\n  \
         output    [1, 3, 3, 6]\n  \
         input     [1, 5, 5, 2]\n  \
         filters   [3, 3, 2, 6]"
    );
    assert!(
        error(x.conv2d_filter_gradient(&dy, w.shape(), &options))
            .starts_with("conv2d_filter_gradient: the gradient has not the shape")
    );
    assert!(
        error(x.conv2d_filter_gradient(&dy, &[3, 3, 1, 6], &options)).starts_with(
            "conv2d_filter_gradient: the input has 2 channels but the filters expect 1"
        )
    );
}

#[test]
fn winograd_refuses_what_it_cannot_compute() {
    let options = Conv2dOptions::new().algorithm(ConvAlgorithm::Winograd);
    let x = counting(&[1, 9, 9, 2]);
    let w = counting(&[3, 3, 2, 6]);
    let message = |error: crate::Error| error.to_string().lines().next().unwrap().to_string();
    assert_eq!(
        message(x.conv2d(&w, &options).unwrap_err()),
        "conv2d: Winograd's algorithm computes with f32, not f64"
    );
    let (x, w) = (x.cast::<f32>(), w.cast::<f32>());
    assert!(x.conv2d(&w, &options).is_ok());
    for options in [options.stride([1, 2]), options.dilation([2, 1])] {
        let error = x.conv2d(&w, &options).unwrap_err();
        assert_eq!(
            message(error),
            "conv2d: Winograd's algorithm takes kernels of 3×3, stride 1, dilation 1 and one group"
        );
    }
}

#[test]
fn hostile_options_neither_panic_nor_allocate() {
    // Sizes that fit, with strides and paddings that make everything between them huge.
    let x = counting(&[1, 3, 4, 1]);
    let w = counting(&[2, 2, 1, 1]);
    let far = 1 << 28;
    let options = Conv2dOptions::new()
        .stride([far, far + 1])
        .dilation([far, far])
        .padding(Padding::Explicit {
            height: [far, 3],
            width: [0, far],
        });
    let params = Conv2dParams::new(x.shape(), w.shape(), &options).unwrap();
    assert_eq!(params.output_shape(), [1, 1, 1, 1]);
    let y = x.conv2d(&w, &options).unwrap();
    assert!((y.to_vec()[0] - x.to_vec()[0] * w.to_vec()[2]).abs() < 1e-15);
    let dx = y.conv2d_input_gradient(&w, x.shape(), &options).unwrap();
    assert_eq!(dx.to_vec()[0], y.to_vec()[0] * w.to_vec()[2]);
    let dw = x.conv2d_filter_gradient(&y, w.shape(), &options).unwrap();
    assert_eq!(dw.to_vec()[2], y.to_vec()[0] * x.to_vec()[0]);
}
