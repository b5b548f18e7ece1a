//! Matrices as slices with strides.

use std::marker::PhantomData;

use crate::error::{Error, Result};

/// A matrix to read: element (i, j) is `data[offset + i · row_stride + j · column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRef<'a, T> {
    origin: *const T,
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
    rows_behind: usize,
    finite: bool,
    borrows: PhantomData<&'a [T]>,
}

// SAFETY: a `MatrixRef` is a shared borrow of a slice.
unsafe impl<T: Sync> Send for MatrixRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatrixRef<'_, T> {}

impl<'a, T> MatrixRef<'a, T> {
    /// A view of `data`; strides may be zero or negative.
    ///
    /// # Errors
    /// If an element is outside `data`.
    pub fn new(
        data: &'a [T],
        offset: usize,
        [rows, columns]: [usize; 2],
        [row_stride, column_stride]: [isize; 2],
    ) -> Result<Self> {
        let mut origin = data.as_ptr();
        if rows > 0 && columns > 0 {
            // No product of a size and a stride overflows an `i128`, nor do two of them together.
            let reach = |count: usize, stride: isize| (count as i128 - 1) * stride as i128;
            let (down, along) = (reach(rows, row_stride), reach(columns, column_stride));
            let lowest = offset as i128 + down.min(0) + along.min(0);
            let highest = offset as i128 + down.max(0) + along.max(0);
            if lowest < 0 || highest >= data.len() as i128 {
                return Err(Error::shape(
                    "MatrixRef::new",
                    "an operand has elements outside of its data",
                )
                .with("size", format_args!("{rows} × {columns}"))
                .with("strides", format_args!("{row_stride}, {column_stride}"))
                .with("offset", offset)
                .with("elements", data.len()));
            }
            origin = data[offset..].as_ptr();
        }
        Ok(MatrixRef {
            origin,
            rows,
            columns,
            row_stride,
            column_stride,
            rows_behind: 0,
            finite: false,
            borrows: PhantomData,
        })
    }

    /// The same matrix, of which is known that it has neither infinite elements nor NaN: a zero
    /// that it is multiplied by makes a zero of each.
    #[must_use]
    pub(super) fn known_finite(self) -> Self {
        MatrixRef {
            finite: true,
            ..self
        }
    }

    /// Whether that is known.
    pub(super) fn is_finite(&self) -> bool {
        self.finite
    }

    /// A view of contiguous rows.
    ///
    /// # Errors
    /// If `data` is too short.
    pub fn row_major(data: &'a [T], [rows, columns]: [usize; 2]) -> Result<Self> {
        let row_stride = isize::try_from(columns).unwrap_or(isize::MAX);
        Self::new(data, 0, [rows, columns], [row_stride, 1])
            .map_err(|error| error.in_operation("MatrixRef::row_major"))
    }

    /// The same elements with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        MatrixRef {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            rows_behind: 0,
            ..self
        }
    }

    /// The first `row` rows, and the others.
    pub(crate) fn split_at_row(self, row: usize) -> (Self, Self) {
        let row = row.min(self.rows);
        let tail = MatrixRef {
            origin: self.pointer(row, 0),
            rows: self.rows - row,
            ..self
        };
        let head = MatrixRef {
            rows: row,
            rows_behind: tail.rows + self.rows_behind,
            ..self
        };
        (head, tail)
    }

    /// How many rows follow the last one in the matrix of which this one was split off: whoever
    /// takes part after part reads them next.
    pub(super) fn rows_behind(&self) -> usize {
        self.rows_behind
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row_stride(&self) -> isize {
        self.row_stride
    }

    pub(super) fn column_stride(&self) -> isize {
        self.column_stride
    }

    /// The elements of row `i`, if they are contiguous.
    pub(super) fn row(&self, i: usize) -> Option<&'a [T]> {
        if i >= self.rows || self.column_stride != 1 || self.columns == 0 {
            return None;
        }
        // SAFETY: the row exists, and `new` has found all elements inside the slice.
        Some(unsafe { std::slice::from_raw_parts(self.pointer(i, 0), self.columns) })
    }

    /// A pointer to element (i, j), which is valid if the element exists.
    #[inline(always)]
    pub(super) fn pointer(&self, i: usize, j: usize) -> *const T {
        self.origin
            .wrapping_offset(i as isize * self.row_stride)
            .wrapping_offset(j as isize * self.column_stride)
    }
}

impl<T: Copy> MatrixRef<'_, T> {
    /// Element (i, j).
    #[inline(always)]
    pub(crate) fn get(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.columns);
        // SAFETY: the element exists, and `new` has found all elements inside the slice.
        unsafe { self.pointer(i, j).read() }
    }
}

/// A matrix to write: element (i, j) is `data[i · row_stride + j]`.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    origin: *mut T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    borrows: PhantomData<&'a mut [T]>,
}

impl<'a, T> MatrixMut<'a, T> {
    /// A view of `data`, rows `row_stride` apart.
    ///
    /// # Errors
    /// If rows overlap or an element is outside `data`.
    pub fn new(data: &'a mut [T], [rows, columns]: [usize; 2], row_stride: usize) -> Result<Self> {
        if rows > 0 && columns > 0 {
            let end = (rows as u128 - 1) * row_stride as u128 + columns as u128;
            if rows > 1 && row_stride < columns || end > data.len() as u128 {
                return Err(Error::shape(
                    "MatrixMut::new",
                    "the result does not fit in its memory",
                )
                .with("size", format_args!("{rows} × {columns}"))
                .with("row stride", row_stride)
                .with("elements", data.len()));
            }
        }
        Ok(MatrixMut {
            origin: data.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            borrows: PhantomData,
        })
    }

    /// A view of contiguous rows.
    ///
    /// # Errors
    /// If `data` is too short.
    pub fn row_major(data: &'a mut [T], [rows, columns]: [usize; 2]) -> Result<Self> {
        Self::new(data, [rows, columns], columns)
            .map_err(|error| error.in_operation("MatrixMut::row_major"))
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The elements of row `i`.
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        // SAFETY: `new` has found the row inside the slice that is borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(self.origin.add(i * self.row_stride), self.columns)
        }
    }

    pub(super) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// A column of rows that lie side by side, as a row.
    pub(super) fn into_row(self) -> MatrixMut<'a, T> {
        debug_assert!(self.columns == 1 && self.row_stride == 1);
        MatrixMut {
            rows: 1,
            columns: self.rows,
            row_stride: self.rows,
            ..self
        }
    }

    /// Lets threads write to elements that they divide among themselves.
    pub(super) fn share(&mut self) -> SharedTarget<T> {
        SharedTarget {
            origin: self.origin,
            row_stride: self.row_stride,
        }
    }
}

/// The elements of a [`MatrixMut`] without the compiler's guard against shared writing.
#[derive(Clone, Copy)]
pub(super) struct SharedTarget<T> {
    origin: *mut T,
    row_stride: usize,
}

// SAFETY: the pointer is only used by code that keeps the rule of `pointer`.
unsafe impl<T: Send> Send for SharedTarget<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedTarget<T> {}

impl<T> SharedTarget<T> {
    /// A pointer to element (i, j), which is valid if the element exists, the matrix is still
    /// borrowed, and no other thread uses the element meanwhile.
    #[inline(always)]
    pub(super) fn pointer(&self, i: usize, j: usize) -> *mut T {
        self.origin.wrapping_add(i * self.row_stride + j)
    }

    pub(super) fn row_stride(&self) -> usize {
        self.row_stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_know_how_many_rows_follow() {
        let numbers = [0.0_f32; 10 * 3];
        let whole = MatrixRef::row_major(&numbers, [10, 3]).unwrap();
        assert_eq!(whole.rows_behind(), 0);
        let (head, tail) = whole.split_at_row(4);
        assert_eq!([head.rows_behind(), tail.rows_behind()], [6, 0]);
        let (middle, end) = tail.split_at_row(5);
        assert_eq!([middle.rows_behind(), end.rows_behind()], [1, 0]);
        // The rows of a part of a part are followed by those of both.
        assert_eq!(head.split_at_row(1).0.rows_behind(), 9);
        // Its columns are other lines of memory, behind which is nothing of use.
        assert_eq!(head.transposed().rows_behind(), 0);
    }
}
