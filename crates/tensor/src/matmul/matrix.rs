//! Matrices as slices with strides.

use std::marker::PhantomData;

/// A matrix to read: element (i, j) is `data[offset + i · row_stride + j · column_stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixRef<'a, T> {
    origin: *const T,
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
    borrows: PhantomData<&'a [T]>,
}

// SAFETY: a `MatrixRef` is a shared borrow of a slice.
unsafe impl<T: Sync> Send for MatrixRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatrixRef<'_, T> {}

impl<'a, T> MatrixRef<'a, T> {
    /// A view of `data`; strides may be zero or negative.
    ///
    /// # Panics
    /// If an element is outside `data`.
    pub(crate) fn new(
        data: &'a [T],
        offset: usize,
        [rows, columns]: [usize; 2],
        [row_stride, column_stride]: [isize; 2],
    ) -> Self {
        let origin = if rows == 0 || columns == 0 {
            data.as_ptr()
        } else {
            let reach = |count: usize, stride: isize| (count as i128 - 1) * stride as i128;
            let (down, along) = (reach(rows, row_stride), reach(columns, column_stride));
            let lowest = offset as i128 + down.min(0) + along.min(0);
            let highest = offset as i128 + down.max(0) + along.max(0);
            assert!(
                lowest >= 0 && highest < data.len() as i128,
                "a {rows} × {columns} matrix with strides {row_stride} and {column_stride} at \
                 {offset} is outside of {} elements",
                data.len()
            );
            data[offset..].as_ptr()
        };
        MatrixRef {
            origin,
            rows,
            columns,
            row_stride,
            column_stride,
            borrows: PhantomData,
        }
    }

    /// A view of contiguous rows.
    pub(crate) fn row_major(data: &'a [T], [rows, columns]: [usize; 2]) -> Self {
        Self::new(data, 0, [rows, columns], [columns as isize, 1])
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        MatrixRef {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row_stride(&self) -> isize {
        self.row_stride
    }

    pub(super) fn column_stride(&self) -> isize {
        self.column_stride
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
pub(crate) struct MatrixMut<'a, T> {
    origin: *mut T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    borrows: PhantomData<&'a mut [T]>,
}

impl<'a, T> MatrixMut<'a, T> {
    /// A view of `data`, rows `row_stride` apart.
    ///
    /// # Panics
    /// If rows overlap or an element is outside `data`.
    pub(crate) fn new(data: &'a mut [T], [rows, columns]: [usize; 2], row_stride: usize) -> Self {
        if rows > 0 && columns > 0 {
            let end = (rows as u128 - 1) * row_stride as u128 + columns as u128;
            assert!(
                (rows == 1 || row_stride >= columns) && end <= data.len() as u128,
                "a {rows} × {columns} matrix with rows {row_stride} apart does not fit in {} \
                 elements",
                data.len()
            );
        }
        MatrixMut {
            origin: data.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            borrows: PhantomData,
        }
    }

    /// A view of contiguous rows.
    pub(crate) fn row_major(data: &'a mut [T], [rows, columns]: [usize; 2]) -> Self {
        Self::new(data, [rows, columns], columns)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
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
