//! Elements as NumPy lays them down: any width and byte order, into vectors of the tensor types.

use bytemuck::{Pod, Zeroable};
use npyz::{Endianness, TypeChar, TypeStr};
use tensor::{Element, Tensor};

use super::array::Array;
use super::source::Source;
use crate::error::{Error, Result};

/// Where the bytes of elements come from.
pub(crate) trait Input {
    /// Fills `buffer`, or says why the bytes are not there.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<()>;
    /// An error about the bytes just read.
    fn fault(&self, cause: String) -> Error;
}

impl Input for Source<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        Source::fill(self, buffer, "the array")
    }

    fn fault(&self, cause: String) -> Error {
        self.error_at(self.position(), cause).into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

/// The type of the elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    kind: Kind,
    big_endian: bool,
}

impl Encoding {
    /// The encoding that NumPy calls `descr`, if it is one of numbers.
    pub(crate) fn of(descr: &TypeStr) -> Option<Self> {
        let kind = match (descr.type_char(), descr.size_field()) {
            (TypeChar::Bool, 1) => Kind::Bool,
            (TypeChar::Int, 1) => Kind::I8,
            (TypeChar::Int, 2) => Kind::I16,
            (TypeChar::Int, 4) => Kind::I32,
            (TypeChar::Int, 8) => Kind::I64,
            (TypeChar::Uint, 1) => Kind::U8,
            (TypeChar::Uint, 2) => Kind::U16,
            (TypeChar::Uint, 4) => Kind::U32,
            (TypeChar::Uint, 8) => Kind::U64,
            (TypeChar::Float, 2) => Kind::F16,
            (TypeChar::Float, 4) => Kind::F32,
            (TypeChar::Float, 8) => Kind::F64,
            _ => return None,
        };
        Some(Encoding {
            kind,
            big_endian: descr.endianness() == Endianness::Big,
        })
    }

    /// The same type in big-endian order.
    pub(crate) fn big_endian(self) -> Self {
        Encoding {
            big_endian: true,
            ..self
        }
    }

    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self.kind {
            Kind::Bool | Kind::I8 | Kind::U8 => 1,
            Kind::I16 | Kind::U16 | Kind::F16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 => 8,
        }
    }

    /// `elements × size`, if that can be addressed.
    pub(crate) fn bytes(self, shape: &[usize]) -> Option<u64> {
        let count = tensor::Shape::from(shape)
            .checked_elements("npy", self.size())
            .ok()?;
        Some((count * self.size()) as u64)
    }

    /// An empty vector of the smallest tensor type that holds every value of this encoding.
    pub(crate) fn elements(self) -> Elements {
        match self.kind {
            Kind::Bool => Elements::Bool(Vec::new()),
            Kind::U8 => Elements::U8(Vec::new()),
            Kind::I8 | Kind::I16 | Kind::U16 | Kind::I32 => Elements::I32(Vec::new()),
            Kind::U32 | Kind::I64 | Kind::U64 => Elements::I64(Vec::new()),
            Kind::F16 | Kind::F32 => Elements::F32(Vec::new()),
            Kind::F64 => Elements::F64(Vec::new()),
        }
    }

    /// Appends `count` elements from `input` to `out`, which must be of this encoding's type;
    /// `false` if it is not. The caller has made sure that `input` has that many bytes.
    pub(crate) fn append(
        self,
        input: &mut dyn Input,
        count: usize,
        out: &mut Elements,
    ) -> Result<bool> {
        let big = self.big_endian;
        match (self.kind, out) {
            (Kind::U8, Elements::U8(out)) => copy(input, count, out, false, |x| x)?,
            (Kind::I32, Elements::I32(out)) => copy(input, count, out, big, i32::swap_bytes)?,
            (Kind::I64, Elements::I64(out)) => copy(input, count, out, big, i64::swap_bytes)?,
            (Kind::F32, Elements::F32(out)) => copy(input, count, out, big, |x| {
                f32::from_bits(x.to_bits().swap_bytes())
            })?,
            (Kind::F64, Elements::F64(out)) => copy(input, count, out, big, |x| {
                f64::from_bits(x.to_bits().swap_bytes())
            })?,
            (Kind::Bool, Elements::Bool(out)) => widen(input, count, out, big, |[x]| x != 0)?,
            (Kind::I8, Elements::I32(out)) => {
                widen(input, count, out, big, |x| i8::from_le_bytes(x).into())?;
            }
            (Kind::I16, Elements::I32(out)) => {
                widen(input, count, out, big, |x| i16::from_le_bytes(x).into())?;
            }
            (Kind::U16, Elements::I32(out)) => {
                widen(input, count, out, big, |x| u16::from_le_bytes(x).into())?;
            }
            (Kind::U32, Elements::I64(out)) => {
                widen(input, count, out, big, |x| u32::from_le_bytes(x).into())?;
            }
            (Kind::U64, Elements::I64(out)) => {
                let start = out.len();
                widen(input, count, out, big, i64::from_le_bytes)?;
                if let Some(at) = out[start..].iter().position(|&x| x < 0) {
                    return Err(input.fault(format!(
                        "element {at} is {}, more than a 64-bit signed integer holds",
                        out[start + at] as u64
                    )));
                }
            }
            (Kind::F16, Elements::F32(out)) => {
                widen(input, count, out, big, |x| {
                    half_to_single(u16::from_le_bytes(x))
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Appends `count` elements whose bytes are those of `T`, or those reversed: straight from the
/// file into their final place.
fn copy<T: Pod + Element>(
    input: &mut dyn Input,
    count: usize,
    out: &mut Vec<T>,
    big_endian: bool,
    swap: fn(T) -> T,
) -> Result<()> {
    let start = grow(input, out, count)?;
    input.fill(bytemuck::cast_slice_mut(&mut out[start..]))?;
    if big_endian != cfg!(target_endian = "big") {
        out[start..].iter_mut().for_each(|x| *x = swap(*x));
    }
    Ok(())
}

/// Appends `count` elements of `N` bytes, each converted by `convert` from little-endian order.
fn widen<T: Zeroable + Element, const N: usize>(
    input: &mut dyn Input,
    count: usize,
    out: &mut Vec<T>,
    big_endian: bool,
    convert: impl Fn([u8; N]) -> T,
) -> Result<()> {
    let mut buffer = [0_u8; 1 << 14];
    let start = grow(input, out, count)?;
    for out in out[start..].chunks_mut(buffer.len() / N) {
        let bytes = &mut buffer[..out.len() * N];
        input.fill(bytes)?;
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks_mut::<N>().0) {
            if big_endian {
                bytes.reverse();
            }
            *out = convert(*bytes);
        }
    }
    Ok(())
}

/// Lengthens `out` by `count` zeros; returns the old length.
fn grow<T: Zeroable + Element>(input: &dyn Input, out: &mut Vec<T>, count: usize) -> Result<usize> {
    let start = out.len();
    let no_memory = || {
        input.fault(format!(
            "memory for {count} more elements of {} could not be allocated",
            T::DTYPE
        ))
    };
    if start == 0 {
        // Pages that the operating system zeroes are first touched by the read itself.
        *out = bytemuck::try_zeroed_vec(count).map_err(|()| no_memory())?;
    } else {
        out.try_reserve(count).map_err(|_| no_memory())?;
        out.resize(start + count, T::default());
    }
    Ok(start)
}

/// The value of an IEEE 754 half, exactly.
fn half_to_single(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => (fraction as f32 * 2.0_f32.powi(-24)).to_bits(),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// Elements of one type in the order they were read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Elements {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    U8(Vec<u8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Elements {
    /// An array of `shape` over these elements, which follow one another along the last axis, or
    /// along the first if `fortran`.
    pub(crate) fn into_array(self, shape: &[usize], fortran: bool) -> Result<Array> {
        fn tensor<T: Element>(
            elements: Vec<T>,
            shape: &[usize],
            fortran: bool,
        ) -> Result<Tensor<T>> {
            if !fortran || shape.len() < 2 {
                return Ok(Tensor::from_vec(elements, shape)?);
            }
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            let order: Vec<isize> = (0..shape.len() as isize).rev().collect();
            Ok(Tensor::from_vec(elements, reversed)?
                .permute(&order)?
                .try_contiguous("npy")?)
        }
        Ok(match self {
            Elements::F32(elements) => tensor(elements, shape, fortran)?.into(),
            Elements::F64(elements) => tensor(elements, shape, fortran)?.into(),
            Elements::Bool(elements) => tensor(elements, shape, fortran)?.into(),
            Elements::U8(elements) => tensor(elements, shape, fortran)?.into(),
            Elements::I32(elements) => tensor(elements, shape, fortran)?.into(),
            Elements::I64(elements) => tensor(elements, shape, fortran)?.into(),
        })
    }

    /// Makes room for `count` more elements, if there is memory: a hint.
    pub(crate) fn reserve(&mut self, count: usize) {
        let _ = match self {
            Elements::F32(out) => out.try_reserve_exact(count),
            Elements::F64(out) => out.try_reserve_exact(count),
            Elements::Bool(out) => out.try_reserve_exact(count),
            Elements::U8(out) => out.try_reserve_exact(count),
            Elements::I32(out) => out.try_reserve_exact(count),
            Elements::I64(out) => out.try_reserve_exact(count),
        };
    }

    /// Appends the elements of `array` in row-major order; `false` if it is of another type.
    pub(crate) fn append(&mut self, array: &Array) -> bool {
        match (self, array) {
            (Elements::F32(out), Array::F32(x)) => out.extend(x.iter()),
            (Elements::F64(out), Array::F64(x)) => out.extend(x.iter()),
            (Elements::Bool(out), Array::Bool(x)) => out.extend(x.iter()),
            (Elements::U8(out), Array::U8(x)) => out.extend(x.iter()),
            (Elements::I32(out), Array::I32(x)) => out.extend(x.iter()),
            (Elements::I64(out), Array::I64(x)) => out.extend(x.iter()),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_follow_their_definition() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
            let magnitude = match exponent {
                0 => fraction / 1024.0 * 2.0_f64.powi(-14),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
            };
            let got = half_to_single(bits);
            assert_eq!(got.is_sign_negative(), bits >> 15 == 1);
            assert!(f64::from(got.abs()) == magnitude || got.is_nan() && magnitude.is_nan());
        }
    }
}
