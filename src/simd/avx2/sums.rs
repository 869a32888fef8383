//! Sums of pairs, and their quotients by powers of two.

use super::mend;
use crate::simd::Halving;
use crate::simd::halves::Halves;
use crate::simd::two_floats::TwoFloats;
use crate::simd::vectors::tables::{halvings, pairs, sums};
use crate::simd::vectors::{Pairs, Sums};
use std::arch::x86_64::*;

sums! {
    __m256i;
    WordSums, |a, b| _mm256_add_epi16(a, b), mend(_mm256_hadd_epi16(a, b));
    DoubleSums, |a, b| _mm256_add_epi32(a, b), mend(_mm256_hadd_epi32(a, b));
    QuadSums, |a, b| _mm256_add_epi64(a, b),
        mend(_mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)));
    HalvesSums, |a, b| _mm256_add_epi64(a, b),
        _mm256_add_epi64(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
    TwoFloatsSums, |a, b| add_two_floats(a, b),
        add_two_floats(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
    FloatSums, |a, b| _mm256_castpd_si256(_mm256_add_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b))),
        mend(_mm256_castpd_si256(_mm256_hadd_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b))));
}

// Occupied: the lesser of the bits and 1.
pairs! {
    __m256i, |v| (_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    // 255 + 255 is far below the saturation at 32767.
    U8Pairs, u8, u16, WordSums, |v| _mm256_maddubs_epi16(v, _mm256_set1_epi8(1)), _mm256_min_epu8(v, _mm256_set1_epi8(1)),
        _mm256_cvtepu8_epi16, |low, high, by| {
        mend(_mm256_packus_epi16(unsigned_words(low, by), unsigned_words(high, by)))
    }, quotients_of_words;
    I8Pairs, i8, i16, WordSums, |v| _mm256_maddubs_epi16(_mm256_set1_epi8(1), v), _mm256_min_epu8(v, _mm256_set1_epi8(1)),
        _mm256_cvtepi8_epi16, |low, high, by| {
        mend(_mm256_packs_epi16(signed_words(low, by), signed_words(high, by)))
    };
    // There is no unsigned multiply-add of words: part them by mask and shift.
    U16Pairs, u16, u32, DoubleSums,
        |v| _mm256_add_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(v)),
        _mm256_min_epu16(v, _mm256_set1_epi16(1)), _mm256_cvtepu16_epi32, |low, high, by| {
        mend(_mm256_packus_epi32(unsigned_doubles(low, by), unsigned_doubles(high, by)))
    }, quotients_of_doubles;
    I16Pairs, i16, i32, DoubleSums, |v| _mm256_madd_epi16(v, _mm256_set1_epi16(1)), _mm256_min_epu16(v, _mm256_set1_epi16(1)),
        _mm256_cvtepi16_epi32, |low, high, by| {
        mend(_mm256_packs_epi32(signed_doubles(low, by), signed_doubles(high, by)))
    };
    U32Pairs, u32, u64, QuadSums, |v| u32_pairs(v), _mm256_min_epu32(v, _mm256_set1_epi32(1)), _mm256_cvtepu32_epi64,
        |low, high, by| {
        mend(pack_quads(unsigned_quads(low, by), unsigned_quads(high, by)))
    };
    // There is no arithmetic shift of quads: move the zero, and move it back twice.
    I32Pairs, i32, i64, QuadSums,
        |v| _mm256_sub_epi64(u32_pairs(_mm256_xor_si256(v, _mm256_set1_epi32(i32::MIN))), _mm256_set1_epi64x(1 << 32)),
        _mm256_min_epu32(v, _mm256_set1_epi32(1)), _mm256_cvtepi32_epi64, |low, high, by| {
        mend(pack_quads(signed_quads(low, by), signed_quads(high, by)))
    };
    U64Pairs, u64, Halves<u64>, HalvesSums, |v| u64_pairs(v), u64_occupied(v), _mm256_cvtepu32_epi64,
        |low, high, by| halves_over::<false>(low, high, by);
    // Again with the zero moved.
    I64Pairs, i64, Halves<i64>, HalvesSums,
        |v| _mm256_sub_epi64(u64_pairs(_mm256_xor_si256(v, _mm256_set1_epi64x(i64::MIN))), high_halves(1 << 32)),
        u64_occupied(v), widen_i64, |low, high, by| halves_over::<true>(low, high, by);
    F32Pairs, f32, f64, FloatSums, |v| f32_pairs(v), f32_occupied(v), widen_floats,
        |low, high, by| f32_narrow(low, high, by);
    F64Pairs, f64, TwoFloats, TwoFloatsSums, |v| f64_pairs(v), f64_occupied(v), widen_f64, |low, high, by| f64_narrow(low, high, by);
}

/// The low halves of the quads of a and b, lane by lane.
#[inline]
#[target_feature(enable = "avx2")]
fn pack_quads(a: __m256i, b: __m256i) -> __m256i {
    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b))
}

halvings! {
    "avx2", __m256i, _mm256_and_si256;
    signed_words, signed, _mm256_sra_epi16, _mm256_add_epi16, _mm256_set1_epi16 as i16;
    signed_doubles, signed, _mm256_sra_epi32, _mm256_add_epi32, _mm256_set1_epi32 as i32;
    unsigned_words, unsigned, _mm256_srl_epi16, _mm256_add_epi16, _mm256_set1_epi16 as i16;
    unsigned_doubles, unsigned, _mm256_srl_epi32, _mm256_add_epi32, _mm256_set1_epi32 as i32;
    unsigned_quads, unsigned, _mm256_srl_epi64, _mm256_add_epi64, _mm256_set1_epi64x as i64;
}

/// As above, in the low half of each quad: quotients fit it, and there a plain shift gives the same bits while it is by at most 32. The
/// sign, which there is no shift for, is asked for by a comparison.
#[inline]
#[target_feature(enable = "avx2")]
fn signed_quads(v: __m256i, by: Halving) -> __m256i {
    debug_assert!(by.shift <= 32);
    let (_, mask) = by.signed(i64::BITS);
    let shift = _mm_cvtsi32_si128(by.shift as i32);
    let part = if by.nearest { _mm256_srl_epi64(v, shift) } else { _mm256_cmpgt_epi64(_mm256_setzero_si256(), v) };
    let more = _mm256_and_si256(part, _mm256_set1_epi64x(mask as i64));
    _mm256_srl_epi64(_mm256_add_epi64(_mm256_add_epi64(v, _mm256_set1_epi64x(by.bias() as i64)), more), shift)
}

/// Sums of halves by a power of two, which is at most 2^32: the high ones move up by what it leaves of their 32 places, and no bit
/// of them is lost.
#[inline]
#[target_feature(enable = "avx2")]
fn halves_over<const SIGNED: bool>(a: __m256i, b: __m256i, by: Halving) -> __m256i {
    debug_assert!(by.shift <= 32);
    let (low, high) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let up = _mm256_sll_epi64(high, _mm_cvtsi32_si128(32 - by.shift as i32));
    let over = |low| _mm256_add_epi64(up, _mm256_srl_epi64(low, _mm_cvtsi32_si128(by.shift as i32)));
    let (part, (_, mask)) = if SIGNED && !by.nearest {
        // The sign of the whole sum.
        let carried = _mm256_add_epi64(high, _mm256_srli_epi64::<32>(low));
        (_mm256_cmpgt_epi64(_mm256_setzero_si256(), carried), by.signed(i64::BITS))
    } else {
        (over(low), by.unsigned())
    };
    let more = _mm256_and_si256(part, _mm256_set1_epi64x(mask as i64));
    mend(over(_mm256_add_epi64(_mm256_add_epi64(low, _mm256_set1_epi64x(by.bias() as i64)), more)))
}

/// A number in the high halves.
#[inline]
#[target_feature(enable = "avx2")]
fn high_halves(number: i64) -> __m256i {
    _mm256_setr_epi64x(0, number, 0, number)
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_i64(v: __m128i) -> __m256i {
    let v = _mm_xor_si128(v, _mm_set1_epi64x(i64::MIN));
    _mm256_sub_epi64(_mm256_cvtepu32_epi64(v), high_halves(1 << 31))
}

/// The low halves of the first and the second of a pair added up, and the high ones.
#[inline]
#[target_feature(enable = "avx2")]
fn u64_pairs(v: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    _mm256_add_epi64(_mm256_unpacklo_epi32(v, zero), _mm256_unpackhi_epi32(v, zero))
}

#[inline]
#[target_feature(enable = "avx2")]
fn u64_occupied(v: __m256i) -> __m256i {
    _mm256_add_epi64(_mm256_cmpeq_epi64(v, _mm256_setzero_si256()), _mm256_set1_epi64x(1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_floats(v: __m128i) -> __m256i {
    _mm256_castpd_si256(_mm256_cvtps_pd(_mm_castsi128_ps(v)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f32_narrow(low: __m256i, high: __m256i, by: Halving) -> __m256i {
    // 2^-shift: as the scalar quotient has it.
    let by = _mm256_set1_pd(f64::from_bits((1023 - u64::from(by.shift)) << 52));
    let low = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_castsi256_pd(low), by));
    let high = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_castsi256_pd(high), by));
    _mm256_castps_si256(_mm256_set_m128(high, low))
}

#[inline]
#[target_feature(enable = "avx2")]
fn u32_pairs(v: __m256i) -> __m256i {
    _mm256_add_epi64(_mm256_and_si256(v, _mm256_set1_epi64x(0xffff_ffff)), _mm256_srli_epi64::<32>(v))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f32_pairs(v: __m256i) -> __m256i {
    let v = _mm256_castsi256_ps(v);
    let low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v));
    // hadd gives pairs 0, 2, 1, 3.
    _mm256_castpd_si256(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_hadd_pd(low, high)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f32_occupied(v: __m256i) -> __m256i {
    // Unordered or not equal: NaN is a value, -0.0 is background.
    let value = _mm256_cmp_ps::<_CMP_NEQ_UQ>(_mm256_castsi256_ps(v), _mm256_setzero_ps());
    _mm256_castps_si256(_mm256_and_ps(value, _mm256_set1_ps(1.0)))
}

/// The sum of two floats, and what rounding took from it.
#[inline]
#[target_feature(enable = "avx2")]
fn exact_sum(a: __m256d, b: __m256d) -> (__m256d, __m256d) {
    let sum = _mm256_add_pd(a, b);
    let taken = _mm256_sub_pd(sum, a);
    (sum, _mm256_add_pd(_mm256_sub_pd(a, _mm256_sub_pd(sum, taken)), _mm256_sub_pd(b, taken)))
}

/// Sums in the even places, and in the odd ones what is lost, unless that is infinite or NaN: then it is no number less itself.
#[inline]
#[target_feature(enable = "avx2")]
fn two_floats(sum: __m256d, lost: __m256d) -> __m256i {
    let finite = _mm256_cmp_pd::<_CMP_EQ_OQ>(_mm256_sub_pd(lost, lost), _mm256_setzero_pd());
    _mm256_castpd_si256(_mm256_blend_pd::<0b1010>(sum, _mm256_and_pd(finite, lost)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_two_floats(a: __m256i, b: __m256i) -> __m256i {
    let (sum, lost) = exact_sum(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b));
    // In the odd places, the sum is that of what was lost before.
    two_floats(sum, _mm256_add_pd(_mm256_movedup_pd(lost), sum))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f64_pairs(v: __m256i) -> __m256i {
    let v = _mm256_castsi256_pd(v);
    let (sum, lost) = exact_sum(v, _mm256_permute_pd::<0b0101>(v));
    two_floats(sum, lost)
}

#[inline]
#[target_feature(enable = "avx2")]
fn f64_occupied(v: __m256i) -> __m256i {
    let value = _mm256_cmp_pd::<_CMP_NEQ_UQ>(_mm256_castsi256_pd(v), _mm256_setzero_pd());
    _mm256_castpd_si256(_mm256_and_pd(value, _mm256_set1_pd(1.0)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_f64(v: __m128i) -> __m256i {
    let zero = _mm_setzero_si128();
    _mm256_set_m128i(_mm_unpackhi_epi64(v, zero), _mm_unpacklo_epi64(v, zero))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f64_narrow(low: __m256i, high: __m256i, by: Halving) -> __m256i {
    let by = _mm256_set1_pd(f64::from_bits((1023 - u64::from(by.shift)) << 52));
    let sums = _mm256_hadd_pd(_mm256_castsi256_pd(low), _mm256_castsi256_pd(high));
    mend(_mm256_castpd_si256(_mm256_mul_pd(sums, by)))
}

/// Sums of bytes by counts of at most 8: times 2, times 2^15 / count rounded up, in the high half of the product. What rounding up adds is
/// at most 2 sum / 2^16, and less than 1 / count while count is at most 11.
#[inline]
#[target_feature(enable = "avx2")]
fn quotients_of_words(low: __m256i, high: __m256i, few: __m256i, more: __m256i) -> __m256i {
    // The low bytes of 2^15 / 1 to 2^15 / 8, then the high bytes.
    #[rustfmt::skip]
    let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0x00, 0x00, 0xab_u8 as i8, 0x00, 0x9a_u8 as i8, 0x56, 0x4a, 0x00,
        0x80_u8 as i8, 0x40, 0x2a, 0x20, 0x19, 0x15, 0x12, 0x10,
    ));
    // Both bytes of a word look up their own: count - 1, and count + 7. Where the count is 0 so is the sum.
    let places =
        |count| _mm256_add_epi16(_mm256_mullo_epi16(count, _mm256_set1_epi16(0x0101)), _mm256_set1_epi16(0x06ff));
    let by = _mm256_shuffle_epi8(table, places(few));
    let low = _mm256_mulhi_epu16(_mm256_add_epi16(low, low), by);
    let by = _mm256_shuffle_epi8(table, places(more));
    let high = _mm256_mulhi_epu16(_mm256_add_epi16(high, high), by);
    mend(_mm256_packus_epi16(low, high))
}

/// Sums of words by counts of at most 8, in floats: half a unit added keeps a quotient further from the next integer than rounding
/// can move it.
#[inline]
#[target_feature(enable = "avx2")]
fn quotients_of_doubles(low: __m256i, high: __m256i, few: __m256i, more: __m256i) -> __m256i {
    // The reciprocals of 8, 1, 2 ... 7: places are taken modulo 8. Where the count is 0 so is the sum.
    let table = _mm256_setr_ps(0.125, 1.0, 0.5, 1.0 / 3.0, 0.25, 0.2, 1.0 / 6.0, 1.0 / 7.0);
    let half = _mm256_set1_ps(0.5);
    let low = _mm256_mul_ps(_mm256_add_ps(_mm256_cvtepi32_ps(low), half), _mm256_permutevar8x32_ps(table, few));
    let high = _mm256_mul_ps(_mm256_add_ps(_mm256_cvtepi32_ps(high), half), _mm256_permutevar8x32_ps(table, more));
    mend(_mm256_packus_epi32(_mm256_cvttps_epi32(low), _mm256_cvttps_epi32(high)))
}
