//! Means of whole cells: of vectors of cells, and of rows of sums, through one level or two.

use super::{Out, Pairs, Sums, Vector, VectorOf, next};
use crate::simd::Halving;
use crate::simd::lines::{Fours, Line};
use crate::simd::views::{Cut, PanelMut, Rise, Row};

/// Two vectors of sums, which belong to one of voxels.
pub type TwoOf<P> = (VectorOf<P>, VectorOf<P>);

/// The sums of the vector of cells at `i`, twice as wide as voxels.
///
/// # Safety
/// Needs the instructions; `FX` vectors from `FX i` on are within the lines.
#[inline(always)]
pub unsafe fn cells<P: Pairs, const FX: usize, const COUNT: bool, const ROWS: usize>(
    lines: &[Line<'_, P::Voxel>; ROWS],
    i: usize,
) -> TwoOf<P> {
    const { assert!((FX == 1 || FX == 2) && (ROWS == 1 || ROWS == 2 || ROWS == 4)) };
    const { assert!(size_of::<P::Wide>() == 2 * size_of::<P::Voxel>()) };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        // Pairs of lines first: sums of floats depend on the order, which is the same everywhere.
        let (mut low, mut high) = pair_of::<P, FX, COUNT>(&lines[..ROWS.min(2)], FX * i, lanes);
        if ROWS == 4 {
            let (a, b) = pair_of::<P, FX, COUNT>(&lines[2..], FX * i, lanes);
            (low, high) = (P::Sums::plus(low, a), P::Sums::plus(high, b));
        }
        (low, high)
    }
}

/// # Safety
/// Needs the instructions; `FX` vectors from voxel `at` on are within the lines, of which there are one or two.
#[inline(always)]
pub unsafe fn pair_of<P: Pairs, const FX: usize, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    at: usize,
    lanes: usize,
) -> TwoOf<P> {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = cells_of::<P, FX, COUNT>(lines[0].voxels.as_ptr().add(at), lanes);
        let Some(second) = lines.get(1) else { return (low, high) };
        let (a, b) = cells_of::<P, FX, COUNT>(second.voxels.as_ptr().add(at), lanes);
        (P::Sums::plus(low, a), P::Sums::plus(high, b))
    }
}

/// # Safety
/// Needs the instructions; `FX` vectors at `from` may be read.
#[inline(always)]
unsafe fn cells_of<P: Pairs, const FX: usize, const COUNT: bool>(from: *const P::Voxel, lanes: usize) -> TwoOf<P> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = VectorOf::<P>::load(from);
        if COUNT {
            a = P::occupied(a);
        }
        if FX == 1 {
            return P::widen(a);
        }
        let mut b = VectorOf::<P>::load(from.add(lanes));
        if COUNT {
            b = P::occupied(b);
        }
        (P::pairs(a), P::pairs(b))
    }
}

/// Sums to voxels half as wide: all of a row.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn narrow<P: Pairs>(sums: &[P::Wide], by: Halving, out: Row<'_, P::Voxel>) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(out.voxels.len());
    if len < lanes {
        return 0;
    }
    // SAFETY: the caller has the instructions.
    let (mut out, mut i) = (unsafe { Out::<_, _, false>::new(out, len / lanes * lanes) }, 0);
    while let Some(at) = next(i, lanes, len) {
        i += lanes;
        // SAFETY: at + lanes <= sums.len() and out.len(), by `len`.
        unsafe {
            let all = there_above::<P, 1>(sums.as_ptr().add(at));
            out.put(at, P::narrow(all.0, all.1, by));
        }
    }
    // SAFETY: the caller has the instructions; all of the row was put, if it is made of whole vectors.
    unsafe { out.close() };
    len
}

/// Whole cells of `FX` (1 or 2) columns of sums of two rows: folded, set or added, and narrowed if there is somewhere to write them: rows of `out` from
/// `first` on.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_up<P: Pairs, const FX: usize>(
    rise: &mut Rise<'_, P::Wide>,
    add: bool,
    by: Halving,
    mut out: Option<&mut PanelMut<'_, P::Voxel>>,
    first: usize,
) -> usize {
    const { assert!(FX == 1 || FX == 2) };
    let (lanes, len) = (VectorOf::<P>::BYTES / size_of::<P::Voxel>(), rise.full);
    assert!(FX * len <= rise.below && len <= rise.cols);
    assert!(rise.from.len() == 2 * rise.rows * rise.below && rise.to.len() == rise.rows * rise.cols);
    if len < lanes {
        return 0;
    }
    for j in 0..rise.rows {
        // Inside of the two, by their lengths.
        let (to, a) =
            (rise.to.as_mut_ptr().wrapping_add(j * rise.cols), rise.from.as_ptr().wrapping_add(2 * j * rise.below));
        let b = a.wrapping_add(rise.below);
        // SAFETY: at + lanes <= len, and FX len sums are in each line, len in the sums and in the row.
        unsafe {
            // A closure may not be inlined into the function that has the instructions.
            #[allow(clippy::manual_map)]
            let mut out = match &mut out {
                Some(out) => Some(Out::<_, _, false>::new(out.row_mut(first + j).first(len), len / lanes * lanes)),
                None => None,
            };
            // The last vector overlaps the one before: what it is added to is loaded before that is stored.
            let (mut at, end) = (0, len - lanes);
            let mut there = there_if::<P, 1>(add, to);
            loop {
                let after = (at + lanes).min(end);
                let all = cells_of_sums::<P, FX>(a.add(FX * at), b.add(FX * at));
                let all = onto::<P>(add, there, all);
                there = there_if::<P, 1>(add, to.add(after));
                put_above::<P, 1>(to.add(at), all);
                if let Some(out) = &mut out {
                    out.put(at, P::narrow(all.0, all.1, by));
                }
                if at == end {
                    break;
                }
                at = after;
            }
            if let Some(out) = out {
                out.close();
            }
        }
    }
    len
}

/// The sums of a vector of cells of `FX` columns of two lines of sums.
///
/// # Safety
/// Needs the instructions; `FX` times two vectors may be read at `a` and at `b`.
#[inline(always)]
unsafe fn cells_of_sums<P: Pairs, const FX: usize>(a: *const P::Wide, b: *const P::Wide) -> TwoOf<P> {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Wide>();
    // SAFETY: the caller's promise.
    unsafe {
        let first = plus::<P>(there_above::<P, 1>(a), there_above::<P, 1>(b));
        if FX == 1 {
            return first;
        }
        let second = plus::<P>(there_above::<P, 1>(a.add(2 * lanes)), there_above::<P, 1>(b.add(2 * lanes)));
        (P::Sums::adjacent(first.0, first.1), P::Sums::adjacent(second.0, second.1))
    }
}

/// Rows of whole cells of `FX` (1 or 2) columns, two of them one beside the other, and the sums of the whole cells of `FX` columns that
/// these two make: voxels of the first level to `out`, sums (and with `SPARSE` counts) of the second set or added, and unless
/// `SPARSE`, their voxels to `above`. The sums of the first never leave the registers.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn finish_two<P: Pairs, const FX: usize, const PANELS: usize, const SPARSE: bool>(
    all: Fours<'_, P::Voxel, PANELS>,
    cut: Cut,
    add: bool,
    sums: &mut PanelMut<'_, P::Wide>,
    counts: &mut PanelMut<'_, P::Wide>,
    by: [Halving; 2],
    out: &mut PanelMut<'_, P::Voxel>,
    mut above: Option<&mut PanelMut<'_, P::Voxel>>,
) -> usize {
    if SPARSE && !P::DIVIDES {
        return 0;
    }
    const { assert!(2 * PANELS * FX <= 8, "as many as `quotients` can count") };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = FX * cut.cols;
    assert!(len <= all.cols() / FX);
    if len < lanes {
        return 0;
    }
    for j in 0..all.fours() {
        let (four, row) = (all.part(j..all.fours()), cut.first + j);
        let [first, second] = out.two_rows_mut(2 * row);
        let to = sums.row_mut(row).part(0..cut.cols).voxels.as_mut_ptr();
        let count = if SPARSE { counts.row_mut(row).part(0..cut.cols).voxels.as_mut_ptr() } else { to };
        // SAFETY: at + lanes <= len, and FX len voxels are in each line, len in the rows, len / FX in the sums and the counts.
        unsafe {
            let mut first = Out::<_, _, false>::new(first.first(len), len / lanes * lanes);
            let mut second = Out::<_, _, false>::new(second.first(len), len / lanes * lanes);
            #[allow(clippy::manual_map)]
            let mut over = match &mut above {
                Some(above) => {
                    Some(Out::<_, _, false>::new(above.row_mut(row).first(cut.cols), cut.cols / lanes * lanes))
                }
                None => None,
            };
            // The last vector overlaps the one before: what it is added to is loaded before that is stored.
            let (mut at, end) = (0, len - lanes);
            let (mut there, mut counted) = (there_if::<P, FX>(add, to), there_if::<P, FX>(add, count));
            let mut half = VectorOf::<P>::zero();
            loop {
                let after = (at + lanes).min(end);
                four.announce(FX * at, FX * VectorOf::<P>::BYTES);
                let a = cells_of_four::<P, FX, PANELS, false>(&four, 0, at);
                let b = cells_of_four::<P, FX, PANELS, false>(&four, 2, at);
                let all = cells_above::<P, FX>(a, b);
                let all = onto::<P>(add, there, all);
                there = there_if::<P, FX>(add, to.add(after / FX));
                put_above::<P, FX>(to.add(at / FX), all);
                if SPARSE {
                    let few = cells_of_four::<P, FX, PANELS, true>(&four, 0, at);
                    let more = cells_of_four::<P, FX, PANELS, true>(&four, 2, at);
                    let all = cells_above::<P, FX>(few, more);
                    let all = onto::<P>(add, counted, all);
                    counted = there_if::<P, FX>(add, count.add(after / FX));
                    put_above::<P, FX>(count.add(at / FX), all);
                    first.put(at, P::quotients(a.0, a.1, few.0, few.1));
                    second.put(at, P::quotients(b.0, b.1, more.0, more.1));
                } else {
                    four.announce_again(FX * at, FX * VectorOf::<P>::BYTES);
                    first.put(at, P::narrow(a.0, a.1, by[0]));
                    second.put(at, P::narrow(b.0, b.1, by[0]));
                    if let Some(over) = &mut over {
                        if FX == 1 {
                            over.put(at, P::narrow(all.0, all.1, by[1]));
                        } else if at % (2 * lanes) == lanes {
                            over.put((at - lanes) / FX, P::narrow(half, all.0, by[1]));
                        } else if at % (2 * lanes) == 0 && after == at + lanes {
                            // Lines of the memory are best written whole, with the half that comes next.
                            half = all.0;
                        } else {
                            over.put_half(at / FX, P::narrow(all.0, all.1, by[1]));
                        }
                    }
                }
                if at == end {
                    break;
                }
                at = after;
            }
            first.close();
            second.close();
            if let Some(over) = over {
                over.close();
            }
        }
    }
    cut.cols
}

/// As [`cells`], of two rows from `row` on of each of the panels.
///
/// # Safety
/// Needs the instructions; `FX` vectors from `FX i` on are within the rows.
#[inline(always)]
unsafe fn cells_of_four<P: Pairs, const FX: usize, const PANELS: usize, const COUNT: bool>(
    four: &Fours<'_, P::Voxel, PANELS>,
    row: usize,
    i: usize,
) -> TwoOf<P> {
    // SAFETY: the caller's promise.
    unsafe {
        // Pairs of rows first, as everywhere.
        let mut all = pair_of_four::<P, FX, PANELS, COUNT>(four, 0, row, i);
        for panel in 1..PANELS {
            all = plus::<P>(all, pair_of_four::<P, FX, PANELS, COUNT>(four, panel, row, i));
        }
        all
    }
}

/// # Safety
/// As of [`cells_of_four`].
#[inline(always)]
unsafe fn pair_of_four<P: Pairs, const FX: usize, const PANELS: usize, const COUNT: bool>(
    four: &Fours<'_, P::Voxel, PANELS>,
    panel: usize,
    row: usize,
    i: usize,
) -> TwoOf<P> {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let a = cells_of::<P, FX, COUNT>(four.place(panel, row, FX * i), lanes);
        let b = cells_of::<P, FX, COUNT>(four.place(panel, row + 1, FX * i), lanes);
        plus::<P>(a, b)
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn plus<P: Pairs>(a: TwoOf<P>, b: TwoOf<P>) -> TwoOf<P> {
    // SAFETY: the caller has the instructions.
    unsafe { (P::Sums::plus(a.0, b.0), P::Sums::plus(a.1, b.1)) }
}

/// The sums of cells of `FX` columns above two rows of two vectors of sums; with two columns a cell they are one vector.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn cells_above<P: Pairs, const FX: usize>(a: TwoOf<P>, b: TwoOf<P>) -> TwoOf<P> {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (low, high) = (P::Sums::plus(a.0, b.0), P::Sums::plus(a.1, b.1));
        if FX == 1 {
            return (low, high);
        }
        let all = P::Sums::adjacent(low, high);
        (all, all)
    }
}

/// Stores what [`cells_above`] made.
///
/// # Safety
/// Needs the instructions; as many sums may be written.
#[inline(always)]
unsafe fn put_above<P: Pairs, const FX: usize>(to: *mut P::Wide, sums: TwoOf<P>) {
    // SAFETY: the caller's promise.
    unsafe {
        sums.0.store(to);
        if FX == 1 {
            sums.1.store(to.add(VectorOf::<P>::BYTES / size_of::<P::Wide>()));
        }
    }
}

/// What is there already: two vectors, or as many as [`put_above`] stores.
///
/// # Safety
/// Needs the instructions; as many sums may be read.
#[inline(always)]
unsafe fn there_above<P: Pairs, const FX: usize>(from: *const P::Wide) -> TwoOf<P> {
    // SAFETY: the caller's promise.
    unsafe {
        let low = VectorOf::<P>::load(from);
        (low, if FX == 1 { VectorOf::<P>::load(from.add(VectorOf::<P>::BYTES / size_of::<P::Wide>())) } else { low })
    }
}

/// As [`there_above`], if it is added to; the rows of a panel are not in the first cache yet where they are only written.
///
/// # Safety
/// As of [`there_above`].
#[inline(always)]
unsafe fn there_if<P: Pairs, const FX: usize>(add: bool, from: *const P::Wide) -> TwoOf<P> {
    // SAFETY: the caller's promise.
    unsafe { if add { there_above::<P, FX>(from) } else { (VectorOf::<P>::zero(), VectorOf::<P>::zero()) } }
}

/// Added to what [`there_if`] found. In small integers nothing is added without a question, which would cost more; to a float it might change the sign of zero.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn onto<P: Pairs>(add: bool, there: TwoOf<P>, all: TwoOf<P>) -> TwoOf<P> {
    // SAFETY: the caller has the instructions.
    unsafe { if add || size_of::<P::Voxel>() <= 2 { plus::<P>(there, all) } else { all } }
}
