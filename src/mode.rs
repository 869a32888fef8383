//! Mode pooling: of every cell the most frequent label, because a label is never an average.
//!
//! A mip is made from the mip above it, in steps that halve every axis whose remaining factor is at least 2. A step over
//! exactly two axes uses the rule of pairs, any other counts; ties go by raster order, axis 0 fastest, so the
//! kernels are told which bit of a voxel's raster number each row and column of a cell stands for. All steps of all
//! mips happen in one sweep: a panel of labels is reduced again while it is in cache. Labels are compared by their bits.

use crate::grid::{Array, Ascent, Bytes, Edge, Grid, Interrupted, PANEL, Pooling};
use crate::simd::tiles::{Tile, Tiles};
use crate::simd::views::{Panel, PanelMut, Source, Span};
use crate::simd::{Backend, Cells, Isa, Kernel, Label, Rule, Told};

/// The shape of a call of mode pooling.
pub struct Plan {
    /// How it walks: a level for every step.
    pub grid: Grid,
    /// How the cells of each step are decided.
    pub steps: Vec<Step>,
    /// Whether background is left out where there is anything else.
    pub sparse: bool,
}

/// How the cells of a step lie in panels.
#[derive(Clone, Debug)]
pub struct Step {
    /// How they are decided.
    pub rule: Rule,
    /// The rows of a cell in raster order: the child each comes from, and its place (0 or 1) along y.
    rows: Vec<(usize, usize)>,
    /// If two columns make a cell: the bit of a voxel's raster number that tells the column.
    column_bit: Option<usize>,
}

impl Plan {
    /// The plan for `mips` mips of `source`, labels of `size` bytes, by `factor` (a power of two per axis).
    pub fn new(source: &Array, targets: &[Array], factor: &[usize], mips: usize, sparse: bool, size: usize) -> Self {
        let (mut factors, mut rules, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        let mut extents: Vec<usize> = source.axes.iter().map(|axis| axis.len).collect();
        for _ in 0..mips {
            let mut rest = factor.to_vec();
            while rest.iter().any(|&f| f > 1) {
                let step: Vec<usize> = rest.iter().map(|&f| f.min(2)).collect();
                let halves = step.iter().filter(|&&f| f == 2).count();
                // A step over axes of extent one leaves every label as it is.
                if step.iter().zip(&extents).any(|(&f, &extent)| f == 2 && extent > 1) {
                    extents.iter_mut().zip(&step).for_each(|(extent, &f)| *extent = extent.div_ceil(f));
                    factors.push(step);
                    rules.push(if halves == 2 { Rule::Pairs } else { Rule::Count });
                }
                rest.iter_mut().for_each(|f| *f = (*f / 2).max(1));
            }
            if factors.len() == outputs.last().copied().unwrap_or(0) {
                factors.push(vec![1; factor.len()]);
                rules.push(Rule::Count);
            }
            outputs.push(factors.len());
        }
        outputs.truncate(targets.len());
        let grid = Grid::new(
            source,
            targets,
            outputs,
            &factors,
            Edge::Mirrored,
            Bytes { voxel: size, state: size, panel: PANEL },
        );
        let steps = rules.into_iter().enumerate().map(|(k, rule)| Step::new(&grid, k + 1, rule)).collect();
        Plan { grid, steps, sparse }
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
        self.grid.run(&Modes { plan: self, backend, source }, tiles, threads, interrupted)
    }
}

impl Step {
    fn new(grid: &Grid, level: usize, rule: Rule) -> Self {
        let mut pooled: Vec<usize> =
            (0..grid.axes().len()).filter(|&a| grid.axes()[a].factors[level - 1] > 1).collect();
        pooled.sort_by_key(|&a| grid.axes()[a].raster);
        let children = grid.children(level);
        let column_bit = if grid.inner_factor(0, level) > 1 { pooled.iter().position(|&a| a == 0) } else { None };
        let outer: Vec<usize> = pooled.iter().copied().filter(|&a| a != 0 || column_bit.is_none()).collect();
        let row = |number: usize| {
            let (mut child, mut y) = (0, 0);
            for (_, &a) in outer.iter().enumerate().filter(|&(bit, _)| number >> bit & 1 == 1) {
                match children.iter().position(|&c| c == a) {
                    Some(place) => child |= 1 << place,
                    None => y = 1,
                }
            }
            (child, y)
        };
        // Where an axis of the pair has only one voxel left, both rules give the first label that counts.
        let rule = if pooled.len() == 2 { rule } else { Rule::Count };
        Step { rule, rows: (0..1 << outer.len()).map(row).collect(), column_bit }
    }
}

/// The pooling: keeps the labels of all children until the last has come.
struct Modes<'a, T> {
    plan: &'a Plan,
    backend: Backend,
    source: Source<'a, T>,
}

/// A thread's labels.
struct Labels<T> {
    levels: Vec<Level<T>>,
    scattered: Vec<T>,
}

/// The pending panel of a level.
struct Level<T> {
    children: Vec<Slot<T>>,
    /// Number of the last child that exists.
    last: usize,
    /// The finished panel, for the level above.
    modes: Vec<T>,
}

/// A child panel.
struct Slot<T> {
    /// Where it is; of the input, rows are lent as they lie if they can be.
    region: Vec<Span>,
    lent: bool,
    labels: Vec<T>,
}

impl<T: Label> Pooling<T> for Modes<'_, T> {
    type Panels = Labels<T>;

    fn panels(&self) -> Labels<T> {
        let grid = &self.plan.grid;
        let slot = || Slot { region: vec![Span::default(); grid.axes().len()], lent: false, labels: Vec::new() };
        let level = |l| Level {
            children: (0..1 << grid.children(l).len()).map(|_| slot()).collect(),
            last: 0,
            modes: Vec::new(),
        };
        Labels { levels: (1..=grid.levels()).map(level).collect(), scattered: Vec::new() }
    }

    fn take(&self, panels: &mut Labels<T>, ascent: Ascent<'_>, tile: &mut Tile<'_, T>) {
        for (number, region) in ascent.siblings {
            self.absorb(panels, 1, *number, region);
        }
        for (k, child) in ascent.children.iter().enumerate() {
            if k > 0 {
                self.absorb(panels, k + 1, child.number, &ascent.regions[k]);
            }
            if child.last {
                self.finish(panels, k + 1, &ascent.regions[k + 1], tile);
            }
        }
    }
}

impl<T: Label> Modes<'_, T> {
    /// Takes up child `number`, the panel at `region` of level `level - 1`, into the pending panel of `level`.
    fn absorb(&self, panels: &mut Labels<T>, level: usize, number: usize, region: &[Span]) {
        let (lower, upper) = panels.levels.split_at_mut(level - 1);
        upper[0].last = number;
        let slot = &mut upper[0].children[number];
        slot.region.copy_from_slice(region);
        match lower.last_mut() {
            None => {
                slot.lent = self.source.lend(region).is_some();
                if !slot.lent {
                    self.source.gather(self.backend, region, &mut slot.labels);
                }
            }
            Some(below) => std::mem::swap(&mut below.modes, &mut slot.labels),
        }
    }

    /// Ends the pending panel of `level`, which is `region`, and writes what is an output.
    fn finish(&self, panels: &mut Labels<T>, level: usize, region: &[Span], tile: &mut Tile<'_, T>) {
        let Plan { grid, steps, sparse } = self.plan;
        let Labels { levels, scattered } = panels;
        let Level { children, last, modes } = &mut levels[level - 1];
        // A child beyond the edge is its mirror: the one with the same place along the axes that go on.
        let rows = steps[level - 1].rows.iter().map(|&(child, y)| {
            let slot = &children[child & *last];
            let lent = if slot.lent { self.source.lend(&slot.region) } else { None };
            (lent.unwrap_or_else(|| Panel::dense(&slot.labels, slot.region[0].len)), y)
        });
        let cells = CellRows {
            rows: rows.collect(),
            fy: grid.inner_factor(1, level),
            step: &steps[level - 1],
            sparse: *sparse,
        };
        match grid.output(level) {
            Some(mip) => tile.write(mip, region, scattered, |out| {
                if level < grid.levels() {
                    out.keep();
                }
                self.backend.run(Decide { cells: &cells, out });
                if level < grid.levels() {
                    modes.clear();
                    (0..out.rows()).for_each(|j| modes.extend_from_slice(out.row_mut(j).voxels));
                }
            }),
            None => {
                modes.resize(region[0].len * region[1].len, T::ZERO);
                let out = &mut PanelMut::dense(modes, region[0].len);
                self.backend.run(Decide { cells: &cells, out });
            }
        }
    }
}

/// A panel of cells.
struct CellRows<'a, T> {
    /// The rows of a cell in raster order: panel and place along y.
    rows: Vec<(Panel<'a, T>, usize)>,
    /// Rows of each panel that make a cell.
    fy: usize,
    step: &'a Step,
    sparse: bool,
}

/// Decides a panel of cells.
struct Decide<'a, 'o, T> {
    cells: &'a CellRows<'a, T>,
    out: &'a mut PanelMut<'o, T>,
}

impl<T: Label> Kernel for Decide<'_, '_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let CellRows { rows: panels, fy, step, sparse } = self.cells;
        let mut lines = Vec::with_capacity(panels.len());
        for j in 0..self.out.rows() {
            lines.clear();
            // A lone trailing row is mirrored.
            lines.extend(panels.iter().map(|(panel, y)| {
                let (first, last) = (j * fy, panel.rows() - 1);
                panel.line((first + y).min(last), first, (*fy).min(panel.rows() - first), panels.len() / fy)
            }));
            let cells = Cells { lines: &lines, column_bit: step.column_bit, rule: step.rule, sparse: *sparse };
            isa.modes(cells, self.out.row_mut(j), Told::default());
        }
    }
}
