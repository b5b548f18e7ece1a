//! Gradients at shapes and parameters that nobody chose: broadcasts, reductions, products, windows
//! whose strides, kernels, paddings and dilations differ per axis.

use autograd::{Result, Var, gradcheck, gradgradcheck};
use proptest::collection::vec;
use proptest::prelude::*;
use tensor::{Axes, Conv2dOptions, Padding, Pool2dOptions, Slice, Tensor, keepdims};

/// Distinct values from 0.3 to 2.
fn values(shape: &[usize], salt: usize) -> Tensor<f64> {
    let count = shape.iter().product::<usize>().max(1);
    let stride = [7919, 104_729].into_iter().find(|p| count % p != 0);
    let mut next = salt;
    Tensor::from_fn(shape, |_| {
        next = (next + stride.unwrap_or(1)) % count;
        (next as f64 + 0.35 + 0.1 * salt as f64) / count as f64 * 1.7 + 0.3
    })
    .unwrap()
}

fn check(
    shapes: &[&[usize]],
    f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
) -> std::result::Result<(), TestCaseError> {
    let inputs: Vec<_> = (0..)
        .zip(shapes)
        .map(|(i, shape)| values(shape, i))
        .collect();
    gradcheck(&f, &inputs)
        .and_then(|()| gradgradcheck(&f, &inputs))
        .map_err(|error| TestCaseError::fail(format!("{shapes:?}: {error}")))
}

/// Two shapes that broadcast: each drops leading axes and shrinks some to 1.
fn broadcastable() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (
        vec(0_usize..4, 0..4),
        vec((any::<bool>(), any::<bool>()), 4),
        0_usize..4,
        any::<bool>(),
    )
        .prop_map(|(shape, ones, dropped, left)| {
            let mut both: [Vec<usize>; 2] = [shape.clone(), shape.clone()];
            for (axis, &(a, b)) in ones.iter().take(shape.len()).enumerate() {
                both[0][axis] = if a { 1 } else { shape[axis] };
                both[1][axis] = if b { 1 } else { shape[axis] };
            }
            let short = usize::from(left);
            let dropped = dropped.min(shape.len());
            both[short].drain(..dropped);
            let [a, b] = both;
            (a, b)
        })
}

/// A shape, some of its axes, and whether to keep them.
fn reduction(least: usize) -> impl Strategy<Value = (Vec<usize>, Vec<isize>, bool)> {
    (vec(least..4, 1..4), vec(any::<bool>(), 4), any::<bool>()).prop_map(|(shape, chosen, keep)| {
        let rank = shape.len() as isize;
        // Every other axis by its negative name.
        let axes = (0..rank).filter(|&axis| chosen[axis as usize]);
        let axes = axes.map(|axis| if axis % 2 == 0 { axis } else { axis - rank });
        (shape, axes.collect(), keep)
    })
}

fn axes(axes: &[isize], keep: bool) -> Axes {
    if keep { keepdims(axes) } else { axes.into() }
}

/// Stride, dilation, and padding on the four sides.
fn window() -> impl Strategy<Value = ([usize; 2], [usize; 2], [usize; 4])> {
    (
        [1_usize..4, 1_usize..4],
        [1_usize..3, 1_usize..3],
        [0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3],
    )
}

fn padding([top, bottom, left, right]: [usize; 4]) -> Padding {
    Padding::Explicit {
        height: [top, bottom],
        width: [left, right],
    }
}

/// An equation over the letters `a` to `d`, and the shapes of its operands: axes may have no
/// elements, letters may repeat within an operand, and where they do not, be broadcast from 1.
#[derive(Debug)]
struct Contraction {
    sizes: [usize; 4],
    operands: Vec<Vec<usize>>,
    shapes: Vec<Vec<usize>>,
    result: Vec<usize>,
}

fn contraction() -> impl Strategy<Value = Contraction> {
    (
        [0_usize..4, 0_usize..4, 1_usize..4, 1_usize..4],
        vec(vec((0_usize..4, 0_usize..6), 0..4), 1..4),
        Just(vec![0, 1, 2, 3]).prop_shuffle(),
        0_usize..5,
    )
        .prop_map(|(sizes, operands, mut result, named)| {
            let letters = |axes: &Vec<(usize, usize)>| axes.iter().map(|axis| axis.0).collect();
            let letters: Vec<Vec<usize>> = operands.iter().map(letters).collect();
            let shape = |axes: &Vec<(usize, usize)>| {
                let once = |letter| axes.iter().filter(|axis| axis.0 == letter).count() == 1;
                let size = |&(letter, chance): &(usize, usize)| match chance {
                    0 if once(letter) => 1,
                    _ => sizes[letter],
                };
                axes.iter().map(size).collect()
            };
            let shapes: Vec<Vec<usize>> = operands.iter().map(shape).collect();
            result.retain(|letter| letters.iter().flatten().any(|other| other == letter));
            result.truncate(named);
            // A letter that is 1 everywhere is 1.
            let size = |letter: usize| {
                let axes = letters
                    .iter()
                    .zip(&shapes)
                    .flat_map(|(l, s)| l.iter().zip(s));
                let mut own = axes.filter(|axis| *axis.0 == letter).map(|axis| *axis.1);
                own.find(|&size| size != 1).unwrap_or(1)
            };
            Contraction {
                sizes: [0, 1, 2, 3].map(size),
                operands: letters,
                shapes,
                result,
            }
        })
}

impl Contraction {
    fn equation(&self) -> String {
        let term = |letters: &Vec<usize>| -> String {
            letters
                .iter()
                .map(|&l| char::from(b'a' + l as u8))
                .collect()
        };
        let terms: Vec<String> = self.operands.iter().map(term).collect();
        format!("{}->{}", terms.join(","), term(&self.result))
    }

    /// The definition: products of elements for all values of all letters, added up.
    fn by_loops(&self, inputs: &[Tensor<f64>]) -> Tensor<f64> {
        let shape: Vec<usize> = self
            .result
            .iter()
            .map(|&letter| self.sizes[letter])
            .collect();
        let mut sums = vec![0.0; shape.iter().product()];
        let [a, b, c, d] = self.sizes;
        for at in 0..a * b * c * d {
            let at = [at / (b * c * d), at / (c * d) % b, at / d % c, at % d];
            let factor = |(x, letters): (&Tensor<f64>, &Vec<usize>)| {
                let index: Vec<usize> = (letters.iter().zip(&x.shape()[..]))
                    .map(|(&letter, &size)| if size == 1 { 0 } else { at[letter] })
                    .collect();
                x.get(&index).unwrap()
            };
            let product: f64 = inputs.iter().zip(&self.operands).map(factor).product();
            let place = (self.result.iter().zip(&shape))
                .fold(0, |place, (&letter, &size)| place * size + at[letter]);
            sums[place] += product;
        }
        Tensor::from_vec(sums, shape).unwrap()
    }
}

#[test]
fn einsum_of_axes_without_elements() {
    let ones = |shape: &[usize]| Var::from(Tensor::<f64>::ones(shape).unwrap());
    type Case = (&'static str, &'static [&'static [usize]], &'static [usize]);
    let cases: [Case; 3] = [
        ("ij,jk->ik", &[&[0, 3], &[3, 2]], &[0, 2]),
        ("i,j->ij", &[&[0], &[2]], &[0, 2]),
        (
            "j,jkl,klj->kjl",
            &[&[0], &[0, 0, 1], &[0, 1, 0]],
            &[0, 0, 1],
        ),
    ];
    for (equation, shapes, expected) in cases {
        let operands: Vec<_> = shapes.iter().map(|shape| ones(shape)).collect();
        let y = Var::einsum(equation, &operands.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(y.shape()[..], *expected, "{equation}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn einsum_adds_up_products(contraction in contraction()) {
        let inputs: Vec<_> = (0..)
            .zip(&contraction.shapes)
            .map(|(i, shape)| values(shape, i))
            .collect();
        let operands: Vec<_> = inputs.iter().map(Var::from).collect();
        let operands: Vec<_> = operands.iter().collect();
        let y = Var::einsum(&contraction.equation(), &operands);
        let y = y.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let expected = contraction.by_loops(&inputs);
        prop_assert_eq!(y.shape(), expected.shape());
        for (a, b) in y.value().iter().zip(expected.iter()) {
            prop_assert!((a - b).abs() <= 1e-12 * b.abs(), "{} {}", a, b);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broadcasting_arithmetic((a, b) in broadcastable(), which in 0_usize..7) {
        let operation = [
            Var::add, Var::sub, Var::mul, Var::div, Var::pow, Var::hypot, Var::atan2,
        ][which];
        check(&[&a, &b], |x| operation(&x[0], &x[1]))?;
    }

    #[test]
    fn reductions((shape, reduced, keep) in reduction(0), which in 0_usize..5) {
        let axes = || axes(&reduced, keep);
        // Of no elements these are NaN or −∞, which have no difference quotient.
        let of_nothing = shape.contains(&0);
        check(&[&shape], |x| match which {
            1 => x[0].prod(axes()),
            2 if !of_nothing => x[0].mean(axes()),
            3 if !of_nothing => x[0].logsumexp(axes()),
            4 if !of_nothing => x[0].var(axes(), 0),
            _ => x[0].sum(axes()),
        })?;
    }

    #[test]
    fn choices((shape, reduced, keep) in reduction(1), which in 0_usize..4) {
        let axes = || axes(&reduced, keep);
        check(&[&shape], |x| match which {
            0 => x[0].max(axes()),
            1 => x[0].min(axes()),
            2 => x[0].norm(2.0, axes()),
            _ => x[0].sort(reduced.first().copied().unwrap_or(0), keep),
        })?;
    }

    #[test]
    fn running_sums_and_softmax((shape, reduced, _) in reduction(1), which in 0_usize..4) {
        let axis = reduced.first().copied().unwrap_or(-1);
        check(&[&shape], |x| match which {
            0 => x[0].cumsum(axis),
            1 => x[0].cumprod(axis),
            2 => x[0].softmax(axis),
            _ => x[0].log_softmax(axis),
        })?;
    }

    #[test]
    fn products((left, right) in broadcastable(), m in 0_usize..4, k in 0_usize..4, n in 0_usize..4) {
        let batch = |shape: &[usize]| shape[shape.len().saturating_sub(2)..].to_vec();
        let (mut a, mut b) = (batch(&left), batch(&right));
        a.extend([m, k]);
        b.extend([k, n]);
        check(&[&a, &b], |x| x[0].matmul(&x[1]))?;
    }

    #[test]
    fn contractions(contraction in contraction()) {
        let shapes: Vec<&[usize]> = contraction.shapes.iter().map(|shape| &shape[..]).collect();
        let equation = contraction.equation();
        check(&shapes, |x| Var::einsum(&equation, &x.iter().collect::<Vec<_>>()))?;
    }

    #[test]
    fn views(
        shape in vec(1_usize..5, 1..4),
        cuts in vec((-4_isize..4, -4_isize..5, 1_isize..4, any::<bool>()), 4),
        order in any::<prop::sample::Index>(),
    ) {
        let slices: Vec<Slice> = cuts.iter().take(shape.len()).map(|&(from, to, step, back)| {
            Slice::from(from..to).step(if back { -step } else { step })
        }).collect();
        let rank = shape.len();
        let first = order.index(rank);
        let order: Vec<isize> = (0..rank).map(|i| ((i + first) % rank) as isize).collect();
        check(&[&shape], |x| x[0].permute(&order)?.flip(0)?.slice(&slices)?.flatten(0))?;
    }

    #[test]
    fn convolutions(
        (stride, dilation, sides) in window(),
        kernel in [1_usize..4, 1_usize..4],
        spare in [0_usize..4, 0_usize..4],
        groups in 1_usize..3,
        batch in 0_usize..3,
        fused in any::<bool>(),
    ) {
        let covered = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1 + spare[axis];
        let input = [batch, covered(0), covered(1), groups];
        let filters = [kernel[0], kernel[1], 1, 2 * groups];
        let options = Conv2dOptions::new()
            .stride(stride)
            .dilation(dilation)
            .padding(padding(sides))
            .groups(groups);
        if fused {
            check(&[&input, &filters, &[2 * groups]], |x| {
                x[0].conv2d_bias(&x[1], &x[2], true, &options)
            })?;
        } else {
            check(&[&input, &filters], |x| x[0].conv2d(&x[1], &options))?;
        }
    }

    #[test]
    fn pools(
        (stride, _, sides) in window(),
        kernel in [1_usize..4, 1_usize..4],
        spare in [0_usize..4, 0_usize..4],
        batch in 0_usize..3,
        ceil in any::<bool>(),
        count in any::<bool>(),
        largest in any::<bool>(),
    ) {
        let input = [batch, kernel[0] + spare[0], kernel[1] + spare[1], 2];
        let below = |side: usize, axis: usize| sides[side].min(kernel[axis] - 1);
        let options = Pool2dOptions::new(kernel)
            .stride(stride)
            .padding(padding([below(0, 0), below(1, 0), below(2, 1), below(3, 1)]))
            .ceil_mode(ceil)
            .count_padding(count);
        check(&[&input], |x| match largest {
            true => x[0].max_pool2d(&options),
            false => x[0].avg_pool2d(&options),
        })?;
    }
}
