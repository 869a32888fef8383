//! Sums of pairs and of longer cells along a row, and their quotients.

use super::{mend, put, streams};
use crate::simd::views::{Line, Row};
use crate::simd::{Adjacent, Widen, scalar};
use std::arch::x86_64::*;

/// The walk along a row of pairs: 32 bytes of voxels to 32 bytes of sums (or counts) twice as wide. Says how many sums are
/// done; what is left is less than a vector.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub unsafe fn walk_pairs<T: Widen, const ADD: bool, const COUNT: bool>(line: Line<'_, T>, sums: &mut [T::Wide]) -> usize {
    const { assert!(size_of::<T::Wide>() == 2 * size_of::<T>()) };
    let (row, lanes) = (line.voxels, 32 / size_of::<T::Wide>());
    let full = sums.len().min(row.len() / 2) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
        line.announce(2 * i);
        // SAFETY: AVX2 is on; 2 i + 2 lanes <= row.len() and i + lanes <= sums.len(), by `full`.
        unsafe {
            let mut voxels = _mm256_loadu_si256(row.as_ptr().add(2 * i).cast());
            if COUNT {
                voxels = T::Lanes::occupied(voxels);
            }
            let mut sum = T::Lanes::pairs(voxels);
            let at = sums.as_mut_ptr().add(i).cast();
            if ADD {
                sum = <T::Wide as Adjacent>::Lanes::plus(_mm256_loadu_si256(at), sum);
            }
            _mm256_storeu_si256(at, sum);
        }
    }
    full
}

/// The walk along a row of sums: 64 bytes to 32.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub unsafe fn walk_adjacent<A: Adjacent, const ADD: bool>(line: Line<'_, A>, sums: &mut [A]) -> usize {
    let (row, lanes) = (line.voxels, 32 / size_of::<A>());
    let full = sums.len().min(row.len() / 2) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
        // SAFETY: AVX2 is on; 2 i + 2 lanes <= row.len() and i + lanes <= sums.len(), by `full`.
        unsafe {
            let from: *const __m256i = row.as_ptr().add(2 * i).cast();
            let mut sum = mend(A::Lanes::adjacent(_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))));
            let at = sums.as_mut_ptr().add(i).cast();
            if ADD {
                sum = A::Lanes::plus(_mm256_loadu_si256(at), sum);
            }
            _mm256_storeu_si256(at, sum);
        }
    }
    full
}

/// The walk along a row of sums that become voxels half as wide: 64 bytes to 32.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub unsafe fn walk_narrow<T: Widen>(sums: &[T::Wide], shift: u32, out: Row<'_, T>) -> usize {
    let lanes = 32 / size_of::<T>();
    let full = sums.len().min(out.voxels.len()) / lanes * lanes;
    let streams = streams(&out);
    for i in (0..full).step_by(lanes) {
        // SAFETY: AVX2 is on; i + lanes <= sums.len() and out.len(), by `full`.
        unsafe {
            let at: *const __m256i = sums.as_ptr().add(i).cast();
            let voxels = T::Lanes::narrow(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)), shift);
            put(out.voxels.as_mut_ptr().add(i), voxels, streams);
        }
    }
    full
}

/// The walk along the last row of cells of `FX` (1 or 2) columns: folded, added to the sums, and narrowed.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub unsafe fn walk_finish<T: Widen, const FX: usize, const ADD: bool, const KEEP: bool>(
    line: Line<'_, T>,
    sums: &mut [T::Wide],
    shift: u32,
    out: Row<'_, T>,
) -> usize {
    const { assert!(FX == 1 || FX == 2) };
    let (row, lanes) = (line.voxels, 32 / size_of::<T>());
    let full = sums.len().min(row.len() / FX).min(out.voxels.len()) / lanes * lanes;
    let streams = streams(&out);
    for i in (0..full).step_by(lanes) {
        line.announce(FX * i);
        // SAFETY: AVX2 is on; FX (i + lanes) <= row.len(), and i + lanes <= sums.len() and out.len(), by `full`.
        unsafe {
            let from: *const __m256i = row.as_ptr().add(FX * i).cast();
            let (mut low, mut high) = if FX == 1 {
                T::Lanes::widen(_mm256_loadu_si256(from))
            } else {
                (T::Lanes::pairs(_mm256_loadu_si256(from)), T::Lanes::pairs(_mm256_loadu_si256(from.add(1))))
            };
            let at: *mut __m256i = sums.as_mut_ptr().add(i).cast();
            if ADD {
                low = <T::Wide as Adjacent>::Lanes::plus(_mm256_loadu_si256(at), low);
                high = <T::Wide as Adjacent>::Lanes::plus(_mm256_loadu_si256(at.add(1)), high);
            }
            if KEEP {
                _mm256_storeu_si256(at, low);
                _mm256_storeu_si256(at.add(1), high);
            }
            put(out.voxels.as_mut_ptr().add(i), T::Lanes::narrow(low, high, shift), streams);
        }
    }
    full
}

/// The walk along a row of cells of `fx` (at most 8) bytes: each is loaded as eight bytes, what is not its own is masked,
/// and the sum of absolute differences from zero adds up the rest. Says how many sums are done.
#[inline]
#[target_feature(enable = "avx2")]
pub fn walk_byte_cells<const ADD: bool>(line: Line<'_, u8>, fx: usize, sums: &mut [u16]) -> usize {
    assert!((1..=8).contains(&fx));
    let row = line.announced();
    let zero = _mm256_setzero_si256();
    let own = _mm256_set1_epi64x((u64::MAX >> (64 - 8 * fx)) as i64);
    // The last cell that eight bytes of the row begin with.
    let cells = sums.len().min(if row.len() < 8 { 0 } else { (row.len() - 8) / fx + 1 });
    let full = cells / 16 * 16;
    for i in (0..full).step_by(16) {
        // SAFETY: eight bytes from cell i + 15 on are within the row, and i + 16 sums within `sums`, by `full`.
        unsafe {
            let cell = |k: usize| row.as_ptr().add((i + k) * fx).cast::<i64>().read_unaligned();
            // Sums of cells k, k + 1, k + 8, k + 9: the order in which packing puts them right.
            let four = |k: usize| {
                let cells = _mm256_setr_epi64x(cell(k), cell(k + 1), cell(k + 8), cell(k + 9));
                _mm256_sad_epu8(_mm256_and_si256(cells, own), zero)
            };
            let low = _mm256_packus_epi32(pack_quads(four(0), four(2)), pack_quads(four(4), four(6)));
            let at = sums.as_mut_ptr().add(i).cast();
            _mm256_storeu_si256(at, if ADD { _mm256_add_epi16(_mm256_loadu_si256(at), low) } else { low });
        }
    }
    full
}

/// The low halves of the quads of a and b, lane by lane.
#[inline]
#[target_feature(enable = "avx2")]
fn pack_quads(a: __m256i, b: __m256i) -> __m256i {
    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b))
}

/// A vector of sums.
///
/// # Safety
/// All methods need AVX2.
pub trait Sums {
    unsafe fn plus(a: __m256i, b: __m256i) -> __m256i;
    /// Sums of neighbours, in the order that [`mend`] puts right.
    unsafe fn adjacent(a: __m256i, b: __m256i) -> __m256i;
}

/// A vector of voxels to be summed in pairs.
///
/// # Safety
/// All methods need AVX2.
pub trait Pairs {
    /// Sums of neighbours, twice as wide.
    unsafe fn pairs(v: __m256i) -> __m256i;
    /// 1 where a voxel is not background.
    unsafe fn occupied(v: __m256i) -> __m256i;
    /// The voxels, twice as wide.
    unsafe fn widen(v: __m256i) -> (__m256i, __m256i);
    /// Wide sums by 2^shift, toward zero, as voxels.
    unsafe fn narrow(low: __m256i, high: __m256i, shift: u32) -> __m256i;
}

macro_rules! sums {
    ($($name:ident, |$a:ident, $b:ident| $plus:expr, $adjacent:expr;)*) => {$(
        pub struct $name;

        impl Sums for $name {
            #[inline(always)]
            unsafe fn plus($a: __m256i, $b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $plus }
            }
            #[inline(always)]
            unsafe fn adjacent($a: __m256i, $b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $adjacent }
            }
        }
    )*};
}
sums! {
    WordSums, |a, b| _mm256_add_epi16(a, b), _mm256_hadd_epi16(a, b);
    DoubleSums, |a, b| _mm256_add_epi32(a, b), _mm256_hadd_epi32(a, b);
    QuadSums, |a, b| _mm256_add_epi64(a, b), _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    FloatSums, |a, b| _mm256_castpd_si256(_mm256_add_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b))),
        _mm256_castpd_si256(_mm256_hadd_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b)));
}

macro_rules! pairs {
    ($($name:ident, |$v:ident| $pairs:expr, $occupied:expr, $widen:ident, |$low:ident, $high:ident, $shift:ident| $narrow:expr;)*) => {$(
        pub struct $name;

        impl Pairs for $name {
            #[inline(always)]
            unsafe fn pairs($v: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $pairs }
            }
            #[inline(always)]
            unsafe fn occupied($v: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $occupied }
            }
            #[inline(always)]
            unsafe fn widen(v: __m256i) -> (__m256i, __m256i) {
                // SAFETY: the caller has AVX2.
                unsafe { ($widen(_mm256_castsi256_si128(v)), $widen(_mm256_extracti128_si256::<1>(v))) }
            }
            #[inline(always)]
            unsafe fn narrow($low: __m256i, $high: __m256i, $shift: u32) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $narrow }
            }
        }
    )*};
}
// Occupied: a comparison's -1 for equal, plus 1.
pairs! {
    // 255 + 255 is far below the saturation at 32767.
    U8Pairs, |v| _mm256_maddubs_epi16(v, _mm256_set1_epi8(1)), occupied_bytes(v), _mm256_cvtepu8_epi16, |low, high, shift| {
        let by = _mm_cvtsi32_si128(shift as i32);
        mend(_mm256_packus_epi16(_mm256_srl_epi16(low, by), _mm256_srl_epi16(high, by)))
    };
    I8Pairs, |v| _mm256_maddubs_epi16(_mm256_set1_epi8(1), v), occupied_bytes(v), _mm256_cvtepi8_epi16, |low, high, shift| {
        mend(_mm256_packs_epi16(halved_words(low, shift), halved_words(high, shift)))
    };
    // There is no unsigned multiply-add of words: part them by mask and shift.
    U16Pairs, |v| _mm256_add_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(v)),
        occupied_words(v), _mm256_cvtepu16_epi32, |low, high, shift| {
        let by = _mm_cvtsi32_si128(shift as i32);
        mend(_mm256_packus_epi32(_mm256_srl_epi32(low, by), _mm256_srl_epi32(high, by)))
    };
    I16Pairs, |v| _mm256_madd_epi16(v, _mm256_set1_epi16(1)), occupied_words(v), _mm256_cvtepi16_epi32, |low, high, shift| {
        mend(_mm256_packs_epi32(halved_doubles(low, shift), halved_doubles(high, shift)))
    };
    U32Pairs, |v| u32_pairs(v), occupied_doubles(v), _mm256_cvtepu32_epi64, |low, high, shift| {
        let by = _mm_cvtsi32_si128(shift as i32);
        mend(pack_quads(_mm256_srl_epi64(low, by), _mm256_srl_epi64(high, by)))
    };
    // There is no arithmetic shift of quads: move the zero, and move it back twice.
    I32Pairs, |v| _mm256_sub_epi64(u32_pairs(_mm256_xor_si256(v, _mm256_set1_epi32(i32::MIN))), _mm256_set1_epi64x(1 << 32)),
        occupied_doubles(v), _mm256_cvtepi32_epi64, |low, high, shift| {
        mend(pack_quads(halved_quads(low, shift), halved_quads(high, shift)))
    };
    F32Pairs, |v| f32_pairs(v), f32_occupied(v), widen_floats, |low, high, shift| f32_narrow(low, high, shift);
}

/// Words by 2^shift, toward zero: negative ones are lifted first.
#[inline]
#[target_feature(enable = "avx2")]
fn halved_words(v: __m256i, shift: u32) -> __m256i {
    let lift = _mm256_and_si256(_mm256_srai_epi16::<15>(v), _mm256_set1_epi16(((1u32 << shift) - 1) as i16));
    _mm256_sra_epi16(_mm256_add_epi16(v, lift), _mm_cvtsi32_si128(shift as i32))
}

#[inline]
#[target_feature(enable = "avx2")]
fn halved_doubles(v: __m256i, shift: u32) -> __m256i {
    let lift = _mm256_and_si256(_mm256_srai_epi32::<31>(v), _mm256_set1_epi32(((1u64 << shift) - 1) as i32));
    _mm256_sra_epi32(_mm256_add_epi32(v, lift), _mm_cvtsi32_si128(shift as i32))
}

/// As above, in the low half of each quad: quotients fit it, and there a plain shift gives the same bits while `shift` is at
/// most 32.
#[inline]
#[target_feature(enable = "avx2")]
fn halved_quads(v: __m256i, shift: u32) -> __m256i {
    debug_assert!(shift <= 32);
    let negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), v);
    let lift = _mm256_and_si256(negative, _mm256_set1_epi64x(((1u64 << shift) - 1) as i64));
    _mm256_srl_epi64(_mm256_add_epi64(v, lift), _mm_cvtsi32_si128(shift as i32))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_floats(v: __m128i) -> __m256i {
    _mm256_castpd_si256(_mm256_cvtps_pd(_mm_castsi128_ps(v)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f32_narrow(low: __m256i, high: __m256i, shift: u32) -> __m256i {
    // 2^-shift: as the scalar quotient has it.
    let by = _mm256_set1_pd(f64::from_bits((1023 - u64::from(shift)) << 52));
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
fn occupied_bytes(v: __m256i) -> __m256i {
    _mm256_add_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()), _mm256_set1_epi8(1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn occupied_words(v: __m256i) -> __m256i {
    _mm256_add_epi16(_mm256_cmpeq_epi16(v, _mm256_setzero_si256()), _mm256_set1_epi16(1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn occupied_doubles(v: __m256i) -> __m256i {
    _mm256_add_epi32(_mm256_cmpeq_epi32(v, _mm256_setzero_si256()), _mm256_set1_epi32(1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f32_occupied(v: __m256i) -> __m256i {
    // Unordered or not equal: NaN is a value, -0.0 is background.
    let value = _mm256_cmp_ps::<_CMP_NEQ_UQ>(_mm256_castsi256_ps(v), _mm256_setzero_ps());
    _mm256_castps_si256(_mm256_and_ps(value, _mm256_set1_ps(1.0)))
}

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

#[inline]
#[target_feature(enable = "avx2")]
fn quotients(sums: __m256i, counts: __m256i) -> __m256i {
    _mm256_cvttps_epi32(_mm256_div_ps(_mm256_cvtepi32_ps(sums), _mm256_cvtepi32_ps(counts)))
}
