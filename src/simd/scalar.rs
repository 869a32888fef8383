//! The hand-written kernels in plain Rust: what they mean, what processors without a twin of their own run, and
//! what every twin is tested against.

use super::lines::Line;
use super::views::{MemoryLine, WORDS};
use super::{Adjacent, Cells, Found, Label, PACKED, Rule, Told, Widen, rows_of};
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
    each_cell::<T, T::Wide, FX, ADD>(lines, first, sums, lift, |a, b| a + b);
}

/// As [`sums`], twice as wide.
#[inline(always)]
pub fn wider_sums<T: Widen<Wide: Widen>, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, T>],
    sums: &mut [<T::Wide as Widen>::Wide],
    first: usize,
) {
    let lift = |voxel: T| if COUNT { T::Wide::from(u8::from(voxel != T::default())) } else { T::Wide::from(voxel) };
    each_cell::<T, <T::Wide as Widen>::Wide, FX, ADD>(lines, first, sums, |voxel| lift(voxel).into(), |a, b| a + b);
}

/// Sums of cells of `FX` (1 or 2) columns from sum `first` on, set or added: cells of a line first, then pairs of lines, which are
/// added up one after the other. Sums of floats depend on the order, so this is the order of the vectors too.
#[inline(always)]
pub fn each_cell<T: Copy, A: Copy, const FX: usize, const ADD: bool>(
    lines: &[Line<'_, T>],
    first: usize,
    sums: &mut [A],
    lift: impl Fn(T) -> A,
    plus: impl Fn(A, A) -> A,
) {
    let cell = |cell: &[T]| if FX == 1 { lift(cell[0]) } else { plus(lift(cell[0]), lift(cell[1])) };
    for (k, pair) in lines.chunks(2).enumerate() {
        let add = ADD || k > 0;
        let put = |sum: &mut A, all| *sum = if add { plus(*sum, all) } else { all };
        let a = cells(&pair[0], FX * first).chunks_exact(FX);
        match pair.get(1) {
            None => sums[first..].iter_mut().zip(a).for_each(|(sum, a)| put(sum, cell(a))),
            Some(b) => {
                let b = cells(b, FX * first).chunks_exact(FX);
                sums[first..].iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| put(sum, plus(cell(a), cell(b))));
            }
        }
    }
}

/// What is in a line from voxel `first` on, after asking for all that comes behind it.
#[inline(always)]
fn cells<'a, T>(line: &Line<'a, T>, first: usize) -> &'a [T] {
    line.part(first..line.voxels.len()).announced()
}

/// Sums of neighbouring sums of one or two lines from sum `first` on, set or added.
#[inline(always)]
pub fn adjacent_sums<A: Adjacent, const ADD: bool>(lines: &[Line<'_, A>], sums: &mut [A], first: usize) {
    match lines {
        [a, b] => {
            let (a, b) = (a.voxels[2 * first..].chunks_exact(2), b.voxels[2 * first..].chunks_exact(2));
            for ((sum, a), b) in sums[first..].iter_mut().zip(a).zip(b) {
                let all = (a[0] + b[0]) + (a[1] + b[1]);
                *sum = if ADD { *sum + all } else { all };
            }
        }
        _ => each_cell::<A, A, 2, ADD>(lines, first, sums, |sum| sum, |a, b| a + b),
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
pub fn rest_of_wider_sums<T: Widen<Wide: Widen>, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, T>],
    rest: &mut [<T::Wide as Widen>::Wide],
    first: usize,
) {
    wider_sums::<T, FX, ADD, COUNT>(lines, rest, first);
}

/// As [`rest_of_sums`].
#[inline(never)]
pub fn rest_of_adjacent_sums<A: Adjacent, const ADD: bool>(lines: &[Line<'_, A>], rest: &mut [A], first: usize) {
    adjacent_sums::<A, ADD>(lines, rest, first);
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

/// Quotients by one number.
#[inline(always)]
pub fn divide_all<A, T>(sums: &[A], by: A, out: &mut [T])
where
    A: Copy + Div<Output = A> + TryInto<T>,
    T: Default,
{
    for (voxel, &sum) in out.iter_mut().zip(sums) {
        *voxel = (sum / by).try_into().unwrap_or_default();
    }
}

/// The exclusive or of all words.
#[inline(always)]
pub fn mix(words: &[u64], out: &mut [MemoryLine]) -> u64 {
    let mixed = words.iter().fold(0, |mixed, word| mixed ^ word);
    out.fill(MemoryLine([mixed; WORDS]));
    mixed
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
pub fn modes<T: Label>(cells: Cells<'_, T>, out: &mut [T], told: Told<'_, T>, first: usize) {
    let columns = if cells.column_bit.is_some() { 2 } else { 1 };
    let size = cells.lines.len() * columns;
    // Cells of eight at most, but for four pooled axes and more.
    let (mut few, mut many) = ([T::ZERO; 8], Vec::new());
    let room = if size <= few.len() {
        &mut few[..size]
    } else {
        many.resize(size, T::ZERO);
        &mut many[..]
    };
    for (i, mode) in out.iter_mut().enumerate().skip(first) {
        let lone = columns * i + 1 == cells.lines[0].voxels.len();
        let cell = if lone { &mut room[..cells.lines.len()] } else { &mut room[..] };
        for (r, row) in cells.lines.iter().map(|line| line.voxels).enumerate() {
            match cells.column_bit {
                Some(bit) if !lone => {
                    let low = r & ((1 << bit) - 1);
                    let number = low | (r - low) << 1;
                    (cell[number], cell[number | 1 << bit]) = (row[2 * i], row[2 * i + 1]);
                }
                _ => cell[r] = row[columns * i],
            }
        }
        *mode = match (cells.rule, cells.sparse) {
            // A lone trailing column is mirrored: each of its labels counts twice, and by both rules the first of two decides.
            (Rule::Pairs, sparse) if cell.len() == 2 => mode_by_count(cell, sparse),
            (Rule::Pairs, false) => mode_of_pairs(cell),
            (Rule::Pairs, true) => sparse_mode_of_pairs(cell),
            (Rule::Count, sparse) => mode_by_count(cell, sparse),
            (Rule::Least { signed }, sparse) => {
                if let Some(word) = told.mixed.get_mut(i / 64) {
                    *word |= u64::from(cell.iter().any(|&label| label != cell[0])) << (i % 64);
                }
                // Sorted, the first of equally frequent ones is the least.
                cell.sort_unstable_by_key(|&label| if signed { label ^ T::TOP } else { label });
                let mode = mode_by_count(cell, sparse);
                if !told.leaders.is_empty() {
                    let stride = told.leaders.len() / rows_of(2);
                    lead(cell, mode, sparse, told.leaders.iter_mut().skip(i).step_by(stride));
                }
                mode
            }
        };
    }
}

/// The mode of a cell and another label that is there, if there is one; how often they are there, and how many voxels there are, in one.
fn lead<'a, T: Label>(cell: &[T], mode: T, sparse: bool, leaders: impl Iterator<Item = &'a mut T>) {
    let passed = |label: T| sparse && label == T::ZERO;
    let other = cell.iter().copied().rfind(|&label| label != mode && !passed(label)).unwrap_or(mode);
    let count = |which: &dyn Fn(T) -> bool| cell.iter().filter(|&&label| which(label) && !passed(label)).count() as u64;
    let of_other = count(&|label| label == other && other != mode);
    let counts = [count(&|label| label == mode), of_other, count(&|_| true)];
    let packed = counts.iter().zip(PACKED).fold(0, |packed, (&count, up)| packed | count << up);
    leaders.zip([mode, other, T::of(packed)]).for_each(|(to, what)| *to = what);
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
    // Most cells are uniform, and too small to be counted in vectors.
    if cell[1..].iter().all(|&label| label == cell[0]) {
        return cell[0];
    }
    let (mut best, mut most) = (T::ZERO, 0);
    for (i, &label) in cell.iter().enumerate() {
        if most >= cell.len() - i {
            break;
        }
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
