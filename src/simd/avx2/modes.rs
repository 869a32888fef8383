//! Modes of cells of two, four and eight labels; larger ones go to the scalar definition.
//!
//! Modes are decided lane by lane. A label that is counted in a lane of its own width takes three instructions a pair, and no
//! branch; most cells of real volumes are uniform, so vectors of uniform cells leave early.

use super::mend;
use crate::simd::{Cells, Label, Rule, scalar};
use std::arch::x86_64::*;

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

/// Modes of a row of cells: finds the loop that was compiled for this shape of cell.
#[target_feature(enable = "avx2")]
pub fn modes<T: Label>(cells: Cells<'_, T>, out: &mut [T]) {
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
