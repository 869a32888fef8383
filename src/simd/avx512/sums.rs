//! Sums of pairs, and their quotients by powers of two.

use super::{doubles, mend, quads, words};
use crate::simd::Halving;
use crate::simd::halves::Halves;
use crate::simd::two_floats::TwoFloats;
use crate::simd::vectors::tables::{halvings, pairs, sums};
use crate::simd::vectors::{Pairs, Sums};
use std::arch::x86_64::*;

// Neighbours of words and doubles: added up in the lower of their two places, which are then joined.
sums! {
    __m512i;
    WordSums, |a, b| _mm512_add_epi16(a, b),
        words::<false>(_mm512_add_epi16(a, _mm512_srli_epi32::<16>(a)), _mm512_add_epi16(b, _mm512_srli_epi32::<16>(b)));
    DoubleSums, |a, b| _mm512_add_epi32(a, b),
        doubles::<false>(_mm512_add_epi32(a, _mm512_srli_epi64::<32>(a)), _mm512_add_epi32(b, _mm512_srli_epi64::<32>(b)));
    QuadSums, |a, b| _mm512_add_epi64(a, b), _mm512_add_epi64(quads::<false>(a, b), quads::<true>(a, b));
    HalvesSums, |a, b| _mm512_add_epi64(a, b),
        _mm512_add_epi64(_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b));
    TwoFloatsSums, |a, b| add_two_floats(a, b),
        add_two_floats(_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b));
    FloatSums, |a, b| add_floats(a, b), add_floats(quads::<false>(a, b), quads::<true>(a, b));
}

// Occupied: the lesser of the bits and 1.
pairs! {
    __m512i, |v| (_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
    // 255 + 255 is far below the saturation at 32767.
    U8Pairs, u8, u16, WordSums, |v| _mm512_maddubs_epi16(v, _mm512_set1_epi8(1)), _mm512_min_epu8(v, _mm512_set1_epi8(1)),
        _mm512_cvtepu8_epi16, |low, high, by| {
        mend(_mm512_packus_epi16(unsigned_words(low, by), unsigned_words(high, by)))
    }, quotients_of_words;
    I8Pairs, i8, i16, WordSums, |v| _mm512_maddubs_epi16(_mm512_set1_epi8(1), v), _mm512_min_epu8(v, _mm512_set1_epi8(1)),
        _mm512_cvtepi8_epi16, |low, high, by| {
        mend(_mm512_packs_epi16(signed_words(low, by), signed_words(high, by)))
    };
    // There is no unsigned multiply-add of words: part them by mask and shift.
    U16Pairs, u16, u32, DoubleSums,
        |v| _mm512_add_epi32(_mm512_and_si512(v, _mm512_set1_epi32(0xffff)), _mm512_srli_epi32::<16>(v)),
        _mm512_min_epu16(v, _mm512_set1_epi16(1)), _mm512_cvtepu16_epi32, |low, high, by| {
        mend(_mm512_packus_epi32(unsigned_doubles(low, by), unsigned_doubles(high, by)))
    }, quotients_of_doubles;
    I16Pairs, i16, i32, DoubleSums, |v| _mm512_madd_epi16(v, _mm512_set1_epi16(1)), _mm512_min_epu16(v, _mm512_set1_epi16(1)),
        _mm512_cvtepi16_epi32, |low, high, by| {
        mend(_mm512_packs_epi32(signed_doubles(low, by), signed_doubles(high, by)))
    };
    U32Pairs, u32, u64, QuadSums,
        |v| _mm512_add_epi64(_mm512_and_si512(v, _mm512_set1_epi64(0xffff_ffff)), _mm512_srli_epi64::<32>(v)),
        _mm512_min_epu32(v, _mm512_set1_epi32(1)), _mm512_cvtepu32_epi64, |low, high, by| {
        doubles::<false>(unsigned_quads(low, by), unsigned_quads(high, by))
    };
    I32Pairs, i32, i64, QuadSums,
        |v| _mm512_add_epi64(_mm512_srai_epi64::<32>(_mm512_slli_epi64::<32>(v)), _mm512_srai_epi64::<32>(v)),
        _mm512_min_epu32(v, _mm512_set1_epi32(1)), _mm512_cvtepi32_epi64, |low, high, by| {
        doubles::<false>(signed_quads(low, by), signed_quads(high, by))
    };
    U64Pairs, u64, Halves<u64>, HalvesSums, |v| u64_pairs(v), _mm512_min_epu64(v, _mm512_set1_epi64(1)), _mm512_cvtepu32_epi64,
        |low, high, by| halves_over::<false>(low, high, by);
    // The zero is moved, and moved back twice.
    I64Pairs, i64, Halves<i64>, HalvesSums,
        |v| _mm512_sub_epi64(u64_pairs(_mm512_xor_si512(v, _mm512_set1_epi64(i64::MIN))), high_halves(1 << 32)),
        _mm512_min_epu64(v, _mm512_set1_epi64(1)), widen_i64, |low, high, by| halves_over::<true>(low, high, by);
    F32Pairs, f32, f64, FloatSums, |v| f32_pairs(v), f32_occupied(v), widen_floats,
        |low, high, by| f32_narrow(low, high, by);
    F64Pairs, f64, TwoFloats, TwoFloatsSums, |v| f64_pairs(v), f64_occupied(v), widen_f64, |low, high, by| f64_narrow(low, high, by);
}

halvings! {
    "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi", __m512i, _mm512_and_si512;
    signed_words, signed, _mm512_sra_epi16, _mm512_add_epi16, _mm512_set1_epi16 as i16;
    signed_doubles, signed, _mm512_sra_epi32, _mm512_add_epi32, _mm512_set1_epi32 as i32;
    signed_quads, signed, _mm512_sra_epi64, _mm512_add_epi64, _mm512_set1_epi64 as i64;
    unsigned_words, unsigned, _mm512_srl_epi16, _mm512_add_epi16, _mm512_set1_epi16 as i16;
    unsigned_doubles, unsigned, _mm512_srl_epi32, _mm512_add_epi32, _mm512_set1_epi32 as i32;
    unsigned_quads, unsigned, _mm512_srl_epi64, _mm512_add_epi64, _mm512_set1_epi64 as i64;
}

/// Sums of halves by a power of two, which is at most 2^32: the high ones move up by what it leaves of their 32 places, and no bit
/// of them is lost.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn halves_over<const SIGNED: bool>(a: __m512i, b: __m512i, by: Halving) -> __m512i {
    debug_assert!(by.shift <= 32);
    // SAFETY: the instructions are there.
    let (low, high) = unsafe { (quads::<false>(a, b), quads::<true>(a, b)) };
    let up = _mm512_sll_epi64(high, _mm_cvtsi32_si128(32 - by.shift as i32));
    let over = |low| _mm512_add_epi64(up, _mm512_srl_epi64(low, _mm_cvtsi32_si128(by.shift as i32)));
    let (part, (_, mask)) = if SIGNED && !by.nearest {
        // The sign of the whole sum.
        let carried = _mm512_add_epi64(high, _mm512_srli_epi64::<32>(low));
        (_mm512_srai_epi64::<63>(carried), by.signed(i64::BITS))
    } else {
        (over(low), by.unsigned())
    };
    let more = _mm512_and_si512(part, _mm512_set1_epi64(mask as i64));
    over(_mm512_add_epi64(_mm512_add_epi64(low, _mm512_set1_epi64(by.bias() as i64)), more))
}

/// A number in the high halves.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn high_halves(number: i64) -> __m512i {
    _mm512_setr_epi64(0, number, 0, number, 0, number, 0, number)
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn widen_i64(v: __m256i) -> __m512i {
    let v = _mm256_xor_si256(v, _mm256_set1_epi64x(i64::MIN));
    _mm512_sub_epi64(_mm512_cvtepu32_epi64(v), high_halves(1 << 31))
}

/// The low halves of the first and the second of a pair added up, and the high ones.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn u64_pairs(v: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    _mm512_add_epi64(_mm512_unpacklo_epi32(v, zero), _mm512_unpackhi_epi32(v, zero))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn add_floats(a: __m512i, b: __m512i) -> __m512i {
    _mm512_castpd_si512(_mm512_add_pd(_mm512_castsi512_pd(a), _mm512_castsi512_pd(b)))
}

/// The even floats are the low halves of the quads, the odd ones the high halves.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f32_pairs(v: __m512i) -> __m512i {
    let even = _mm512_cvtepi64_epi32(v);
    let odd = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(v));
    add_floats(widen_floats(even), widen_floats(odd))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f32_occupied(v: __m512i) -> __m512i {
    // Unordered or not equal: NaN is a value, -0.0 is background.
    let value = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(_mm512_castsi512_ps(v), _mm512_setzero_ps());
    _mm512_castps_si512(_mm512_maskz_mov_ps(value, _mm512_set1_ps(1.0)))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn widen_floats(v: __m256i) -> __m512i {
    _mm512_castpd_si512(_mm512_cvtps_pd(_mm256_castsi256_ps(v)))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f32_narrow(low: __m512i, high: __m512i, by: Halving) -> __m512i {
    // 2^-shift: as the scalar quotient has it.
    let by = _mm512_set1_pd(f64::from_bits((1023 - u64::from(by.shift)) << 52));
    let low = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_castsi512_pd(low), by));
    let high = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_castsi512_pd(high), by));
    _mm512_castps_si512(_mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high))
}

/// The sum of two floats, and what rounding took from it.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn exact_sum(a: __m512d, b: __m512d) -> (__m512d, __m512d) {
    let sum = _mm512_add_pd(a, b);
    let taken = _mm512_sub_pd(sum, a);
    (sum, _mm512_add_pd(_mm512_sub_pd(a, _mm512_sub_pd(sum, taken)), _mm512_sub_pd(b, taken)))
}

/// Sums in the even places, and in the odd ones what is lost, unless that is infinite or NaN.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn two_floats(sum: __m512d, lost: __m512d) -> __m512i {
    let finite = !_mm512_fpclass_pd_mask::<0x99>(lost);
    _mm512_castpd_si512(_mm512_mask_mov_pd(_mm512_maskz_mov_pd(finite, lost), 0x55, sum))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn add_two_floats(a: __m512i, b: __m512i) -> __m512i {
    let (sum, lost) = exact_sum(_mm512_castsi512_pd(a), _mm512_castsi512_pd(b));
    // In the odd places, the sum is that of what was lost before.
    two_floats(sum, _mm512_add_pd(_mm512_movedup_pd(lost), sum))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f64_pairs(v: __m512i) -> __m512i {
    let v = _mm512_castsi512_pd(v);
    let (sum, lost) = exact_sum(v, _mm512_permute_pd::<0x55>(v));
    two_floats(sum, lost)
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f64_occupied(v: __m512i) -> __m512i {
    let value = _mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(_mm512_castsi512_pd(v), _mm512_setzero_pd());
    _mm512_castpd_si512(_mm512_maskz_mov_pd(value, _mm512_set1_pd(1.0)))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn widen_f64(v: __m256i) -> __m512i {
    _mm512_maskz_expand_epi64(0x55, _mm512_castsi256_si512(v))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f64_narrow(low: __m512i, high: __m512i, by: Halving) -> __m512i {
    let by = _mm512_set1_pd(f64::from_bits((1023 - u64::from(by.shift)) << 52));
    // SAFETY: the instructions are there.
    let (sum, lost) = unsafe { (quads::<false>(low, high), quads::<true>(low, high)) };
    _mm512_castpd_si512(_mm512_mul_pd(_mm512_add_pd(_mm512_castsi512_pd(sum), _mm512_castsi512_pd(lost)), by))
}

/// Sums of bytes by counts of at most 8: times 2, times 2^15 / count rounded up, in the high half of the product. What rounding up adds is
/// at most 2 sum / 2^16, and less than 1 / count while count is at most 11.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn quotients_of_words(low: __m512i, high: __m512i, few: __m512i, more: __m512i) -> __m512i {
    const BY: [u16; 32] = {
        let mut by = [0; 32];
        let mut count = 1;
        while count <= 8 {
            by[count] = 32768u16.div_ceil(count as u16);
            count += 1;
        }
        by
    };
    // SAFETY: the table is a vector.
    let table = unsafe { _mm512_loadu_si512(BY.as_ptr().cast()) };
    let low = _mm512_mulhi_epu16(_mm512_add_epi16(low, low), _mm512_permutexvar_epi16(few, table));
    let high = _mm512_mulhi_epu16(_mm512_add_epi16(high, high), _mm512_permutexvar_epi16(more, table));
    mend(_mm512_packus_epi16(low, high))
}

/// Sums of words by counts of at most 8, in floats: half a unit added keeps a quotient further from the next integer than rounding
/// can move it.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn quotients_of_doubles(low: __m512i, high: __m512i, few: __m512i, more: __m512i) -> __m512i {
    // Where the count is 0 so is the sum.
    let table = _mm512_setr_ps(
        0.0,
        1.0,
        0.5,
        1.0 / 3.0,
        0.25,
        0.2,
        1.0 / 6.0,
        1.0 / 7.0,
        0.125,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    );
    let half = _mm512_set1_ps(0.5);
    let low = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepi32_ps(low), half), _mm512_permutexvar_ps(few, table));
    let high = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepi32_ps(high), half), _mm512_permutexvar_ps(more, table));
    mend(_mm512_packus_epi32(_mm512_cvttps_epi32(low), _mm512_cvttps_epi32(high)))
}
