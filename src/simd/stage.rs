//! Rows on their way past the caches: those that lie one behind the other, but are not made of whole vectors ([`super::seam`] has those that are).
//!
//! A line that is written past the caches in parts costs many times as much as one that is written whole, and a line that is
//! written through them is read first. So these rows are made in a small room in the first cache, and leave it as the run of
//! bytes that they are: line by line, whole, but for the first and the last line of the run.

use super::views::MemoryLine;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};

/// Bytes of a line of the memory.
const LINE: usize = size_of::<MemoryLine>();
/// Bytes that leave at once: while they do, nothing is read, and each time has its price.
const BURST: usize = 1024;

/// Rows that are made at the same time, at most.
const TOGETHER: usize = 2;

/// Rows that were made, but have not all left.
pub(super) struct Stage<'a, T> {
    room: &'a mut [T],
    /// So many voxels of the room wait.
    held: usize,
    /// Which row comes next.
    next: usize,
    /// Where the first voxel of the room belongs.
    to: *mut T,
}

impl<'a, T: Copy + Default> Stage<'a, T> {
    /// For rows of `cols` voxels that belong at `to` and behind it.
    ///
    /// # Safety
    /// For `'a`, as many voxels as are asked for may be written at `to`, which is aligned, and nobody else reads or writes there;
    /// voxels have no padding.
    #[inline]
    pub unsafe fn new(room: &'a mut Vec<T>, cols: usize, to: *mut T) -> Self {
        const { assert!(LINE.is_multiple_of(size_of::<T>())) };
        room.resize(TOGETHER * cols + (BURST + LINE) / size_of::<T>(), T::default());
        Stage { room, held: 0, next: 0, to }
    }
}

impl<T> Stage<'_, T> {
    /// `rows` rows (up to [`TOGETHER`]) from row `j` on, to write; rows are asked for one after the other, though the
    /// last ones may be asked for again.
    #[inline(always)]
    pub fn rows(&mut self, j: usize, rows: usize, cols: usize) -> &mut [T] {
        assert!(rows <= TOGETHER);
        if j + rows == self.next {
            return &mut self.room[self.held - rows * cols..self.held];
        }
        assert!(j == self.next);
        self.next += rows;
        if self.held >= BURST / size_of::<T>() {
            self.leave();
        }
        let first = self.held;
        self.held += rows * cols;
        &mut self.room[first..self.held]
    }

    /// Lets all whole lines go.
    #[inline(never)]
    fn leave(&mut self) {
        let (from, to) = (self.room.as_mut_ptr().cast::<u8>(), self.to.cast::<u8>());
        let len = self.held * size_of::<T>();
        let head = (to.addr().wrapping_neg() % LINE).min(len);
        let done = head + (len - head) / LINE * LINE;
        // SAFETY: `held` voxels of the room were lent as rows, so that as many may be written, by who made the stage; a line more is in the
        // room, by its length.
        unsafe {
            if head > 0 {
                from.copy_to_nonoverlapping(to, head);
            }
            for at in (head..done).step_by(LINE) {
                pass(from.add(at), to.add(at));
            }
            let rest = from.add(done).cast::<[u8; LINE]>().read();
            from.cast::<[u8; LINE]>().write(rest);
            self.to = to.add(done).cast();
        }
        self.held -= done / size_of::<T>();
    }

    /// Lets all go: no row is asked for afterwards.
    pub fn clear(mut self) {
        self.leave();
        // SAFETY: as in `leave`.
        unsafe { self.room.as_ptr().copy_to_nonoverlapping(self.to, self.held) };
    }
}

/// Writes a line past the caches.
///
/// # Safety
/// A line may be read at `from` and written at `to`, which is its first byte.
#[inline(always)]
unsafe fn pass(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; the instructions are part of every x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let (from, to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
        for part in 0..LINE / 16 {
            _mm_stream_si128(to.add(part), _mm_loadu_si128(from.add(part)));
        }
    }
    // SAFETY: the caller's promise.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        from.copy_to_nonoverlapping(to, LINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_arrive_wherever_they_begin_and_whatever_their_length() {
        for cols in [1, 7, 63, 64, 65, 300, 1024, 5000] {
            for first in [0, 1, 16, 63, 64] {
                let rows = 39;
                let mut voxels = vec![u16::MAX; first + rows * cols + 64];
                let mut room = Vec::new();
                // SAFETY: so many rows are behind the first voxel, and borrowed by nobody else until the stage is cleared.
                let mut stage = unsafe { Stage::new(&mut room, cols, voxels.as_mut_ptr().add(first)) };
                let mut j = 0;
                while j < rows {
                    let count = 1 + j % TOGETHER;
                    stage.rows(j, count, cols).fill(0);
                    for (i, voxel) in stage.rows(j, count, cols).iter_mut().enumerate() {
                        *voxel = (j * cols + i) as u16 % 60_013;
                    }
                    j += count;
                }
                stage.clear();
                let (before, behind) = voxels.split_at(first);
                let (inside, behind) = behind.split_at(rows * cols);
                assert!(before.iter().chain(behind).all(|&voxel| voxel == u16::MAX), "{cols} from {first}");
                assert!(inside.iter().enumerate().all(|(i, &v)| v == i as u16 % 60_013), "{cols} from {first}");
            }
        }
    }

    #[test]
    #[should_panic]
    fn a_row_out_of_turn_is_refused() {
        let mut voxels = [0u8; 8];
        let mut room = Vec::new();
        // SAFETY: two rows of four voxels.
        let mut stage = unsafe { Stage::new(&mut room, 4, voxels.as_mut_ptr()) };
        stage.rows(1, 1, 4);
    }
}
