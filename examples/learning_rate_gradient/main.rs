//! The gradient of a whole training run with respect to its own learning rate.
//!
//! Training is a function too: weights go in, `w ← w − r ∂L/∂w` is applied T times, a loss on other
//! data comes out. Recorded as a whole, gradients included, it can be differentiated like any
//! function, and the learning rate r and the momentum m learnt by descent on
//! `∂ loss(w_T) / ∂(r, m)` (Bengio, "Gradient-Based Optimization of Hyperparameters", 2000;
//! Maclaurin, Duvenaud and Adams, "Gradient-based Hyperparameter Optimization through Reversible
//! Learning", 2015).
//!
//! The network inside has one hidden layer and learns a curve from 40 noisy points in 60 steps;
//! the hypergradient is taken of the loss on 40 points that it was not trained on. Its size says
//! little, being tiny where training is slow and huge where it begins to diverge; so descent goes
//! by its sign, in steps that grow while the sign stays and halve when it changes (Riedmiller and
//! Braun, "The RPROP algorithm", 1993).
//!
//! `cargo run --release --example learning_rate_gradient`
use autograd::{Result, Tensor, Var, grad, value_and_grad};
use tensor::generator;

const HIDDEN: usize = 12;
const START: [f64; 2] = [0.001, 0.5];

fn main() -> Result<()> {
    let (steps, updates) = (60, 40);
    let problem = Problem::new(40)?;
    println!("A network of {HIDDEN} hidden units is trained for {steps} steps; its learning rate");
    println!("and momentum by the gradient of the loss after the last step.\n");
    println!("update  learning rate   momentum  loss after {steps}");
    let path = learn_rates(&problem, steps, updates)?;
    for (update, found) in path.iter().enumerate().step_by(5) {
        let (rate, momentum, loss) = (found.rate, found.momentum, found.loss);
        println!("{update:>6} {rate:>14.5} {momentum:>10.4} {loss:>14.6}");
    }
    let (first, last) = (&path[0], &path[updates]);
    let ratio = first.loss / last.loss;
    println!("\nThe loss after training is {ratio:.1} times smaller.");
    println!("\nNeighbours of the rate that was found, with its momentum:\n");
    println!("learning rate   loss after {steps}");
    for factor in [0.1, 0.5, 1.0, 2.0, 10.0] {
        let rate = factor * last.rate;
        let hyper = Var::from(hyperparameters(rate, last.momentum));
        let loss = problem.train(&hyper, steps)?.item()?;
        println!("{rate:>13.5} {loss:>15.3e}");
    }
    Ok(())
}

/// What training is done with, on the scales where the hypergradient descends: `ln r` and
/// `ln (m / (1 − m))`.
fn hyperparameters(rate: f64, momentum: f64) -> Tensor<f64> {
    Tensor::from([rate.ln(), (momentum / (1.0 - momentum)).ln()])
}

/// Points of a curve to train on, and others to judge by.
struct Problem {
    train: [Var<f64>; 2],
    validate: [Var<f64>; 2],
    weights: Tensor<f64>,
}

impl Problem {
    fn new(points: usize) -> Result<Self> {
        let mut random = generator(7);
        let mut sample = || -> Result<[Var<f64>; 2]> {
            let x = Tensor::uniform([points, 1], -2.0..2.0, &mut random)?;
            let noise = Tensor::normal([points, 1], 0.0, 0.05, &mut random)?;
            let y = (&x * 2.0).sin() + &x * 0.5 + noise;
            Ok([Var::from(x), Var::from(y)])
        };
        Ok(Problem {
            train: sample()?,
            validate: sample()?,
            weights: Tensor::normal([3, HIDDEN], 0.0, 0.7, &mut generator(8))?,
        })
    }

    /// The loss on the points for validation, after `steps` steps with these hyperparameters.
    fn train(&self, hyper: &Var<f64>, steps: usize) -> Result<Var<f64>> {
        let rate = hyper.index_axis(0, 0)?.exp();
        let momentum = hyper.index_axis(0, 1)?.sigmoid();
        let mut weights = Var::from(&self.weights);
        let mut velocity = weights.zeros_like();
        let slope = grad(|w: &Var<f64>| loss(w, &self.train));
        for _ in 0..steps {
            velocity = velocity
                .mul(&momentum)?
                .sub(&slope(&weights)?.mul(&rate)?)?;
            weights = weights.add(&velocity)?;
        }
        loss(&weights, &self.validate)
    }
}

/// The mean squared error of `Σⱼ vⱼ tanh(uⱼ x + bⱼ)`; the rows of `weights` are u, b and v.
fn loss(weights: &Var<f64>, [x, y]: &[Var<f64>; 2]) -> Result<Var<f64>> {
    let row = |i| weights.index_axis(0, i);
    let hidden = x.mul(&row(0)?)?.add(&row(1)?)?.tanh();
    hidden
        .mul(&row(2)?)?
        .sum(-1)?
        .expand_dims(-1)?
        .squared_error(y)?
        .mean(..)
}

/// Hyperparameters on the way, and the loss of training with them.
struct Found {
    rate: f64,
    momentum: f64,
    loss: f64,
}

/// Descends on the hyperparameters from [`START`].
fn learn_rates(problem: &Problem, steps: usize, updates: usize) -> Result<Vec<Found>> {
    let mut hyper = hyperparameters(START[0], START[1]);
    let (mut size, mut before) = ([0.2; 2], [0.0; 2]);
    let mut path = Vec::new();
    let trained = value_and_grad(|hyper: &Var<f64>| problem.train(hyper, steps));
    for _ in 0..=updates {
        let (loss, gradient) = trained(&Var::from(&hyper))?;
        path.push(Found {
            rate: hyper[[0]].exp(),
            momentum: Var::from(hyper[[1]]).sigmoid().item()?,
            loss: loss.item()?,
        });
        let slope = gradient.value().to_vec();
        for i in 0..2 {
            let same_side = slope[i] * before[i] >= 0.0;
            size[i] *= if same_side { 1.2 } else { 0.5 };
        }
        hyper = hyper - gradient.value().sign() * Tensor::from(size);
        before = [slope[0], slope[1]];
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autograd::gradcheck;

    #[test]
    fn the_hypergradient_is_that_of_finite_differences() {
        let problem = Problem::new(6).unwrap();
        let inputs = [hyperparameters(0.05, 0.8)];
        gradcheck(|hyper| problem.train(&hyper[0], 5), &inputs).unwrap();
    }

    #[test]
    fn a_much_better_rate_is_found() {
        let path = learn_rates(&Problem::new(40).unwrap(), 60, 20).unwrap();
        let (first, last) = (&path[0], path.last().unwrap());
        assert!(last.rate > 10.0 * first.rate, "{}", last.rate);
        assert!(last.loss < 0.3 * first.loss, "{} {}", first.loss, last.loss);
    }
}
