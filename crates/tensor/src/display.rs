//! NumPy-like text: aligned columns, nested brackets, long axes shortened to `…`.

use std::fmt;

use crate::element::{DType, Element};
use crate::tensor::Tensor;

/// Above this many elements the middle of long axes is left out.
const SHORTEN_ABOVE: usize = 1000;
/// How many elements remain at each end of a shortened axis.
const EDGE: usize = 3;

impl<T: Element> fmt::Display for Tensor<T> {
    /// The elements in nested brackets; `{:.3}` sets the digits after the point.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 2.5], [-3.0, 4.25]]);
    /// assert_eq!(x.to_string(), "[[ 1.  ,  2.5 ],\n [-3.  ,  4.25]]");
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An empty tensor may have more brackets than anybody could read.
        let brackets = self.shape.iter().filter(|&&size| size > 0);
        let shorten = brackets.fold(1, |n: usize, &size| n.saturating_mul(size)) > SHORTEN_ABOVE;
        let cells = Cells::new(self, shorten, f.precision());
        write_axis(f, self, &cells, &mut Vec::new(), shorten)
    }
}

impl<T: Element> fmt::Debug for Tensor<T> {
    /// The elements, the element type and the shape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}\n{} {}", self.dtype(), self.shape)
    }
}

/// How elements are written so that columns align.
struct Cells {
    style: Style,
    width: usize,
}

enum Style {
    Plain,
    Fixed { digits: usize, trim: bool },
    Scientific { digits: usize },
}

impl Cells {
    fn new<T: Element>(tensor: &Tensor<T>, shorten: bool, precision: Option<usize>) -> Self {
        let shown = shown_elements(tensor, shorten);
        let style = match T::DTYPE {
            DType::F32 | DType::F64 => float_style(&shown, precision),
            _ => Style::Plain,
        };
        let mut cells = Cells { style, width: 0 };
        if let Style::Fixed { digits, trim: true } = cells.style {
            // As many digits as the longest element needs, like NumPy.
            let longest = shown
                .iter()
                .filter(|x| x.to_f64().is_finite())
                .map(|x| {
                    let text = format!("{:.digits$}", x.to_f64());
                    text.trim_end_matches('0')
                        .rsplit('.')
                        .next()
                        .map_or(0, str::len)
                })
                .max()
                .unwrap_or(0);
            cells.style = Style::Fixed {
                digits: longest,
                trim: false,
            };
        }
        cells.width = shown
            .iter()
            .map(|&x| cells.text(x).chars().count())
            .max()
            .unwrap_or(0);
        cells
    }

    fn text<T: Element>(&self, x: T) -> String {
        let value = x.to_f64();
        match self.style {
            Style::Plain => x.to_string(),
            _ if value.is_nan() => "nan".to_string(),
            _ if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_string(),
            Style::Fixed { digits: 0, .. } => format!("{value:.0}."),
            Style::Fixed { digits, .. } => {
                let text = format!("{value:.digits$}");
                // NumPy pads with blanks where a shorter number says the same.
                let trimmed = text.trim_end_matches('0');
                format!("{trimmed:<width$}", width = text.len())
            }
            Style::Scientific { digits } => format!("{value:.digits$e}"),
        }
    }
}

fn float_style<T: Element>(shown: &[T], precision: Option<usize>) -> Style {
    let magnitudes = || {
        shown
            .iter()
            .map(|x| x.to_f64().abs())
            .filter(|x| x.is_finite() && *x > 0.0)
    };
    let largest = magnitudes().fold(0.0, f64::max);
    let smallest = magnitudes().fold(f64::INFINITY, f64::min);
    if largest >= 1e8 || (largest > 0.0 && (smallest < 1e-4 || largest / smallest > 1e6)) {
        return Style::Scientific {
            digits: precision.unwrap_or(4),
        };
    }
    match precision {
        Some(digits) => Style::Fixed {
            digits,
            trim: false,
        },
        None => Style::Fixed {
            digits: 6,
            trim: true,
        },
    }
}

/// Which indices of an axis are written; `None` stands for the gap.
fn shown_indices(size: usize, shorten: bool) -> Vec<Option<usize>> {
    if shorten && size > 2 * EDGE {
        let tail = (size - EDGE..size).map(Some);
        (0..EDGE).map(Some).chain([None]).chain(tail).collect()
    } else {
        (0..size).map(Some).collect()
    }
}

fn shown_elements<T: Element>(tensor: &Tensor<T>, shorten: bool) -> Vec<T> {
    let mut indices: Vec<Vec<usize>> = vec![Vec::new()];
    for &size in tensor.shape.iter() {
        let shown: Vec<usize> = shown_indices(size, shorten).into_iter().flatten().collect();
        indices = indices
            .iter()
            .flat_map(|prefix| shown.iter().map(move |&i| [&prefix[..], &[i]].concat()))
            .collect();
    }
    indices
        .iter()
        .filter_map(|index| tensor.get(index).ok())
        .collect()
}

fn write_axis<T: Element>(
    f: &mut fmt::Formatter<'_>,
    tensor: &Tensor<T>,
    cells: &Cells,
    index: &mut Vec<usize>,
    shorten: bool,
) -> fmt::Result {
    let axis = index.len();
    if axis == tensor.rank() {
        let text = tensor.get(index).map(|x| cells.text(x)).unwrap_or_default();
        let width = if axis == 0 { 0 } else { cells.width };
        // Numbers align at the right; that text is never longer than the width.
        return write!(f, "{text:>width$}");
    }
    let rest = tensor.rank() - axis - 1;
    let separator = match rest {
        0 => ", ".to_string(),
        _ => format!(",{}{}", "\n".repeat(rest), " ".repeat(axis + 1)),
    };
    f.write_str("[")?;
    for (position, shown) in shown_indices(tensor.shape[axis], shorten)
        .into_iter()
        .enumerate()
    {
        if position > 0 {
            f.write_str(&separator)?;
        }
        match shown {
            Some(i) => {
                index.push(i);
                write_axis(f, tensor, cells, index, shorten)?;
                index.pop();
            }
            None => f.write_str("…")?,
        }
    }
    f.write_str("]")
}
