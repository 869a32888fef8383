//! Exact mode pooling: of every cell the most frequent label of the input, at every mip and by any factor; ties go to the least.
//!
//! Most cells of real volumes are uniform for several mips, and merge without a look at anything but their label, which is compared along
//! whole rows. Of the others, small ones are decided by looking at the voxels, on every level that has such cells: in vectors of cells (up to
//! [`FEW`] voxels), or cell by cell ([`crate::look`]). Where cells grow beyond [`LOOK`] voxels, those of more than [`PIECE`] carry lists of their
//! labels with counts, which are added up from level to level. Lists live for the panels that are pending, a few for every level, so that memory is
//! bounded by what the cells of a tile hold.
//!
//! Several mips by factors of 2, and one by (8, 8, 8), go another way, where there are vectors: cells have [`leaders`], which decide all but a few of them. Panels whose leaders
//! decide little, those of noise, go on with lists.

use crate::grid::{Amounts, Array, Ascent, Bytes, Edge, Grid, Interrupted, Pooling};
use crate::leaders;
use crate::look::{LOOK, Work};
use crate::mixed::{FEW, Flags};
use crate::simd::tiles::{Tile, Tiles};
use crate::simd::views::{Panel, PanelMut, Source, Span};
use crate::simd::{Backend, Label, PIECE};
use crate::tally::Tally;
use rows::{Carry, Input, Led, Opened, Rows, Tallied, reach, within};

mod rows;

/// Bytes of a panel of cells of [`FEW`] voxels: lists of random labels have to stay in the second cache too.
const LISTED: usize = 48 << 10;
/// Cells of four voxels in a panel: as many as keep rows of 1024 voxels whole, where 32 rows are a cell of the last level.
const FOURS: usize = 8 << 10;
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
    pub(crate) looks: usize,
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
            factors.extend(steps(factor, &mut extents, lists, leaders::fit(size, LOOK)));
            if factors.len() == outputs.last().copied().unwrap_or(0) {
                factors.push(vec![1; factor.len()]);
            }
            outputs.push(factors.len());
        }
        outputs.truncate(targets.len());
        // In the worst case, an entry for every voxel, so that cells of fewer voxels may be more. Narrower tiles would need less memory then, but rows
        // have their price.
        let state = size + size_of::<u64>();
        let children = factors.first().map_or(1, |factor| children(factor, source.axes.iter().map(|axis| axis.len)));
        let panel = if children < FEW { FOURS * 4 / children.max(1) * state } else { LISTED };
        let bytes = Bytes { voxel: size, state, panel };
        let grid = Grid::new(source, targets, outputs, &factors, Edge::Existing, bytes);
        // Where larger cells need lists, these are made of small ones with less work.
        let levels = |voxels| (1..=grid.levels()).take_while(|&level| looked_at(&grid, level, voxels)).count();
        let looks = |voxels| if levels(voxels) == grid.levels() { grid.levels() } else { levels(PIECE) };
        let halves = (1..=grid.levels()).all(|level| grid.inner_factor(0, level) <= 2);
        let few = reach(grid.axes(), 1) <= FEW && levels(PIECE) > 1 && grid.levels() > 1;
        let leads = (halves && few && leaders::fit(size, reach(grid.axes(), grid.levels())))
            .then(|| (looks(leaders::LED), levels(PIECE)));
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
    let (panel, slices) = grid.axes().split_at(2);
    reach(grid.axes(), level) <= voxels
        && reach(slices, level) <= SLICES
        && reach(panel, level) == within(grid, 0, level) * within(grid, 1, level)
}

/// A factor in steps of up to [`PIECE`] children, unless its prime factors are larger. Cells of one step lie within those of the next, so that even
/// large ones are made of few children each.
///
/// The first step is the smallest one: vectors of cells decide it, and the next ones have less to read. But where lists are needed, they are made of
/// pieces, so that the first step is the largest. Cells that have leaders are made in steps of 2.
fn steps(factor: &[usize], extents: &mut [usize], lists: bool, leaders: bool) -> Vec<Vec<usize>> {
    let mut primes = prime_steps(factor, extents);
    let all = primes.iter().map(|&(_, children)| children).fold(1, usize::saturating_mul);
    let few = primes.first().is_some_and(|&(_, children)| children == FEW);
    if leaders && !lists && few && all > PIECE && factor.iter().all(|f| f.is_power_of_two()) {
        return primes.into_iter().map(|(step, _)| step).collect();
    }
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

/// How many children the cells of a step have.
fn children(step: &[usize], extents: impl Iterator<Item = usize>) -> usize {
    step.iter().zip(extents).map(|(&by, extent)| by.min(extent)).fold(1, usize::saturating_mul)
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
        let children = children(&step, extents.iter().copied());
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
        let of_child: Vec<_> = children.iter().map(|child| child.inputs.len()).collect();
        let inputs: Vec<_> = children.iter_mut().flat_map(|child| std::mem::take(&mut child.inputs)).collect();
        let voxels: Vec<Panel<'_, T>> = inputs.iter().map(|input| self.open(input)).collect();
        let opened: Vec<_> = match level {
            1 => voxels.iter().map(|&panel| Opened { panel, tallied: None, voxels: [(1, 1); 2] }).collect(),
            _ if self.leads.is_some() && !children.iter().all(|child| child.listed) => Vec::new(),
            _ => children.iter().map(|child| self.cells(level - 1, child)).collect(),
        };
        let goes_on = level < grid.levels();
        if let Some((looks, lists)) = self.leads {
            let (plan, backend, voxels, inputs_of) = (self.plan, self.backend, &voxels[..], &of_child[..]);
            let listed = (!opened.is_empty() && level > 1).then_some(&opened[..]);
            let led = Led { plan, backend, level, looks, lists, children, listed, voxels, inputs: inputs_of };
            match grid.output(level) {
                Some(mip) => tile.write(mip, region, scattered, |out| led.decide(out, tallied, flags, work)),
                None => {
                    scattered.resize(region[0].len * region[1].len, T::ZERO);
                    led.decide(&mut PanelMut::dense(scattered, region[0].len), tallied, flags, work);
                }
            }
            // Where every mixed cell has a list, nobody looks at voxels.
            tallied.inputs = if tallied.listed && looks < grid.levels() { Vec::new() } else { inputs };
            children.iter_mut().for_each(|child| child.lists.release());
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
        children.iter_mut().for_each(|child| child.lists.release());
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

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_are_as_large_as_a_piece_and_lists_come_late() {
        let of = |factor: [usize; 3], lists| steps(&factor, &mut [512, 512, 128], lists, false);
        assert_eq!(of([2, 2, 2], false), [[2, 2, 2]]);
        assert_eq!(of([8, 8, 1], false), [[8, 8, 1]]);
        assert_eq!(of([8, 8, 8], false), [[2, 2, 2], [4, 4, 4]]);
        assert_eq!(of([8, 8, 8], true), [[4, 4, 4], [2, 2, 2]]);
        assert_eq!(steps(&[8, 8, 8], &mut [512, 512, 128], false, true), [[2, 2, 2]; 3]);
        assert_eq!(of([12, 12, 1], false), [[2, 2, 1], [6, 6, 1]]);
        assert_eq!(of([11, 11, 1], false), [[11, 11, 1]]);
        // Axes of one voxel, or soon of one, have no children.
        assert_eq!(steps(&[8, 8, 8], &mut [512, 512, 1], false, true), [[8, 8, 8]]);
        assert_eq!(steps(&[2, 2, 2], &mut [1, 1, 1], false, true), Vec::<Vec<usize>>::new());
    }
}
