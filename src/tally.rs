//! Tallies: which labels a cell holds, and how often.
//!
//! Entries of many cells are added up label by label: by a counter for every label while labels are small numbers, as those of masks and tissues
//! are, else through a hash table. Neither is ever cleared: counters are reset one by one, places are stamped.

use crate::simd::{Backend, Isa, Kernel, Label};

/// So many entries are kept for the next panel, rather than made again.
const KEPT: usize = 1 << 15;

/// Labels and how often each counts, one behind the other. What is behind the end is left over from before.
#[derive(Default)]
pub struct Entries<T> {
    labels: Vec<T>,
    counts: Vec<u64>,
    end: usize,
}

impl<T: Label> Entries<T> {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Makes room for so many more, which [`Entries::push`] needs.
    #[inline(always)]
    pub fn reserve(&mut self, more: usize) -> &mut Self {
        if self.labels.len() - self.end < more {
            self.grow(more);
        }
        self
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        // Little at a time: lists are what takes the memory, and they are kept from panel to panel.
        let room = (self.end + more).max(self.end + self.end / 8 + 64);
        self.labels.resize(room, T::ZERO);
        self.counts.resize(room, 0);
    }

    /// Appends an entry.
    #[inline(always)]
    pub fn push(&mut self, label: T, count: u64) {
        self.labels[self.end] = label;
        self.counts[self.end] = count;
        self.end += 1;
    }

    /// As [`Entries::push`], or adds to the last one, if that is of the same label.
    #[inline(always)]
    pub fn push_or_add(&mut self, label: T, count: u64) {
        if self.end > 0 && self.labels[self.end - 1] == label {
            self.counts[self.end - 1] += count;
        } else {
            self.push(label, count);
        }
    }

    /// Appends many.
    #[inline(always)]
    pub fn extend(&mut self, labels: &[T], counts: &[u64]) {
        self.reserve(labels.len());
        if labels.len() > 16 {
            let end = self.end + labels.len();
            self.labels[self.end..end].copy_from_slice(labels);
            self.counts[self.end..end].copy_from_slice(counts);
            self.end = end;
            return;
        }
        // Too few for a call.
        labels.iter().zip(counts).for_each(|(&label, &count)| self.push(label, count));
    }

    /// The labels and counts.
    fn all(&self) -> (&[T], &[u64]) {
        (&self.labels[..self.end], &self.counts[..self.end])
    }
}

/// Lists of entries, one for every cell that is not uniform; each label is in a list once.
#[derive(Default)]
pub struct Lists<T> {
    entries: Entries<T>,
    ends: Vec<usize>,
    /// Whether there may be labels without counters.
    large: bool,
}

impl<T: Label> Lists<T> {
    /// These, after forgetting all.
    pub fn cleared(&mut self) -> &mut Self {
        self.entries.clear();
        self.ends.clear();
        self.large = false;
        self
    }

    /// Gives back what many entries take, which nobody needs until the next panel has come: lists of all levels are never there at the same time.
    pub fn release(&mut self) {
        if self.entries.labels.len() > KEPT {
            *self = Lists::default();
        }
    }

    /// How many lists there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Appends a list of `n` labels, at the beginning of these: all are copied, because how many there are is a branch that
    /// cannot be foreseen.
    #[inline(always)]
    pub fn append_few<const N: usize>(&mut self, labels: &[T; N], counts: &[u64; N], n: usize) {
        let next = self.next(N);
        next.0[..N].copy_from_slice(labels);
        next.1[..N].copy_from_slice(counts);
        self.end(n.min(N), Tally::counts(labels));
    }

    /// Room for the next list, of at least so many labels.
    #[inline(always)]
    fn next(&mut self, room: usize) -> (&mut [T], &mut [u64]) {
        let Entries { labels, counts, end } = self.entries.reserve(room);
        (&mut labels[*end..], &mut counts[*end..])
    }

    /// Ends the next list, of `n` labels, which all have counters or not.
    #[inline(always)]
    fn end(&mut self, n: usize, counts: bool) {
        self.entries.end += n;
        self.ends.push(self.entries.end);
        self.large |= !counts;
    }

    /// Whether all labels have a counter; perhaps not, even if they have.
    pub fn counts(&self) -> bool {
        !self.large
    }

    /// The labels and counts of a list.
    #[inline(always)]
    pub fn list(&self, number: usize) -> (&[T], &[u64]) {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        let list = start..self.ends[number];
        (&self.entries.labels[list.clone()], &self.entries.counts[list])
    }
}

/// Labels below this have a counter.
const SMALL: usize = 4096;
/// Sums that are ended together.
const AT_ONCE: usize = 8;
/// Labels that are compared one by one, at most: a kernel would not pay.
const FEW: usize = 16;
/// Bits of a place's index, below its stamp.
const INDEX: u32 = 40;

/// Adds up entries, label by label.
pub struct Tally<T> {
    backend: Backend,
    /// The sign bit, if labels are signed numbers: flipped, they have the order of unsigned ones.
    flip: T,
    /// How many sums there are of a cell that is counted.
    n: usize,
    counters: Box<[u64; SMALL]>,
    /// Where in the sums a label is, with the stamp of the cell in the high bits.
    places: Vec<u64>,
    stamp: u64,
}

impl<T: Label> Tally<T> {
    /// A tally of labels that are signed numbers, or not.
    pub fn new(backend: Backend, signed: bool) -> Self {
        let flip = if signed { T::TOP } else { T::ZERO };
        Tally { backend, flip, n: 0, counters: Box::new([0; SMALL]), places: Vec::new(), stamp: 0 }
    }

    /// Whether labels all have a counter.
    #[inline(always)]
    pub fn counts(labels: &[T]) -> bool {
        labels.iter().fold(T::ZERO, |bits, &label| bits | label).into() < SMALL as u64
    }

    /// Counts entries of the cell, whose labels have counters; its list is going to be the next one of `lists`.
    #[inline(always)]
    pub fn count(&mut self, labels: &[T], counts: impl Iterator<Item = u64>, lists: &mut Lists<T>) {
        // In a register, which the compiler would not dare between stores of labels.
        let mut n = self.n;
        let sums = lists.next((n + labels.len()).next_multiple_of(AT_ONCE)).0;
        for (&label, count) in labels.iter().zip(counts) {
            let sum = &mut self.counters[label.into() as usize % SMALL];
            // Written before it is known to be new.
            sums[n] = label;
            n += usize::from(*sum == 0);
            *sum += count;
        }
        self.n = n;
    }

    /// Leaves out background of what was counted.
    pub fn leave_out_background(&mut self, lists: &mut Lists<T>) {
        let sums = &mut lists.next(self.n).0[..self.n];
        if let Some(place) = sums.iter().position(|&label| label == T::ZERO) {
            self.n -= 1;
            sums.swap(place, self.n);
            self.counters[0] = 0;
        }
    }

    /// The most frequent label of what was counted, and of equally frequent ones the least.
    pub fn counted(&mut self, lists: &mut Lists<T>) -> T {
        let n = std::mem::take(&mut self.n);
        // Some at once, whether there are so many or not: what is behind the end counts nothing.
        let some = n.next_multiple_of(AT_ONCE);
        let (labels, counts) = lists.next(some);
        let (labels, counts) = (&labels[..some], &mut counts[..some]);
        for (labels, counts) in labels.as_chunks::<AT_ONCE>().0.iter().zip(counts.as_chunks_mut::<AT_ONCE>().0) {
            for (&label, count) in labels.iter().zip(counts) {
                *count = std::mem::take(&mut self.counters[label.into() as usize % SMALL]);
            }
        }
        let mode = self.most_frequent(labels, counts);
        lists.end(n, true);
        mode
    }

    /// As [`Tally::counted`], of entries of any labels.
    pub fn look_up(&mut self, entries: &Entries<T>, lists: &mut Lists<T>) -> T {
        let (from, from_counts) = entries.all();
        let (labels, counts) = lists.next(from.len());
        let room = (from.len() + from.len() / 2).next_power_of_two();
        if self.places.len() < room {
            self.places.resize(room, 0);
        }
        self.stamp += 1;
        if self.stamp >> (u64::BITS - INDEX) > 0 {
            self.places.fill(0);
            self.stamp = 1;
        }
        let (places, stamp) = (&mut self.places[..room], self.stamp);
        let mut n = 0;
        for (&label, &count) in from.iter().zip(from_counts) {
            // Fibonacci hashing: D. E. Knuth, TAOCP 3, 6.4.
            let hash = label.into().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let mut at = hash as usize & (room - 1);
            loop {
                let place = places[at];
                let new = place >> INDEX != stamp;
                let index = if new { n } else { (place & ((1 << INDEX) - 1)) as usize };
                if new || labels[index] == label {
                    places[at] = stamp << INDEX | index as u64;
                    labels[index] = label;
                    counts[index] = count + if new { 0 } else { counts[index] };
                    n += usize::from(new);
                    break;
                }
                at = (at + 1) & (room - 1);
            }
        }
        let (labels, counts) = (&labels[..n], &counts[..n]);
        let (mode, small) = (self.most_frequent(labels, counts), Self::counts(labels));
        lists.end(n, small);
        mode
    }

    /// The most frequent label, and of equally frequent ones the least.
    fn most_frequent(&self, labels: &[T], counts: &[u64]) -> T {
        let mut mode = T::ZERO;
        if labels.len() > FEW {
            self.backend.run(MostFrequent { labels, counts, flip: self.flip, mode: &mut mode });
            return mode;
        }
        let mut most = 0;
        for (&label, &count) in labels.iter().zip(counts) {
            let better = count > most || (count == most && label ^ self.flip < mode ^ self.flip);
            mode = if better { label } else { mode };
            most = most.max(count);
        }
        mode
    }
}

/// Finds the most frequent of many labels, which are each there once, and of equally frequent ones the least.
struct MostFrequent<'a, T> {
    labels: &'a [T],
    counts: &'a [u64],
    flip: T,
    mode: &'a mut T,
}

impl<T: Label> Kernel for MostFrequent<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let MostFrequent { labels, counts, flip, mode } = self;
        let most = counts.iter().fold(0, |most, &count| count.max(most));
        let least = labels
            .iter()
            .zip(counts)
            .fold(T::MOST, |least, (&label, &count)| if count == most { (label ^ flip).min(least) } else { least });
        *mode = least ^ flip;
    }
}
