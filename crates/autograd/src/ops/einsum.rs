//! Einstein summation by permutations, sums and matrix products.

use std::collections::BTreeMap;
use std::fmt;

use tensor::{Error, Float, Result, Shape, Slice};

use crate::op::composed;
use crate::samples::OpEntry;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// Einstein summation: letters name axes, axes of one letter are multiplied element by
    /// element, and letters that the result does not name are summed over. `...` stands for the
    /// axes without a letter, which broadcast; without `->`, the result names the letters that
    /// occur once, in alphabetical order (NumPy's rules). Derivatives: those of the permutations,
    /// sums and matrix products that it is made of.
    ///
    /// ```
    /// use autograd::Var;
    /// use tensor::Tensor;
    /// let a = Var::from(Tensor::from([[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(Var::einsum("ij,jk->ik", &[&a, &a])?.value(), a.matmul(&a)?.value());
    /// assert_eq!(Var::einsum("ii->", &[&a])?.item()?, 5.0);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the equation cannot be read, names another number of operands or axes, gives one letter
    /// two sizes, or names a letter in the result that no operand has, or twice.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Var<T>]) -> Result<Var<T>> {
        composed("einsum", || {
            let wrong = |message: String| {
                let mut error = Error::shape("einsum", message).with("equation", equation);
                for operand in operands {
                    error = error.with("operand", operand.shape());
                }
                error
            };
            let equation = Equation::parse(equation, operands).map_err(wrong)?;
            let sizes = equation.sizes(operands).map_err(wrong)?;
            equation.product(operands, &sizes)
        })
    }
}

/// A letter, or an axis of `...` counted from its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Dots(usize),
    Letter(char),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Dots(from_end) => write!(f, "axis −{} of `...`", from_end + 1),
            Label::Letter(letter) => write!(f, "`{letter}`"),
        }
    }
}

/// The labels of each operand and of the result.
struct Equation {
    operands: Vec<Vec<Label>>,
    result: Vec<Label>,
}

impl Equation {
    fn parse<T: Float>(text: &str, operands: &[&Var<T>]) -> Result<Equation, String> {
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text, None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != operands.len() {
            return Err(format!(
                "{} operands are named, {} given",
                terms.len(),
                operands.len()
            ));
        }
        let operands = terms
            .iter()
            .zip(operands)
            .map(|(term, operand)| labels(term, Some(operand.rank())))
            .collect::<Result<Vec<_>, String>>()?;
        let dots = operands.iter().flatten().filter_map(|label| match label {
            Label::Dots(from_end) => Some(from_end + 1),
            Label::Letter(_) => None,
        });
        let dots = dots.max().unwrap_or(0);
        let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
        for &label in operands.iter().flatten() {
            *counts.entry(label).or_default() += 1;
        }
        let result = match right {
            Some(right) => {
                let letters = right.chars().filter(|c| c.is_alphabetic()).count();
                let rank = right.contains("...").then_some(letters + dots);
                labels(right, rank)?
            }
            None => {
                let once = counts
                    .iter()
                    .filter(|&(label, &count)| matches!(label, Label::Letter(_)) && count == 1);
                let dots = (0..dots).rev().map(Label::Dots);
                dots.chain(once.map(|(&label, _)| label)).collect()
            }
        };
        for (i, label) in result.iter().enumerate() {
            if !counts.contains_key(label) {
                return Err(format!("the result has {label}, which no operand has"));
            }
            if result[..i].contains(label) {
                return Err(format!("the result names {label} twice"));
            }
        }
        Ok(Equation { operands, result })
    }

    /// The size of each label: that of the operands, of which some may be 1.
    fn sizes<T: Float>(&self, operands: &[&Var<T>]) -> Result<BTreeMap<Label, usize>, String> {
        let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
        for (labels, operand) in self.operands.iter().zip(operands) {
            for (&label, &size) in labels.iter().zip(&operand.shape()[..]) {
                let known = sizes.entry(label).or_insert(size);
                if *known == 1 {
                    *known = size;
                } else if size != 1 && size != *known {
                    return Err(format!("{label} has the sizes {known} and {size}"));
                }
            }
        }
        Ok(sizes)
    }

    /// The operands multiplied one after the other, each label summed over as soon as nothing
    /// later has it.
    fn product<T: Float>(
        &self,
        operands: &[&Var<T>],
        sizes: &BTreeMap<Label, usize>,
    ) -> Result<Var<T>> {
        let mut product: Option<Labelled<T>> = None;
        for (i, (value, labels)) in operands.iter().zip(&self.operands).enumerate() {
            let (value, labels) = ((*value).clone(), labels.clone());
            let next = Labelled { value, labels }.diagonal()?.broadcast(sizes)?;
            let later = self.operands[i + 1..].iter().flatten();
            let needed: Vec<Label> = self.result.iter().chain(later).copied().collect();
            product = Some(match product {
                None => next,
                Some(product) => product.times(&next, &needed)?,
            });
        }
        let Some(product) = product else {
            return Err(Error::value("einsum", "there are no operands"));
        };
        product.only(&self.result)?.ordered(&self.result)
    }
}

/// The labels of one term; `...` takes what letters leave of `rank`.
fn labels(term: &str, rank: Option<usize>) -> Result<Vec<Label>, String> {
    let (before, after) = match term.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (term, None),
    };
    let letters = |part: &str| {
        let characters = part.chars().filter(|c| !c.is_whitespace());
        characters
            .map(|c| match c.is_alphabetic() {
                true => Ok(Label::Letter(c)),
                false => Err(format!("{c:?} is no letter")),
            })
            .collect::<Result<Vec<Label>, String>>()
    };
    let mut labels = letters(before)?;
    let after = after.map(letters).transpose()?;
    let named = labels.len() + after.as_ref().map_or(0, Vec::len);
    let misfit = |rank: usize| format!("{term:?} does not name {rank} axes");
    match (after, rank) {
        (Some(after), Some(rank)) => {
            let dots = rank.checked_sub(named).ok_or_else(|| misfit(rank))?;
            labels.extend((0..dots).rev().map(Label::Dots));
            labels.extend(after);
        }
        (None, Some(rank)) if rank != named => return Err(misfit(rank)),
        _ => {}
    }
    Ok(labels)
}

/// A value with the label of each of its axes.
struct Labelled<T: Float> {
    value: Var<T>,
    labels: Vec<Label>,
}

impl<T: Float> Labelled<T> {
    /// Takes the diagonal over axes of one label, until each occurs once.
    fn diagonal(mut self) -> Result<Self> {
        while let Some((first, second)) = self.repeated() {
            let (n, m) = (self.value.shape()[first], self.value.shape()[second]);
            if n != m {
                return Err(Error::shape(
                    "einsum",
                    format!("the diagonal of {n} × {m} elements is not defined"),
                )
                .with("operand", self.value.shape()));
            }
            let label = self.labels[first];
            self.labels.remove(second);
            self.labels.remove(first);
            self.labels.push(label);
            let mut order: Vec<isize> = (0..self.value.rank() as isize).collect();
            order.retain(|&axis| axis != first as isize && axis != second as isize);
            let kept = order.len();
            order.extend([first as isize, second as isize]);
            let flat = self.value.permute(&order)?.flatten(kept)?;
            // Element (i, i) of n × n stands at i · (n + 1).
            let step = n.saturating_add(1) as isize;
            self.value = flat.slice_axis(-1, Slice::from(..).step(step))?;
        }
        Ok(self)
    }

    fn repeated(&self) -> Option<(usize, usize)> {
        (0..self.labels.len()).find_map(|second| {
            let first = self.labels[..second]
                .iter()
                .position(|label| *label == self.labels[second])?;
            Some((first, second))
        })
    }

    /// Axes of size 1 repeated to the size of their label.
    fn broadcast(self, sizes: &BTreeMap<Label, usize>) -> Result<Self> {
        let shape: Shape = self
            .labels
            .iter()
            .zip(&self.value.shape()[..])
            .map(|(label, &size)| sizes.get(label).copied().unwrap_or(size))
            .collect();
        Ok(Labelled {
            value: self.value.broadcast_to(shape)?,
            labels: self.labels,
        })
    }

    /// Summed over the labels that are not needed.
    fn only(self, needed: &[Label]) -> Result<Self> {
        let (kept, summed): (Vec<usize>, Vec<usize>) =
            (0..self.labels.len()).partition(|&axis| needed.contains(&self.labels[axis]));
        if summed.is_empty() {
            return Ok(self);
        }
        let axes: Vec<isize> = summed.iter().map(|&axis| axis as isize).collect();
        Ok(Labelled {
            value: self.value.sum(&axes[..])?,
            labels: kept.iter().map(|&axis| self.labels[axis]).collect(),
        })
    }

    /// The axes in the order of these labels, which must be its own.
    fn ordered(&self, labels: &[Label]) -> Result<Var<T>> {
        let positions = labels
            .iter()
            .filter_map(|label| self.labels.iter().position(|own| own == label));
        let order: Vec<isize> = positions.map(|axis| axis as isize).collect();
        self.value.permute(&order)
    }

    /// The sizes of these labels, which must be its own.
    fn sizes(&self, labels: &[Label]) -> Shape {
        let positions = labels
            .iter()
            .filter_map(|label| self.labels.iter().position(|own| own == label));
        positions.map(|axis| self.value.shape()[axis]).collect()
    }

    /// The product of both, summed over what is not needed: one batched matrix product.
    fn times(self, other: &Self, needed: &[Label]) -> Result<Self> {
        let here = |labels: &[Label]| {
            let keep: Vec<Label> = labels.iter().chain(needed).copied().collect();
            keep
        };
        let left = {
            let keep = here(&other.labels);
            self.only(&keep)?
        };
        let right = Labelled {
            value: other.value.clone(),
            labels: other.labels.clone(),
        }
        .only(&here(&left.labels))?;
        let shared = |label: &&Label| right.labels.contains(label);
        let (batch, contracted): (Vec<Label>, Vec<Label>) = left
            .labels
            .iter()
            .filter(shared)
            .partition(|label| needed.contains(label));
        let rows: Vec<Label> = left.labels.iter().filter(|l| !shared(l)).copied().collect();
        let own = right.labels.iter().filter(|l| !left.labels.contains(l));
        let columns: Vec<Label> = own.copied().collect();
        // Of no elements the sizes may have a product that is none.
        let count = |x: &Self, labels: &[Label]| x.sizes(labels).elements();
        let (b, m) = (count(&left, &batch), count(&left, &rows));
        let (k, n) = (count(&left, &contracted), count(&right, &columns));
        let a = left.ordered(&[&batch[..], &rows, &contracted].concat())?;
        let c = right.ordered(&[&batch[..], &contracted, &columns].concat())?;
        let product = if contracted.is_empty() {
            a.reshape([b, m, 1])?.mul(&c.reshape([b, 1, n])?)?
        } else {
            a.reshape([b, m, k])?.matmul(&c.reshape([b, k, n])?)?
        };
        let sizes = [left.sizes(&batch), left.sizes(&rows), right.sizes(&columns)];
        let shape: Shape = sizes
            .iter()
            .flat_map(|sizes| sizes.iter().copied())
            .collect();
        Ok(Labelled {
            value: product.reshape(shape)?,
            labels: [batch, rows, columns].concat(),
        })
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let mut entry = OpEntry::new(
        "einsum",
        "products of elements, summed over the letters that the result does not name",
        "those of the permutations, sums and products that it is made of",
    );
    let cases: [(&'static str, &[&[usize]]); 11] = [
        ("ij,jk->ik", &[&[2, 3], &[3, 2]]),
        ("bij,bjk->bik", &[&[2, 2, 3], &[2, 3, 2]]),
        ("bi,ij,bj->b", &[&[2, 3], &[3, 2], &[2, 2]]),
        ("ii->i", &[&[3, 3]]),
        ("iij->j", &[&[2, 2, 3]]),
        ("ijk->kj", &[&[2, 3, 2]]),
        ("i,j->ij", &[&[2], &[3]]),
        ("...ij,...jk->...ik", &[&[2, 1, 2, 3], &[2, 3, 2]]),
        ("ba,cb", &[&[2, 3], &[2, 2]]),
        ("ij,kl->", &[&[2, 3], &[2, 2]]),
        ("ij,ij->ij", &[&[2, 0], &[2, 0]]),
    ];
    for (equation, shapes) in cases {
        entry = entry.sample(shapes, move |v| {
            Var::einsum(equation, &v.iter().collect::<Vec<_>>())
        });
    }
    vec![entry]
}
