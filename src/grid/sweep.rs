//! The sweep: panels of the input taken up through the levels, child by child in address order, tile by tile.

use super::{Edge, Grid};
use crate::pool;
use crate::simd::tiles::{Tile, Tiles};
use crate::simd::views::{Span, Voxel};
use std::sync::atomic::{AtomicBool, Ordering};

/// One panel of level k - 1 on its way into a panel of level k.
#[derive(Clone, Copy, Debug, Default)]
pub struct Child {
    /// Its number among the children of a full cell, the first child axis fastest.
    pub number: usize,
    /// Whether it is the first.
    pub first: bool,
    /// Whether it is the last, so that the panel of level k is complete.
    pub last: bool,
    /// How often it counts: 2 for every mirrored child axis along which it stands alone.
    pub weight: usize,
}

/// The most panels of the input that are taken up at once: those of all cells of two slices along up to three axes.
pub const SIBLINGS: usize = 8;

/// The way of panels of the input through the levels: into the pending panel of level 1, on to level 2 if that is complete
/// by them, and so on.
#[derive(Clone, Copy, Debug)]
pub struct Ascent<'a> {
    /// The panels of the input, children of one panel of level 1: number among the children of a full cell, and region.
    pub siblings: &'a [(usize, Vec<Span>)],
    /// The panel of each level; of the input, the last of the siblings.
    pub regions: &'a [Vec<Span>],
    /// How panel k enters level k + 1, for the levels that are reached: all but the last of them are the last child. Siblings
    /// are one child here.
    pub children: &'a [Child],
}

impl Ascent<'_> {
    /// How many levels are complete by these panels; they are the first ones.
    pub fn completed(&self) -> usize {
        self.children.iter().filter(|child| child.last).count()
    }
}

/// What is kept of the voxels between the levels.
pub trait Pooling<T>: Sync {
    /// A thread's panels.
    type Panels: Send;
    /// Memory for a thread.
    fn panels(&self) -> Self::Panels;
    /// Takes up panels of the input, and completes and writes what they are the last part of.
    fn take(&self, panels: &mut Self::Panels, ascent: Ascent<'_>, tile: &mut Tile<'_, T>);
}

/// The caller asked to stop.
#[derive(Debug)]
pub struct Interrupted;

impl Grid {
    /// Makes all tiles with up to `threads` threads. `interrupted` is asked now and then, on the calling thread only.
    ///
    /// # Errors
    /// [`Interrupted`] if it said so; the outputs are then unfinished.
    pub fn run<T: Voxel, P: Pooling<T>>(
        &self,
        pooling: &P,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let stopped = AtomicBool::new(false);
        let work = |pause: &dyn Fn()| {
            let pause = || {
                pause();
                stopped.load(Ordering::Relaxed)
            };
            let mut tile = tiles.worker();
            let mut panels = None;
            let mut walk = Walk {
                regions: vec![vec![Span::default(); self.axes.len()]; self.levels() + 1],
                children: vec![Child::default(); self.levels()],
                siblings: vec![(0, vec![Span::default(); self.axes.len()]); SIBLINGS],
            };
            while !pause() && tile.advance() {
                let last = self.levels();
                for ((span, axis), &at) in walk.regions[last].iter_mut().zip(&self.axes).zip(tile.at()) {
                    let start = at * axis.tile;
                    *span = Span { start, len: axis.tile.min(axis.extents[last] - start) };
                }
                let panels = panels.get_or_insert_with(|| pooling.panels());
                if self.sweep(pooling, panels, &mut walk, last, &mut tile, &pause).is_err() {
                    return;
                }
            }
        };
        let own = || {
            if interrupted() {
                stopped.store(true, Ordering::Relaxed);
            }
        };
        pool::share(threads, &|| work(&pool::give_way), || work(&own));
        if stopped.into_inner() { Err(Interrupted) } else { Ok(()) }
    }

    /// Makes the pending panel of `level`, child by child in address order, unless `stopped` says to end.
    fn sweep<T: Voxel, P: Pooling<T>>(
        &self,
        pooling: &P,
        panels: &mut P::Panels,
        walk: &mut Walk,
        level: usize,
        tile: &mut Tile<'_, T>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let below = level - 1;
        let lined_up = &self.children[below];
        let (mut count, mut weight) = (1, 1);
        for (a, axis) in self.axes.iter().enumerate() {
            let (factor, extent) = (axis.factors[below], axis.extents[below]);
            let Span { start, len } = walk.regions[level][a];
            let len = if axis.inside >= level { len * factor } else { 1 };
            walk.regions[below][a] = Span { start: start * factor, len: len.min(extent - start * factor) };
        }
        for &a in lined_up {
            let (factor, left) = (self.axes[a].factors[below], self.left(walk, a, below));
            count *= factor.min(left);
            if self.edge == Edge::Mirrored && left < factor {
                weight *= 2;
            }
        }
        for i in 0..count {
            let (mut rest, mut number, mut step) = (i, 0, 1);
            for &a in lined_up {
                let (factor, first) = (self.axes[a].factors[below], walk.regions[level][a].start);
                let existing = factor.min(self.axes[a].extents[below] - first * factor);
                walk.regions[below][a].start = first * factor + rest % existing;
                number += step * (rest % existing);
                (rest, step) = (rest / existing, step * factor);
            }
            // A cell may be the whole volume: look up between its children too.
            if i > 0 && stopped() {
                return Err(Interrupted);
            }
            let (first, last) = (i == 0, i + 1 == count);
            if below > 0 {
                walk.children[below] = Child { number, first, last, weight };
                self.sweep(pooling, panels, walk, below, tile, stopped)?;
                continue;
            }
            let place = i % SIBLINGS;
            walk.siblings[place].0 = number;
            walk.siblings[place].1.copy_from_slice(&walk.regions[0]);
            if last || place + 1 == SIBLINGS {
                walk.children[0] = Child { number: 0, first: i < SIBLINGS, last, weight };
                let lasts = walk.children.iter().take_while(|child| child.last).count();
                let children = &walk.children[..(lasts + 1).min(self.levels())];
                let siblings = &walk.siblings[..=place];
                pooling.take(panels, Ascent { siblings, regions: &walk.regions, children }, tile);
            }
        }
        Ok(())
    }

    /// How many voxels of level `below` there are along axis `a` from the first child on.
    fn left(&self, walk: &Walk, a: usize, below: usize) -> usize {
        self.axes[a].extents[below] - walk.regions[below][a].start
    }
}

/// Where a thread is in its sweep: the pending panel of every level, and which child of its parent each is.
struct Walk {
    regions: Vec<Vec<Span>>,
    children: Vec<Child>,
    /// Panels of the input that wait to be taken up together.
    siblings: Vec<(usize, Vec<Span>)>,
}
