//! Small square blocks transposed in registers.

use std::arch::x86_64::{
    _mm256_loadu_pd, _mm256_loadu_ps, _mm256_permute2f128_pd, _mm256_permute2f128_ps,
    _mm256_shuffle_ps, _mm256_storeu_pd, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
    _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::Avx2;

/// `target[p · stride + i] = rows[i][p]` for `i` and `p` below 8.
///
/// # Safety
/// Each of `rows` is valid for reading 8 numbers, and `target` for writing 8 numbers at each
/// multiple of `stride`.
#[inline(always)]
pub(super) unsafe fn transpose_8x8(
    _: Avx2,
    rows: [*const f32; 8],
    target: *mut f32,
    stride: usize,
) {
    // SAFETY: the token proves AVX2; the caller promises the memory.
    unsafe {
        let row = |i: usize| _mm256_loadu_ps(rows[i]);
        let mut halves = [_mm256_loadu_ps(rows[0]); 8];
        for quarter in 0..2 {
            let i = 4 * quarter;
            let low_01 = _mm256_unpacklo_ps(row(i), row(i + 1));
            let high_01 = _mm256_unpackhi_ps(row(i), row(i + 1));
            let low_23 = _mm256_unpacklo_ps(row(i + 2), row(i + 3));
            let high_23 = _mm256_unpackhi_ps(row(i + 2), row(i + 3));
            halves[i] = _mm256_shuffle_ps::<0b01_00_01_00>(low_01, low_23);
            halves[i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low_01, low_23);
            halves[i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(high_01, high_23);
            halves[i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(high_01, high_23);
        }
        for p in 0..4 {
            let first = _mm256_permute2f128_ps::<0x20>(halves[p], halves[p + 4]);
            let second = _mm256_permute2f128_ps::<0x31>(halves[p], halves[p + 4]);
            _mm256_storeu_ps(target.add(p * stride), first);
            halves[p] = second;
        }
        for p in 0..4 {
            _mm256_storeu_ps(target.add((p + 4) * stride), halves[p]);
        }
    }
}

/// `target[p · stride + i] = rows[i][p]` for `i` and `p` below 4.
///
/// # Safety
/// Each of `rows` is valid for reading 4 numbers, and `target` for writing 4 numbers at each
/// multiple of `stride`.
#[inline(always)]
pub(super) unsafe fn transpose_4x4(
    _: Avx2,
    rows: [*const f64; 4],
    target: *mut f64,
    stride: usize,
) {
    // SAFETY: the token proves AVX2; the caller promises the memory.
    unsafe {
        let row = |i: usize| _mm256_loadu_pd(rows[i]);
        let low_01 = _mm256_unpacklo_pd(row(0), row(1));
        let high_01 = _mm256_unpackhi_pd(row(0), row(1));
        let low_23 = _mm256_unpacklo_pd(row(2), row(3));
        let high_23 = _mm256_unpackhi_pd(row(2), row(3));
        let columns = [
            _mm256_permute2f128_pd::<0x20>(low_01, low_23),
            _mm256_permute2f128_pd::<0x20>(high_01, high_23),
            _mm256_permute2f128_pd::<0x31>(low_01, low_23),
            _mm256_permute2f128_pd::<0x31>(high_01, high_23),
        ];
        for (p, column) in columns.into_iter().enumerate() {
            _mm256_storeu_pd(target.add(p * stride), column);
        }
    }
}
