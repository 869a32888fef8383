//! Shapes, and nothing but shapes: how a call walks through its voxels.
//!
//! A call is a chain of *levels*: level 0 is the input, each further level divides the extents by a factor per axis.
//! [`Grid::new`] brings any rank, order and channel layout into one canonical form: axes in address order,
//! axes of extent one dropped, neighbours merged where nothing can tell. Axis 0 of the result is called x: it runs
//! along the rows; axis 1 is y.
//!
//! [`Grid::run`] makes all levels in one sweep over the input. The outputs are cut into tiles, each a few cells of
//! the last level; a thread makes a tile by recursion: a panel of level k is folded from its children, panels of level
//! k - 1, one after the other in address order, while they are in cache. A panel spans rows of x and y, so that the
//! input is read in long runs; slices along the other axes are children, and so are x and y themselves where a cell is
//! too large to be one panel. What a level keeps of its children (sums, or the labels themselves) is the
//! business of a [`Pooling`].

use crate::pool;
use crate::simd::tiles::Target;
use crate::simd::views::{Extent, Span};

mod sweep;

pub use sweep::{Ascent, Child, Interrupted, Pooling, SIBLINGS};

/// Bytes of state for a row of the input in a panel, at least and at most, where factors allow: in whole rows the memory is read
/// in the order of its addresses, and the rows of a panel have to stay in the second cache.
const ROW: (usize, usize) = (8 << 10, 64 << 10);
/// Voxels along a row that are still folded as part of a panel; longer cells are children.
const REACH: usize = 4096;
/// Rows of the input in a panel that spans several levels.
const ROWS: usize = 32;
/// Bytes of the first level's state in a panel: few enough for the second cache, and many, because every panel costs the
/// same for its regions, and while the levels above are made of it nothing is asked of the memory.
pub const PANEL: usize = 128 << 10;
/// An innermost axis shorter than this (interleaved channels) does not make rows: the next axis is gathered into some.
const SHORT: usize = 8;
/// Bytes of an output that no cache will hold until it is used: it is written past them.
const STREAM: usize = 4 << 20;
/// Bytes of input that pay for waking one thread.
const GRAIN: usize = 1 << 20;

/// Whether a lone trailing voxel counts twice or a smaller cell has fewer voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It is mirrored: every cell of a level weighs the same. Factors are 1 or 2.
    Mirrored,
    /// Cells hold the voxels that exist.
    Existing,
}

/// An axis of a call.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Which axis of the array it was (the first, if several were merged): its place in raster order.
    pub raster: usize,
    /// Extent at each level.
    pub extents: Vec<usize>,
    /// `factors[k]` leads from level k to level k + 1.
    pub factors: Vec<usize>,
    /// Byte stride in the input.
    source: isize,
    /// Byte strides in the outputs.
    targets: Vec<isize>,
    /// Up to this level its cells lie inside a panel; beyond they are children.
    inside: usize,
    /// Cells of the last level in a tile.
    tile: usize,
}

impl Axis {
    /// Product of the factors up to `level`; saturates, which is beyond any extent.
    pub fn reach(&self, level: usize) -> usize {
        self.factors[..level].iter().fold(1, |reach, &f| reach.saturating_mul(f))
    }

    /// How many voxels of the input exist along it in the cell of `level` at `index`.
    pub fn existing(&self, level: usize, index: usize) -> usize {
        let reach = self.reach(level);
        reach.min(self.extents[0] - index * reach)
    }

    /// Cells of `level` along this axis in a panel.
    fn panel(&self, level: usize) -> usize {
        let cells = self.factors[level.min(self.inside)..self.inside].iter().product::<usize>();
        if self.inside == self.factors.len() { cells * self.tile } else { cells }
    }
}

/// An array as it lies in memory: axis 0 first, strides in bytes.
#[derive(Clone, Debug)]
pub struct Array {
    /// First voxel.
    pub origin: *mut u8,
    /// Axes.
    pub axes: Vec<Extent>,
}

/// See [`Grid::amounts`].
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    /// In all columns of a panel but the last, and in that.
    pub x: (u128, u128),
    /// The same of its rows.
    pub y: (u128, u128),
    /// Along the other axes.
    pub rest: u128,
}

/// What takes how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// A voxel.
    pub voxel: usize,
    /// What a pooling keeps of it.
    pub state: usize,
    /// The first level's state in a panel, at most: [`PANEL`], or less.
    pub panel: usize,
}

/// The canonical shape of a call.
#[derive(Debug)]
pub struct Grid {
    axes: Vec<Axis>,
    /// The level that each output takes.
    outputs: Vec<usize>,
    /// Size of a voxel in bytes.
    voxel: usize,
    /// For each level but 0: the axes whose cells are children.
    children: Vec<Vec<usize>>,
    edge: Edge,
}

impl Grid {
    /// The shape of a call that divides `source` by `factors[k]` (a factor per axis) on the way from level k to
    /// k + 1 and writes level `outputs[i]` to `targets[i]`. There is at least one level, and no extent is 0.
    pub fn new(
        source: &Array,
        targets: &[Array],
        outputs: Vec<usize>,
        factors: &[Vec<usize>],
        edge: Edge,
        bytes: Bytes,
    ) -> Self {
        let voxel = bytes.voxel;
        let mut axes: Vec<Axis> = (0..source.axes.len())
            .map(|a| {
                let mut extents = vec![source.axes[a].len];
                let mut reduced = Vec::with_capacity(factors.len());
                for level in factors {
                    let extent = extents[extents.len() - 1];
                    // No cell is larger than the axis; where it is one voxel, there is nothing to reduce.
                    reduced.push(level[a].min(if edge == Edge::Mirrored && extent > 1 { 2 } else { extent }));
                    extents.push(extent.div_ceil(level[a]));
                }
                Axis {
                    raster: a,
                    extents,
                    factors: reduced,
                    source: source.axes[a].stride,
                    targets: targets.iter().map(|t| t.axes[a].stride).collect(),
                    inside: factors.len(),
                    tile: 1,
                }
            })
            .filter(|axis| axis.extents[0] > 1)
            .collect();
        // An axis of stride 0 repeats what lies along the others: where it belongs, its outputs say.
        axes.sort_by_key(|axis| match (axis.source, axis.targets.first()) {
            (0, Some(target)) => (target.unsigned_abs(), false),
            (source, _) => (source.unsigned_abs(), true),
        });
        merge(&mut axes, &outputs);
        if axes.len() > 1 && axes[0].extents[0] < SHORT && axes[1].extents[0] >= 4 * axes[0].extents[0] {
            axes.swap(0, 1);
        }
        while axes.len() < 2 {
            axes.push(Axis {
                raster: usize::MAX,
                extents: vec![1; factors.len() + 1],
                factors: vec![1; factors.len()],
                source: voxel as isize,
                targets: vec![voxel as isize; targets.len()],
                inside: factors.len(),
                tile: 1,
            });
        }
        let mut grid = Grid { axes, outputs, voxel, children: Vec::new(), edge };
        grid.cut(bytes);
        grid
    }

    /// Chooses panels and tiles.
    fn cut(&mut self, Bytes { state, panel, .. }: Bytes) {
        let levels = self.levels();
        let direct = self.axes[0].source == self.voxel as isize;
        for (a, axis) in self.axes.iter_mut().enumerate() {
            let room = if a == 0 { REACH } else { ROWS };
            axis.inside = match a {
                // Rows that lie as they should are lent, however long a cell of the first level is.
                0 | 1 => (0..=levels).rev().find(|&l| axis.reach(l) <= room || (a == 0 && l == 1 && direct)),
                _ => None,
            }
            .unwrap_or(0);
        }
        // A single row is a panel.
        let rows = self.axes[1].panel(1);
        let row = if self.axes[1].extents[0] == 1 { panel } else { (2 * panel / rows).clamp(ROW.0, ROW.1) };
        let x = &mut self.axes[0];
        if x.inside == levels {
            x.tile = (row / state / x.reach(levels)).clamp(1, x.extents[levels]);
        }
        let width = x.panel(1).min(x.extents[1]) * state;
        let y = &mut self.axes[1];
        if y.inside == levels {
            y.tile = (panel / width / y.panel(1)).clamp(1, y.extents[levels]);
        }
        self.children = (0..levels)
            .map(|k| {
                (0..self.axes.len()).filter(|&a| self.axes[a].factors[k] > 1 && self.axes[a].inside <= k).collect()
            })
            .collect();
    }

    /// Number of levels above the input.
    pub fn levels(&self) -> usize {
        self.axes[0].factors.len()
    }

    /// The axes: x, y, then the others in address order.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The axes along which the children of a panel of `level` (1 is the first) are lined up.
    pub fn children(&self, level: usize) -> &[usize] {
        &self.children[level - 1]
    }

    /// How many voxels of `level - 1` along x (axis 0) or y (axis 1) make a cell of `level` inside a panel.
    pub fn inner_factor(&self, axis: usize, level: usize) -> usize {
        let axis = &self.axes[axis];
        if level <= axis.inside { axis.factors[level - 1] } else { 1 }
    }

    /// Something that only the last cell of an axis has another amount of, for the panel at `region`: along x and y in the first and in
    /// the last cell, and the product along the others.
    pub fn amounts(&self, region: &[Span], of: impl Fn(&Axis, usize) -> u128) -> Amounts {
        let mut ends = [(1, 1); 2];
        let mut rest = 1;
        for (a, (axis, span)) in self.axes.iter().zip(region).enumerate() {
            let first = of(axis, span.start);
            match ends.get_mut(a) {
                Some(end) => *end = (first, of(axis, span.start + span.len - 1)),
                None => rest *= first,
            }
        }
        Amounts { x: ends[0], y: ends[1], rest }
    }

    /// How cells at the edge count.
    pub fn edge(&self) -> Edge {
        self.edge
    }

    /// The input's axes in the grid's order.
    pub fn source_axes(&self) -> Vec<Extent> {
        self.axes.iter().map(|axis| Extent { len: axis.extents[0], stride: axis.source }).collect()
    }

    /// The outputs, cut into tiles, and how many tiles lie along each axis.
    pub fn cut_targets(&self, targets: &[Array]) -> (Vec<Target>, Vec<usize>) {
        let last = self.levels();
        let targets = targets.iter().zip(&self.outputs).enumerate().map(|(i, (target, &level))| {
            let tile = |a: &Axis| a.factors[level..].iter().fold(a.tile, |tile, &f| tile.saturating_mul(f));
            let axes: Vec<Extent> =
                self.axes.iter().map(|a| Extent { len: a.extents[level], stride: a.targets[i] }).collect();
            Target {
                origin: target.origin,
                tile: self.axes.iter().map(tile).collect(),
                streams: axes.iter().map(|axis| axis.len).product::<usize>().saturating_mul(self.voxel) >= STREAM,
                axes,
            }
        });
        (targets.collect(), self.axes.iter().map(|a| a.extents[last].div_ceil(a.tile)).collect())
    }

    /// Which output, if any, is made of `level`.
    pub fn output(&self, level: usize) -> Option<usize> {
        self.outputs.iter().position(|&l| l == level)
    }

    /// Threads that are worth waking for `voxels` of `size` bytes, out of `wanted` (0: all this process may use).
    pub fn threads(wanted: usize, voxels: usize, size: usize, tiles: usize) -> usize {
        let worth = (voxels.saturating_mul(size) / GRAIN).min(tiles).max(1);
        if worth == 1 || wanted == 1 { 1 } else { worth.min(if wanted == 0 { pool::cores() } else { wanted }) }
    }
}

/// Merges neighbours that lie behind one another in all arrays, where the upper one is not pooled and all cells of the
/// lower one are full: nothing can tell them from one axis.
fn merge(axes: &mut Vec<Axis>, outputs: &[usize]) {
    let mut a = 0;
    while a + 1 < axes.len() {
        let (low, high) = (&axes[a], &axes[a + 1]);
        let behind = |level: usize, stride: isize, next: isize| {
            isize::try_from(low.extents[level]).ok().and_then(|len| stride.checked_mul(len)) == Some(next)
        };
        let merges = high.factors.iter().all(|&f| f == 1)
            && low.extents[0] % low.reach(low.factors.len()) == 0
            && behind(0, low.source, high.source)
            && outputs.iter().enumerate().all(|(i, &level)| behind(level, low.targets[i], high.targets[i]));
        if merges {
            let high = axes.remove(a + 1);
            axes[a].extents.iter_mut().for_each(|extent| *extent *= high.extents[0]);
        } else {
            a += 1;
        }
    }
}
