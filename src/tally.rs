//! Tallies: which labels a cell holds, and how often.
//!
//! Entries of many cells are added up label by label: by a counter for every label while labels are small numbers, as those of masks and tissues
//! are, else through a hash table. Neither is ever cleared: counters are reset one by one, places are stamped.

use crate::simd::{Backend, Isa, Kernel, Label};

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
    pub fn reserve(&mut self, more: usize) {
        if self.labels.len() - self.end < more {
            self.grow(more);
        }
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
    /// All labels, or-ed, and perhaps some more.
    bits: T,
}

impl<T: Label> Lists<T> {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ends.clear();
        self.bits = T::ZERO;
    }

    /// How many lists there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Appends a list.
    #[inline(always)]
    pub fn append(&mut self, labels: &[T], counts: &[u64]) {
        self.entries.extend(labels, counts);
        self.bits = labels.iter().fold(self.bits, |bits, &label| bits | label);
        self.ends.push(self.entries.end);
    }

    /// Appends a list of `n` labels, at the beginning of these: all are copied, because how many there are is a branch that
    /// cannot be foreseen.
    #[inline(always)]
    pub fn append_few<const N: usize>(&mut self, labels: &[T; N], counts: &[u64; N], n: usize) {
        self.entries.reserve(N);
        let end = self.entries.end;
        self.entries.labels[end..end + N].copy_from_slice(labels);
        self.entries.counts[end..end + N].copy_from_slice(counts);
        self.entries.end += n.min(N);
        self.bits = labels.iter().fold(self.bits, |bits, &label| bits | label);
        self.ends.push(self.entries.end);
    }

    /// All labels, or-ed, and perhaps some more.
    pub fn bits(&self) -> T {
        self.bits
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
/// Bits of a place's index, below its stamp.
const INDEX: u32 = 40;

/// Adds up entries, label by label.
pub struct Tally<T> {
    backend: Backend,
    /// The sign bit, if labels are signed numbers: flipped, they have the order of unsigned ones.
    flip: T,
    /// The sums of a cell, `n` of them.
    labels: Vec<T>,
    counts: Vec<u64>,
    n: usize,
    counters: Vec<u64>,
    /// Where in the sums a label is, with the stamp of the cell in the high bits.
    places: Vec<u64>,
    stamp: u64,
}

impl<T: Label> Tally<T> {
    /// A tally of labels that are signed numbers, or not.
    pub fn new(backend: Backend, signed: bool) -> Self {
        let flip = if signed { T::TOP } else { T::ZERO };
        Tally {
            backend,
            flip,
            labels: Vec::new(),
            counts: Vec::new(),
            n: 0,
            counters: vec![0; SMALL],
            places: Vec::new(),
            stamp: 0,
        }
    }

    /// Whether labels with these bits all have a counter.
    pub fn counts(bits: T) -> bool {
        bits.into() < SMALL as u64
    }

    /// Counts an entry of the cell, whose label has a counter.
    #[inline(always)]
    pub fn count(&mut self, label: T, count: u64) {
        if self.labels.len() <= self.n {
            self.grow();
        }
        let sum = &mut self.counters[label.into() as usize % SMALL];
        // Written before it is known to be new.
        self.labels[self.n] = label;
        self.n += usize::from(*sum == 0);
        *sum += count;
    }

    #[cold]
    fn grow(&mut self) {
        self.labels.resize(2 * self.n + 64, T::ZERO);
        self.counts.resize(2 * self.n + 64, 0);
    }

    /// The most frequent label of what was counted, and of equally frequent ones the least; to `lists`, if given, goes the list of all.
    pub fn counted(&mut self, lists: Option<&mut Lists<T>>) -> T {
        for (count, &label) in self.counts.iter_mut().zip(&self.labels[..self.n]) {
            *count = std::mem::take(&mut self.counters[label.into() as usize % SMALL]);
        }
        self.end(lists)
    }

    /// As [`Tally::counted`], of entries of any labels.
    pub fn look_up(&mut self, entries: &Entries<T>, lists: Option<&mut Lists<T>>) -> T {
        let (from, from_counts) = entries.all();
        if self.labels.len() < from.len() {
            self.labels.resize(from.len(), T::ZERO);
            self.counts.resize(from.len(), 0);
        }
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
                if new || self.labels[index] == label {
                    places[at] = stamp << INDEX | index as u64;
                    self.labels[index] = label;
                    self.counts[index] = count + if new { 0 } else { self.counts[index] };
                    n += usize::from(new);
                    break;
                }
                at = (at + 1) & (room - 1);
            }
        }
        self.n = n;
        self.end(lists)
    }

    /// Ends a cell.
    fn end(&mut self, lists: Option<&mut Lists<T>>) -> T {
        let n = std::mem::take(&mut self.n);
        let (labels, counts) = (&self.labels[..n], &self.counts[..n]);
        if let Some(lists) = lists {
            lists.append(labels, counts);
        }
        let mut mode = T::ZERO;
        if n > 16 {
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
