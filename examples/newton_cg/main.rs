//! Newton's method without a Hessian: where stochastic gradient descent crawls, curvature along a
//! few directions shows the way, and asking for it costs no more than two gradients.
//!
//! Newton's step solves `H s = −g`. For n unknowns the Hessian H has n² numbers, but conjugate
//! gradients only ever ask for products `H v`, and those are derivatives of a gradient,
//! `H v = ∂⟨g(w), v⟩/∂w` (Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994). The
//! equation is solved only as well as the distance to the minimum deserves (Dembo and Steihaug,
//! "Truncated-Newton algorithms for large-scale unconstrained optimization", 1983).
//!
//! The problem is logistic regression, `mean ln(1 + e^(−yᵢ ⟨xᵢ, w⟩)) + λ/2 ‖w‖²`, on measurements in
//! units that do not fit together, as if some were metres and others millimetres: the features'
//! sizes go from 1 to 1/1000. No learning rate suits both ends.
//!
//! `cargo run --release --example newton_cg`
use autograd::{Result, Tensor, Var, hessian_vector_product, value_and_grad};
use tensor::generator;

const RIDGE: f64 = 1e-9;

fn main() -> Result<()> {
    let rows = measurements(2000, 40)?;
    let newton = newton_cg(&rows, 1e-10)?;
    let least = last_loss(&newton);
    println!("Logistic regression on 2,000 measurements of 40 features, sizes 1 to 1/1000.");
    println!("A pass is one gradient over all measurements; H v counts as two.\n");
    let mut best = (f64::NAN, Vec::new());
    for rate in [0.1, 0.3, 1.0, 3.0, 10.0] {
        let path = sgd(&rows, rate, 2000)?;
        if last_loss(&path) < last_loss(&best.1) {
            best = (rate, path);
        }
    }
    let (rate, path) = best;
    println!("SGD, batches of 100, momentum 0.9, the best of five learning rates: {rate}\n");
    table(path.iter().step_by(200), least);
    println!("\nNewton–CG, a line for each step\n");
    table(newton.iter(), least);
    Ok(())
}

/// Rows of features, each with the sign of its class already multiplied in.
fn measurements(count: usize, features: usize) -> Result<Tensor<f64>> {
    let mut random = generator(1);
    let rows = Tensor::normal([count, features], 0.0, 1.0, &mut random)?;
    let weights = Tensor::normal([features], 0.0, 0.5, &mut random)?;
    let noise = Tensor::normal([count], 0.0, 1.0, &mut random)?;
    let class = rows.matmul(&weights)?.add(&noise)?.sign();
    let sizes = Tensor::linspace(0.0, -3.0, features)?.map(|exponent| 10f64.powf(exponent));
    rows.mul(&sizes)?.mul(&class.expand_dims(1)?)
}

fn loss(rows: &Tensor<f64>, w: &Var<f64>) -> Result<Var<f64>> {
    let margin = Var::from(rows).matmul(w)?;
    let ridge = w.square().sum(..)?.scale(RIDGE / 2.0);
    margin.neg().softplus().mean(..)?.add(&ridge)
}

fn loss_and_gradient(rows: &Tensor<f64>, w: &Tensor<f64>) -> Result<(f64, Tensor<f64>)> {
    let (loss, gradient) = value_and_grad(|w: &Var<f64>| loss(rows, w))(&Var::from(w))?;
    Ok((loss.item()?, gradient.into_value()))
}

fn hessian_times(rows: &Tensor<f64>, w: &Tensor<f64>, v: &Tensor<f64>) -> Result<Tensor<f64>> {
    let loss = |w: &Var<f64>| loss(rows, w);
    Ok(hessian_vector_product(loss, &Var::from(w), &Var::from(v))?.into_value())
}

fn dot(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

fn length(x: &Tensor<f64>) -> f64 {
    dot(x, x).sqrt()
}

/// Stochastic gradient descent; a point for each pass over the rows, in a new order each.
fn sgd(rows: &Tensor<f64>, rate: f64, passes: usize) -> Result<Vec<Point>> {
    let (count, batch) = (rows.shape()[0], 100);
    let mut w = Tensor::zeros(rows.shape()[1])?;
    let mut velocity = w.clone();
    let mut path = Vec::new();
    for pass in 0..=passes {
        let (loss, gradient) = loss_and_gradient(rows, &w)?;
        path.push(Point::new(pass, loss, &gradient));
        let order = Tensor::permutation(count, &mut generator(pass as u64))?;
        let shuffled = rows.index_select(0, &order)?;
        for start in (0..count).step_by(batch) {
            let part = shuffled.slice_axis(0, start as isize..(start + batch) as isize)?;
            let (_, gradient) = loss_and_gradient(&part, &w)?;
            velocity = velocity * 0.9 - gradient * rate;
            w = w + &velocity;
        }
    }
    Ok(path)
}

/// Newton's method until the gradient is shorter than `tolerance`.
fn newton_cg(rows: &Tensor<f64>, tolerance: f64) -> Result<Vec<Point>> {
    let mut w = Tensor::zeros(rows.shape()[1])?;
    let (mut loss, mut gradient) = loss_and_gradient(rows, &w)?;
    let mut passes = 1;
    let mut path = vec![Point::new(passes, loss, &gradient)];
    while length(&gradient) > tolerance && path.len() < 50 {
        let (mut step, products) = newton_step(rows, &w, &gradient)?;
        passes += 2 * products;
        loop {
            let there = &w + &step;
            let (next, next_gradient) = loss_and_gradient(rows, &there)?;
            passes += 1;
            // Enough is a ten-thousandth of what the slope promises (Armijo).
            if next <= loss + 1e-4 * dot(&gradient, &step) || length(&step) < 1e-12 {
                (w, loss, gradient) = (there, next, next_gradient);
                break;
            }
            step = step / 2.0;
        }
        path.push(Point::new(passes, loss, &gradient));
    }
    Ok(path)
}

/// The solution s of `H s = −g` by conjugate gradients, the better the shorter g is already, and
/// the number of products that it took.
fn newton_step(
    rows: &Tensor<f64>,
    w: &Tensor<f64>,
    g: &Tensor<f64>,
) -> Result<(Tensor<f64>, usize)> {
    let enough = length(g) * length(g).sqrt().min(0.1);
    let mut s = Tensor::zeros(g.shape())?;
    let mut residual = -g;
    let mut p = residual.clone();
    let mut products = 0;
    while length(&residual) > enough && products < 1000 {
        let hp = hessian_times(rows, w, &p)?;
        products += 1;
        let square = dot(&residual, &residual);
        let t = square / dot(&p, &hp);
        s = s + &p * t;
        residual = residual - hp * t;
        p = &residual + &p * (dot(&residual, &residual) / square);
    }
    Ok((s, products))
}

/// A place on the way to the minimum.
struct Point {
    passes: usize,
    loss: f64,
    slope: f64,
}

impl Point {
    fn new(passes: usize, loss: f64, gradient: &Tensor<f64>) -> Self {
        let slope = length(gradient);
        Point {
            passes,
            loss,
            slope,
        }
    }
}

fn last_loss(path: &[Point]) -> f64 {
    path.last().map_or(f64::INFINITY, |point| point.loss)
}

fn table<'a>(points: impl Iterator<Item = &'a Point>, least: f64) {
    println!(" passes          loss  above minimum   |gradient|");
    for point in points {
        let (loss, above) = (point.loss, point.loss - least);
        let (passes, slope) = (point.passes, point.slope);
        println!("{passes:>7} {loss:>13.9} {above:>14.1e} {slope:>12.1e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newton_arrives_where_sgd_is_still_far_away() {
        let rows = measurements(200, 10).unwrap();
        let newton = newton_cg(&rows, 1e-10).unwrap();
        let last = newton.last().unwrap();
        assert!(last.slope < 1e-10, "{:e}", last.slope);
        for rate in [0.3, 3.0] {
            let sgd = sgd(&rows, rate, last.passes).unwrap();
            let above = last_loss(&sgd) - last.loss;
            assert!(above > 1e-3, "rate {rate}: {above:e}");
        }
    }

    #[test]
    fn products_are_those_with_the_hessian() {
        let rows = measurements(30, 5).unwrap();
        let w = Tensor::from([0.3, -1.0, 0.5, 2.0, 40.0]);
        let v = Tensor::from([1.0, 0.2, -0.7, 3.0, -20.0]);
        let hessian = autograd::hessian(|w: &Var<f64>| loss(&rows, w))(&Var::from(&w));
        let expected = hessian.unwrap().value().matmul(&v).unwrap();
        let product = hessian_times(&rows, &w, &v).unwrap();
        assert!(length(&(&product - &expected)) < 1e-12 * length(&expected));
    }
}
