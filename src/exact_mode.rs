//! Exact mode pooling: of every cell the most frequent label of the input, at every mip and by any factor; ties go to the least.
//!
//! Most cells of real volumes are uniform for several mips, and merge without a look at anything but their label, which is compared along
//! whole rows. Of the others, small ones are decided by looking at the voxels, on every level that has such cells: in vectors of cells (up to
//! [`FEW`] voxels), or cell by cell ([`crate::look`]). Where cells grow beyond [`LOOK`] voxels, those of more than [`PIECE`] carry lists of their
//! labels with counts, which are added up from level to level. Lists live for the panels that are pending, a few for every level, so that memory is
//! bounded by what the cells of a tile hold.

use crate::grid::{Amounts, Array, Ascent, Axis, Bytes, Edge, Grid, Interrupted, Pooling};
use crate::leaders::{self, Begin, Children, Merge};
use crate::look::{LOOK, Look, Settle, Work};
use crate::mixed::{ChildRow, DecideFew, FEW, FindMixed, Flags, merge, places};
use crate::simd::tiles::{Tile, Tiles};
use crate::simd::views::{Panel, PanelMut, Source, Span};
use crate::simd::{Backend, Label, PIECE, Told};
use crate::tally::{Lists, Tally};

/// Bytes of a panel: lists of random labels have to stay in the second cache too.
const LISTED: usize = 48 << 10;
/// Primes are looked for up to here.
const LARGE: usize = 64;
/// Slices of a cell that is looked at, at most.
const SLICES: usize = 64;

/// The shape of a call of exact mode pooling.
pub struct Plan {
    /// How it walks: a level for every step.
    pub grid: Grid,
    /// Whether background is not counted.
    pub sparse: bool,
    /// Whether labels are signed numbers, which decides ties.
    pub signed: bool,
    /// Cells of so many levels are decided by looking at their voxels.
    looks: usize,
    /// The same, and the level of the smallest cells that may carry lists, where cells have leaders.
    leads: Option<(usize, usize)>,
}

impl Plan {
    /// The plan for `mips` mips of `source`, labels of `size` bytes, by `factor` (an entry per axis).
    pub fn new(
        source: &Array,
        targets: &[Array],
        factor: &[usize],
        mips: usize,
        sparse: bool,
        signed: bool,
        size: usize,
    ) -> Self {
        let (mut factors, mut outputs) = (Vec::new(), Vec::new());
        let mut extents: Vec<usize> = source.axes.iter().map(|axis| axis.len).collect();
        // Where cells grow too large to be looked at.
        let furthest = |(&f, &extent): (&usize, &usize)| f.saturating_pow(mips as u32).min(extent);
        let lists = factor.iter().zip(&extents).map(furthest).fold(1, usize::saturating_mul) > LOOK;
        for _ in 0..mips {
            factors.extend(steps(factor, &mut extents, lists));
            if factors.len() == outputs.last().copied().unwrap_or(0) {
                factors.push(vec![1; factor.len()]);
            }
            outputs.push(factors.len());
        }
        outputs.truncate(targets.len());
        // In the worst case, an entry for every voxel. Narrower tiles would need less memory then, but rows have their price.
        let bytes = Bytes { voxel: size, state: size + size_of::<u64>(), panel: LISTED };
        let grid = Grid::new(source, targets, outputs, &factors, Edge::Existing, bytes);
        // Where larger cells need lists, these are made of small ones with less work.
        let levels = |voxels| (1..=grid.levels()).take_while(|&level| looked_at(&grid, level, voxels)).count();
        let looks = |voxels| if levels(voxels) == grid.levels() { grid.levels() } else { levels(PIECE) };
        let halves = (1..=grid.levels()).all(|level| grid.inner_factor(0, level) <= 2);
        let few = reach(&grid, 1) <= FEW && levels(PIECE) > 1 && grid.levels() > 1;
        let leads = (halves && few && leaders::fit(size)).then(|| (looks(leaders::LED), levels(PIECE)));
        let looks = looks(LOOK);
        Plan { grid, sparse, signed, looks, leads }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Interrupted`] if `interrupted` said so.
    pub fn run<T: Label>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let leads = self.leads.filter(|_| backend.has_vectors());
        self.grid.run(&ExactModes { plan: self, backend, source, leads }, tiles, threads, interrupted)
    }
}

/// Whether cells of a level can be looked at: if they have no more voxels than that, lie within a panel of each slice, and not of so many slices that these would be
/// much to keep, where they are gathered.
fn looked_at(grid: &Grid, level: usize, voxels: usize) -> bool {
    let reach = |axes: &[Axis]| axes.iter().fold(1, |all: usize, axis| all.saturating_mul(axis.reach(level)));
    let (panel, slices) = grid.axes().split_at(2);
    reach(grid.axes()) <= voxels
        && reach(slices) <= SLICES
        && reach(panel) == within(grid, 0, level) * within(grid, 1, level)
}

/// Voxels in a cell of a level, at most.
fn reach(grid: &Grid, level: usize) -> usize {
    grid.axes().iter().fold(1, |all: usize, axis| all.saturating_mul(axis.reach(level)))
}

/// How many columns (axis 0) or rows (axis 1) of the input make a cell of `level` inside a panel.
fn within(grid: &Grid, axis: usize, level: usize) -> usize {
    (1..=level).map(|level| grid.inner_factor(axis, level)).product()
}

/// A factor in steps of up to [`PIECE`] children, unless its prime factors are larger. Cells of one step lie within those of the next, so that even
/// large ones are made of few children each.
///
/// The first step is the smallest one: vectors of cells decide it, and the next ones have less to read. But where lists are needed, they are made of
/// pieces, so that the first step is the largest.
fn steps(factor: &[usize], extents: &mut [usize], lists: bool) -> Vec<Vec<usize>> {
    let mut primes = prime_steps(factor, extents);
    if !lists {
        primes.reverse();
    }
    let mut steps: Vec<(Vec<usize>, usize)> = Vec::new();
    for (step, children) in primes {
        match steps.last_mut() {
            Some((last, all)) if children.saturating_mul(*all) <= PIECE => {
                last.iter_mut().zip(&step).for_each(|(last, &by)| *last *= by);
                *all *= children;
            }
            _ => steps.push((step, children)),
        }
    }
    if !lists {
        steps.reverse();
    }
    steps.into_iter().map(|(step, _)| step).collect()
}

/// A factor in steps of its prime factors, small ones first, and how many children the cells of each step have. Leaves out what axes of one voxel have no
/// use for.
fn prime_steps(factor: &[usize], extents: &mut [usize]) -> Vec<(Vec<usize>, usize)> {
    let mut rest = factor.to_vec();
    let mut steps = Vec::new();
    while rest.iter().zip(&*extents).any(|(&f, &extent)| f > 1 && extent > 1) {
        // Large primes are rare, and not worth finding.
        let step: Vec<usize> =
            rest.iter().map(|&f| (2..=LARGE).find(|prime| f.is_multiple_of(*prime)).unwrap_or(f)).collect();
        let children = step.iter().zip(&*extents).map(|(&by, &extent)| by.min(extent));
        let children = children.fold(1, usize::saturating_mul);
        rest.iter_mut().zip(&step).for_each(|(f, &by)| *f /= by);
        extents.iter_mut().zip(&step).for_each(|(extent, &by)| *extent = extent.div_ceil(by));
        steps.push((step, children));
    }
    steps
}

/// The pooling: keeps the cells of all children until the last has come.
struct ExactModes<'a, T> {
    plan: &'a Plan,
    backend: Backend,
    source: Source<'a, T>,
    leads: Option<(usize, usize)>,
}

/// A thread's cells.
struct Levels<T> {
    levels: Vec<Level<T>>,
    flags: Flags,
    work: Work<T>,
    scattered: Vec<T>,
}

/// The pending panel of a level.
struct Level<T> {
    children: Vec<Tallied<T>>,
    /// How many of them have come.
    come: usize,
    /// The finished panel, for the level above.
    tallied: Tallied<T>,
}

/// A panel of cells; or of the input, that is, with nothing but its voxels.
#[derive(Default)]
struct Tallied<T> {
    region: Vec<Span>,
    modes: Vec<T>,
    /// A bit for every cell, row by row, 64 to a word: set where it is not uniform.
    mixed: Vec<u64>,
    /// The voxels, where the level above looks at them.
    inputs: Vec<Input<T>>,
    /// The lists of the cells that are not uniform, where it does not, and how many there are before each row.
    lists: Lists<T>,
    before: Vec<usize>,
    /// Where cells have leaders: these, row by row, how many there are of each cell, and whether its mixed cells have lists.
    leaders: Vec<T>,
    of: usize,
    listed: bool,
}

/// A panel of the input.
struct Input<T> {
    region: Vec<Span>,
    /// If its rows cannot be lent as they lie.
    gathered: Option<Vec<T>>,
}

impl<T: Label> Pooling<T> for ExactModes<'_, T> {
    type Panels = Levels<T>;

    fn panels(&self) -> Levels<T> {
        let level = |_| Level { children: Vec::new(), come: 0, tallied: Tallied::default() };
        let Plan { grid, sparse, signed, .. } = self.plan;
        Levels {
            levels: (1..=grid.levels()).map(level).collect(),
            flags: Flags::default(),
            work: Work::new(Tally::new(self.backend, *signed), *signed, *sparse),
            scattered: Vec::new(),
        }
    }

    fn take(&self, panels: &mut Levels<T>, ascent: Ascent<'_>, tile: &mut Tile<'_, T>) {
        for (_, region) in ascent.siblings {
            self.absorb(panels, 1, region);
        }
        for (k, child) in ascent.children.iter().enumerate() {
            if k > 0 {
                self.absorb(panels, k + 1, &ascent.regions[k]);
            }
            if child.last {
                self.finish(panels, k + 1, &ascent.regions[k + 1], tile);
            }
        }
    }
}

impl<T: Label> ExactModes<'_, T> {
    /// Takes up the panel at `region` of level `level - 1` into the pending panel of `level`.
    fn absorb(&self, panels: &mut Levels<T>, level: usize, region: &[Span]) {
        let (lower, upper) = panels.levels.split_at_mut(level - 1);
        let Level { children, come, .. } = &mut upper[0];
        if *come == children.len() {
            children.push(Tallied::default());
        }
        let child = &mut children[*come];
        *come += 1;
        match lower.last_mut() {
            None => {
                let mut gathered = Vec::new();
                let lent = self.source.lend(region).is_some();
                if !lent {
                    self.source.gather(self.backend, region, &mut gathered);
                }
                child.inputs.push(Input { region: region.to_vec(), gathered: (!lent).then_some(gathered) });
            }
            Some(below) => std::mem::swap(&mut below.tallied, child),
        }
        child.region.clear();
        child.region.extend_from_slice(region);
    }

    /// Ends the pending panel of `level`, which is `region`, and writes it.
    fn finish(&self, panels: &mut Levels<T>, level: usize, region: &[Span], tile: &mut Tile<'_, T>) {
        let Plan { grid, looks, .. } = self.plan;
        let Levels { levels, flags, work, scattered } = panels;
        let Level { children, come, tallied } = &mut levels[level - 1];
        let children = &mut children[..std::mem::take(come)];
        let inputs: Vec<_> = children.iter_mut().flat_map(|child| std::mem::take(&mut child.inputs)).collect();
        let voxels: Vec<Panel<'_, T>> = inputs.iter().map(|input| self.open(input)).collect();
        let opened: Vec<_> = match level {
            1 => voxels.iter().map(|&panel| Opened { panel, tallied: None, voxels: [(1, 1); 2] }).collect(),
            _ if self.leads.is_some() && !children.iter().all(|child| child.listed) => Vec::new(),
            _ => children.iter().map(|child| self.cells(level - 1, child)).collect(),
        };
        let goes_on = level < grid.levels();
        if let Some((looks, lists)) = self.leads {
            let led = Led { modes: self, level, children, opened: &opened, voxels: &voxels, flags, work, looks, lists };
            match grid.output(level) {
                Some(mip) => tile.write(mip, region, scattered, |out| led.decide(out, tallied)),
                None => {
                    let mut modes = std::mem::take(&mut tallied.modes);
                    modes.resize(region[0].len * region[1].len, T::ZERO);
                    led.decide(&mut PanelMut::dense(&mut modes, region[0].len), tallied);
                    if !tallied.listed {
                        tallied.modes = modes;
                    }
                }
            }
            // Where every cell has a list, nobody looks at voxels.
            tallied.inputs = if tallied.listed && looks < grid.levels() { Vec::new() } else { inputs };
            return;
        }
        let carry = if goes_on {
            let lists = (level >= *looks).then_some(&mut tallied.lists);
            Some(Carry { mixed: &mut tallied.mixed, before: &mut tallied.before, lists })
        } else {
            None
        };
        let rows = Rows { plan: self.plan, backend: self.backend, level, opened: &opened, voxels: &voxels };
        let (cols, modes) = (region[0].len, &mut tallied.modes);
        match grid.output(level) {
            Some(mip) => tile.write(mip, region, scattered, |out| {
                if goes_on {
                    out.keep();
                }
                rows.decide(out, carry, flags, work);
                if goes_on {
                    modes.clear();
                    (0..out.rows()).for_each(|j| modes.extend_from_slice(out.row_mut(j).voxels));
                }
            }),
            None => {
                modes.resize(cols * region[1].len, T::ZERO);
                rows.decide(&mut PanelMut::dense(modes, cols), carry, flags, work);
            }
        }
        tallied.inputs = if level >= *looks { Vec::new() } else { inputs };
    }

    /// The voxels of a panel of the input.
    fn open<'c>(&'c self, input: &'c Input<T>) -> Panel<'c, T> {
        let Input { region, gathered } = input;
        let lend = || self.source.lend(region).expect("as it was lent before");
        gathered.as_ref().map_or_else(lend, |voxels| Panel::dense(voxels, region[0].len))
    }

    /// A panel of cells of `level`, to be read.
    fn cells<'c>(&'c self, level: usize, tallied: &'c Tallied<T>) -> Opened<'c, T> {
        let panel = Panel::dense(&tallied.modes, tallied.region[0].len);
        let Amounts { x, y, rest } =
            self.plan.grid.amounts(&tallied.region, |axis, index| axis.existing(level, index) as u128);
        let voxels = [y.0, y.1].map(|y| ((rest * y * x.0) as u64, (rest * y * x.1) as u64));
        Opened { panel, tallied: Some(tallied), voxels }
    }
}

/// A child panel to be read.
struct Opened<'a, T> {
    panel: Panel<'a, T>,
    /// Nothing for the input.
    tallied: Option<&'a Tallied<T>>,
    /// Voxels in each cell of a row but the last, and in that; of all rows but the last, and of that.
    voxels: [(u64, u64); 2],
}

impl<'a, T: Label> Opened<'a, T> {
    /// Row `j`, with the bits and the lists of its cells.
    fn row(&self, j: usize) -> ChildRow<'a, T> {
        let (labels, voxels) = (self.panel.row(j), self.voxels[usize::from(j + 1 == self.panel.rows())]);
        match self.tallied {
            None => ChildRow { labels, mixed: &[], lists: None, next: 0, voxels },
            Some(tallied) => {
                let words = tallied.mixed.len() / self.panel.rows();
                let mixed = &tallied.mixed[j * words..(j + 1) * words];
                let next = tallied.before.get(j).copied().unwrap_or(0);
                ChildRow { labels, mixed, lists: Some(&tallied.lists), next, voxels }
            }
        }
    }
}

/// What the level above needs to know of a panel besides its modes.
struct Carry<'a, T> {
    mixed: &'a mut Vec<u64>,
    /// Unless it looks at the voxels:
    lists: Option<&'a mut Lists<T>>,
    before: &'a mut Vec<usize>,
}

/// The rows of a panel of cells.
struct Rows<'a, T> {
    plan: &'a Plan,
    backend: Backend,
    level: usize,
    /// The children.
    opened: &'a [Opened<'a, T>],
    /// The voxels, if they are looked at.
    voxels: &'a [Panel<'a, T>],
}

impl<T: Label> Rows<'_, T> {
    /// Decides all of them.
    fn decide(&self, out: &mut PanelMut<'_, T>, carry: Option<Carry<'_, T>>, flags: &mut Flags, work: &mut Work<T>) {
        let Rows { plan: Plan { grid, sparse, signed, looks, .. }, backend, level, opened, voxels } = *self;
        let (fx, fy) = (grid.inner_factor(0, level), grid.inner_factor(1, level));
        let (width, height, words) = (within(grid, 0, level), within(grid, 1, level), out.cols().div_ceil(64));
        let mut carry = carry.map(|carry| carry.clear(out.rows() * words));
        let cell = |j: usize, fy: usize, rows: usize| j * fy..((j + 1) * fy).min(rows);
        let (mut lines, mut labels, mut bits, mut rows, mut inputs) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        for j in 0..out.rows() {
            lines.clear();
            for Opened { panel, .. } in opened {
                let cell = cell(j, fy, panel.rows());
                lines.extend(cell.clone().map(|y| panel.line(y, cell.start, cell.len(), opened.len())));
            }
            // Unless lists are due, which small cells at the edges of larger ones need too.
            let listed = carry.as_ref().is_some_and(|carry| carry.lists.is_some());
            let small = level == 1 && fx <= 2 && matches!(fx * lines.len(), 2 | 4 | FEW);
            if !listed && small {
                let mixed = carry.as_mut().map_or(&mut [][..], |carry| &mut carry.mixed[j * words..(j + 1) * words]);
                let (lines, sparse, signed) = (&lines[..], *sparse, *signed);
                let told = Told { mixed, leaders: &mut [] };
                backend.run(DecideFew { lines, fx, signed, sparse, out: out.row_mut(j), told });
                continue;
            }
            labels.clear();
            labels.extend(lines.iter().map(|line| line.voxels));
            bits.clear();
            rows.clear();
            for child in opened {
                rows.extend(cell(j, fy, child.panel.rows()).map(|y| child.row(y)));
            }
            bits.extend(rows.iter().map(|row| row.mixed).filter(|bits| !bits.is_empty()));
            let out = out.row_mut(j).voxels;
            backend.run(FindMixed { lines: &lines, children: &bits, fx, flags, out });
            let lists = carry.as_mut().and_then(|carry| carry.set(j, words, &flags.cells));
            if level > *looks {
                merge(&flags.cells, &mut rows, fx, out, lists, work);
                continue;
            }
            inputs.clear();
            for panel in voxels {
                inputs.extend(cell(j, height, panel.rows()).map(|y| panel.row(y)));
            }
            let children = if level > 1 { &labels[..] } else { &[] };
            backend.run(Look { cells: &flags.cells, rows: &inputs, width, children, fx, out, lists, work });
        }
    }
}

/// The rows of a panel of cells that have leaders.
struct Led<'a, T> {
    modes: &'a ExactModes<'a, T>,
    level: usize,
    children: &'a [Tallied<T>],
    /// The children, if all are listed.
    opened: &'a [Opened<'a, T>],
    voxels: &'a [Panel<'a, T>],
    flags: &'a mut Flags,
    work: &'a mut Work<T>,
    looks: usize,
    lists: usize,
}

impl<T: Label> Led<'_, T> {
    fn decide(self, out: &mut PanelMut<'_, T>, tallied: &mut Tallied<T>) {
        let Led { modes, level, children, opened, voxels, flags, work, looks, lists } = self;
        let ExactModes { plan: Plan { grid, sparse, signed, .. }, backend, .. } = *modes;
        let (fx, fy) = (grid.inner_factor(0, level), grid.inner_factor(1, level));
        let stride = leaders::stride::<T>(out.cols());
        let Flags { cells, opens, .. } = flags;
        let of = leaders::count(level, reach(grid, level));
        let size = (2 * of + 1) * stride;
        tallied.of = of;
        tallied.leaders.resize(out.rows() * size, T::ZERO);
        tallied.listed = false;
        let cell = |j: usize, fy: usize, rows: usize| j * fy..((j + 1) * fy).min(rows);
        let (sparse, signed, leaders) = (*sparse, *signed, &mut tallied.leaders[..]);
        if level == 1 {
            backend.run(Begin { panels: voxels, fx, fy, signed, sparse, out, leaders });
            return;
        }
        out.keep();
        let words = stride.div_ceil(64);
        tallied.mixed.resize(out.rows() * words, 0);
        opens.resize(out.rows() * words, 0);
        let panels = children.iter().map(|child| (&child.leaders[..], child.region[1].len)).collect();
        let below = Children { panels, of: children[0].of, fy };
        backend.run(Merge { children: &below, fx, signed, out, of, leaders, mixed: &mut tallied.mixed, open: opens });
        let goes_on = level < grid.levels();
        let count = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
        let all_listed = !opened.is_empty();
        // Where leaders decide little, lists are worth their price.
        let many = level <= lists && 2 * count(opens) > count(&tallied.mixed);
        tallied.listed = goes_on && (all_listed || level == lists && (looks < grid.levels() || many));
        let (width, height) = (within(grid, 0, level), within(grid, 1, level));
        tallied.lists.cleared();
        tallied.before.clear();
        tallied.modes.clear();
        let (mut inputs, mut led) = (Vec::new(), Vec::new());
        for (j, leaders) in tallied.leaders.chunks_exact_mut(size).enumerate() {
            let bits = if tallied.listed || all_listed { &tallied.mixed } else { &*opens };
            places(&bits[j * words..(j + 1) * words], cells);
            let out = out.row_mut(j).voxels;
            tallied.before.push(tallied.lists.count());
            let listed = tallied.listed.then_some(&mut tallied.lists);
            if all_listed {
                let mut rows: Vec<_> = opened.iter().flat_map(|child| cell(j, fy, child.panel.rows()).map(|y| child.row(y))).collect();
                merge(cells, &mut rows, fx, out, listed, work);
            } else if !cells.is_empty() {
                inputs.clear();
                for panel in voxels {
                    inputs.extend(cell(j, height, panel.rows()).map(|y| panel.row(y)));
                }
                if tallied.listed || many {
                    backend.run(Look { cells, rows: &inputs, width, children: &[], fx, out, lists: listed, work });
                } else {
                    below.rows(j, &mut led);
                    let (rows, children) = (&inputs[..], &led[..]);
                    backend.run(Settle { cells, rows, width, children, fx, leaders, of, out, work });
                }
            }
            if tallied.listed {
                tallied.modes.extend_from_slice(out);
            }
        }
    }
}

impl<T: Label> Carry<'_, T> {
    /// Makes room for so many words of bits.
    fn clear(mut self, words: usize) -> Self {
        self.mixed.resize(words, 0);
        self.before.clear();
        if let Some(lists) = &mut self.lists {
            lists.cleared();
        }
        self
    }

    /// Sets the bits of the cells of row `j` that are mixed, and begins its lists.
    fn set(&mut self, j: usize, words: usize, cells: &[usize]) -> Option<&mut Lists<T>> {
        let bits = &mut self.mixed[j * words..(j + 1) * words];
        bits.fill(0);
        for &i in cells {
            bits[i / 64] |= 1 << (i % 64);
        }
        let lists = self.lists.as_deref_mut()?;
        self.before.push(lists.count());
        Some(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_are_as_large_as_a_piece_and_lists_come_late() {
        let of = |factor: [usize; 3], lists| steps(&factor, &mut [512, 512, 128], lists);
        assert_eq!(of([2, 2, 2], false), [[2, 2, 2]]);
        assert_eq!(of([8, 8, 1], false), [[8, 8, 1]]);
        assert_eq!(of([8, 8, 8], false), [[2, 2, 2], [4, 4, 4]]);
        assert_eq!(of([8, 8, 8], true), [[4, 4, 4], [2, 2, 2]]);
        assert_eq!(of([12, 12, 1], false), [[2, 2, 1], [6, 6, 1]]);
        assert_eq!(of([11, 11, 1], false), [[11, 11, 1]]);
        // Axes of one voxel, or soon of one, have no children.
        assert_eq!(steps(&[8, 8, 8], &mut [512, 512, 1], false), [[8, 8, 8]]);
        assert_eq!(steps(&[2, 2, 2], &mut [1, 1, 1], false), Vec::<Vec<usize>>::new());
    }
}
