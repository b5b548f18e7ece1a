//! What each family of operations keeps for its derivative, byte for byte.

use autograd::{Result, Tape, Var};
use tensor::{Conv2dOptions, Pad, Pool2dOptions, Tensor, keepdims};

/// Bytes that the operations of `run` keep, on a variable of this shape.
fn saved(shape: &[usize], run: impl FnOnce(&Var<f32>) -> Result<Var<f32>>) -> usize {
    let tape = Tape::new();
    let values = Tensor::from_fn(shape, |at| at.iter().sum::<usize>() as f32 * 0.1 - 0.3);
    let x = tape.variable(values.unwrap());
    run(&x).unwrap();
    tape.saved_bytes()
}

const F32: usize = size_of::<f32>();

#[test]
fn what_moves_or_adds_keeps_nothing() {
    let x = [4, 6];
    assert_eq!(saved(&x, |x| x.add(x)), 0);
    assert_eq!(saved(&x, |x| x.sub(x)), 0);
    assert_eq!(saved(&x, |x| Ok(x.scale(2.0).shift(1.0))), 0);
    assert_eq!(saved(&x, |x| x.sum(keepdims(1))?.broadcast_to([4, 6])), 0);
    assert_eq!(saved(&x, |x| x.mean(..)), 0);
    assert_eq!(saved(&x, |x| x.t().reshape([24])?.slice_axis(0, 1..9)), 0);
    assert_eq!(saved(&x, |x| Var::concat(&[x, x], 0)?.flip(0)), 0);
    assert_eq!(saved(&x, |x| x.cumsum(0)?.roll(1, 1)), 0);
}

#[test]
fn elementwise_functions_keep_what_their_derivative_names() {
    let bytes = 24 * F32;
    for function in [Var::exp, Var::tanh, Var::sigmoid, Var::sqrt, Var::relu] {
        // Only the output: the input, itself an intermediate value, is free to go.
        assert_eq!(saved(&[4, 6], |x| Ok(function(&x.scale(2.0)))), bytes);
    }
    for function in [Var::sin, Var::log, Var::softplus, Var::gelu] {
        assert_eq!(saved(&[4, 6], |x| Ok(function(&x.scale(2.0)))), bytes);
    }
    assert_eq!(saved(&[4, 6], |x| x.mul(x)), 2 * bytes);
}

/// The rectifier's input is dropped as soon as its caller drops it.
#[test]
fn relu_lets_its_input_go() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::<f32>::ones([8, 8]).unwrap());
    let doubled = x.scale(2.0);
    let mut watched = doubled.value().clone();
    let _y = doubled.relu();
    drop(doubled);
    // One owner is left, so writing does not copy.
    assert!(watched.is_unique());
    watched.make_mut()[0] = 1.0;
}

#[test]
fn dropout_keeps_its_key_alone() {
    assert_eq!(saved(&[100, 100], |x| x.dropout(0.5, 7, 1)), 0);
}

#[test]
fn max_pooling_keeps_indices_as_small_as_the_window_needs() {
    let small = Pool2dOptions::new([2, 2]);
    let outputs = 2 * 8 * 8 * 3;
    assert_eq!(saved(&[2, 16, 16, 3], |x| x.max_pool2d(&small)), outputs);
    let byte = Pool2dOptions::new([16, 16]);
    assert_eq!(saved(&[1, 16, 16, 3], |x| x.max_pool2d(&byte)), 3);
    let large = Pool2dOptions::new([17, 16]);
    assert_eq!(saved(&[1, 17, 16, 3], |x| x.max_pool2d(&large)), 3 * 4);
    assert_eq!(saved(&[2, 16, 16, 3], |x| x.avg_pool2d(&small)), 0);
}

/// A product keeps each factor for the gradient of the other: both if both are tracked, else only
/// the constant.
#[test]
fn matmul_keeps_its_two_operands() {
    let (a, b) = (4 * 6 * F32, 6 * 5 * F32);
    let w = Var::from(Tensor::<f32>::ones([6, 5]).unwrap());
    let tracked = |x: &Var<f32>| tracked_like(x, &w);
    assert_eq!(saved(&[4, 6], |x| x.matmul(&tracked(x))), a + b);
    assert_eq!(saved(&[4, 6], |x| x.matmul(&w)), b);
    assert_eq!(
        saved(&[3, 4], |x| w
            .matmul(&tracked_like(x, &Tensor::ones([5, 2])?.into()))),
        b
    );
    // Batches times one matrix are one product, and the reshaping around it keeps nothing.
    assert_eq!(saved(&[2, 2, 6], |x| x.matmul(&tracked(x))), a + b);
    assert_eq!(saved(&[4, 6], |x| x.mul(&Var::from(2.0))), F32);
}

/// The value as a variable on the tape of `x`.
fn tracked_like(x: &Var<f32>, value: &Var<f32>) -> Var<f32> {
    let tape = x.tape().expect("a variable has a tape");
    tape.variable(value.value().clone())
}

#[test]
fn convolution_keeps_input_and_filters_and_the_fused_rectifier_its_output() {
    let (input, filters, output) = (
        2 * 5 * 5 * 3 * F32,
        3 * 3 * 3 * 4 * F32,
        2 * 3 * 3 * 4 * F32,
    );
    let w = Var::from(Tensor::<f32>::ones([3, 3, 3, 4]).unwrap());
    let bias = Var::from(Tensor::<f32>::ones([4]).unwrap());
    let options = Conv2dOptions::new();
    let run = |x: &Var<f32>, w: &Var<f32>| x.conv2d(w, &options);
    let shape = [2, 5, 5, 3];
    assert_eq!(
        saved(&shape, |x| run(x, &tracked_like(x, &w))),
        input + filters
    );
    // A constant filter has no gradient that would need the images, nor the other way round.
    assert_eq!(saved(&shape, |x| run(x, &w)), filters);
    assert_eq!(
        saved(&shape, |x| run(&x.detach(), &tracked_like(x, &w))),
        input
    );
    let fused = |relu| {
        saved(&shape, |x| {
            let (w, bias) = (tracked_like(x, &w), tracked_like(x, &bias));
            x.conv2d_bias(&w, &bias, relu, &options)
        })
    };
    assert_eq!(fused(false), input + filters);
    assert_eq!(fused(true), input + filters + output);
}

#[test]
fn softmax_keeps_its_output_and_the_loss_scores_and_labels() {
    let bytes = 4 * 6 * F32;
    assert_eq!(saved(&[4, 6], |x| x.softmax(-1)), bytes);
    assert_eq!(saved(&[4, 6], |x| x.log_softmax(-1)), bytes);
    let labels = Tensor::from([0_i64, 1, 2, 3]);
    let loss = saved(&[4, 6], |x| x.softmax_cross_entropy(&labels));
    assert_eq!(loss, bytes + 4 * size_of::<i64>());
    assert_eq!(saved(&[4, 6], |x| x.standardize(1, 1e-3)), bytes);
}

#[test]
fn indices_and_masks_are_counted() {
    let index = Tensor::from([2_i64, 0]);
    assert_eq!(saved(&[4, 6], |x| x.index_select(0, &index)), 16);
    let mask = Tensor::<bool>::full([4, 6], true).unwrap();
    assert_eq!(saved(&[4, 6], |x| x.masked_fill(&mask, 0.0)), 24);
}

#[test]
fn reductions_and_scans_keep_no_more_than_input_and_output() {
    let (input, output) = (4 * 6 * F32, 4 * F32);
    let x = [4, 6];
    assert_eq!(saved(&x, |x| x.cumprod(1)), 2 * input);
    assert_eq!(saved(&x, |x| x.prod(1)), input);
    assert_eq!(saved(&x, |x| x.max(1)), input + output);
    assert_eq!(saved(&x, |x| x.logsumexp(1)), input + output);
    // The scale that keeps squares from overflowing twice, the root, and two masks of a byte.
    assert_eq!(saved(&x, |x| x.norm(2.0, 1)), input + 3 * output + 2 * 4);
    assert_eq!(saved(&x, |x| x.var(1, 1)), input);
    assert_eq!(saved(&x, |x| x.std(1, 1)), input + output + 2 * 4);
}

#[test]
fn what_moves_elements_by_index_keeps_the_index_alone() {
    let index = size_of::<i64>();
    assert_eq!(saved(&[4, 6], |x| x.sort(1, false)), 24 * index);
    assert_eq!(saved(&[4, 6], |x| x.topk(2, 1)), 8 * index);
    let rows = Tensor::from([3_i64, 1]);
    assert_eq!(saved(&[4, 6], |x| x.embedding(&rows)), 2 * index);
    assert_eq!(
        saved(&[4, 6], |x| x.pad(&[(1, 1), (0, 2)], Pad::Constant(0.0))),
        0
    );
    assert_eq!(saved(&[4, 6], |x| x.repeat(2, 0)?.tile(&[2, 1])), 0);
}

#[test]
fn resizing_keeps_the_weights_of_each_axis_alone() {
    // Where each row begins, and at the end; a column and a number for each weight.
    let weights = |rows: usize, numbers| (rows + 1) * 8 + numbers * size_of::<(usize, f32)>();
    let nearest = saved(&[1, 4, 6, 2], |x| x.resize_nearest([8, 4]));
    assert_eq!(nearest, weights(8, 8) + weights(4, 4));
    // All but the first and the last lie between two.
    let bilinear = saved(&[1, 4, 6, 2], |x| x.resize_bilinear([8, 6], false));
    assert_eq!(bilinear, weights(8, 14));
    let means = saved(&[1, 4, 6, 2], |x| x.adaptive_avg_pool2d([2, 3]));
    assert_eq!(means, weights(2, 4) + weights(3, 6));
}

#[test]
fn linear_algebra_keeps_its_result_and_the_matrix_that_it_solves_with() {
    let matrix = |x: &Var<f32>| x.add(&Var::from(Tensor::eye(3)?.mul(&Tensor::scalar(9.0))?));
    let bytes = 9 * F32;
    assert_eq!(saved(&[3, 3], |x| matrix(x)?.inverse()), bytes);
    assert_eq!(saved(&[3, 3], |x| matrix(x)?.cholesky()), bytes);
}

#[test]
fn losses_keep_what_they_compare() {
    let bytes = 24 * F32;
    let zeros = || Var::from(Tensor::<f32>::zeros([4, 6]).unwrap());
    assert_eq!(saved(&[4, 6], |x| x.squared_error(&zeros())), bytes);
    let logits = |x: &Var<f32>| x.binary_cross_entropy_with_logits(&zeros());
    assert!(saved(&[4, 6], logits) <= 2 * bytes);
}

/// Writing copies first where somebody else can see the elements, so that no in-place change can
/// reach what the tape has saved: the gradient is that of the values that were recorded.
#[test]
fn a_change_in_place_cannot_reach_a_saved_value() {
    let tape = Tape::new();
    let mut values = Tensor::from([1.0_f64, 2.0]);
    let x = tape.variable(values.clone());
    let loss = x.square().sum(..).unwrap();
    values.make_mut().fill(100.0);
    let mut output = x.square().into_value();
    output.make_mut().fill(-1.0);
    assert_eq!(
        loss.backward().unwrap().of(&x).unwrap().to_vec(),
        [2.0, 4.0]
    );
}

#[test]
fn nothing_is_kept_of_constants_or_after_the_reverse_pass() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::<f32>::ones([10]).unwrap());
    let loss = x.square().sum(..).unwrap();
    assert_eq!(tape.saved_bytes(), 40);
    loss.backward().unwrap();
    assert_eq!(tape.saved_bytes(), 0);
    let _ = x.detach().square();
    assert_eq!(tape.saved_bytes(), 0);
}
