//! What operations are measured by: a plain sequential read of their voxels, and a loop that reads these and writes as much as they do.

use crate::pool;
use crate::simd::lines::Line;
use crate::simd::views::{Extent, MemoryLine, Source, Span, Voxel};
use crate::simd::{Backend, Isa, Kernel};
use std::iter::repeat_with;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words that a thread reads at a time.
const PIECE: usize = 1 << 17;

/// Reads every byte once, in address order, with `threads` threads, and writes something to every line of `out` (if there is a word to read):
/// a share of them with every piece of what is read, past the caches where there are vectors. Returns the exclusive or of all 64-bit words (a
/// rest of less than a word is left out).
pub fn read<T: Voxel>(backend: Backend, voxels: &[T], out: &mut [MemoryLine], threads: usize) -> u64 {
    let words = crate::simd::views::words(voxels);
    if words.is_empty() {
        return 0;
    }
    let axis = |len| Extent { len, stride: 8 };
    let source = Source::of_slice(words, vec![axis(words.len()), axis(1)]);
    let starts = (0..words.len()).step_by(PIECE);
    let share = out.len().div_ceil(starts.len()).max(1);
    let shares = out.chunks_mut(share).chain(repeat_with(Default::default));
    let (todo, all) = (Mutex::new(starts.zip(shares)), AtomicU64::new(0));
    let next = || todo.lock().ok()?.next();
    let work = || {
        while let Some((start, out)) = next() {
            let piece = Span { start, len: PIECE.min(words.len() - start) };
            let Some(words) = source.lend(&[piece, Span { start: 0, len: 1 }]) else { unreachable!("they are dense") };
            let mut mixed = 0;
            backend.run(Mix { words: words.line(0, 0, 1, 1), out, mixed: &mut mixed });
            all.fetch_xor(mixed, Ordering::Relaxed);
        }
    };
    pool::share(threads, &work, work);
    all.into_inner()
}

struct Mix<'a> {
    words: Line<'a, u64>,
    out: &'a mut [MemoryLine],
    mixed: &'a mut u64,
}

impl Kernel for Mix<'_> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        *self.mixed = isa.mix(self.words, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_once_and_written_by_any_number_of_threads() {
        let words: Vec<u64> = (0..300_001u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mixed = words.iter().fold(0, |mixed, word| mixed ^ word);
        for backend in Backend::all() {
            assert_eq!(read(backend, &[0u8; 3], &mut [MemoryLine::default()], 2), 0);
            for threads in [1, 2, 5] {
                assert_eq!(read(backend, &words, &mut [], threads), mixed);
                for written in [1, 8, 1000, 10_000, 37_500] {
                    let mut out = vec![MemoryLine([1; 8]); written];
                    assert_eq!(read(backend, &words, &mut out, threads), mixed);
                    assert!(out.iter().all(|line| line.0 != [1; 8]));
                }
            }
        }
    }
}
