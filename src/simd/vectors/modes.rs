//! Modes of labels, vector by vector.

use super::{Lanes, Out, Vector, again, next};
use crate::simd::lines::Line;
use crate::simd::views::Row;
use crate::simd::{Cells, Label, Rule};

// Which of the rules, for the compiler.
const PAIRS: usize = 0;
const COUNT: usize = 1;
const LEAST: usize = 2;

/// Modes of a row of cells: finds the loop that was compiled for this shape of cell. Larger cells than eight labels are left
/// to the scalar definition.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn modes<L: Lanes>(cells: Cells<'_, L::Label>, out: Row<'_, L::Label>) -> usize {
    const ROW: usize = usize::MAX;
    // SAFETY: the caller has the instructions.
    unsafe {
        match (cells.lines.len(), cells.column_bit, cells.rule) {
            (2, Some(0), Rule::Pairs) => walk::<L, 4, 2, 0, PAIRS>(cells, out),
            (2, Some(_), Rule::Pairs) => walk::<L, 4, 2, 1, PAIRS>(cells, out),
            (4, None, Rule::Pairs) => walk::<L, 4, 4, ROW, PAIRS>(cells, out),
            (1, Some(_), Rule::Count) => walk::<L, 2, 1, 0, COUNT>(cells, out),
            (2, None, Rule::Count) => walk::<L, 2, 2, ROW, COUNT>(cells, out),
            (2, Some(0), Rule::Count) => walk::<L, 4, 2, 0, COUNT>(cells, out),
            (2, Some(_), Rule::Count) => walk::<L, 4, 2, 1, COUNT>(cells, out),
            (4, None, Rule::Count) => walk::<L, 4, 4, ROW, COUNT>(cells, out),
            (4, Some(0), Rule::Count) => walk::<L, 8, 4, 0, COUNT>(cells, out),
            (4, Some(1), Rule::Count) => walk::<L, 8, 4, 1, COUNT>(cells, out),
            (4, Some(_), Rule::Count) => walk::<L, 8, 4, 2, COUNT>(cells, out),
            (8, None, Rule::Count) => walk::<L, 8, 8, ROW, COUNT>(cells, out),
            // Here the order of the voxels makes no difference.
            (1, Some(_), Rule::Least { .. }) => walk::<L, 2, 1, 0, LEAST>(cells, out),
            (2, None, Rule::Least { .. }) => walk::<L, 2, 2, ROW, LEAST>(cells, out),
            (2, Some(_), Rule::Least { .. }) => walk::<L, 4, 2, 0, LEAST>(cells, out),
            (4, None, Rule::Least { .. }) => walk::<L, 4, 4, ROW, LEAST>(cells, out),
            (4, Some(_), Rule::Least { .. }) => walk::<L, 8, 4, 0, LEAST>(cells, out),
            (8, None, Rule::Least { .. }) => walk::<L, 8, 8, ROW, LEAST>(cells, out),
            _ => 0,
        }
    }
}

/// Decides all cells, if they are a vector or more, of `CELL` labels in `ROWS` rows whose column is bit `BIT` of the raster number
/// (no bit: one column), by a rule of those above.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn walk<L: Lanes, const CELL: usize, const ROWS: usize, const BIT: usize, const RULE: usize>(
    cells: Cells<'_, L::Label>,
    out: Row<'_, L::Label>,
) -> usize {
    let columns = CELL / ROWS;
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let lines: &[Line<'_, L::Label>; ROWS] = cells.lines.try_into().expect("as many rows as the loop was chosen for");
    let length = lines.iter().map(|line| line.voxels.len()).min().unwrap_or(0);
    let len = out.voxels.len().min(length / columns);
    let out = Out::new(out, len / lanes * lanes);
    let flip = if cells.rule == (Rule::Least { signed: false }) { L::Label::TOP } else { L::Label::ZERO };
    let flips = [flip; 64];
    // SAFETY: the caller has the instructions; no vector has more labels.
    let flip = unsafe { L::V::load(flips.as_ptr()) };
    let (mut behind, mut done) = (0, 0);
    while let Some(i) = next(behind, lanes, len) {
        // SAFETY: i + lanes <= len; each line holds `columns * len` labels and `out` holds `len`.
        unsafe {
            let mut cell = [L::V::zero(); CELL];
            let mut r = 0;
            while r < ROWS {
                let line = &lines[r];
                line.announce(columns * i, columns * L::V::BYTES);
                let at = line.voxels.as_ptr().add(columns * i);
                if columns == 1 {
                    cell[r] = L::V::load(at);
                } else {
                    let low = r & ((1usize << (BIT % 8)) - 1);
                    let number = low | (r - low) << 1;
                    (cell[number], cell[number | 1 << (BIT % 8)]) = L::part(L::V::load(at), L::V::load(at.add(lanes)));
                }
                r += 1;
            }
            let mode = match (RULE, cells.sparse) {
                (PAIRS, false) => mode_of_pairs::<L>(cell[0], cell[1], cell[2], cell[3]),
                (PAIRS, true) => sparse_mode_of_pairs::<L>(cell[0], cell[1], cell[2], cell[3]),
                (COUNT, false) => mode_by_count::<L, CELL, false>(&cell),
                (COUNT, true) => mode_by_count::<L, CELL, true>(&cell),
                (_, sparse) => least_mode::<L, CELL>(&cell, sparse, flip),
            };
            again(lines, columns * i, columns * L::V::BYTES);
            out.put(i, mode);
        }
        (behind, done) = (behind + lanes, len);
    }
    done
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn mode_of_pairs<L: Lanes>(a: L::V, b: L::V, c: L::V, d: L::V) -> L::V {
    // SAFETY: the caller has the instructions.
    unsafe {
        let mode = L::select(L::equal(b, c), b, d);
        L::select(L::or(L::equal(a, b), L::equal(a, c)), a, mode)
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn sparse_mode_of_pairs<L: Lanes>(a: L::V, b: L::V, c: L::V, d: L::V) -> L::V {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        // The first of d, a, c, b that is not background, from the last resort up.
        let mode = L::select(L::equal(c, zero), b, c);
        let mode = L::select(L::equal(a, zero), mode, a);
        let mode = L::select(L::equal(d, zero), mode, d);
        let mode = L::select(L::and_not(L::equal(b, zero), L::equal(b, c)), b, mode);
        let pair = L::or(L::equal(a, b), L::equal(a, c));
        L::select(L::and_not(L::equal(a, zero), pair), a, mode)
    }
}

/// Modes are decided lane by lane: a label that is counted in a lane of its own width takes three instructions a pair, and no
/// branch.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn mode_by_count<L: Lanes, const CELL: usize, const SPARSE: bool>(cell: &[L::V; CELL]) -> L::V {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        // Counts of later occurrences.
        let first = L::equal(cell[0], cell[1]);
        let (mut uniform, mut most) = (first, L::count(zero, first));
        for &label in &cell[2..] {
            let equal = L::equal(cell[0], label);
            uniform = L::and(uniform, equal);
            most = L::count(most, equal);
        }
        let mut best = cell[0];
        if L::LOOKS && L::all(uniform) {
            return best;
        }
        if SPARSE {
            // Background counts less than any label that occurs once.
            most = L::select(L::equal(best, zero), L::V::ones(), most);
        }
        // Without background to pass over, the last voxel cannot win: it has no later occurrence.
        let candidates = if SPARSE { CELL } else { CELL - 1 };
        for i in 1..candidates {
            let mut count = zero;
            for &label in &cell[i + 1..] {
                count = L::count(count, L::equal(cell[i], label));
            }
            if SPARSE {
                count = L::select(L::equal(cell[i], zero), L::V::ones(), count);
            }
            let more = L::greater(count, most);
            best = L::select(more, cell[i], best);
            most = L::select(more, count, most);
        }
        best
    }
}

/// As [`mode_by_count`], but ties go to the least label; `flip` makes signed numbers of them that have their order.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn least_mode<L: Lanes, const CELL: usize>(cell: &[L::V; CELL], sparse: bool, flip: L::V) -> L::V {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        let mut uniform = L::equal(cell[0], cell[1]);
        for &label in &cell[2..] {
            uniform = L::and(uniform, L::equal(cell[0], label));
        }
        let mut best = cell[0];
        if L::all(uniform) {
            return best;
        }
        // Counts of later occurrences: those of a label's first one are the most. Background counts less than any other label.
        let mut most = zero;
        for i in 0..CELL {
            let mut count = zero;
            for &label in &cell[i + 1..] {
                count = L::count(count, L::equal(cell[i], label));
            }
            if sparse {
                count = L::select(L::equal(cell[i], zero), L::V::ones(), count);
            }
            if i > 0 {
                let less = L::and(L::equal(count, most), L::greater(best.xor(flip), cell[i].xor(flip)));
                let better = L::or(L::greater(count, most), less);
                best = L::select(better, cell[i], best);
                count = L::select(better, count, most);
            }
            most = count;
        }
        best
    }
}
