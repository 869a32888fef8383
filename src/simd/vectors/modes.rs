//! Modes of labels, vector by vector.

use super::look::{set, unlike};
use super::{Lanes, Out, Vector, next};
use crate::simd::lines::{Line, announce, announce_again};
use crate::simd::views::Row;
use crate::simd::{Cells, LED, Label, PACKED, Rule, Told, rows_of};

// Which of the rules, for the compiler.
const PAIRS: usize = 0;
const COUNT: usize = 1;
const LEAST: usize = 2;
/// As `LEAST`, and tells which cells are mixed: no branch in the loop that does not.
const TELL: usize = 3;
/// As `LEAST`, and tells the leaders; with background, and without it.
const LEAD: usize = 4;
const SPARSE_LEAD: usize = 5;

/// Modes of a row of cells: finds the loop that was compiled for this shape of cell. Larger cells than eight labels are left
/// to the scalar definition.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn modes<L: Lanes>(cells: Cells<'_, L::Label>, out: Row<'_, L::Label>, told: Told<'_, L::Label>) -> usize {
    const ROW: usize = usize::MAX;
    let leads = size_of::<L::Label>() >= LED && !told.leaders.is_empty();
    macro_rules! least {
        ($($shape:tt),*) => {
            if leads && cells.sparse {
                walk::<$($shape),*, SPARSE_LEAD>(cells, out, told)
            } else if leads {
                walk::<$($shape),*, LEAD>(cells, out, told)
            } else if told.mixed.is_empty() {
                walk::<$($shape),*, LEAST>(cells, out, told)
            } else {
                walk::<$($shape),*, TELL>(cells, out, told)
            }
        };
    }
    // SAFETY: the caller has the instructions.
    unsafe {
        match (cells.lines.len(), cells.column_bit, cells.rule) {
            (2, Some(0), Rule::Pairs) => walk::<L, 4, 2, 0, PAIRS>(cells, out, told),
            (2, Some(_), Rule::Pairs) => walk::<L, 4, 2, 1, PAIRS>(cells, out, told),
            (4, None, Rule::Pairs) => walk::<L, 4, 4, ROW, PAIRS>(cells, out, told),
            (1, Some(_), Rule::Count) => walk::<L, 2, 1, 0, COUNT>(cells, out, told),
            (2, None, Rule::Count) => walk::<L, 2, 2, ROW, COUNT>(cells, out, told),
            (2, Some(0), Rule::Count) => walk::<L, 4, 2, 0, COUNT>(cells, out, told),
            (2, Some(_), Rule::Count) => walk::<L, 4, 2, 1, COUNT>(cells, out, told),
            (4, None, Rule::Count) => walk::<L, 4, 4, ROW, COUNT>(cells, out, told),
            (4, Some(0), Rule::Count) => walk::<L, 8, 4, 0, COUNT>(cells, out, told),
            (4, Some(1), Rule::Count) => walk::<L, 8, 4, 1, COUNT>(cells, out, told),
            (4, Some(_), Rule::Count) => walk::<L, 8, 4, 2, COUNT>(cells, out, told),
            (8, None, Rule::Count) => walk::<L, 8, 8, ROW, COUNT>(cells, out, told),
            // Here the order of the voxels makes no difference.
            (1, Some(_), Rule::Least { .. }) => least!(L, 2, 1, 0),
            (2, None, Rule::Least { .. }) => least!(L, 2, 2, ROW),
            (2, Some(_), Rule::Least { .. }) => least!(L, 4, 2, 0),
            (4, None, Rule::Least { .. }) => least!(L, 4, 4, ROW),
            (4, Some(_), Rule::Least { .. }) => least!(L, 8, 4, 0),
            (8, None, Rule::Least { .. }) => least!(L, 8, 8, ROW),
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
    told: Told<'_, L::Label>,
) -> usize {
    let Told { mixed, leaders } = told;
    let columns = CELL / ROWS;
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let lines: &[Line<'_, L::Label>; ROWS] = cells.lines.try_into().expect("as many rows as the loop was chosen for");
    let length = lines.iter().map(|line| line.voxels.len()).min().unwrap_or(0);
    let len = out.voxels.len().min(length / columns);
    // SAFETY: the caller has the instructions.
    let mut out = unsafe { Out::<_, L::V, false>::new(out, len / lanes * lanes) };
    let stride = leaders.len() / rows_of(2);
    let leads = RULE == LEAD || RULE == SPARSE_LEAD;
    assert!(!leads || len <= stride);
    let unsigned = cells.rule == (Rule::Least { signed: false });
    let flip = if unsigned { L::Label::TOP } else { L::Label::ZERO };
    // SAFETY: the caller has the instructions.
    let (flip, greatest) = unsafe { (L::splat(flip), L::splat(L::Label::TOP ^ L::Label::MOST)) };
    // The compiler would make two instructions of adding a one that it knows.
    let one = |up: u32| std::hint::black_box(L::Label::of(1 << up));
    // SAFETY: as above.
    let ones = unsafe { [L::splat(one(PACKED[0])), L::splat(one(PACKED[1])), L::splat(one(PACKED[2]))] };
    let (mut behind, mut done) = (0, 0);
    while let Some(i) = next(behind, lanes, len) {
        // SAFETY: i + lanes <= len; each line holds `columns * len` labels and `out` holds `len`.
        unsafe {
            announce(lines, columns * i, columns * L::V::BYTES);
            let mut cell = [L::V::zero(); CELL];
            let mut r = 0;
            while r < ROWS {
                let line = &lines[r];
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
                // Here it pays to look, with all instruction sets.
                (LEAD, _) if CELL == 8 && L::all(L::equal(differences(&cell), L::V::zero())) => {
                    cell[0].store(leaders.as_mut_ptr().add(i));
                    let counts = L::plus(packed::<L, CELL>(0), packed::<L, CELL>(2));
                    counts.store(leaders.as_mut_ptr().add(2 * stride + i));
                    cell[0]
                }
                (LEAD, _) => {
                    let (mode, uniform, ends) = mode_of_sorted::<L, CELL>(&cell, flip);
                    let told = lead::<L, CELL>(&cell, mode, uniform, ends, ones);
                    told.iter().enumerate().for_each(|(k, v)| v.store(leaders.as_mut_ptr().add(k * stride + i)));
                    mode
                }
                (SPARSE_LEAD, _) => {
                    let (mode, _) = sparse_least_mode::<L, CELL>(&cell, flip, greatest);
                    let told = sparse_lead::<L, CELL>(&cell, mode, ones);
                    told.iter().enumerate().for_each(|(k, v)| v.store(leaders.as_mut_ptr().add(k * stride + i)));
                    mode
                }
                (_, sparse) => {
                    let (mode, uniform) = if sparse {
                        sparse_least_mode::<L, CELL>(&cell, flip, greatest)
                    } else {
                        let (mode, uniform, _) = mode_of_sorted::<L, CELL>(&cell, flip);
                        (mode, uniform)
                    };
                    if RULE == TELL {
                        set(mixed, i, unlike::<L>(uniform));
                    }
                    mode
                }
            };
            announce_again(lines, columns * i, columns * L::V::BYTES);
            out.put(i, mode);
        }
        (behind, done) = (behind + lanes, len);
    }
    // SAFETY: the caller has the instructions; rows of whole vectors are put as far as they go.
    unsafe { out.close() };
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

/// As [`mode_by_count`] without background, but ties go to the least label; `flip` makes signed numbers of them that have their order, of which
/// none is above `greatest`; and which cells are uniform.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn sparse_least_mode<L: Lanes, const CELL: usize>(
    cell: &[L::V; CELL],
    flip: L::V,
    greatest: L::V,
) -> (L::V, L::Mask) {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        let uniform = uniform::<L, CELL>(cell);
        let mut best = cell[0];
        if L::all(uniform) {
            return (best, uniform);
        }
        // Counts of this and later occurrences: those of a label's first one are the most. Background counts nothing.
        let mut counts = [zero; CELL];
        let mut most = zero;
        for i in 0..CELL {
            let mut count = L::count(zero, L::equal(zero, zero));
            for &label in &cell[i + 1..] {
                count = L::count(count, L::equal(cell[i], label));
            }
            count = L::select(L::equal(cell[i], zero), zero, count);
            most = L::select(L::greater(count, most), count, most);
            counts[i] = count;
        }
        best = greatest;
        for i in 0..CELL {
            let label = cell[i].xor(flip);
            let better = L::and(L::equal(counts[i], most), L::greater(best, label));
            best = L::select(better, label, best);
        }
        (best.xor(flip), uniform)
    }
}

/// As many as a cell has labels, in this place of the packed counts.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn packed<L: Lanes, const CELL: usize>(place: usize) -> L::V {
    // SAFETY: the caller has the instructions.
    unsafe { L::splat(L::Label::of((CELL as u64) << PACKED[place])) }
}

/// The mode of each cell and another label that is there, if there is one; how often they are there, and how many voxels there are, in one.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn lead<L: Lanes, const CELL: usize>(
    cell: &[L::V; CELL],
    mode: L::V,
    uniform: L::Mask,
    [least, greatest]: [L::V; 2],
    ones: [L::V; 3],
) -> [L::V; 3] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        let other = L::select(L::equal(mode, least), greatest, least);
        let (mut of_mode, mut of_other) = (packed::<L, CELL>(2), zero);
        for &label in cell {
            of_mode = L::add(of_mode, ones[0], L::equal(label, mode));
            of_other = L::add(of_other, ones[1], L::equal(label, other));
        }
        [mode, other, L::plus(of_mode, L::select(uniform, zero, of_other))]
    }
}

/// As [`lead`], where background is not counted.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn sparse_lead<L: Lanes, const CELL: usize>(cell: &[L::V; CELL], mode: L::V, ones: [L::V; 3]) -> [L::V; 3] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        let (mut other, mut of_mode, mut of_other, mut background) = (mode, zero, zero, zero);
        for &label in cell {
            let (same, nothing) = (L::equal(label, mode), L::equal(label, zero));
            of_mode = L::add(of_mode, ones[0], same);
            background = L::add(background, ones[2], nothing);
            other = L::select(L::or(same, nothing), other, label);
        }
        for &label in cell {
            of_other = L::add(of_other, ones[1], L::equal(label, other));
        }
        let of_mode = L::select(L::equal(mode, zero), zero, of_mode);
        let of_other = L::select(L::equal(other, mode), zero, of_other);
        let voxels = L::minus(packed::<L, CELL>(2), background);
        [mode, other, L::plus(voxels, L::plus(of_mode, of_other))]
    }
}

/// Bits that are not the same in all labels.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn differences<V: Vector, const CELL: usize>(cell: &[V; CELL]) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { cell[1..].iter().fold(V::zero(), |bits, label| bits.or(cell[0].xor(*label))) }
}

/// Where all labels are one.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn uniform<L: Lanes, const CELL: usize>(cell: &[L::V; CELL]) -> L::Mask {
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut uniform = L::equal(cell[0], cell[1]);
        for &label in &cell[2..] {
            uniform = L::and(uniform, L::equal(cell[0], label));
        }
        uniform
    }
}

/// Sorts by comparing places: the shortest networks for four and eight of them (D. E. Knuth, TAOCP 3, 5.3.4). A macro, because loops
/// over tables are not unrolled.
macro_rules! sort {
    ($lanes:ident, $sorted:ident, $($i:literal $j:literal),*) => {{$(
        ($sorted[$i % CELL], $sorted[$j % CELL]) = (
            $lanes::lesser($sorted[$i % CELL], $sorted[$j % CELL]),
            $lanes::larger($sorted[$i % CELL], $sorted[$j % CELL]),
        );
    )*}};
}

/// As [`sparse_least_mode`], with background, of two, four or eight labels, which are sorted: the mode is then the first of the longest runs. Tells the ends, too.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn mode_of_sorted<L: Lanes, const CELL: usize>(cell: &[L::V; CELL], flip: L::V) -> (L::V, L::Mask, [L::V; 2]) {
    const { assert!(CELL == 2 || CELL == 4 || CELL == 8) };
    // SAFETY: the caller has the instructions.
    unsafe {
        if L::LOOKS && CELL == 8 {
            let uniform = uniform::<L, CELL>(cell);
            if L::all(uniform) {
                return (cell[0], uniform, [cell[0]; 2]);
            }
        }
        // Not by a closure, which the compiler leaves without the instructions where it is not inlined.
        let mut sorted = *cell;
        for label in &mut sorted {
            *label = label.xor(flip);
        }
        match CELL {
            2 => sort!(L, sorted, 0 1),
            4 => sort!(L, sorted, 0 1, 2 3, 0 2, 1 3, 1 2),
            _ => sort!(
                L, sorted, 0 2, 1 3, 4 6, 5 7, 0 4, 1 5, 2 6, 3 7, 0 1, 2 3, 4 5, 6 7, 2 4, 3 5, 1 4, 3 6, 1 2, 3 4, 5 6
            ),
        }
        let uniform = L::equal(sorted[0], sorted[CELL - 1]);
        // Whether a run of two, then of three, then of four begins at each place: the first of the longest ones wins.
        let mut best = sorted[0];
        let mut runs = [uniform; CELL];
        for i in (0..CELL - 1).rev() {
            runs[i] = L::equal(sorted[i], sorted[i + 1]);
            best = L::select(runs[i], sorted[i], best);
        }
        if CELL == 8 {
            let pairs = runs;
            for longer in 2..4 {
                for i in (0..CELL - longer).rev() {
                    runs[i] = L::and(runs[i], pairs[i + longer - 1]);
                    best = L::select(runs[i], sorted[i], best);
                }
            }
            // A longer one is the only one, and takes up the middle.
            let long = (0..4).fold(uniform, |long, i| L::or(long, L::and(runs[i], pairs[i + 3])));
            best = L::select(long, sorted[4], best);
        }
        (best.xor(flip), uniform, [sorted[0].xor(flip), sorted[CELL - 1].xor(flip)])
    }
}
