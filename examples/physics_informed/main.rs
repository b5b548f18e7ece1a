//! A network that learns a solution from the equation alone: third derivatives in the loss.
//!
//! The Korteweg–de Vries equation `u_t + 6 u u_x + u_xxx = 0` describes waves in shallow water. It
//! has solitons, humps that travel and keep their shape,
//!
//! `u(x, t) = c/2 · sech²(√c/2 · (x − c t − x₀))`.
//!
//! A physics-informed network (Raissi, Perdikaris and Karniadakis, "Physics-informed neural
//! networks", 2019) is a small network `u(x, t)` whose loss is the mean square of the equation's
//! left side at points inside, plus its error on the edge: the wave at time 0 and the values at
//! both ends. What the wave does later nobody tells it. The left side holds `u_xxx`, three reverse
//! passes one through the other; the gradient of the loss with respect to the weights is a fourth.
//!
//! `cargo run --release --example physics_informed`
use autograd::{Tape, Var};
use nn::prelude::*;
use tensor::generator;

const SPEED: f64 = 2.0;
const START: f64 = -1.0;
const ENDS: [f64; 2] = [-5.0, 5.0];

fn main() -> nn::Result<()> {
    println!("u_t + 6 u u_x + u_xxx = 0, x in −5 .. 5, t in 0 .. 1: a soliton of speed {SPEED}\n");
    println!("  step    equation²        edge²   relative error");
    let mut model = network(24)?;
    let places = [rectangle(500, 1)?, edge(50)?];
    let report = |step, [equation, edge]: [f64; 2], model: &Sequential<f64>| {
        if step % 500 == 0 {
            let error = relative_error(model)?;
            println!("{step:>6} {equation:>12.2e} {edge:>12.2e} {error:>16.5}");
        }
        Ok(())
    };
    solve(&mut model, &places, 3000, report)?;
    println!("\nThe wave at time 1, of which the network was told the ends only:\n");
    println!("{:>6} {:>10} {:>10}", "x", "exact", "network");
    for x in (-4..=4).map(f64::from) {
        let network = model.predict(Tensor::from([[x, 1.0]]))?.item()?;
        println!("{x:>6} {:>10.5} {network:>10.5}", soliton(x, 1.0));
    }
    let error = relative_error(&model)?;
    println!("\nRelative error in the whole rectangle: {error:.5}");
    Ok(())
}

fn soliton(x: f64, t: f64) -> f64 {
    let phase = SPEED.sqrt() / 2.0 * (x - SPEED * t - START);
    SPEED / 2.0 / phase.cosh().powi(2)
}

/// From `[points, 2]`, x and t, to `[points, 1]`.
fn network(width: usize) -> nn::Result<Sequential<f64>> {
    let mut model = Sequential::default().seed(1);
    model.add(Dense::new(width).input_shape(&[2]));
    model.add(Activation::tanh());
    model.add(Dense::new(width));
    model.add(Activation::tanh());
    model.add(Dense::new(1));
    model.compile(MeanSquaredError::new(), Adam::new(0.01), None::<Accuracy>)?;
    Ok(model)
}

/// Random places, x and t each a column.
fn rectangle(count: usize, seed: u64) -> nn::Result<[Var<f64>; 2]> {
    let mut random = generator(seed);
    let x = Tensor::uniform([count, 1], ENDS[0]..ENDS[1], &mut random)?;
    let t = Tensor::uniform([count, 1], 0.0..1.0, &mut random)?;
    Ok([Var::from(x), Var::from(t)])
}

/// Where the solution is known: `count` places at time 0, and as many at each end.
fn edge(count: usize) -> nn::Result<[Var<f64>; 2]> {
    let [x, t] = rectangle(count, 2)?;
    let [left, right] = ENDS.map(|end| t.zeros_like() + end);
    let x = Var::concat(&[&x, &left, &right], 0)?;
    Ok([x, Var::concat(&[&t.zeros_like(), &t, &t], 0)?])
}

/// `u_t + 6 u u_x + u_xxx` for u at places x and t, all three on a tape.
fn equation(u: &Var<f64>, [x, t]: [&Var<f64>; 2]) -> nn::Result<Var<f64>> {
    // A value depends on its own place alone, so the sum's gradient holds every derivative.
    let derivative =
        |y: &Var<f64>, x: &Var<f64>| y.sum(..)?.reverse().create_graph().only(&[x]).run()?.var(x);
    let u_t = derivative(u, t)?;
    let u_x = derivative(u, x)?;
    let u_xxx = derivative(&derivative(&u_x, x)?, x)?;
    Ok(u_t + u * u_x * 6.0 + u_xxx)
}

/// Trains, and calls `report` with the step, both parts of the loss before it, and the model.
fn solve(
    model: &mut Sequential<f64>,
    [inside, edge]: &[[Var<f64>; 2]; 2],
    steps: usize,
    report: impl Fn(usize, [f64; 2], &Sequential<f64>) -> nn::Result<()>,
) -> nn::Result<()> {
    let known = edge[0].value().zip_map(edge[1].value(), soliton)?;
    let edge = Var::concat(&[&edge[0], &edge[1]], 1)?;
    for step in 0..=steps {
        let (losses, gradients) = {
            let tape = Tape::new();
            let weights = model.variables(&tape);
            let [x, t] = inside
                .clone()
                .map(|column| tape.variable(column.into_value()));
            let u = model.forward(&Var::concat(&[&x, &t], 1)?, &weights)?;
            let equation = equation(&u, [&x, &t])?.square().mean(..)?;
            let u = model.forward(&edge, &weights)?;
            let edge = u.squared_error(&Var::from(&known))?.mean(..)?;
            let gradients = equation.add(&edge.scale(10.0))?.backward()?;
            let all = weights.iter().map(|w| gradients.of(w).cloned());
            let losses = [equation.item()?, edge.item()?];
            (losses, all.collect::<Result<_, _>>()?)
        };
        report(step, losses, model)?;
        // From 0.01 down to 0.0001, by the same factor each step.
        if let Some(compiled) = model.compiled_mut() {
            let rate = 0.01 * 0.01f64.powf(step as f64 / steps as f64);
            compiled.optimizer_mut().set_learning_rate(rate);
        }
        model.apply_gradients(gradients)?;
    }
    Ok(())
}

/// `‖network − exact‖ / ‖exact‖` over 2,000 other places.
fn relative_error(model: &Sequential<f64>) -> nn::Result<f64> {
    let [x, t] = rectangle(2000, 3)?;
    let exact = x.value().zip_map(t.value(), soliton)?;
    let network = model.predict(Var::concat(&[&x, &t], 1)?.value())?;
    let error = network.sub(&exact)?.square().sum(..)?;
    Ok((error.item()? / exact.square().sum(..)?.item()?).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soliton_solves_the_equation() {
        let tape = Tape::new();
        let x = tape.variable(Tensor::from([[-3.0], [-1.0], [0.4], [2.0]]));
        let t = tape.variable(Tensor::from([[0.0], [0.3], [0.9], [1.0]]));
        let phase = (&x - &t * SPEED - START) * (SPEED.sqrt() / 2.0);
        let soliton = phase.cosh().square().reciprocal() * (SPEED / 2.0);
        let left_side = equation(&soliton, [&x, &t]).unwrap();
        assert!(
            left_side.value().iter().all(|r| r.abs() < 1e-13),
            "{left_side}"
        );
    }

    #[test]
    fn a_small_network_approaches_the_soliton() {
        let mut model = network(16).unwrap();
        let before = relative_error(&model).unwrap();
        let places = [rectangle(200, 1).unwrap(), edge(40).unwrap()];
        solve(&mut model, &places, 700, |_, _, _| Ok(())).unwrap();
        let after = relative_error(&model).unwrap();
        assert!(after < 0.35 * before, "{before} {after}");
    }
}
