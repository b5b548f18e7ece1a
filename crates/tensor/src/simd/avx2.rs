//! Vectors of AVX2: 256 bits.

use std::arch::x86_64::{
    __m256, __m256d, __m256i, _CMP_GT_OQ, _CMP_NLE_UQ, _CMP_UNORD_Q, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_unpacklo_epi32, _mm256_add_pd, _mm256_add_ps, _mm256_and_pd,
    _mm256_and_ps, _mm256_blendv_pd, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmp_pd, _mm256_cmp_ps, _mm256_cmpeq_epi32, _mm256_cvtepu8_epi32, _mm256_cvttps_epi32,
    _mm256_div_pd, _mm256_div_ps, _mm256_extracti128_si256, _mm256_fmadd_pd, _mm256_fmadd_ps,
    _mm256_loadu_pd, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_pd, _mm256_maskload_ps,
    _mm256_maskstore_pd, _mm256_maskstore_ps, _mm256_max_pd, _mm256_max_ps, _mm256_min_pd,
    _mm256_min_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_or_pd, _mm256_or_ps, _mm256_set1_epi32,
    _mm256_set1_pd, _mm256_set1_ps, _mm256_setzero_pd, _mm256_setzero_ps, _mm256_shuffle_epi8,
    _mm256_sqrt_pd, _mm256_sqrt_ps, _mm256_storeu_pd, _mm256_storeu_ps, _mm256_sub_pd,
    _mm256_sub_ps,
};
use std::ops::{Add, Mul, Sub};

use super::transpose::{transpose_4x4, transpose_8x8};
use super::{Kernel, Level, Simd, Vector};

/// The token of [`Level::Avx2`].
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Avx2(())
    }
}

impl Simd for Avx2 {
    const LEVEL: Level = Level::Avx2;
    const REGISTERS: usize = 16;
    type F32 = F32x8;
    type F64 = F64x4;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token proves the features that the function is compiled with.
        unsafe { call(kernel) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn call<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Implements `+ - *` by intrinsics, whose names differ for each type.
macro_rules! operators {
    ($vector:ty, $add:ident, $sub:ident, $mul:ident) => {
        impl Add for $vector {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX2.
                Self(unsafe { $add(self.0, other.0) })
            }
        }
        impl Sub for $vector {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX2.
                Self(unsafe { $sub(self.0, other.0) })
            }
        }
        impl Mul for $vector {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX2.
                Self(unsafe { $mul(self.0, other.0) })
            }
        }
    };
}

/// 8 numbers of type `f32`; a value exists only where AVX2 does.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct F32x8(__m256);

operators!(F32x8, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps);

/// A mask of the first `count` lanes, at most 8.
#[inline(always)]
fn first_8(_: Avx2, count: usize) -> __m256i {
    debug_assert!(count <= 8);
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let window = &ONES_THEN_ZEROS[8 - count..][..8];
    // SAFETY: the token proves AVX2; the window holds 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
}

impl Vector<f32> for F32x8 {
    type Simd = Avx2;
    const LANES: usize = 8;
    const SIDE: usize = 8;

    #[inline(always)]
    fn splat(_: Avx2, value: f32) -> Self {
        // SAFETY: the token proves AVX2.
        F32x8(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load_pointer(_: Avx2, source: *const f32) -> Self {
        // SAFETY: the token proves AVX2; the caller promises 8 readable numbers.
        F32x8(unsafe { _mm256_loadu_ps(source) })
    }

    #[inline(always)]
    unsafe fn load_pointer_partial(simd: Avx2, source: *const f32, count: usize) -> Self {
        // SAFETY: the token proves AVX2; the mask admits the `count` numbers that the caller
        // promises to be readable, and masked lanes are not accessed.
        F32x8(unsafe { _mm256_maskload_ps(source, first_8(simd, count)) })
    }

    #[inline(always)]
    unsafe fn store_pointer(self, target: *mut f32) {
        // SAFETY: `self` proves AVX2; the caller promises 8 writable numbers.
        unsafe { _mm256_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn store_pointer_partial(self, target: *mut f32, count: usize) {
        // SAFETY: `self` proves AVX2; the mask admits the `count` numbers that the caller
        // promises to be writable, and masked lanes are not accessed.
        unsafe { _mm256_maskstore_ps(target, first_8(Avx2(()), count), self.0) }
    }

    #[inline(always)]
    unsafe fn transpose(simd: Avx2, rows: &[*const f32; 8], target: *mut f32, stride: usize) {
        // SAFETY: the caller's promise is passed on.
        unsafe { transpose_8x8(simd, *rows, target, stride) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe { _mm256_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe { _mm256_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn keep_where_open(self, gate: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe {
            let open = _mm256_cmp_ps::<_CMP_NLE_UQ>(gate.0, _mm256_setzero_ps());
            _mm256_and_ps(open, self.0)
        })
    }

    #[inline(always)]
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe {
            let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0);
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
            _mm256_blendv_ps(no.0, yes.0, _mm256_or_ps(larger, nan))
        })
    }

    #[inline(always)]
    unsafe fn load_where(
        simd: Avx2,
        source: *const f32,
        bytes: *const u8,
        byte: u8,
        count: usize,
    ) -> Self {
        // SAFETY: the token proves AVX2; the caller vouches for `count` numbers and bytes, and no
        // others are accessed.
        unsafe {
            let mut all = [0_u8; 8];
            let numbers = if count == Self::LANES {
                all = bytes.cast::<[u8; 8]>().read();
                Self::load_pointer(simd, source)
            } else {
                std::ptr::copy_nonoverlapping(bytes, all.as_mut_ptr(), count);
                Self::load_pointer_partial(simd, source, count)
            };
            let integers = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_ne_bytes(all)));
            let equal = _mm256_cmpeq_epi32(integers, _mm256_set1_epi32(i32::from(byte)));
            F32x8(_mm256_and_ps(numbers.0, _mm256_castsi256_ps(equal)))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, target: *mut u8, count: usize) {
        // SAFETY: `self` proves AVX2, and the caller vouches for `count` bytes.
        unsafe {
            // The lowest byte of each integer, to the lowest four bytes of each half.
            let lowest = _mm256_set1_epi32(0x0c08_0400);
            let bytes = _mm256_shuffle_epi8(_mm256_cvttps_epi32(self.0), lowest);
            let (low, high) = (
                _mm256_castsi256_si128(bytes),
                _mm256_extracti128_si256::<1>(bytes),
            );
            let all = _mm_cvtsi128_si64(_mm_unpacklo_epi32(low, high)).to_ne_bytes();
            std::ptr::copy_nonoverlapping(all.as_ptr(), target, count);
        }
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: `self` proves AVX2.
        F32x8(unsafe { _mm256_sqrt_ps(self.0) })
    }
}

/// 4 numbers of type `f64`; a value exists only where AVX2 does.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct F64x4(__m256d);

operators!(F64x4, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd);

/// A mask of the first `count` lanes, at most 4.
#[inline(always)]
fn first_4(_: Avx2, count: usize) -> __m256i {
    debug_assert!(count <= 4);
    const ONES_THEN_ZEROS: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
    let window = &ONES_THEN_ZEROS[4 - count..][..4];
    // SAFETY: the token proves AVX2; the window holds 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
}

impl Vector<f64> for F64x4 {
    type Simd = Avx2;
    const LANES: usize = 4;
    const SIDE: usize = 4;

    #[inline(always)]
    fn splat(_: Avx2, value: f64) -> Self {
        // SAFETY: the token proves AVX2.
        F64x4(unsafe { _mm256_set1_pd(value) })
    }

    #[inline(always)]
    unsafe fn load_pointer(_: Avx2, source: *const f64) -> Self {
        // SAFETY: the token proves AVX2; the caller promises 4 readable numbers.
        F64x4(unsafe { _mm256_loadu_pd(source) })
    }

    #[inline(always)]
    unsafe fn load_pointer_partial(simd: Avx2, source: *const f64, count: usize) -> Self {
        // SAFETY: the token proves AVX2; the mask admits the `count` numbers that the caller
        // promises to be readable, and masked lanes are not accessed.
        F64x4(unsafe { _mm256_maskload_pd(source, first_4(simd, count)) })
    }

    #[inline(always)]
    unsafe fn store_pointer(self, target: *mut f64) {
        // SAFETY: `self` proves AVX2; the caller promises 4 writable numbers.
        unsafe { _mm256_storeu_pd(target, self.0) }
    }

    #[inline(always)]
    unsafe fn store_pointer_partial(self, target: *mut f64, count: usize) {
        // SAFETY: `self` proves AVX2; the mask admits the `count` numbers that the caller
        // promises to be writable, and masked lanes are not accessed.
        unsafe { _mm256_maskstore_pd(target, first_4(Avx2(()), count), self.0) }
    }

    #[inline(always)]
    unsafe fn transpose(simd: Avx2, rows: &[*const f64; 8], target: *mut f64, stride: usize) {
        // SAFETY: the caller's promise is passed on.
        unsafe { transpose_4x4(simd, [rows[0], rows[1], rows[2], rows[3]], target, stride) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe { _mm256_fmadd_pd(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe { _mm256_max_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe { _mm256_min_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn keep_where_open(self, gate: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe {
            let open = _mm256_cmp_pd::<_CMP_NLE_UQ>(gate.0, _mm256_setzero_pd());
            _mm256_and_pd(open, self.0)
        })
    }

    #[inline(always)]
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe {
            let larger = _mm256_cmp_pd::<_CMP_GT_OQ>(self.0, other.0);
            let nan = _mm256_cmp_pd::<_CMP_UNORD_Q>(self.0, self.0);
            _mm256_blendv_pd(no.0, yes.0, _mm256_or_pd(larger, nan))
        })
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe { _mm256_div_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: `self` proves AVX2.
        F64x4(unsafe { _mm256_sqrt_pd(self.0) })
    }
}
