//! Tallies: which labels a cell holds, and how often.
//!
//! Most cells that are not uniform hold two labels or three, so the first few are kept in arrays of a vector's size, where one look finds a
//! label; more of them go through a hash table, whose places are stamped rather than cleared.

use crate::simd::{Backend, Isa, Kernel, Label};

/// Labels that are told apart without a hash table.
const FEW: usize = 8;

/// Labels and how often each counts, one behind the other. What is behind the end is left over, and nothing is ever cleared.
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
        let room = (self.end + more).max(self.end + self.end / 2);
        self.labels.resize(room, T::ZERO);
        self.counts.resize(room, 0);
    }

    /// Appends a label, if it is `there`.
    #[inline(always)]
    pub fn push(&mut self, label: T, count: u64, there: bool) {
        self.labels[self.end] = label;
        self.counts[self.end] = count;
        self.end += usize::from(there);
    }

    /// Appends many.
    #[inline(always)]
    pub fn extend(&mut self, labels: &[T], counts: &[u64]) {
        self.reserve(labels.len());
        for (&label, &count) in labels.iter().zip(counts) {
            self.push(label, count, true);
        }
    }

    /// The labels and counts from entry `start` on.
    #[inline(always)]
    fn from(&self, start: usize) -> (&[T], &[u64]) {
        (&self.labels[start..self.end], &self.counts[start..self.end])
    }
}

/// Lists of entries, one for every cell that is not uniform. A label may be in a list twice.
#[derive(Default)]
pub struct Lists<T> {
    /// The entries of all lists.
    pub entries: Entries<T>,
    ends: Vec<usize>,
}

impl<T: Label> Lists<T> {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ends.clear();
    }

    /// How many lists there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Makes a list of the entries behind the last one.
    #[inline(always)]
    pub fn close(&mut self) {
        self.ends.push(self.entries.end);
    }

    /// The labels and counts of a list.
    #[inline(always)]
    pub fn list(&self, number: usize) -> (&[T], &[u64]) {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        let list = start..self.ends[number];
        (&self.entries.labels[list.clone()], &self.entries.counts[list])
    }
}

/// Adds up entries, label by label.
pub struct Tally<T> {
    backend: Backend,
    /// The sign bit, if labels are signed numbers: flipped, they have the order of unsigned ones.
    flip: T,
    labels: Vec<T>,
    counts: Vec<u64>,
    /// Places of labels, with the stamp of the cell they are from in the high bits.
    places: Vec<u64>,
    stamp: u64,
}

/// Bits of a place's index, below its stamp.
const INDEX: u32 = 40;

impl<T: Label> Tally<T> {
    /// A tally of labels that are signed numbers, or not.
    pub fn new(backend: Backend, signed: bool) -> Self {
        let flip = if signed { T::TOP } else { T::ZERO };
        Tally { backend, flip, labels: Vec::new(), counts: Vec::new(), places: Vec::new(), stamp: 0 }
    }

    /// The most frequent label of the entries, and of equally frequent ones the least; to `lists`, if given, goes the list of all, each once.
    #[inline(always)]
    pub fn mode(&mut self, entries: &Entries<T>, lists: Option<&mut Lists<T>>) -> T {
        let (from, from_counts) = entries.from(0);
        // Places that are not taken yet hold the first label too: what they count is overwritten.
        let mut labels = [from.first().copied().unwrap_or(T::ZERO); FEW];
        let (mut counts, mut n) = ([0; FEW], 0);
        for (&label, &count) in from.iter().zip(from_counts) {
            let mut known = false;
            for (&other, sum) in labels.iter().zip(&mut counts) {
                let same = other == label;
                *sum += if same { count } else { 0 };
                known |= same;
            }
            if !known || n == 0 {
                if n == FEW {
                    return self.mode_of_many(entries, lists);
                }
                (labels[n], counts[n]) = (label, count);
                n += 1;
            }
        }
        if let Some(lists) = lists {
            lists.entries.extend(&labels[..n], &counts[..n]);
            lists.close();
        }
        let (mut best, mut most) = (labels[0], counts[0]);
        for (&label, &count) in labels[..n].iter().zip(&counts).skip(1) {
            let better = count > most || (count == most && label ^ self.flip < best ^ self.flip);
            best = if better { label } else { best };
            most = most.max(count);
        }
        best
    }

    #[inline(never)]
    fn mode_of_many(&mut self, entries: &Entries<T>, lists: Option<&mut Lists<T>>) -> T {
        let (from, from_counts) = entries.from(0);
        let room = (2 * from.len()).next_power_of_two();
        if self.places.len() < room {
            self.places.resize(room, 0);
        }
        if self.labels.len() < from.len() {
            self.labels.resize(from.len(), T::ZERO);
            self.counts.resize(from.len(), 0);
        }
        self.stamp += 1;
        if self.stamp >> (u64::BITS - INDEX) > 0 {
            self.places.fill(0);
            self.stamp = 1;
        }
        let places = &mut self.places[..room];
        let mut n = 0;
        for (&label, &count) in from.iter().zip(from_counts) {
            // Fibonacci hashing: D. E. Knuth, TAOCP 3, 6.4.
            let hash = label.into().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let mut at = hash as usize & (room - 1);
            loop {
                let place = places[at];
                let fresh = place >> INDEX != self.stamp;
                let index = if fresh { n } else { (place & ((1 << INDEX) - 1)) as usize };
                if fresh || self.labels[index] == label {
                    places[at] = self.stamp << INDEX | index as u64;
                    self.labels[index] = label;
                    self.counts[index] = count + if fresh { 0 } else { self.counts[index] };
                    n += usize::from(fresh);
                    break;
                }
                at = (at + 1) & (room - 1);
            }
        }
        let (labels, counts) = (&self.labels[..n], &self.counts[..n]);
        if let Some(lists) = lists {
            lists.entries.extend(labels, counts);
            lists.close();
        }
        let mut mode = T::ZERO;
        self.backend.run(MostFrequent { labels, counts, flip: self.flip, mode: &mut mode });
        mode
    }
}

/// Finds the most frequent of labels that are each there once.
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
