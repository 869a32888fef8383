//! Whole cells of a panel, from the voxels to the means: row after row by one call of a kernel, because short rows would otherwise
//! pay more for the way to their loop than for their voxels.

use super::means::{TwoOf, cells};
use super::{Out, Padded, Pairs, Sums, Vector, VectorOf, next};
use crate::simd::Halving;
use crate::simd::lines::{CellLines, Line, announce_to};
use crate::simd::views::{Cut, PanelMut, Row};

/// Whole cells of `FX` (1 or 2) columns: folded and narrowed, or with `SPARSE`, folded and divided by how many voxels are not background.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_cells<P: Pairs, const FX: usize, const ROWS: usize, const SPARSE: bool>(
    all: CellLines<'_, P::Voxel, ROWS>,
    cut: Cut,
    sums: &mut PanelMut<'_, P::Wide>,
    counts: &mut PanelMut<'_, P::Wide>,
    by: Halving,
    out: &mut PanelMut<'_, P::Voxel>,
) -> usize {
    if SPARSE && !P::DIVIDES {
        return 0;
    }
    // SAFETY: the caller has the instructions.
    unsafe {
        if cut.cols * size_of::<P::Voxel>() < VectorOf::<P>::BYTES {
            finish_rows::<P, FX, ROWS, SPARSE, true, false>(all, cut, sums, counts, by, out)
        } else if ROWS <= 2 && all.once() {
            finish_rows::<P, FX, ROWS, SPARSE, false, true>(all, cut, sums, counts, by, out)
        } else {
            finish_rows::<P, FX, ROWS, SPARSE, false, false>(all, cut, sums, counts, by, out)
        }
    }
}

/// As [`finish_cells`], of rows that are `SHORT`, less than a vector, or not, and asked for `ONCE` or twice, which a question for every vector would
/// make slower where they are in a cache.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn finish_rows<
    P: Pairs,
    const FX: usize,
    const ROWS: usize,
    const SPARSE: bool,
    const SHORT: bool,
    const ONCE: bool,
>(
    all: CellLines<'_, P::Voxel, ROWS>,
    cut: Cut,
    sums: &mut PanelMut<'_, P::Wide>,
    counts: &mut PanelMut<'_, P::Wide>,
    by: Halving,
    out: &mut PanelMut<'_, P::Voxel>,
) -> usize {
    const { assert!(!SPARSE || FX * ROWS <= 8, "as many as `quotients` can count") };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let (len, keep) = (cut.cols, sums.cols() > 0);
    assert!(SHORT == (len < lanes) && len <= all.cols() / FX);
    let (full, mut room) = (len / lanes * lanes, Padded::new());
    for (j, mut lines) in (cut.first..).zip(all) {
        let row = out.row_mut(j);
        // SAFETY: at + lanes <= len, and FX len voxels are in each line; or it is padded, to FX vectors.
        unsafe {
            let mut out = Out::<_, _, SHORT>::new(row.first(len), full);
            if SHORT {
                lines = room.fill::<VectorOf<P>, _, FX>(&lines);
            }
            let mut i = 0;
            while let Some(at) = next(i, lanes, if SHORT { lanes } else { len }) {
                i += lanes;
                announce_to::<ONCE, _>(&lines, FX * at, FX * VectorOf::<P>::BYTES);
                let all = cells::<P, FX, false, ROWS>(&lines, at);
                if !ONCE {
                    announce_to::<false, _>(&lines, FX * at, FX * VectorOf::<P>::BYTES);
                }
                if keep {
                    keep_two::<P, SHORT>(sums.row_mut(j).part(0..len), at, all);
                }
                if SPARSE {
                    let counted = cells::<P, FX, true, ROWS>(&lines, at);
                    if keep {
                        keep_two::<P, SHORT>(counts.row_mut(j).part(0..len), at, counted);
                    }
                    out.put(at, P::quotients(all.0, all.1, counted.0, counted.1));
                } else {
                    out.put(at, P::narrow(all.0, all.1, by));
                }
            }
            out.close();
        }
    }
    len
}

/// Keeps the sums of a vector of voxels.
///
/// # Safety
/// Needs the instructions; a vector of voxels from `at` on has sums in the row, or that is short.
#[inline(always)]
unsafe fn keep_two<P: Pairs, const SHORT: bool>(row: Row<'_, P::Wide>, at: usize, sums: TwoOf<P>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut to = Out::<_, _, SHORT>::new(row, 0);
        to.put(at, sums.0);
        to.put(at + VectorOf::<P>::BYTES / size_of::<P::Wide>(), sums.1);
    }
}

/// As [`finish_cells`] of all voxels, of two rows at a time, where each of their lines is a vector, so that pairs make half of one; nothing where they
/// are not, or where rows do not lie one behind the other.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_two_rows<P: Pairs, const FX: usize, const ROWS: usize>(
    all: CellLines<'_, P::Voxel, ROWS>,
    cut: Cut,
    sums: &mut PanelMut<'_, P::Wide>,
    by: Halving,
    out: &mut PanelMut<'_, P::Voxel>,
) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let keep = sums.cols() > 0;
    let halves = FX == 2 && all.cols() == lanes && cut.cols == lanes / 2 && all.rows() > 1;
    let fits = |cols, is_dense| cols == lanes / 2 && is_dense;
    if !halves || !fits(out.cols(), out.is_dense()) || (keep && !fits(sums.cols(), sums.is_dense())) {
        return 0;
    }
    let mut i = 0;
    while let Some(j) = next(i, 2, all.rows()) {
        i += 2;
        let row = cut.first + j;
        let lines = [all.row(j), all.row(j + 1)];
        // SAFETY: lines are a vector long.
        unsafe {
            let (low, high) = (row_of_pairs::<P, ROWS>(&lines[0]), row_of_pairs::<P, ROWS>(&lines[1]));
            if keep {
                let mut sums = Out::<_, _, false>::new(sums.two_rows(row), lanes);
                sums.put(0, low);
                sums.put(lanes / 2, high);
            }
            lines.iter().for_each(|lines| announce_to::<false, _>(lines, 0, VectorOf::<P>::BYTES));
            let mut out = Out::<_, _, false>::new(out.two_rows(row), lanes);
            out.put(0, P::narrow(low, high, by));
            out.close();
        }
    }
    cut.cols
}

/// As [`cells`], of all pairs of lines that are a vector long.
///
/// # Safety
/// Needs the instructions; so long are the lines.
#[inline(always)]
unsafe fn row_of_pairs<P: Pairs, const ROWS: usize>(lines: &[Line<'_, P::Voxel>; ROWS]) -> VectorOf<P> {
    announce_to::<false, _>(lines, 0, VectorOf::<P>::BYTES);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [VectorOf::<P>::zero(); ROWS];
        for (sums, line) in sums.iter_mut().zip(lines) {
            *sums = P::pairs(VectorOf::<P>::load(line.voxels.as_ptr()));
        }
        match sums[..] {
            [a] => a,
            [a, b] => P::Sums::plus(a, b),
            [a, b, c, d] => P::Sums::plus(P::Sums::plus(a, b), P::Sums::plus(c, d)),
            _ => unreachable!("as many lines as are read side by side"),
        }
    }
}
