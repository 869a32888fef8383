//! Cells of labels that are not uniform, decided by a look at their voxels.
//!
//! The mode of a cell is nearly always that of one of its children. So a few of these are candidates: their voxels are counted, in vectors, and
//! where the most frequent one has more than all voxels that are none of them, the cell is decided, whatever these are. Few cells of real
//! volumes ask for more: then those voxels are tallied. Small cells have a candidate before: the voxel in their middle. Some of them have no other
//! children than their voxels; those whose candidates don't do are looked at label by label.

use crate::simd::{Found, Isa, Kernel, Label, PIECE};
use crate::tally::{Entries, Lists, Tally};
use std::ops::Range;

mod settle;

pub use settle::Settle;

/// Voxels of the largest cell that is looked at: those of five mips of halves along two axes. Larger ones are out of the inner caches by then.
pub const LOOK: usize = 1 << 10;
/// Pieces that are copied before the first of them is looked at: the copies have to arrive before vectors can read them.
const AHEAD: usize = 8;
/// Rows of so many bytes are looked at as they lie; shorter ones are copied together.
const WIDE: usize = 64;
/// Labels that are counted before others.
const CANDIDATES: usize = 4;

/// What a thread needs to decide cells.
pub struct Work<T> {
    /// Adds up what is not looked at label by label.
    pub tally: Tally<T>,
    /// What is added up.
    pub entries: Entries<T>,
    /// The list of a cell that needs none.
    pub unlisted: Lists<T>,
    /// Whether background is not counted.
    pub sparse: bool,
    /// Labels that are known of a cell, and how often each is there.
    known: Vec<(u64, T)>,
    /// Parts of a cell, and how many voxels of each are of none of its leaders.
    parts: Vec<(u64, usize)>,
    found: Found<T>,
    /// The voxels of small cells, or of some pieces of a larger one.
    pieces: [[T; PIECE]; AHEAD],
    /// What makes the order of labels that of unsigned numbers.
    flip: T,
}

impl<T: Label> Work<T> {
    /// Of labels that `tally` adds up.
    pub fn new(tally: Tally<T>, signed: bool, sparse: bool) -> Self {
        let flip = if signed { T::TOP } else { T::ZERO };
        let (found, pieces) = (Found::new(signed, sparse), [[T::ZERO; PIECE]; AHEAD]);
        Work {
            tally,
            entries: Entries::default(),
            unlisted: Lists::default(),
            sparse,
            known: Vec::new(),
            parts: Vec::new(),
            found,
            pieces,
            flip,
        }
    }
}

/// A cell of voxels.
struct Cell<'a, T> {
    rows: &'a [&'a [T]],
    columns: Range<usize>,
}

/// What is done with the pieces of a cell. Not a closure, which would be compiled without the instructions of the kernel.
trait EachPiece<T> {
    /// Takes the first `n` voxels.
    fn take<I: Isa>(&mut self, isa: I, voxels: &[T], n: usize);
}

impl<T: Label> Cell<'_, T> {
    /// The mode, voxel by voxel.
    #[inline(never)]
    fn mode(&self, tally: &mut Tally<T>, entries: &mut Entries<T>, sparse: bool, lists: &mut Lists<T>) -> T {
        let rows = self.rows.iter().map(|row| &row[self.columns.clone()]);
        if rows.clone().all(Tally::counts) {
            rows.for_each(|row| tally.count(row, std::iter::repeat(1), lists));
            if sparse {
                tally.leave_out_background(lists);
            }
            return tally.counted(lists);
        }
        entries.clear();
        for row in rows {
            entries.reserve(row.len());
            for &label in row.iter().filter(|&&label| !sparse || label != T::ZERO) {
                entries.push_or_add(label, 1);
            }
        }
        tally.look_up(entries, lists)
    }

    /// The mode, where the `rest` of the voxels, which may decide, are none of the labels that were counted. Labels without a count are others twice.
    #[inline(always)]
    fn rest<I: Isa>(
        &self,
        isa: I,
        labels: [T; CANDIDATES],
        counts: [u64; CANDIDATES],
        rest: u64,
        work: &mut Work<T>,
    ) -> T {
        let Work { tally, entries, unlisted, pieces, sparse, .. } = work;
        if rest > (self.rows.len() * self.columns.len()) as u64 / 2 {
            return self.mode(tally, entries, *sparse, unlisted.cleared());
        }
        entries.clear();
        entries.reserve(labels.len());
        for (&label, &count) in labels.iter().zip(&counts) {
            if count > 0 {
                entries.push(label, count);
            }
        }
        if rest > 0 {
            let mut others = Others { labels, sparse: *sparse, entries };
            self.each_piece(isa, pieces, &mut others);
        }
        tally.look_up(entries, unlisted.cleared())
    }

    /// Hands out the voxels in pieces.
    #[inline(always)]
    fn each_piece<I: Isa>(&self, isa: I, pieces: &mut [[T; PIECE]; AHEAD], each: &mut impl EachPiece<T>) {
        let Range { start, end } = self.columns;
        let width = end - start;
        if width * size_of::<T>() >= WIDE {
            for row in self.rows {
                for at in (start..end).step_by(PIECE) {
                    // What is behind the piece may be read too.
                    each.take(isa, &row[at..], PIECE.min(end - at));
                }
            }
            return;
        }
        let at_once = (PIECE / width).max(1);
        for rows in self.rows.chunks(at_once * AHEAD) {
            let mut n = [0; AHEAD];
            for ((n, piece), rows) in n.iter_mut().zip(&mut *pieces).zip(rows.chunks(at_once)) {
                *n = copy(rows, width, start, piece);
            }
            for (&n, piece) in n.iter().zip(&*pieces) {
                if n > 0 {
                    each.take(isa, piece, n);
                }
            }
        }
    }
}

/// Labels that are the mode of a cell more likely than others, and how often they are there.
struct Candidates<T, const N: usize> {
    labels: [T; N],
    counts: [u64; N],
}

impl<T: Label, const N: usize> Candidates<T, N> {
    fn new(labels: [T; N]) -> Self {
        Candidates { labels, counts: [0; N] }
    }

    /// Counts the voxels of a cell.
    #[inline(always)]
    fn count<I: Isa>(&mut self, isa: I, cell: &Cell<'_, T>, pieces: &mut [[T; PIECE]; AHEAD]) {
        match isa.count_rows(cell.rows, cell.columns.start, cell.columns.len(), &self.labels) {
            Some(counts) => self.counts = counts,
            None => cell.each_piece(isa, pieces, self),
        }
    }
}

impl<T: Label> Candidates<T, 2> {
    /// The counts of the ends of a cell of so many voxels, that of background left out if it isn't counted, and how many voxels are none of
    /// them.
    #[inline(always)]
    fn of_ends(&self, voxels: usize, sparse: bool) -> ([u64; 2], u64) {
        let Candidates { labels, counts: [least, greatest] } = *self;
        let greatest = if labels[0] == labels[1] { 0 } else { greatest };
        ([if sparse { 0 } else { least }, greatest], voxels as u64 - least - greatest)
    }
}

impl<T: Label, const N: usize> EachPiece<T> for Candidates<T, N> {
    #[inline(always)]
    fn take<I: Isa>(&mut self, isa: I, voxels: &[T], n: usize) {
        let found = isa.find(voxels, n, &self.labels);
        for (count, bits) in self.counts.iter_mut().zip(found) {
            *count += u64::from(bits.count_ones());
        }
    }
}

/// The least and the greatest label; or background and the greatest one, if that isn't counted.
#[inline(always)]
fn ends<T: Label>(children: &[&[T]], columns: Range<usize>, sparse: bool) -> [T; 2] {
    let (mut least, mut greatest) = (if sparse { T::ZERO } else { T::MOST }, T::ZERO);
    for row in children {
        for &label in &row[columns.clone()] {
            (least, greatest) = (least.min(label), greatest.max(label));
        }
    }
    [least, greatest]
}

/// The first and the last label that is neither; one of them, where there is no other.
#[inline(always)]
fn others<T: Label>(children: &[&[T]], columns: Range<usize>, ends: [T; 2]) -> [T; 2] {
    let [least, greatest] = ends;
    let (mut first, mut last) = (least, least);
    for row in children {
        for &label in &row[columns.clone()] {
            let other = (label != least) & (label != greatest);
            first = if other & (first == least) { label } else { first };
            last = if other { label } else { last };
        }
    }
    [first, last]
}

/// Of labels with counts the most frequent, of equals the least, and how often it is there.
#[inline(always)]
fn best<T: Label, const N: usize>(labels: [T; N], counts: [u64; N], flip: T) -> (T, u64) {
    let (mut mode, mut most) = (labels[0], counts[0]);
    for (&label, &count) in labels.iter().zip(&counts).skip(1) {
        let better = count > most || (count == most && label ^ flip < mode ^ flip);
        mode = if better { label } else { mode };
        most = most.max(count);
    }
    (mode, most)
}

/// Collects the voxels that are none of some labels.
struct Others<'a, T> {
    labels: [T; CANDIDATES],
    sparse: bool,
    entries: &'a mut Entries<T>,
}

impl<T: Label> EachPiece<T> for Others<'_, T> {
    #[inline(always)]
    fn take<I: Isa>(&mut self, isa: I, voxels: &[T], n: usize) {
        let found = isa.find(voxels, n, &self.labels).into_iter().fold(0, |all, found| all | found);
        let mut left = !found & u64::MAX >> (PIECE - n);
        self.entries.reserve(n);
        while left > 0 {
            let label = voxels[left.trailing_zeros() as usize];
            if !self.sparse || label != T::ZERO {
                self.entries.push_or_add(label, 1);
            }
            left &= left - 1;
        }
    }
}

/// Decides cells of a row by a look at their voxels.
pub struct Look<'a, T> {
    /// The cells.
    pub cells: &'a [usize],
    /// The rows of voxels, all of one length, and how many columns of them make a cell.
    pub rows: &'a [&'a [T]],
    /// See there.
    pub width: usize,
    /// The modes of the children, row by row, and how many columns of them make a cell. Nothing, if the children are the voxels.
    pub children: &'a [&'a [T]],
    /// See there.
    pub fx: usize,
    /// The modes.
    pub out: &'a mut [T],
    /// Takes the labels of every cell, if it is given; for cells of up to [`PIECE`] voxels only.
    pub lists: Option<&'a mut Lists<T>>,
    /// What is needed.
    pub work: &'a mut Work<T>,
}

impl<T: Label> Kernel for Look<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if self.rows.len() * self.width <= PIECE { self.small(isa) } else { self.large(isa) }
    }
}

impl<T: Label> Look<'_, T> {
    /// Cells of a piece.
    #[inline(always)]
    fn small<I: Isa>(self, isa: I) {
        let Look { cells, rows, width, children, fx, out, mut lists, work } = self;
        let center = rows.len() / 2 * width + width / 2;
        for some in cells.chunks(AHEAD) {
            let mut n = [0; AHEAD];
            for ((piece, n), &i) in work.pieces.iter_mut().zip(&mut n).zip(some) {
                *n = copy(rows, width, width * i, piece);
            }
            for (k, &i) in some.iter().enumerate() {
                let Work { found, pieces, flip, sparse, .. } = &mut *work;
                if lists.is_none() {
                    // In 80 to 90 % of the mixed cells of real volumes, most voxels are of the label in the middle.
                    let label = pieces[k][center.min(n[k] - 1)];
                    let mut candidate = Candidates::new([label]);
                    candidate.take(isa, &pieces[k], n[k]);
                    if 2 * candidate.counts[0] > n[k] as u64 && !(*sparse && label == T::ZERO) {
                        out[i] = label;
                        continue;
                    }
                }
                if lists.is_none() && !children.is_empty() {
                    let columns = fx * i..(fx * i + fx).min(children[0].len());
                    let mut candidates = Candidates::new(ends(children, columns, *sparse));
                    candidates.take(isa, &pieces[k], n[k]);
                    let (counts, rest) = candidates.of_ends(n[k], *sparse);
                    let (mode, most) = best(candidates.labels, counts, *flip);
                    if most > rest {
                        out[i] = mode;
                        continue;
                    }
                }
                if isa.tell_apart(&pieces[k], n[k], found) {
                    out[i] = found.mode;
                    if let Some(lists) = &mut lists {
                        lists.append_few(&found.labels, &found.counts, found.n);
                    }
                } else {
                    let Work { tally, entries, unlisted, pieces, sparse, .. } = &mut *work;
                    let lists = lists.as_deref_mut().unwrap_or_else(|| unlisted.cleared());
                    let cell = Cell { rows: &[&pieces[k]], columns: 0..n[k] };
                    out[i] = cell.mode(tally, entries, *sparse, lists);
                }
            }
        }
    }

    /// Cells of many pieces, which never carry lists.
    #[inline(always)]
    fn large<I: Isa>(self, isa: I) {
        let Look { cells, rows, width, children, fx, out, lists, work } = self;
        debug_assert!(lists.is_none());
        let (children, fx) = if children.is_empty() { (rows, width) } else { (children, fx) };
        for &i in cells {
            let columns = width * i..(width * i + width).min(rows[0].len());
            let (cell, below) = (Cell { rows, columns }, fx * i..(fx * i + fx).min(children[0].len()));
            let Work { pieces, sparse, flip, .. } = &mut *work;
            let ends = ends(children, below.clone(), *sparse);
            let mut candidates = Candidates::new(ends);
            candidates.count(isa, &cell, pieces);
            let voxels = rows.len() * cell.columns.len();
            let ([least, greatest], rest) = candidates.of_ends(voxels, *sparse);
            let (mode, most) = best(ends, [least, greatest], *flip);
            if most > rest {
                out[i] = mode;
                continue;
            }
            let [first, last] = others(children, below, ends);
            let mut candidates = Candidates::new([first, last]);
            candidates.count(isa, &cell, pieces);
            let of_first = if first == ends[0] { 0 } else { candidates.counts[0] };
            let of_last = if last == ends[0] || last == first { 0 } else { candidates.counts[1] };
            let (labels, counts) = ([ends[0], ends[1], first, last], [least, greatest, of_first, of_last]);
            let rest = rest - of_first - of_last;
            let (mode, most) = best(labels, counts, *flip);
            if most > rest {
                out[i] = mode;
                continue;
            }
            out[i] = cell.rest(isa, labels, counts, rest, work);
        }
    }
}

/// Copies the voxels of a cell of `width` columns from `first` on; returns how many there are.
#[inline(always)]
fn copy<T: Label>(rows: &[&[T]], width: usize, first: usize, piece: &mut [T; PIECE]) -> usize {
    match width {
        1 => copy_rows::<T, 1>(rows, width, first, piece),
        2 => copy_rows::<T, 2>(rows, width, first, piece),
        3 | 4 => copy_rows::<T, 4>(rows, width, first, piece),
        5..=8 => copy_rows::<T, 8>(rows, width, first, piece),
        16 => copy_rows::<T, 16>(rows, width, first, piece),
        width => copy_few(rows, first, width, piece),
    }
}

/// As [`copy`], of at most `READ` columns: so many are copied of each row, and what is too much is overwritten by the next one.
#[inline(always)]
fn copy_rows<T: Label, const READ: usize>(rows: &[&[T]], width: usize, first: usize, piece: &mut [T; PIECE]) -> usize {
    if first + READ > rows[0].len() {
        return copy_few(rows, first, width, piece);
    }
    for (k, row) in rows.iter().enumerate() {
        let to: &mut [T; READ] = piece[width * k..].first_chunk_mut().expect("rows of a piece");
        *to = *row[first..].first_chunk().expect("all rows are of one length");
    }
    width * rows.len()
}

/// As [`copy_rows`], of a width that the compiler does not know, or of less.
#[inline(never)]
fn copy_few<T: Label>(rows: &[&[T]], first: usize, width: usize, piece: &mut [T; PIECE]) -> usize {
    let voxels = rows.iter().flat_map(|row| row[first..].iter().take(width));
    piece.iter_mut().zip(voxels).map(|(to, &voxel)| *to = voxel).count()
}
