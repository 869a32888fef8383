//! Lines: rows of panels, read alone or side by side, and when the memory is asked for what comes after them.

use super::views::{Distance, Panel};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__cpuid, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::LazyLock;

/// How far ahead memory is asked for, in bytes of all that is read at the same time: what the memory delivers in the time of a
/// request, and as much again.
const AHEAD: usize = 8192;
/// As far ahead is asked for within a row, if it is twice as long.
const WITHIN: usize = 2048;
/// Rows of so many bytes are read side by side as if they were one: what is asked for meanwhile stays in the second cache.
const BESIDE: usize = 128 << 10;

/// Whether requests into the first cache queue for one of its few places, as on processors by Intel, where what is written past the caches needs
/// these as well; on others those that find no place are dropped, and may be repeated a moment later.
static QUEUES: LazyLock<bool> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 has the instruction; the function is safe since Rust 1.94.
        #[allow(unused_unsafe)]
        let vendor = unsafe { __cpuid(0) };
        vendor.ebx == u32::from_le_bytes(*b"Genu")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
});

/// Finds out what is found out once, before there is a thread beside the one that forks: in the midst of that, a child would wait for ever.
pub fn prepare() {
    LazyLock::force(&QUEUES);
}

/// A row, or a part of one, to read from one end to the other, alone or side by side with others.
///
/// The processor asks for memory by itself, but only within a page, and only as far ahead as its window of instructions
/// reaches. What decides the speed is that requests go out early and in the order of the addresses, while the rows
/// of a cell may well be read side by side: each line knows where its share of the requests is.
pub struct Line<'a, T> {
    /// The voxels.
    pub voxels: &'a [T],
    /// What is asked for when the first voxel is read.
    ahead: *const i8,
    /// Of how many lines that lie one behind the other this is one, and which: they share the requests. In few bytes, because lines are moved
    /// about for every row.
    of: u32,
    which: u32,
    /// Whether it is best asked for once, and no further than into the second cache.
    once: bool,
}

impl<T> Clone for Line<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Line<'_, T> {}

impl<'a, T> Line<'a, T> {
    /// A row that is in cache.
    #[inline(always)]
    pub fn here(voxels: &'a [T]) -> Self {
        Line { voxels, ahead: voxels.as_ptr().cast(), of: 1, which: 0, once: false }
    }

    /// The voxels `part` of it.
    #[inline(always)]
    pub fn part(self, part: Range<usize>) -> Self {
        let ahead = self.ahead.wrapping_add(self.of as usize * part.start * size_of::<T>());
        Line { voxels: &self.voxels[part], ahead, ..self }
    }

    /// Asks for its share of what comes after the `bytes` at voxel `i` (of this line, and of those it is read with).
    #[inline(always)]
    fn ask<const ONCE: bool>(&self, i: usize, bytes: usize) {
        let (of, which) = (self.of as usize, self.which as usize);
        ask::<ONCE>(self.ahead.wrapping_add(of * i * size_of::<T>() + which * bytes), bytes);
    }

    /// The voxels, after asking for all that comes after them: for loops that cannot do it on the way.
    #[inline(always)]
    pub fn announced(self) -> &'a [T] {
        if self.ahead != self.voxels.as_ptr().cast() {
            self.ask::<false>(0, size_of_val(self.voxels));
        }
        self.voxels
    }
}

/// Asks for what comes after the `bytes` at voxel `i` of lines that are read together, all of them to be asked for `ONCE` or twice.
#[inline(always)]
pub fn announce_to<const ONCE: bool, T>(lines: &[Line<'_, T>], i: usize, bytes: usize) {
    lines.iter().for_each(|line| line.ask::<ONCE>(i, bytes));
}

/// [`announce_to`], as often as they say.
#[inline(always)]
pub fn announce<T>(lines: &[Line<'_, T>], i: usize, bytes: usize) {
    if lines[0].once {
        announce_to::<true, T>(lines, i, bytes);
    } else {
        announce_to::<false, T>(lines, i, bytes);
    }
}

/// The second time, if there is one.
#[inline(always)]
pub fn announce_again<T>(lines: &[Line<'_, T>], i: usize, bytes: usize) {
    if !lines[0].once {
        announce_to::<false, T>(lines, i, bytes);
    }
}

impl<'a, T> Panel<'a, T> {
    /// Row `j`, one of those from `first` on, `count` in all, that are read side by side from one end to the other, together
    /// with as many of other panels (`panels` in all).
    #[inline(always)]
    pub fn line(&self, j: usize, first: usize, count: usize, panels: usize) -> Line<'a, T> {
        let (voxels, row) = (self.row(j), self.cols * size_of::<T>());
        if self.distance == Distance::Here {
            return Line::here(voxels);
        }
        let (side, ahead) = ((count - 1) * row, AHEAD / panels);
        // Those of several panels come from as many places, which the processor doesn't follow by itself.
        let once = panels == 1 && self.distance == Distance::Beyond && *QUEUES;
        // Less than a line of memory may be between the rows, and channels lie within one another.
        let reach = self.cols as isize + (64 / size_of::<T>()) as isize;
        if ((1..reach).contains(&self.pitch) || self.rows == 1) && side <= BESIDE {
            // The rows lie one behind the other, and so does what comes next.
            let ahead = self.row(first).as_ptr().cast::<i8>().wrapping_add(ahead + side);
            // Few, by `side`.
            return Line { voxels, ahead, of: count as u32, which: (j - first) as u32, once };
        }
        let next = self.pitch.wrapping_mul((count * ahead.div_ceil(count * row) * size_of::<T>()) as isize);
        // In short rows too much of the next ones would never be asked for.
        let offset = if row > 2 * WITHIN { WITHIN as isize } else { next };
        Line { voxels, ahead: voxels.as_ptr().cast::<i8>().wrapping_offset(offset), of: 1, which: 0, once }
    }
}

/// The rows of cells, `N` of each, cell after cell: those of several panels side by side.
#[derive(Clone, Copy)]
pub struct CellLines<'a, T, const N: usize> {
    lines: [Line<'a, T>; N],
    /// Voxels from the rows of a cell to those of the next.
    step: isize,
    left: usize,
}

impl<'a, T, const N: usize> CellLines<'a, T, N> {
    /// Those of `cells` cells that span `fy` rows of each panel; all panels have one shape and one pitch.
    ///
    /// # Panics
    /// If that is not `N` rows a cell, or there are not so many cells.
    pub fn new(panels: &[Panel<'a, T>], fy: usize, cells: usize) -> Self {
        assert!(fy >= 1 && panels.len().checked_mul(fy) == Some(N) && cells >= 1);
        let pitch = panels[0].pitch;
        assert!(panels.iter().all(|panel| cells <= panel.rows / fy && panel.is_like(&panels[0])));
        let line = |k: usize| panels[k / fy].line(k % fy, 0, fy, panels.len());
        CellLines { lines: std::array::from_fn(line), step: pitch.wrapping_mul(fy as isize), left: cells }
    }

    /// Whether the rows are asked for once.
    #[inline(always)]
    pub fn once(&self) -> bool {
        self.lines[0].once
    }

    /// How many rows of cells there are.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.left
    }

    /// Some of the rows of cells.
    #[inline(always)]
    pub fn part(&self, cells: Range<usize>) -> Self {
        assert!(cells.start < cells.end && cells.end <= self.left);
        CellLines { lines: self.moved(cells.start), left: cells.len(), ..*self }
    }

    /// The rows of cell `j`.
    #[inline(always)]
    pub fn row(&self, j: usize) -> [Line<'a, T>; N] {
        assert!(j < self.left);
        self.moved(j)
    }

    /// The lines `cells` further down, where there are some.
    #[inline(always)]
    fn moved(&self, cells: usize) -> [Line<'a, T>; N] {
        let by = self.step.wrapping_mul(cells as isize);
        self.lines.map(|line| Line {
            // SAFETY: `new` checked that the panel has as many rows as cells, and the callers that this is one of them.
            voxels: unsafe { std::slice::from_raw_parts(line.voxels.as_ptr().wrapping_offset(by), line.voxels.len()) },
            ahead: line.ahead.wrapping_offset(by.wrapping_mul(size_of::<T>() as isize)),
            ..line
        })
    }

    /// Voxels of a row.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        // All rows are of one length.
        self.lines[0].voxels.len()
    }
}

impl<'a, T, const N: usize> Iterator for CellLines<'a, T, N> {
    type Item = [Line<'a, T>; N];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let lines = (self.left > 0).then(|| self.row(0))?;
        self.left -= 1;
        if self.left > 0 {
            self.lines = self.moved(1);
        }
        Some(lines)
    }
}

/// Four rows of one or two panels at a time, those of two cells that lie one behind the other: where their voxels are, and what is asked for
/// meanwhile, from as few addresses as the registers can hold.
#[derive(Clone, Copy)]
pub struct Fours<'a, T, const PANELS: usize> {
    /// The first voxel of the four in each panel, and what is asked for when it is read.
    origins: [*const T; PANELS],
    ahead: [*const i8; PANELS],
    /// Voxels from row to row.
    pitch: isize,
    /// Of how many rows that lie one behind the other each is one: four or one.
    of: usize,
    /// As of each line.
    once: bool,
    cols: usize,
    left: usize,
    lent: PhantomData<&'a [T]>,
}

impl<'a, T, const PANELS: usize> Fours<'a, T, PANELS> {
    /// So many of the first rows of panels that have one shape and one pitch.
    ///
    /// # Panics
    /// If these are not `PANELS` panels, or there are not four times so many rows.
    pub fn new(panels: &[Panel<'a, T>], fours: usize) -> Self {
        assert!(
            panels.len() == PANELS && panels.iter().all(|panel| panel.is_like(&panels[0]) && fours <= panel.rows / 4)
        );
        let first: [_; PANELS] = std::array::from_fn(|k| panels[k].line(0, 0, 4, PANELS));
        Fours {
            origins: first.map(|line| line.voxels.as_ptr()),
            ahead: first.map(|line| line.ahead),
            pitch: panels[0].pitch,
            of: first[0].of as usize,
            once: first[0].once,
            cols: panels[0].cols,
            left: fours,
            lent: PhantomData,
        }
    }

    /// How many there are.
    #[inline(always)]
    pub fn fours(&self) -> usize {
        self.left
    }

    /// Voxels of a row.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Some of them.
    #[inline(always)]
    pub fn part(&self, fours: Range<usize>) -> Self {
        assert!(fours.start <= fours.end && fours.end <= self.left);
        let by = self.pitch.wrapping_mul(4 * fours.start as isize);
        Fours {
            origins: self.origins.map(|origin| origin.wrapping_offset(by)),
            ahead: self.ahead.map(|ahead| ahead.wrapping_offset(by.wrapping_mul(size_of::<T>() as isize))),
            left: fours.len(),
            ..*self
        }
    }

    /// Where voxel `i` of one of the first four rows of a panel is.
    #[inline(always)]
    pub fn place(&self, panel: usize, row: usize, i: usize) -> *const T {
        self.origins[panel].wrapping_offset(self.pitch.wrapping_mul(row as isize)).wrapping_add(i)
    }

    /// As [`announce`], of the first four rows of each panel.
    #[inline(always)]
    pub fn announce(&self, i: usize, bytes: usize) {
        if self.once {
            self.ask::<true>(i, bytes);
        } else {
            self.ask::<false>(i, bytes);
        }
    }

    /// As [`announce_again`].
    #[inline(always)]
    pub fn announce_again(&self, i: usize, bytes: usize) {
        if !self.once {
            self.ask::<false>(i, bytes);
        }
    }

    #[inline(always)]
    fn ask<const ONCE: bool>(&self, i: usize, bytes: usize) {
        let row = if self.of == 1 { self.pitch.wrapping_mul(size_of::<T>() as isize) } else { bytes as isize };
        for ahead in self.ahead {
            let at = ahead.wrapping_add(self.of * i * size_of::<T>());
            for k in 0..4 {
                ask::<ONCE>(at.wrapping_offset(row.wrapping_mul(k)), bytes);
            }
        }
    }
}

/// Asks for the lines of the memory at `bytes` bytes, into the first cache, or if that is done `ONCE`, only into the second.
#[inline(always)]
fn ask<const ONCE: bool>(at: *const i8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        // SAFETY: hints, which read nothing; the address may be anywhere.
        unsafe {
            if ONCE {
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line));
            } else {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line));
            }
        }
    }
}
