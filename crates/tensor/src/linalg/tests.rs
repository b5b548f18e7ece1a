//! Factorisations against products, and determinants against their definition.

use crate::Tensor;

/// A well-conditioned matrix for each number.
fn matrices(batch: usize, n: usize) -> Tensor<f64> {
    Tensor::from_fn([batch, n, n], |at| {
        let scrambled = (at[0] * 37 + at[1] * 11 + at[2] * 7) * 7919 % 97;
        let diagonal = if (at[1] + 1) % n.max(1) == at[2] {
            2.5
        } else {
            0.0
        };
        scrambled as f64 / 97.0 - 0.5 + diagonal
    })
    .unwrap()
}

/// `Σₚ a[i, p] b[p, j]` by loops.
fn product(a: &Tensor<f64>, b: &Tensor<f64>) -> Tensor<f64> {
    let (n, depth, m) = (a.shape()[0], a.shape()[1], b.shape()[1]);
    Tensor::from_fn([n, m], |at| {
        (0..depth).map(|p| a[[at[0], p]] * b[[p, at[1]]]).sum()
    })
    .unwrap()
}

/// The determinant by expansion along the first row.
fn laplace(a: &Tensor<f64>) -> f64 {
    let n = a.shape()[0];
    (0..n)
        .map(|column| {
            let minor = Tensor::from_fn([n - 1, n - 1], |at| {
                a[[at[0] + 1, at[1] + usize::from(at[1] >= column)]]
            });
            let sign = if column % 2 == 0 { 1.0 } else { -1.0 };
            sign * a[[0, column]] * laplace(&minor.unwrap())
        })
        .reduce(|a, b| a + b)
        .unwrap_or(1.0)
}

fn close(a: &Tensor<f64>, b: &Tensor<f64>) {
    assert_eq!(a.shape(), b.shape());
    for (a, b) in a.iter().zip(b.iter()) {
        assert!((a - b).abs() <= 1e-12, "{a} {b}");
    }
}

#[test]
fn solutions_solve_and_determinants_follow_laplace() {
    for n in 0..6 {
        let a = matrices(2, n);
        let b = Tensor::from_fn([n, 3], |at| (at[0] * 3 + at[1]) as f64 - 2.0).unwrap();
        let x = a.solve(&b).unwrap();
        assert_eq!(x.shape(), &[2, n, 3]);
        for number in 0..2 {
            let a = a.index_axis(0, number).unwrap();
            close(&product(&a, &x.index_axis(0, number).unwrap()), &b);
            let vector = b.index_axis(1, 1).unwrap();
            let solution = a.t().solve(&vector).unwrap().expand_dims(1).unwrap();
            close(&product(&a.t(), &solution), &vector.expand_dims(1).unwrap());
            let unit = product(&a, &a.inverse().unwrap());
            for i in 0..n {
                assert!((unit[[i, i]] - 1.0).abs() < 1e-12);
            }
            let expected = laplace(&a);
            let found = a.det().unwrap().item().unwrap();
            assert!(
                (found - expected).abs() <= 1e-12 * expected.abs(),
                "{found} {expected}"
            );
            let log = a.logabsdet().unwrap().item().unwrap();
            assert!((log - expected.abs().ln()).abs() < 1e-12);
        }
    }
}

#[test]
fn cholesky_factors_multiply_to_the_symmetric_part() {
    for n in 1..6 {
        let a = matrices(1, n).index_axis(0, 0).unwrap();
        let unit = Tensor::from_fn([n, n], |at| f64::from(u8::from(at[0] == at[1]))).unwrap();
        let gram = &product(&a, &a.t()) + &unit;
        let skew = &gram + &(&a - &a.t());
        let l = skew.cholesky().unwrap();
        close(&product(&l, &l.t()), &gram);
        for upper in [false, true] {
            let triangle = if upper { l.t() } else { l.clone() };
            let x = triangle.triangular_solve(&a, upper).unwrap();
            close(&product(&triangle, &x), &a);
        }
    }
}

#[test]
fn what_cannot_be_solved_says_so() {
    let singular = Tensor::from([[1.0, 2.0], [2.0, 4.0]]);
    assert!(
        singular
            .inverse()
            .unwrap_err()
            .to_string()
            .contains("singular")
    );
    assert_eq!(singular.det().unwrap().item().unwrap(), 0.0);
    assert_eq!(
        singular.logabsdet().unwrap().item().unwrap(),
        f64::NEG_INFINITY
    );
    assert!(
        singular
            .cholesky()
            .unwrap_err()
            .to_string()
            .contains("positive definite")
    );
    assert!(Tensor::from([[f64::NAN]]).cholesky().is_err());
    assert!(Tensor::from([1.0]).det().is_err());
    assert!(Tensor::<f64>::zeros([2, 3]).unwrap().inverse().is_err());
    assert!(singular.solve(&Tensor::from([1.0, 2.0, 3.0])).is_err());
    let triangle = Tensor::from([[0.0, 1.0], [1.0, 1.0]]);
    assert!(
        triangle
            .triangular_solve(&Tensor::from([1.0, 2.0]), false)
            .is_err()
    );
}
