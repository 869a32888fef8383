//! The most frequent labels of cells, vector by vector.

use super::{Lanes, Vector};
use crate::simd::{Label, Leaders, MergeLeaders, PACKED, rows_of};

/// So many leaders are too many to keep two cells in registers.
const MANY: usize = 8;

/// The leaders of a vector of cells: labels, how often each is there, and how many voxels there are.
///
/// Counts are exact or too low. A label without a count may be any, even one that has another place.
struct Held<V, const K: usize> {
    labels: [V; K],
    counts: [V; K],
    voxels: V,
}

impl<V: Vector, const K: usize> Held<V, K> {
    /// # Safety
    /// Needs the instructions.
    #[inline(always)]
    unsafe fn none() -> Self {
        // SAFETY: the caller has the instructions.
        let zero = unsafe { V::zero() };
        Held { labels: [zero; K], counts: [zero; K], voxels: zero }
    }

    /// Those of the cells behind a place in the row of the first labels.
    ///
    /// # Safety
    /// Needs the instructions; there are so many, and rows are so far apart.
    #[inline(always)]
    unsafe fn load<T>(at: *const T, stride: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mut held = Self::none();
            if K == 2 {
                let (packed, byte) = (V::load(at.add(2 * stride)), V::ones().down::<24>());
                held.labels[0] = V::load(at);
                held.labels[1 % K] = V::load(at.add(stride));
                held.counts[0] = packed.select(byte, V::zero());
                held.counts[1 % K] = packed.down::<{ PACKED[1] }>().select(byte, V::zero());
                held.voxels = packed.down::<{ PACKED[2] }>();
                return held;
            }
            for k in 0..K {
                held.labels[k] = V::load(at.add(k * stride));
                held.counts[k] = V::load(at.add((K + k) * stride));
            }
            held.voxels = V::load(at.add(2 * K * stride));
            held
        }
    }

    /// Sorts by count, the most frequent first.
    ///
    /// # Safety
    /// Needs the instructions.
    #[inline(always)]
    unsafe fn sort<L: Lanes<V = V>>(&mut self) {
        const { assert!(matches!(K, 2 | 3 | 4 | 8)) };
        // SAFETY: the caller has the instructions.
        unsafe {
            macro_rules! sort {
                ($held:ident, $($i:literal $j:literal),*) => {{$($held.exchange::<L>($i % K, $j % K);)*}};
            }
            let held = self;
            match K {
                2 => sort!(held, 0 1),
                3 => sort!(held, 0 2, 0 1, 1 2),
                4 => sort!(held, 0 1, 2 3, 0 2, 1 3, 1 2),
                _ => sort!(
                    held, 0 2, 1 3, 4 6, 5 7, 0 4, 1 5, 2 6, 3 7, 0 1, 2 3, 4 5, 6 7, 2 4, 3 5, 1 4, 3 6, 1 2, 3 4, 5 6
                ),
            }
        }
    }

    /// # Safety
    /// Needs the instructions.
    #[inline(always)]
    unsafe fn exchange<L: Lanes<V = V>>(&mut self, i: usize, j: usize) {
        // SAFETY: the caller has the instructions.
        unsafe {
            let more = L::greater(self.counts[j], self.counts[i]);
            let (a, b) = (self.labels[i], self.labels[j]);
            (self.labels[i], self.labels[j]) = (L::select(more, b, a), L::select(more, a, b));
            let (a, b) = (self.counts[i], self.counts[j]);
            (self.counts[i], self.counts[j]) = (L::larger(a, b), L::lesser(a, b));
        }
    }
}

/// The `K` leaders of cells that are made of others.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "a place of several arrays")]
unsafe fn merged<L: Lanes, const A: usize, const B: usize, const K: usize>(
    mut a: Held<L::V, A>,
    mut b: Held<L::V, B>,
) -> Held<L::V, K> {
    const { assert!(A <= K && B <= K && K <= A + B) };
    // SAFETY: the caller has the instructions.
    unsafe {
        let zero = L::V::zero();
        // Labels without a count may be any.
        let mut counted = [L::greater(zero, zero); A];
        for k in 0..A {
            counted[k] = L::greater(a.counts[k], zero);
        }
        for e in 0..B {
            let mut found = L::greater(zero, zero);
            for k in 0..A {
                let same = L::and(counted[k], L::equal(a.labels[k], b.labels[e]));
                found = L::or(found, same);
                a.counts[k] = L::add(a.counts[k], b.counts[e], same);
            }
            b.counts[e] = L::select(found, zero, b.counts[e]);
        }
        a.sort::<L>();
        b.sort::<L>();
        // The most frequent of two falling series, filled up with nothing: the greater ones of one and the other backwards.
        let mut all = Held { voxels: L::plus(a.voxels, b.voxels), ..Held::none() };
        for k in 0..K {
            if k < A {
                (all.labels[k], all.counts[k]) = (a.labels[k], a.counts[k]);
            }
            let e = K - 1 - k;
            if e < B && k >= A {
                (all.labels[k], all.counts[k]) = (b.labels[e], b.counts[e]);
            } else if e < B {
                let more = L::greater(b.counts[e], a.counts[k]);
                all.labels[k] = L::select(more, b.labels[e], a.labels[k]);
                all.counts[k] = L::larger(b.counts[e], a.counts[k]);
            }
        }
        all
    }
}

/// The cells whose first children stand in the columns from `at` on, row by row.
///
/// # Safety
/// Needs the instructions; there are so many, and rows are so far apart.
#[inline(always)]
unsafe fn columns<L: Lanes, const OF: usize, const K: usize>(
    children: &[Leaders<'_, L::Label>],
    at: usize,
    stride: usize,
) -> Held<L::V, K> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut held = Held::none();
        for (i, rows) in children.chunks(2).enumerate() {
            let pair = pair::<L, OF, K>(rows, at, stride);
            held = if i == 0 { pair } else { merged::<L, K, K, K>(held, pair) };
        }
        held
    }
}

/// Of the first two rows, or of one.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
unsafe fn pair<L: Lanes, const OF: usize, const K: usize>(
    rows: &[Leaders<'_, L::Label>],
    at: usize,
    stride: usize,
) -> Held<L::V, K> {
    // SAFETY: the caller's promise.
    unsafe {
        let first = Held::<L::V, OF>::load(rows[0].rows.as_ptr().add(at), stride);
        let second = match rows.get(1) {
            Some(row) => Held::<L::V, OF>::load(row.rows.as_ptr().add(at), stride),
            None => Held::none(),
        };
        merged::<L, OF, OF, K>(first, second)
    }
}

/// The cells of two columns each.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn side_by_side<L: Lanes, const K: usize>(left: Held<L::V, K>, right: Held<L::V, K>) -> Held<L::V, K> {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (mut even, mut odd) = (Held::none(), Held::<L::V, K>::none());
        for k in 0..K {
            (even.labels[k], odd.labels[k]) = L::part(left.labels[k], right.labels[k]);
            (even.counts[k], odd.counts[k]) = L::part(left.counts[k], right.counts[k]);
        }
        (even.voxels, odd.voxels) = L::part(left.voxels, right.voxels);
        merged::<L, K, K, K>(even, odd)
    }
}

/// The labels of cells whose children are all of one label, and have so many voxels (as these are told in the row of the first counts): most vectors of real
/// volumes have either no such cells or no others.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
unsafe fn uniform<L: Lanes, const OF: usize>(
    children: &[Leaders<'_, L::Label>],
    fx: usize,
    at: usize,
    stride: usize,
    voxels: L::V,
) -> Option<L::V> {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = L::V::BYTES / size_of::<L::Label>();
        let mut labels = [L::V::zero(); 2];
        let mut same = L::equal(voxels, voxels);
        for (half, label) in labels.iter_mut().enumerate().take(fx) {
            let at = fx * at + half * lanes;
            *label = L::V::load(children[0].rows.as_ptr().add(at));
            for row in children {
                let row = row.rows.as_ptr().add(at);
                same = L::and(same, L::equal(*label, L::V::load(row)));
                same = L::and(same, L::equal(voxels, L::V::load(row.add(OF * stride))));
            }
        }
        let [mut label, right] = labels;
        if fx == 2 {
            let (even, odd) = L::part(label, right);
            (label, same) = (even, L::and(same, L::equal(even, odd)));
        }
        L::all(same).then_some(label)
    }
}

/// Merges the leaders of children, of which each has so many, into those of their cells; those are `K`.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn merge<L: Lanes, const OF: usize, const K: usize>(merge: MergeLeaders<'_, L::Label>) {
    let MergeLeaders { children, fx, flip, child, full, out, leaders, mixed, open } = merge;
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let vectors = out.len().div_ceil(lanes);
    let stride = leaders.len() / rows_of(K);
    assert!(fx == 1 || fx == 2);
    let below = children[0].stride();
    assert!(children.iter().all(|row| row.of == OF && row.stride() == below) && below >= fx * vectors * lanes);
    assert!(
        stride >= vectors * lanes
            && stride.is_multiple_of(lanes)
            && 64 * mixed.len().min(open.len()) >= vectors * lanes
    );
    mixed.fill(0);
    open.fill(0);
    assert!(OF > 2 || child.into() < 1 << PACKED[1], "packed counts are bytes");
    // SAFETY: as many vectors are in the rows, by the assertions; the caller has the instructions.
    unsafe {
        let (flip, full) = (L::splat(flip), L::splat(full));
        let voxels = L::splat(L::Label::of(child.into() * (children.len() * fx) as u64));
        let child =
            L::splat(if OF == 2 { L::Label::of(child.into() << PACKED[0] | child.into() << PACKED[2]) } else { child });
        for at in (0..vectors * lanes).step_by(lanes) {
            let held: Held<L::V, K> = if let Some(label) = uniform::<L, OF>(children, fx, at, below, child) {
                let mut held = Held { voxels, ..Held::none() };
                (held.labels[0], held.counts[0]) = (label, voxels);
                held
            } else if fx == 2 && K < MANY {
                let left = columns::<L, OF, K>(children, 2 * at, below);
                let right = columns::<L, OF, K>(children, 2 * at + lanes, below);
                side_by_side::<L, K>(left, right)
            } else {
                // Where cells are few, code that is there once.
                let mut halves = [Held::none(), Held::none()];
                for (half, held) in halves.iter_mut().enumerate().take(fx) {
                    *held = columns::<L, OF, K>(children, fx * at + half * lanes, below);
                }
                let [left, right] = halves;
                if fx == 1 { left } else { side_by_side::<L, K>(left, right) }
            };
            let (mut mode, mut most, mut second) = (held.labels[0], held.counts[0], L::V::zero());
            let mut rest = L::minus(held.voxels, most);
            for k in 1..K {
                let (label, count) = (held.labels[k], held.counts[k]);
                rest = L::minus(rest, count);
                let equal = L::and(L::equal(count, most), L::greater(mode.xor(flip), label.xor(flip)));
                mode = L::select(L::or(L::greater(count, most), equal), label, mode);
                second = L::larger(second, L::lesser(most, count));
                most = L::larger(most, count);
            }
            // The others may all be of the second label, or of another one, which may be as frequent as the first.
            let decided = L::greater(L::minus(most, second), rest);
            let whole = L::equal(rest, L::V::zero());
            let lead = L::bits(L::or(decided, whole));
            let all = u64::MAX >> (64 - lanes);
            open[at / 64] |= (lead ^ all) << (at % 64);
            let uniform = L::or(L::equal(most, full), L::equal(held.voxels, L::V::zero()));
            mixed[at / 64] |= (L::bits(uniform) ^ all) << (at % 64);
            for k in 0..K {
                held.labels[k].store(leaders.as_mut_ptr().add(k * stride + at));
                held.counts[k].store(leaders.as_mut_ptr().add((K + k) * stride + at));
            }
            held.voxels.store(leaders.as_mut_ptr().add(2 * K * stride + at));
            if at + lanes <= out.len() {
                mode.store(out.as_mut_ptr().add(at));
            } else {
                let mut last = [L::Label::default(); 64];
                mode.store(last.as_mut_ptr());
                let left = out.len() - at;
                out[at..].copy_from_slice(&last[..left]);
            }
        }
    }
    for row in leaders.chunks_exact_mut(stride) {
        row[vectors * lanes..].fill(L::Label::default());
    }
}
