//! A limit to the instruction set. Alone in its process: it holds for the whole of it.

use tensor::{Conv2dOptions, ErrorKind, Level, Tensor};

/// Results whose bits depend on the width of vectors: long sums.
fn results() -> Vec<Tensor<f32>> {
    let mut random = tensor::generator(3);
    let mut normal = |shape: &[usize]| Tensor::<f32>::normal(shape, 0.0, 1.0, &mut random).unwrap();
    let (x, w) = (normal(&[2, 9, 9, 24]), normal(&[3, 3, 24, 40]));
    let (a, b) = (normal(&[37, 300]), normal(&[300, 45]));
    let options = Conv2dOptions::new();
    let y = x.conv2d(&w, &options).unwrap();
    vec![
        x.conv2d_filter_gradient(&y, w.shape(), &options).unwrap(),
        y,
        a.matmul(&b).unwrap(),
        a.sum(1).unwrap(),
    ]
}

fn bits(results: &[Tensor<f32>]) -> Vec<u32> {
    (results.iter())
        .flat_map(|result| result.to_vec().into_iter().map(f32::to_bits))
        .collect()
}

#[test]
fn a_limit_holds_until_it_is_lifted() {
    let machine = Level::of_machine();
    assert_eq!(Level::best(), machine);
    let unlimited = bits(&results());
    for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
        if level > machine {
            let error = Level::limit(level).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(Level::best(), machine, "a refused limit changes nothing");
            continue;
        }
        Level::limit(level).unwrap();
        assert_eq!(Level::best(), level);
        assert_eq!(Level::of_machine(), machine);
        assert_eq!(Level::available().last(), Some(&machine));
        let limited = bits(&results());
        assert_eq!(limited, bits(&results()), "{level:?} repeats its bits");
        if level < Level::Avx2 && machine > Level::Baseline {
            // Without fused multiply-add every product is rounded.
            assert_ne!(limited, unlimited, "{level:?} computes otherwise");
        }
    }
    Level::limit(machine).unwrap();
    assert_eq!(bits(&results()), unlimited);
}
