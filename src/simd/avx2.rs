//! AVX2: sums of pairs, quotients and modes, 32 bytes at a time.
//!
//! Columns of a cell are parted by in-lane shuffles that leave even and odd labels in the same, permuted order; as
//! modes are decided lane by lane, the order is mended once, on the result. A label that is counted in
//! a lane of its own width takes three instructions a pair, and no branch; most cells of real volumes are uniform,
//! so vectors of uniform cells leave early.
//!
//! Limits: cells of two, four and eight labels; larger ones, and the columns behind the last full vector, go to the
//! scalar definition.

use super::{Adjacent, Cells, Isa, Kernel, Label, Rule, Widen, scalar};
use std::arch::x86_64::*;

/// Proof that this processor has AVX2: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }

    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2")]
        fn with_avx2<K: Kernel>(kernel: K, isa: Avx2) {
            kernel.run(isa);
        }
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { with_avx2(kernel, self) }
    }
}

impl Isa for Avx2 {
    #[inline(always)]
    fn pair_sums<T: Widen, const ADD: bool>(self, row: &[T], sums: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_pairs::<T, ADD, false>(row, sums) };
        scalar::pair_sums::<_, _, ADD>(&row[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn pair_counts<T: Widen, const ADD: bool>(self, row: &[T], counts: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_pairs::<T, ADD, true>(row, counts) };
        scalar::pair_counts::<_, _, ADD>(&row[2 * done..], &mut counts[done..]);
    }

    #[inline(always)]
    fn byte_cell_sums<const ADD: bool>(self, row: &[u8], fx: usize, sums: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_byte_cells::<ADD>(row, fx, sums) };
        scalar::byte_cell_sums::<ADD>(row, fx, sums, done);
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, row: &[A], sums: &mut [A]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_adjacent::<A, ADD>(row, sums) };
        scalar::pair_sums::<_, _, ADD>(&row[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn shift_u16(self, sums: &[u16], shift: u32, out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_shift(sums, shift, out) };
        scalar::shift(&sums[done..], shift, &mut out[done..]);
    }

    #[inline(always)]
    fn divide_u16(self, sums: &[u16], counts: &[u16], out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_divide(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn divide_u32(self, sums: &[u32], counts: &[u32], out: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { walk_divide_u32(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, out: &mut [T]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { modes(cells, out) }
    }
}

/// The walk along a row of pairs: 32 bytes of voxels to 32 bytes of sums (or counts) twice as wide. Says how many sums are
/// done; what is left is less than a vector.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn walk_pairs<T: Widen, const ADD: bool, const COUNT: bool>(row: &[T], sums: &mut [T::Wide]) -> usize {
    const { assert!(size_of::<T::Wide>() == 2 * size_of::<T>()) };
    let lanes = 32 / size_of::<T::Wide>();
    let full = sums.len().min(row.len() / 2) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
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
unsafe fn walk_adjacent<A: Adjacent, const ADD: bool>(row: &[A], sums: &mut [A]) -> usize {
    let lanes = 32 / size_of::<A>();
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

/// The walk along a row of cells of `fx` (at most 8) bytes: each is loaded as eight bytes, what is not its own is masked,
/// and the sum of absolute differences from zero adds up the rest. Says how many sums are done.
#[inline]
#[target_feature(enable = "avx2")]
fn walk_byte_cells<const ADD: bool>(row: &[u8], fx: usize, sums: &mut [u16]) -> usize {
    assert!((1..=8).contains(&fx));
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
    ($($name:ident, |$v:ident| $pairs:expr, $occupied:expr;)*) => {$(
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
        }
    )*};
}
// Occupied: a comparison's -1 for equal, plus 1.
pairs! {
    // 255 + 255 is far below the saturation at 32767.
    U8Pairs, |v| _mm256_maddubs_epi16(v, _mm256_set1_epi8(1)), occupied_bytes(v);
    I8Pairs, |v| _mm256_maddubs_epi16(_mm256_set1_epi8(1), v), occupied_bytes(v);
    // There is no unsigned multiply-add of words: part them by mask and shift.
    U16Pairs, |v| _mm256_add_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(v)),
        occupied_words(v);
    I16Pairs, |v| _mm256_madd_epi16(v, _mm256_set1_epi16(1)), occupied_words(v);
    U32Pairs, |v| u32_pairs(v), occupied_doubles(v);
    // There is no arithmetic shift of quads: move the zero, and move it back twice.
    I32Pairs, |v| _mm256_sub_epi64(u32_pairs(_mm256_xor_si256(v, _mm256_set1_epi32(i32::MIN))), _mm256_set1_epi64x(1 << 32)),
        occupied_doubles(v);
    F32Pairs, |v| f32_pairs(v), f32_occupied(v);
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

/// Sums of 16 bits to bytes, shifted: says how many are done.
#[inline]
#[target_feature(enable = "avx2")]
fn walk_shift(sums: &[u16], shift: u32, out: &mut [u8]) -> usize {
    let count = _mm_cvtsi32_si128(shift as i32);
    let full = sums.len().min(out.len()) / 32 * 32;
    for i in (0..full).step_by(32) {
        // SAFETY: i + 32 <= sums.len() and out.len(), by `full`.
        unsafe {
            let at: *const __m256i = sums.as_ptr().add(i).cast();
            let low = _mm256_srl_epi16(_mm256_loadu_si256(at), count);
            let high = _mm256_srl_epi16(_mm256_loadu_si256(at.add(1)), count);
            _mm256_storeu_si256(out.as_mut_ptr().add(i).cast(), mend(_mm256_packus_epi16(low, high)));
        }
    }
    full
}

/// Sums of 16 bits to bytes, divided by counts: says how many are done.
///
/// In floats, which is exact: a quotient that is no integer is at least 1 / count below the next one, more than rounding
/// can move it while sums and counts fit 24 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn walk_divide(sums: &[u16], counts: &[u16], out: &mut [u8]) -> usize {
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
fn walk_divide_u32(sums: &[u32], counts: &[u32], out: &mut [u16]) -> usize {
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

/// A vector of labels of one width.
///
/// # Safety
/// All methods need AVX2.
pub trait Lanes: Copy {
    type Label: Label;
    /// Labels in even and in odd places of the two vectors, both in the order that [`mend`] puts right.
    unsafe fn part(a: __m256i, b: __m256i) -> (__m256i, __m256i);
    /// All ones where equal.
    unsafe fn equal(a: __m256i, b: __m256i) -> __m256i;
    /// All ones where a > b, as signed numbers.
    unsafe fn greater(a: __m256i, b: __m256i) -> __m256i;
    unsafe fn minus(a: __m256i, b: __m256i) -> __m256i;
}

macro_rules! lanes {
    ($name:ident, $label:ty, $equal:ident, $greater:ident, $minus:ident, |$a:ident, $b:ident| $part:expr) => {
        #[derive(Clone, Copy)]
        pub struct $name;

        impl Lanes for $name {
            type Label = $label;
            #[inline(always)]
            unsafe fn part($a: __m256i, $b: __m256i) -> (__m256i, __m256i) {
                // SAFETY: the caller has AVX2.
                unsafe { $part }
            }
            #[inline(always)]
            unsafe fn equal(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $equal(a, b) }
            }
            #[inline(always)]
            unsafe fn greater(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $greater(a, b) }
            }
            #[inline(always)]
            unsafe fn minus(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $minus(a, b) }
            }
        }
    };
}

lanes!(Bytes, u8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_sub_epi8, |a, b| {
    let low = _mm256_set1_epi16(0xff);
    (
        _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low)),
        _mm256_packus_epi16(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b)),
    )
});
lanes!(Words, u16, _mm256_cmpeq_epi16, _mm256_cmpgt_epi16, _mm256_sub_epi16, |a, b| {
    let low = _mm256_set1_epi32(0xffff);
    (
        _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low)),
        _mm256_packus_epi32(_mm256_srli_epi32::<16>(a), _mm256_srli_epi32::<16>(b)),
    )
});
lanes!(Doubles, u32, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32, _mm256_sub_epi32, |a, b| {
    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    (
        _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)),
    )
});
lanes!(Quads, u64, _mm256_cmpeq_epi64, _mm256_cmpgt_epi64, _mm256_sub_epi64, |a, b| {
    (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b))
});

/// The order that [`Lanes::part`] leaves: quarters 0, 2, 1, 3 of the vector.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn mend(v: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(v) }
}

/// Modes of a row of cells: finds the loop that was compiled for this shape of cell.
#[target_feature(enable = "avx2")]
fn modes<T: Label>(cells: Cells<'_, T>, out: &mut [T]) {
    const ROW: usize = usize::MAX;
    let done = match (cells.rows.len(), cells.column_bit, cells.rule) {
        (1, Some(_), Rule::Count) => walk::<T, 2, 1, 0, false>(cells, out),
        (2, None, Rule::Count) => walk::<T, 2, 2, ROW, false>(cells, out),
        (2, Some(0), Rule::Pairs) => walk::<T, 4, 2, 0, true>(cells, out),
        (2, Some(_), Rule::Pairs) => walk::<T, 4, 2, 1, true>(cells, out),
        (4, None, Rule::Pairs) => walk::<T, 4, 4, ROW, true>(cells, out),
        (2, Some(0), Rule::Count) => walk::<T, 4, 2, 0, false>(cells, out),
        (2, Some(_), Rule::Count) => walk::<T, 4, 2, 1, false>(cells, out),
        (4, None, Rule::Count) => walk::<T, 4, 4, ROW, false>(cells, out),
        (4, Some(0), Rule::Count) => walk::<T, 8, 4, 0, false>(cells, out),
        (4, Some(1), Rule::Count) => walk::<T, 8, 4, 1, false>(cells, out),
        (4, Some(_), Rule::Count) => walk::<T, 8, 4, 2, false>(cells, out),
        (8, None, Rule::Count) => walk::<T, 8, 8, ROW, false>(cells, out),
        _ => 0,
    };
    scalar::modes(cells, out, done);
}

/// Decides all full vectors of cells of `CELL` labels in `ROWS` rows whose column is bit `BIT` of the raster number
/// (no bit: one column); says how many cells are done.
#[target_feature(enable = "avx2")]
fn walk<T: Label, const CELL: usize, const ROWS: usize, const BIT: usize, const PAIRS: bool>(
    cells: Cells<'_, T>,
    out: &mut [T],
) -> usize {
    let columns = CELL / ROWS;
    let lanes = 32 / size_of::<T>();
    let rows: &[&[T]; ROWS] = cells.rows.try_into().expect("as many rows as the loop was chosen for");
    let length = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let full = out.len().min(length / columns) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
        // SAFETY: AVX2 is on; each row holds `columns * (i + lanes)` labels and `out` holds `i + lanes`.
        unsafe {
            let mut cell = [_mm256_setzero_si256(); CELL];
            for (r, row) in rows.iter().enumerate() {
                let at: *const __m256i = row.as_ptr().add(columns * i).cast();
                if columns == 1 {
                    cell[r] = _mm256_loadu_si256(at);
                } else {
                    let low = r & ((1usize << (BIT % 8)) - 1);
                    let number = low | (r - low) << 1;
                    let (even, odd) = T::Lanes::part(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)));
                    cell[number] = even;
                    cell[number | 1 << (BIT % 8)] = odd;
                }
            }
            let mode = match (PAIRS, cells.sparse) {
                (true, false) => mode_of_pairs::<T::Lanes>(cell[0], cell[1], cell[2], cell[3]),
                (true, true) => sparse_mode_of_pairs::<T::Lanes>(cell[0], cell[1], cell[2], cell[3]),
                (false, false) => mode_by_count::<T::Lanes, CELL, false>(&cell),
                (false, true) => mode_by_count::<T::Lanes, CELL, true>(&cell),
            };
            _mm256_storeu_si256(out.as_mut_ptr().add(i).cast(), if columns == 1 { mode } else { mend(mode) });
        }
    }
    full
}

/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn mode_of_pairs<L: Lanes>(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let mode = _mm256_blendv_epi8(d, b, L::equal(b, c));
        _mm256_blendv_epi8(mode, a, _mm256_or_si256(L::equal(a, b), L::equal(a, c)))
    }
}

/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn sparse_mode_of_pairs<L: Lanes>(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let zero = _mm256_setzero_si256();
        // The first of d, a, c, b that is not background, from the last resort up.
        let mode = _mm256_blendv_epi8(c, b, L::equal(c, zero));
        let mode = _mm256_blendv_epi8(a, mode, L::equal(a, zero));
        let mode = _mm256_blendv_epi8(d, mode, L::equal(d, zero));
        let mode = _mm256_blendv_epi8(mode, b, _mm256_andnot_si256(L::equal(b, zero), L::equal(b, c)));
        let pair = _mm256_or_si256(L::equal(a, b), L::equal(a, c));
        _mm256_blendv_epi8(mode, a, _mm256_andnot_si256(L::equal(a, zero), pair))
    }
}

/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn mode_by_count<L: Lanes, const CELL: usize, const SPARSE: bool>(cell: &[__m256i; CELL]) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let zero = _mm256_setzero_si256();
        let ones = _mm256_set1_epi8(-1);
        let mut uniform = ones;
        // Counts of later occurrences: a comparison gives -1 where equal, so they are subtracted.
        let mut most = zero;
        for &label in &cell[1..] {
            let equal = L::equal(cell[0], label);
            uniform = _mm256_and_si256(uniform, equal);
            most = L::minus(most, equal);
        }
        let mut best = cell[0];
        if _mm256_movemask_epi8(uniform) == -1 {
            return best;
        }
        if SPARSE {
            // Background counts less than any label that occurs once.
            most = _mm256_or_si256(most, L::equal(best, zero));
        }
        // Without background to pass over, the last voxel cannot win: it has no later occurrence.
        let candidates = if SPARSE { CELL } else { CELL - 1 };
        for i in 1..candidates {
            let mut count = zero;
            for &label in &cell[i + 1..] {
                count = L::minus(count, L::equal(cell[i], label));
            }
            if SPARSE {
                count = _mm256_or_si256(count, L::equal(cell[i], zero));
            }
            let more = L::greater(count, most);
            best = _mm256_blendv_epi8(best, cell[i], more);
            most = _mm256_blendv_epi8(most, count, more);
        }
        best
    }
}
