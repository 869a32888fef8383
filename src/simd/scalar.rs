//! The hand-written kernels in plain Rust: what they mean, what processors without a twin of their own run, and
//! what every twin is tested against.

use super::views::Line;
use super::{Adjacent, Cells, Label, Rule, Widen};
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
    if first == 0 {
        lines.iter().for_each(|line| {
            line.announced();
        });
    }
    let cell = |line: &Line<'_, T>, i: usize| {
        let cell = &line.voxels[FX * i..][..FX];
        if FX == 1 { lift(cell[0]) } else { lift(cell[0]) + lift(cell[1]) }
    };
    for (i, sum) in sums.iter_mut().enumerate().skip(first) {
        let all = lines[1..].iter().fold(cell(&lines[0], i), |all, line| all + cell(line, i));
        *sum = if ADD { *sum + all } else { all };
    }
}

/// Sums of neighbouring sums from sum `first` on, set or added.
#[inline(always)]
pub fn adjacent_sums<A: Adjacent, const ADD: bool>(lines: &[Line<'_, A>], sums: &mut [A], first: usize) {
    let column = |i: usize| lines[1..].iter().fold(lines[0].voxels[i], |all, line| all + line.voxels[i]);
    for (i, sum) in sums.iter_mut().enumerate().skip(first) {
        let all = column(2 * i) + column(2 * i + 1);
        *sum = if ADD { *sum + all } else { all };
    }
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

/// The modes of the cells from cell `first` on.
pub fn modes<T: Label>(cells: Cells<'_, T>, out: &mut [T], first: usize) {
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
