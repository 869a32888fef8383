//! Quotients by counts.

use super::mend;
use crate::simd::scalar;
use crate::simd::vectors::next;
use std::arch::x86_64::*;

/// Sums of 16 bits to bytes, divided by counts: says how many are done.
///
/// In floats, which is exact: a quotient that is no integer is at least 1 / count below the next one, more than rounding
/// can move it while sums and counts fit 24 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub fn walk_divide(sums: &[u16], counts: &[u16], out: &mut [u8]) -> usize {
    let full = sums.len().min(counts.len()).min(out.len()) / 16 * 16;
    for i in (0..full).step_by(16) {
        // SAFETY: i + 16 <= the length of each, by `full`.
        unsafe {
            let sums = _mm256_loadu_si256(sums.as_ptr().add(i).cast());
            let counts = _mm256_loadu_si256(counts.as_ptr().add(i).cast());
            let counts = _mm256_max_epu16(counts, _mm256_set1_epi16(1));
            let zero = _mm256_setzero_si256();
            let low = quotients(_mm256_unpacklo_epi16(sums, zero), _mm256_unpacklo_epi16(counts, zero));
            let high = quotients(_mm256_unpackhi_epi16(sums, zero), _mm256_unpackhi_epi16(counts, zero));
            let words = _mm256_packus_epi32(low, high);
            let bytes = mend(_mm256_packus_epi16(words, words));
            _mm_storeu_si128(out.as_mut_ptr().add(i).cast(), _mm256_castsi256_si128(bytes));
        }
    }
    full
}

/// As [`walk_divide`], sums of 32 bits to words; vectors with a sum beyond 24 bits are left to integers.
#[inline]
#[target_feature(enable = "avx2")]
pub fn walk_divide_u32(sums: &[u32], counts: &[u32], out: &mut [u16]) -> usize {
    let full = sums.len().min(counts.len()).min(out.len()) / 16 * 16;
    for i in (0..full).step_by(16) {
        // SAFETY: i + 16 <= the length of each, by `full`.
        unsafe {
            let at: *const __m256i = sums.as_ptr().add(i).cast();
            let (low, high) = (_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)));
            let beyond = _mm256_srli_epi32::<24>(_mm256_or_si256(low, high));
            if _mm256_testz_si256(beyond, beyond) == 0 {
                scalar::divide(&sums[i..i + 16], &counts[i..i + 16], &mut out[i..i + 16]);
                continue;
            }
            let at: *const __m256i = counts.as_ptr().add(i).cast();
            let one = _mm256_set1_epi32(1);
            let low = quotients(low, _mm256_max_epu32(_mm256_loadu_si256(at), one));
            let high = quotients(high, _mm256_max_epu32(_mm256_loadu_si256(at.add(1)), one));
            _mm256_storeu_si256(out.as_mut_ptr().add(i).cast(), mend(_mm256_packus_epi32(low, high)));
        }
    }
    full
}

/// Sums of 16 bits to bytes, divided by `by`: says how many are done. With a reciprocal, in floats, which is exact where the caller says so.
#[inline]
#[target_feature(enable = "avx2")]
pub fn walk_divide_all(sums: &[u16], by: u16, out: &mut [u8]) -> usize {
    let by = _mm256_set1_ps(1.0 / f32::from(by));
    let len = sums.len().min(out.len());
    let (mut i, mut done) = (0, 0);
    while let Some(at) = next(i, 16, len) {
        // SAFETY: at + 16 <= the length of each.
        unsafe {
            let sums = _mm256_loadu_si256(sums.as_ptr().add(at).cast());
            let zero = _mm256_setzero_si256();
            let low = times(_mm256_unpacklo_epi16(sums, zero), by);
            let words = _mm256_packus_epi32(low, times(_mm256_unpackhi_epi16(sums, zero), by));
            let bytes = mend(_mm256_packus_epi16(words, words));
            _mm_storeu_si128(out.as_mut_ptr().add(at).cast(), _mm256_castsi256_si128(bytes));
        }
        (i, done) = (i + 16, len);
    }
    done
}

/// As [`walk_divide_all`], sums of 32 bits to words.
#[inline]
#[target_feature(enable = "avx2")]
pub fn walk_divide_all_u32(sums: &[u32], by: u32, out: &mut [u16]) -> usize {
    let by = _mm256_set1_ps(1.0 / by as f32);
    let len = sums.len().min(out.len());
    let (mut i, mut done) = (0, 0);
    while let Some(at) = next(i, 16, len) {
        // SAFETY: at + 16 <= the length of each.
        unsafe {
            let from: *const __m256i = sums.as_ptr().add(at).cast();
            let (low, high) = (times(_mm256_loadu_si256(from), by), times(_mm256_loadu_si256(from.add(1)), by));
            _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), mend(_mm256_packus_epi32(low, high)));
        }
        (i, done) = (i + 16, len);
    }
    done
}

/// Sums with half a unit more by a reciprocal, toward zero.
#[inline]
#[target_feature(enable = "avx2")]
fn times(sums: __m256i, by: __m256) -> __m256i {
    _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_add_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(0.5)), by))
}

#[inline]
#[target_feature(enable = "avx2")]
fn quotients(sums: __m256i, counts: __m256i) -> __m256i {
    _mm256_cvttps_epi32(_mm256_div_ps(_mm256_cvtepi32_ps(sums), _mm256_cvtepi32_ps(counts)))
}
