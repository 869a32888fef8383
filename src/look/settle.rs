//! Cells whose leaders leave open which label is the mode, settled by a look at as few of their voxels as will do.

use super::{CANDIDATES, Candidates, Cell, Work};
use crate::leaders;
use crate::simd::{Isa, Kernel, Label, Leaders, rows_of};
use std::cmp::Reverse;
use std::ops::Range;

/// Decides cells of a row whose leaders don't, by a look at their voxels.
pub struct Settle<'a, T> {
    /// The cells.
    pub cells: &'a [usize],
    /// The rows of voxels, all of one length, and how many columns of them make a cell.
    pub rows: &'a [&'a [T]],
    /// See there.
    pub width: usize,
    /// The rows of children, and how many columns of them make a cell.
    pub children: &'a [Leaders<'a, T>],
    /// See there.
    pub fx: usize,
    /// Where the rows of voxels of each row of children end.
    pub ends: &'a [usize],
    /// The leaders of the row's cells, and how many there are of each. What is counted is corrected.
    pub leaders: &'a mut [T],
    /// See there.
    pub of: usize,
    /// The modes.
    pub out: &'a mut [T],
    /// What is needed.
    pub work: &'a mut Work<T>,
}

impl<T: Label> Kernel for Settle<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Settle { cells, rows, width, children, fx, ends, leaders, of, out, work } = self;
        let stride = leaders.len() / rows_of(of);
        for &i in cells {
            let columns = width * i..(width * i + width).min(rows[0].len());
            let cell = Cell { rows, columns };
            let voxels = leaders[2 * of * stride + i].into();
            work.known.clear();
            let parts = if of == leaders::MOST {
                // Of few cells: more labels than there are places.
                work.gather(children, fx * i..fx * i + fx);
                Parts { children, columns: fx * i..fx * i + fx, ends }
            } else {
                let known = (0..of).map(|k| (leaders[(of + k) * stride + i].into(), leaders[k * stride + i]));
                work.known.extend(known.filter(|&(count, _)| count > 0));
                Parts { children: &[], columns: 0..0, ends: &[] }
            };
            // The most frequent ones first.
            work.known.sort_unstable_by_key(|&(count, _)| Reverse(count));
            out[i] = cell.settle(isa, voxels, &parts, work);
            for k in 0..of {
                let (count, label) = work.known.get(k).copied().unwrap_or((0, T::ZERO));
                (leaders[k * stride + i], leaders[(of + k) * stride + i]) = (label, T::of(count));
            }
        }
    }
}

impl<T: Label> Work<T> {
    /// The labels that are known of a cell by its children's leaders.
    fn gather(&mut self, children: &[Leaders<'_, T>], columns: Range<usize>) {
        self.entries.clear();
        for row in children {
            self.entries.reserve(row.of * columns.len());
            for k in 0..row.of {
                for (&label, &count) in row.labels(k)[columns.clone()].iter().zip(&row.counts(k)[columns.clone()]) {
                    if count > T::ZERO {
                        self.entries.push(label, count.into());
                    }
                }
            }
        }
        self.tally.look_up(&self.entries, self.unlisted.cleared());
        let (labels, counts) = self.unlisted.list(0);
        self.known.extend(counts.iter().copied().zip(labels.iter().copied()));
    }
}

/// The rows of children that a cell is made of, if what is known of it comes from them.
struct Parts<'a, T> {
    children: &'a [Leaders<'a, T>],
    columns: Range<usize>,
    /// Where the rows of voxels of each end.
    ends: &'a [usize],
}

impl<T: Label> Parts<'_, T> {
    /// Those that have voxels of labels that don't lead, and how many: where there are most of them first.
    fn open(&self, parts: &mut Vec<(u64, usize)>) {
        parts.clear();
        for (number, row) in self.children.iter().enumerate() {
            let of = |counts: &[T]| counts[self.columns.clone()].iter().map(|&count| count.into()).sum::<u64>();
            let missing = of(row.voxels()) - (0..row.of).map(|k| of(row.counts(k))).sum::<u64>();
            if missing > 0 {
                parts.push((missing, number));
            }
        }
        parts.sort_unstable_by_key(|&(missing, _)| Reverse(missing));
    }

    /// The rows of voxels of one.
    fn rows(&self, number: usize) -> Range<usize> {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        start..self.ends[number]
    }

    /// How often a label is there in one, as far as that is known.
    fn known(&self, number: usize, label: T) -> u64 {
        let row = &self.children[number];
        let mut known = 0;
        for k in 0..row.of {
            for (&other, &count) in row.labels(k)[self.columns.clone()].iter().zip(&row.counts(k)[self.columns.clone()])
            {
                known += if other == label { count.into() } else { 0 };
            }
        }
        known
    }
}

impl<T: Label> Cell<'_, T> {
    /// The mode of so many voxels, of which the most frequent labels are known, with counts that may be too low, and are corrected.
    #[inline(always)]
    fn settle<I: Isa>(&self, isa: I, voxels: u64, parts: &Parts<'_, T>, work: &mut Work<T>) -> T {
        let known = |at: usize, known: &[(u64, T)]| known.get(at).map_or(0, |&(count, _)| count);
        // What is missing may all be of one label.
        let mut rest = voxels - work.known.iter().map(|&(count, _)| count).sum::<u64>();
        if known(0, &work.known) > known(1, &work.known) + rest {
            return work.known[0].1;
        }
        let (mut mode, mut most) = (T::ZERO, 0);
        for at in (0..work.known.len()).step_by(CANDIDATES) {
            let next = known(at + CANDIDATES, &work.known);
            let some = work.known[at..].chunks_mut(CANDIDATES).next().unwrap_or_default();
            let mut candidates = Candidates::new([some[0].1; CANDIDATES]);
            candidates.labels.iter_mut().zip(&*some).for_each(|(label, known)| *label = known.1);
            if at == 0 && !parts.children.is_empty() {
                // Part by part, until what is not counted yet makes no difference.
                parts.open(&mut work.parts);
                let mut open = rest;
                for &(missing, number) in &work.parts {
                    let part = Cell { rows: &self.rows[parts.rows(number)], columns: self.columns.clone() };
                    candidates.counts = [0; CANDIDATES];
                    candidates.count(isa, &part, &mut work.pieces);
                    for ((count, label), exact) in some.iter_mut().zip(candidates.counts) {
                        let more = exact - parts.known(number, *label);
                        rest -= more;
                        *count += more;
                    }
                    open -= missing;
                    let (first, second) = first_two(some);
                    if some[first].0 > second + open && some[first].0 > next + rest {
                        return some[first].1;
                    }
                }
            } else {
                candidates.count(isa, self, &mut work.pieces);
                for ((count, _), exact) in some.iter_mut().zip(candidates.counts) {
                    rest -= exact - *count;
                    *count = exact;
                }
            }
            for &mut (count, label) in some {
                if count > most || (count == most && label ^ work.flip < mode ^ work.flip) {
                    (mode, most) = (label, count);
                }
            }
            if most > next + rest {
                return mode;
            }
        }
        let (mut labels, mut counts) = ([mode; CANDIDATES], [0; CANDIDATES]);
        for ((label, count), &known) in labels.iter_mut().zip(&mut counts).zip(&work.known) {
            (*count, *label) = known;
        }
        self.rest(isa, labels, counts, voxels - counts.iter().sum::<u64>(), work)
    }
}

/// The place of the most frequent one, and how often the second one is there.
fn first_two<T>(known: &[(u64, T)]) -> (usize, u64) {
    let (mut first, mut second) = (0, 0);
    for (at, &(count, _)) in known.iter().enumerate().skip(1) {
        if count > known[first].0 {
            (first, second) = (at, known[first].0);
        } else {
            second = second.max(count);
        }
    }
    (first, second)
}
