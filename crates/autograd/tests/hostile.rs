//! Arguments that make no sense are errors that name the operation: no panic, no endless loop.

use autograd::{CrossEntropy, Result, Tape, Var};
use proptest::prelude::*;
use tensor::{Conv2dOptions, Pad, Pool2dOptions, Slice, Tensor, keepdims};

fn image() -> Var<f64> {
    Tape::new().variable(Tensor::ones([1, 3, 4, 2]).unwrap())
}

#[test]
fn no_images_are_resized_to_none() {
    for shape in [[0, 0, 3, 2], [0, 3, 0, 2], [0, 4, 4, 2], [0, 0, 0, 2]] {
        let x = Tape::new().variable(Tensor::<f64>::zeros(shape).unwrap());
        for resized in [
            x.resize_nearest([2, 5]),
            x.resize_bilinear([2, 5], false),
            x.resize_bilinear([2, 5], true),
            x.adaptive_avg_pool2d([2, 5]),
        ] {
            let resized = resized.unwrap();
            assert_eq!(*resized.shape(), [0, 2, 5, 2]);
            let loss = resized.sum(..).unwrap();
            let gradients = loss.backward().unwrap();
            assert_eq!(*gradients.of(&x).unwrap().shape(), shape);
        }
    }
}

#[test]
fn senseless_arguments_are_errors() {
    let x = image();
    let v = Var::from(Tensor::from([1.0, 2.0]));
    let m = Var::from(Tensor::<f64>::ones([2, 2]).unwrap());
    let labels = |values: &[i64]| Tensor::from(values.to_vec());
    let huge = usize::MAX;
    let calls: Vec<(&str, Result<Var<f64>>)> = vec![
        ("resize_nearest", x.resize_nearest([huge, 2])),
        ("resize_bilinear", x.resize_bilinear([huge, 2], false)),
        ("adaptive_avg_pool2d", x.adaptive_avg_pool2d([huge, 2])),
        ("adaptive_max_pool2d", x.adaptive_max_pool2d([huge, 2])),
        ("a vector resized", v.resize_nearest([2, 2])),
        ("dropout", x.dropout(f64::NAN, 0, 0)),
        ("polygamma", x.polygamma(u32::MAX)),
        ("clamp", x.clamp(1.0, 0.0)),
        ("clamp", x.clamp(f64::NAN, 0.0)),
        ("norm", x.norm(f64::NAN, ..)),
        ("norm", x.norm(-1.0, ..)),
        ("norm", x.norm(2.0, 9)),
        ("std", x.std(keepdims(7), 0)),
        ("max", x.slice_axis(0, 0..0).and_then(|x| x.max(..))),
        ("reshape", x.reshape([huge, huge])),
        ("broadcast_to", x.broadcast_to([huge, 3, 4, 2])),
        ("repeat", x.repeat(huge, 0)),
        ("tile", x.tile(&[huge, 2, 2, 2])),
        ("tile", x.tile(&[1; 80])),
        ("pad", x.pad(&[(huge, 1); 4], Pad::Edge)),
        ("pad", x.pad(&[(0, 0)], Pad::Reflect)),
        ("slice", x.slice(&[Slice::from(..).step(0)])),
        ("slice", x.slice(&[Slice::from(..); 9])),
        ("place", v.place([3], &[(..).into()])),
        ("permute", x.permute(&[0, 0, 1, 2])),
        ("index_axis", x.index_axis(0, huge)),
        ("gather", v.gather(0, &labels(&[2]))),
        ("gather", v.gather(0, &labels(&[i64::MIN]))),
        ("index_select", v.index_select(isize::MIN, &labels(&[0]))),
        ("embedding", v.embedding(&labels(&[0]))),
        ("topk", v.topk(huge, 0)),
        ("concat", Var::concat(&[], 0)),
        ("stack", Var::stack(&[], 0)),
        ("stack", Var::stack(&[&v, &m], 0)),
        ("solve", m.solve(&v)),
        ("inverse", m.inverse()),
        ("cholesky", v.cholesky()),
        ("matmul", x.matmul(&x)),
        ("dot", m.dot(&m)),
        ("outer", m.outer(&v)),
        ("squared_error", v.squared_error(&m)),
        ("group_norm", x.group_norm(0, &v, &v, 1e-3)),
        ("group_norm", x.group_norm(3, &v, &v, 1e-3)),
        ("batch_norm", Var::from(1.0).batch_norm(&v, &v, 1e-3)),
        ("conv2d", x.conv2d(&x, &Conv2dOptions::new())),
        ("conv1d", x.conv1d(&x, &Conv2dOptions::new())),
        ("max_pool2d", x.max_pool2d(&Pool2dOptions::new([0, 2]))),
        (
            "max_pool2d",
            x.max_pool2d(&Pool2dOptions::new([huge, huge])),
        ),
        ("softmax", Var::from(1.0).softmax(0)),
        ("cross-entropy", m.softmax_cross_entropy(&labels(&[0, 2]))),
        ("cross-entropy", m.softmax_cross_entropy(&labels(&[0]))),
        (
            "smoothing",
            m.cross_entropy(&labels(&[0, 1]), &CrossEntropy::new().label_smoothing(2.0)),
        ),
        (
            "weights",
            m.cross_entropy(
                &labels(&[0, 1]),
                &CrossEntropy::new().class_weights(Tensor::from([1.0])),
            ),
        ),
        (
            "label",
            m.mean_cross_entropy(&labels(&[0, 7]), &CrossEntropy::new().ignored(1)),
        ),
    ];
    for (name, outcome) in calls {
        let error = outcome.err().unwrap_or_else(|| panic!("{name} accepts it"));
        assert!(
            !error.operation().is_empty() && error.to_string().contains(": "),
            "{name}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn einsum_reads_any_equation(equation in "[a-c.,>\\- ]{0,12}") {
        let m = Var::from(Tensor::<f64>::ones([2, 2]).unwrap());
        for operands in [vec![], vec![&m], vec![&m, &m]] {
            if let Ok(y) = Var::einsum(&equation, &operands) {
                prop_assert!(y.value().iter().all(f64::is_finite));
            }
        }
    }
}
