//! Means of whole cells: of vectors of cells, and of rows of sums, through one level or two.

use super::{Out, Pairs, Sums, Vector, VectorOf, again, length, next};
use crate::simd::Halving;
use crate::simd::lines::Line;
use crate::simd::views::Row;

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
    lines.iter().for_each(|line| line.announce(FX * i, FX * VectorOf::<P>::BYTES));
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

/// Sums to voxels half as wide.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn narrow<P: Pairs>(sums: &[P::Wide], by: Halving, out: Row<'_, P::Voxel>) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let full = sums.len().min(out.voxels.len()) / lanes * lanes;
    let out = Out::<_, false>::new(out, full);
    for i in (0..full).step_by(lanes) {
        // SAFETY: i + lanes <= sums.len() and out.len(), by `full`.
        unsafe {
            let at = sums.as_ptr().add(i);
            out.put(i, P::narrow(VectorOf::<P>::load(at), VectorOf::<P>::load(at.add(lanes / 2)), by));
        }
    }
    full
}

/// Whole cells of `FX` (1 or 2) columns of sums of two lines: folded, set or added, and narrowed if there is somewhere to write them.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_up<P: Pairs, const FX: usize>(
    lines: &[Line<'_, P::Wide>; 2],
    add: bool,
    sums: &mut [P::Wide],
    by: Halving,
    out: Option<Row<'_, P::Voxel>>,
) -> usize {
    const { assert!(FX == 1 || FX == 2) };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / FX);
    if len < lanes {
        return 0;
    }
    let out = out.map(|row| {
        assert!(row.voxels.len() >= len);
        Out::<_, false>::new(row, len / lanes * lanes)
    });
    let to = sums.as_mut_ptr();
    // SAFETY: at + lanes <= len, and FX len sums are in each line, len in the sums and in the row.
    unsafe {
        // The last vector overlaps the one before, and is added to what was there before that.
        let last = add.then(|| there_above::<P, 1>(to.add(len - lanes)));
        let mut i = 0;
        while let Some(at) = next(i, lanes, len) {
            let there = if add && at == i { Some(there_above::<P, 1>(to.add(at))) } else { last };
            let pair = |k: usize| {
                let [a, b] = [lines[0].voxels.as_ptr().add(FX * at), lines[1].voxels.as_ptr().add(FX * at)];
                let i = k * lanes / 2;
                P::Sums::plus(VectorOf::<P>::load(a.add(i)), VectorOf::<P>::load(b.add(i)))
            };
            let mut all = if FX == 1 {
                (pair(0), pair(1))
            } else {
                (P::Sums::adjacent(pair(0), pair(1)), P::Sums::adjacent(pair(2), pair(3)))
            };
            if let Some(there) = there {
                all = (P::Sums::plus(there.0, all.0), P::Sums::plus(there.1, all.1));
            }
            all.0.store(to.add(at));
            all.1.store(to.add(at + lanes / 2));
            if let Some(out) = &out {
                out.put(at, P::narrow(all.0, all.1, by));
            }
            i += lanes;
        }
    }
    len
}

/// Whole cells of `FX` (1 or 2) columns of two rows, which lie one beside the other, and the sums of the whole cells of `FX` columns that
/// these make: voxels of the first level to `outs`, sums (and with `SPARSE` counts) of the second set or added. The sums of the first never
/// leave the registers.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_two<P: Pairs, const FX: usize, const ROWS: usize, const SPARSE: bool>(
    lines: &[[Line<'_, P::Voxel>; ROWS]; 2],
    add: bool,
    sums: &mut [P::Wide],
    counts: &mut [P::Wide],
    by: Halving,
    outs: [Row<'_, P::Voxel>; 2],
) -> usize {
    if SPARSE && !P::DIVIDES {
        return 0;
    }
    const { assert!(!SPARSE || FX * ROWS <= 8, "as many as `quotients` can count") };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let cells_of = |lines: &[Line<'_, P::Voxel>]| length(lines) / FX;
    let len = (FX * sums.len()).min(outs[0].voxels.len()).min(outs[1].voxels.len());
    let len = len.min(cells_of(&lines[0])).min(cells_of(&lines[1])) / FX * FX;
    assert!(!SPARSE || counts.len() >= len / FX);
    if len < lanes {
        return 0;
    }
    let outs = outs.map(|out| Out::<_, false>::new(out, len / lanes * lanes));
    let (to, count) = (sums.as_mut_ptr(), counts.as_mut_ptr());
    // SAFETY: at + lanes <= len, and FX len voxels are in each line, len in the rows, len / FX in the sums and the counts.
    unsafe {
        // The last vector overlaps the one before, and is added to what was there before that.
        let end = (len - lanes) / FX;
        let last = add.then(|| there_above::<P, FX>(to.add(end)));
        let last_count = (add && SPARSE).then(|| there_above::<P, FX>(count.add(end)));
        let mut i = 0;
        while let Some(at) = next(i, lanes, len) {
            let there = |sums, last| if add && at == i { Some(there_above::<P, FX>(sums)) } else { last };
            let (a, b) = (cells::<P, FX, false, ROWS>(&lines[0], at), cells::<P, FX, false, ROWS>(&lines[1], at));
            let to = to.add(at / FX);
            put_above::<P, FX>(to, there(to, last), above::<P, FX>(a, b));
            if SPARSE {
                let (few, more) =
                    (cells::<P, FX, true, ROWS>(&lines[0], at), cells::<P, FX, true, ROWS>(&lines[1], at));
                let count = count.add(at / FX);
                put_above::<P, FX>(count, there(count, last_count), above::<P, FX>(few, more));
                outs[0].put(at, P::quotients(a.0, a.1, few.0, few.1));
                outs[1].put(at, P::quotients(b.0, b.1, more.0, more.1));
            } else {
                lines.iter().for_each(|lines| again(lines, FX * at, FX * VectorOf::<P>::BYTES));
                outs[0].put(at, P::narrow(a.0, a.1, by));
                outs[1].put(at, P::narrow(b.0, b.1, by));
            }
            i += lanes;
        }
    }
    len
}

/// The sums of cells of `FX` columns above two rows of two vectors of sums; with two columns a cell they are one vector.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn above<P: Pairs, const FX: usize>(a: TwoOf<P>, b: TwoOf<P>) -> TwoOf<P> {
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

/// Stores what [`above`] made, added to what is `there`.
///
/// # Safety
/// Needs the instructions; as many sums may be written.
#[inline(always)]
unsafe fn put_above<P: Pairs, const FX: usize>(to: *mut P::Wide, there: Option<TwoOf<P>>, sums: TwoOf<P>) {
    // SAFETY: the caller's promise.
    unsafe {
        let plus = |a, b| P::Sums::plus(a, b);
        let sums = there.map_or(sums, |there| (plus(there.0, sums.0), plus(there.1, sums.1)));
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
