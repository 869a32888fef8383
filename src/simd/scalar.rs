//! The hand-written kernels in plain Rust: what they mean, what processors without a twin of their own run, and
//! what every twin is tested against.

use super::lines::Line;
use super::{Adjacent, Cells, Found, Label, Rule, Widen};
use std::ops::Div;

/// Sums of cells of `FX` columns from sum `first` on, set or added; with `COUNT`, counts of voxels that are not 0. NaN is not 0,
/// -0.0 is.
#[inline(always)]
pub fn sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, T>],
    sums: &mut [T::Wide],
    first: usize,
) {
    let lift = |voxel: T| if COUNT { T::Wide::from(u8::from(voxel != T::default())) } else { T::Wide::from(voxel) };
    let cell = |cell: &[T]| if FX == 1 { lift(cell[0]) } else { lift(cell[0]) + lift(cell[1]) };
    let put = |sum: &mut T::Wide, all| *sum = if ADD { *sum + all } else { all };
    each_cell::<T, T::Wide, FX>(lines, first, sums, cell, |a, b| a + b, put);
}

/// Calls `put` with what is to be written and its cell's total, from cell `first` on: `cell` of the `FX` voxels of a line, and `plus`
/// over the lines, of which there are [`super::FOLDED`] at most. Sums of floats depend on the order, so this is the order of the vectors too.
#[inline(always)]
pub fn each_cell<T: Copy, A: Copy, const FX: usize>(
    lines: &[Line<'_, T>],
    first: usize,
    out: &mut [A],
    cell: impl Fn(&[T]) -> A,
    plus: impl Fn(A, A) -> A,
    put: impl Fn(&mut A, A),
) {
    let out = &mut out[first..];
    match lines {
        [a] => {
            for (out, a) in out.iter_mut().zip(cells(a, FX * first).chunks_exact(FX)) {
                put(out, cell(a));
            }
        }
        [a, b] => {
            for ((out, a), b) in
                out.iter_mut().zip(cells(a, FX * first).chunks_exact(FX)).zip(cells(b, FX * first).chunks_exact(FX))
            {
                put(out, plus(cell(a), cell(b)));
            }
        }
        _ => {
            for (i, out) in out.iter_mut().enumerate() {
                let mut all = lines.iter().map(|line| cell(&line.voxels[FX * (first + i)..][..FX]));
                let one = all.next().expect("a line");
                put(out, all.fold(one, &plus));
            }
        }
    }
}

/// What is in a line from voxel `first` on, after asking for all that comes behind it.
#[inline(always)]
fn cells<'a, T>(line: &Line<'a, T>, first: usize) -> &'a [T] {
    line.part(first..line.voxels.len()).announced()
}

/// Sums of neighbouring sums from sum `first` on, set or added.
#[inline(always)]
pub fn adjacent_sums<A: Adjacent, const ADD: bool>(lines: &[Line<'_, A>], sums: &mut [A], first: usize) {
    let put = |sum: &mut A, all| *sum = if ADD { *sum + all } else { all };
    match lines {
        [a, b] => {
            let (a, b) = (a.voxels[2 * first..].chunks_exact(2), b.voxels[2 * first..].chunks_exact(2));
            for ((sum, a), b) in sums[first..].iter_mut().zip(a).zip(b) {
                put(sum, (a[0] + b[0]) + (a[1] + b[1]));
            }
        }
        _ => each_cell::<A, A, 2>(lines, first, sums, |pair| pair[0] + pair[1], |a, b| a + b, put),
    }
}

/// What vectors leave of a row, in a room of its own: it must not be unrolled and made vectors of behind every loop.
#[inline(never)]
pub fn rest_of_sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, T>],
    rest: &mut [T::Wide],
    first: usize,
) {
    sums::<T, FX, ADD, COUNT>(lines, rest, first);
}

/// As [`rest_of_sums`].
#[inline(never)]
pub fn rest_of_adjacent_sums<A: Adjacent, const ADD: bool>(lines: &[Line<'_, A>], rest: &mut [A], first: usize) {
    adjacent_sums::<A, ADD>(lines, rest, first);
}

/// Sums of cells of `fx` bytes from sum `first` on, set or added.
#[inline(always)]
pub fn byte_cell_sums<const ADD: bool>(row: &[u8], fx: usize, sums: &mut [u16], first: usize) {
    for (sum, cell) in sums.iter_mut().zip(row.chunks_exact(fx)).skip(first) {
        let cell = cell.iter().fold(0, |cell, &voxel| cell + u16::from(voxel));
        *sum = if ADD { *sum + cell } else { cell };
    }
}

/// Quotients by counts; by 1 where the count is 0.
#[inline(always)]
pub fn divide<A, T>(sums: &[A], counts: &[A], out: &mut [T])
where
    A: Copy + Ord + From<u8> + Div<Output = A> + TryInto<T>,
    T: Default,
{
    for ((voxel, &sum), &count) in out.iter_mut().zip(sums).zip(counts) {
        // A mean of voxels fits a voxel.
        *voxel = (sum / count.max(A::from(1))).try_into().unwrap_or_default();
    }
}

/// The exclusive or of all words.
#[inline(always)]
pub fn mix(words: &[u64]) -> u64 {
    words.iter().fold(0, |mixed, word| mixed ^ word)
}

/// The labels of a cell of up to 64 voxels, the first one first: whether there was room for them.
pub fn tell_apart<T: Label>(cell: &[T], found: &mut Found<T>) -> bool {
    found.clear();
    let mut seen = 0u64;
    for (i, &label) in cell.iter().enumerate() {
        if seen >> i & 1 == 0 {
            let equal = (i..cell.len()).filter(|&j| cell[j] == label).fold(0u64, |equal, j| equal | 1 << j);
            if !found.push(label, equal.count_ones().into()) {
                return false;
            }
            seen |= equal;
        }
    }
    true
}

/// Where the labels are, of up to 64 voxels.
#[inline(always)]
pub fn find<T: Label, const N: usize>(voxels: &[T], labels: &[T; N]) -> [u64; N] {
    labels.map(|label| voxels.iter().enumerate().fold(0, |bits, (i, &voxel)| bits | u64::from(voxel == label) << i))
}

/// Where lines differ and labels change.
#[inline(never)]
pub fn compare<T: Label>(lines: &[Line<'_, T>], differs: &mut [u64], changes: &mut [u64]) {
    differs.fill(0);
    changes.fill(0);
    let first = lines[0].voxels;
    for (x, &label) in first.iter().enumerate() {
        let differ = lines[1..].iter().any(|line| line.voxels[x] != label);
        differs[x / 64] |= u64::from(differ) << (x % 64);
        changes[x / 64] |= u64::from(first.get(x + 1).is_some_and(|&next| next != label)) << (x % 64);
    }
}

/// The modes of the cells from cell `first` on.
pub fn modes<T: Label>(cells: Cells<'_, T>, out: &mut [T], mixed: &mut [u64], first: usize) {
    let columns = if cells.column_bit.is_some() { 2 } else { 1 };
    let size = cells.lines.len() * columns;
    // Cells of eight at most, but for four pooled axes and more.
    let (mut few, mut many) = ([T::ZERO; 8], Vec::new());
    let cell = if size <= few.len() {
        &mut few[..size]
    } else {
        many.resize(size, T::ZERO);
        &mut many[..]
    };
    for (i, mode) in out.iter_mut().enumerate().skip(first) {
        for (r, row) in cells.lines.iter().map(|line| line.voxels).enumerate() {
            match cells.column_bit {
                None => cell[r] = row[i],
                Some(bit) => {
                    let low = r & ((1 << bit) - 1);
                    let number = low | (r - low) << 1;
                    cell[number] = row[2 * i];
                    // A lone trailing column is mirrored.
                    cell[number | 1 << bit] = row[(2 * i + 1).min(row.len() - 1)];
                }
            }
        }
        *mode = match (cells.rule, cells.sparse) {
            (Rule::Pairs, false) => mode_of_pairs(cell),
            (Rule::Pairs, true) => sparse_mode_of_pairs(cell),
            (Rule::Count, sparse) => mode_by_count(cell, sparse),
            (Rule::Least { signed }, sparse) => {
                if let Some(word) = mixed.get_mut(i / 64) {
                    *word |= u64::from(cell.iter().any(|&label| label != cell[0])) << (i % 64);
                }
                // Sorted, the first of equally frequent ones is the least.
                cell.sort_unstable_by_key(|&label| if signed { label ^ T::TOP } else { label });
                mode_by_count(cell, sparse)
            }
        };
    }
}

fn mode_of_pairs<T: Label>(cell: &[T]) -> T {
    let (a, b, c, d) = (cell[0], cell[1], cell[2], cell[3]);
    if a == b || a == c {
        a
    } else if b == c {
        b
    } else {
        d
    }
}

fn sparse_mode_of_pairs<T: Label>(cell: &[T]) -> T {
    let (a, b, c, d) = (cell[0], cell[1], cell[2], cell[3]);
    if a != T::ZERO && (a == b || a == c) {
        a
    } else if b != T::ZERO && b == c {
        b
    } else {
        [d, a, c, b].into_iter().find(|&label| label != T::ZERO).unwrap_or(T::ZERO)
    }
}

fn mode_by_count<T: Label>(cell: &[T], sparse: bool) -> T {
    let (mut best, mut most) = (T::ZERO, 0);
    for (i, &label) in cell.iter().enumerate() {
        if sparse && label == T::ZERO {
            continue;
        }
        // Counted from its first occurrence on, so that only this one can win, and strictly: ties go to the first.
        let count = cell[i..].iter().filter(|&&other| other == label).count();
        if count > most {
            (best, most) = (label, count);
        }
    }
    best
}
