//! The limit: a plain sequential read of voxels, which no operation on them can beat from memory.

use crate::pool;
use crate::simd::views::Voxel;
use crate::simd::{Backend, Isa, Kernel};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes that a thread reads at a time.
const PIECE: usize = 1 << 20;

/// Reads every byte once, in address order, with `threads` threads, and returns the exclusive or of all 64-bit words (a rest
/// of less than a word is left out).
pub fn read<T: Voxel>(backend: Backend, voxels: &[T], threads: usize) -> u64 {
    let words = crate::simd::views::words(voxels);
    let pieces = words.chunks(PIECE / 8);
    let (next, all) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while let Some(words) = pieces.clone().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let mut mixed = 0;
            backend.run(Mix { words, mixed: &mut mixed });
            all.fetch_xor(mixed, Ordering::Relaxed);
        }
    };
    pool::share(threads, &work, work);
    all.into_inner()
}

struct Mix<'a> {
    words: &'a [u64],
    mixed: &'a mut u64,
}

impl Kernel for Mix<'_> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        *self.mixed = isa.mix(self.words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_once_by_any_number_of_threads() {
        let words: Vec<u64> = (0..300_001u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mixed = words.iter().fold(0, |mixed, word| mixed ^ word);
        for backend in Backend::all() {
            for threads in [1, 2, 5] {
                assert_eq!(read(backend, &words, threads), mixed);
            }
        }
    }
}
