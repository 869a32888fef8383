//! Seams: where rows that are written line by line, mostly past the caches, meet within a line of the memory.
//!
//! A line that is written past the caches in parts costs up to several times as much as one that is written whole, the more so where rows of several
//! mips are written at the same time; and numpy's arrays begin within a line. So vectors are shifted to where lines begin, and what a row has
//! of its last line waits for the next row.

use super::vectors::Vector;
use std::cell::{Cell, UnsafeCell};
use std::ptr::{copy_nonoverlapping, null_mut};

/// Bytes of the longest vectors.
const ROOM: usize = 64;

/// Between the rows of a panel, from the first to the last: what waits of the row before.
pub(super) struct Seam {
    /// Whether the rows are written past the caches.
    pub past: bool,
    /// The last vector of that row, at the end of the room.
    room: UnsafeCell<[u8; ROOM]>,
    /// So many of its last bytes wait.
    waiting: Cell<usize>,
    /// Where they end.
    end: Cell<*mut u8>,
}

impl Seam {
    #[inline(always)]
    pub const fn new(past: bool) -> Self {
        Seam { past, room: UnsafeCell::new([0; ROOM]), waiting: Cell::new(0), end: Cell::new(null_mut()) }
    }

    /// Writes the first vector of a row of `bytes` bytes at `origin`, which begins `before` bytes behind the place of a vector, with what
    /// waits of the row before, if that is the one that ends here; and lets the last bytes wait, as many as `before`.
    ///
    /// # Safety
    /// Needs the instructions. The row is the caller's to write, until the seam is settled, too, and made of whole vectors.
    #[inline(always)]
    pub unsafe fn join<V: Vector>(&self, origin: *mut u8, bytes: usize, before: usize, ends: [V; 2], shift: V::Shift) {
        const { assert!(V::BYTES <= ROOM) };
        // SAFETY: the caller's promise, for this row and the one before; nobody else has the room at the time, which has a vector.
        unsafe {
            let last = self.room.get().cast::<u8>().add(ROOM - V::BYTES);
            let joins = self.end.get() == origin && self.waiting.get() == before;
            if !joins {
                self.settle();
            }
            if joins || before == 0 {
                ends[0].behind(V::load(last), shift).put(origin.sub(before), self.past);
            } else {
                ends[0].store_few(origin, V::BYTES - before);
            }
            ends[1].store(last);
        }
        self.waiting.set(before);
        self.end.set(origin.wrapping_add(bytes));
    }

    /// Writes what waits.
    ///
    /// # Safety
    /// The last row that was joined is still the caller's to write.
    pub unsafe fn settle(&self) {
        let waiting = self.waiting.replace(0);
        // SAFETY: the caller's promise; the last bytes of the room are those before `end`.
        unsafe {
            let from = self.room.get().cast::<u8>().add(ROOM - waiting);
            copy_nonoverlapping(from, self.end.get().wrapping_sub(waiting), waiting);
        }
    }
}
