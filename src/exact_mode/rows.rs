//! Panels of exact modes: what is kept of them, and how their rows are decided, with [`crate::leaders`] or without.

use super::Plan;
use crate::grid::{Axis, Grid};
use crate::leaders::{self, Begin, Children, Merge, cell};
use crate::look::{Look, Settle, Work};
use crate::mixed::{ChildRow, DecideFew, FEW, FindMixed, Flags, merge, places};
use crate::simd::views::{Panel, PanelMut, Span};
use crate::simd::{Backend, Label, Told, rows_of};
use crate::tally::Lists;

/// Voxels in a cell of a level along some axes, at most.
pub fn reach(axes: &[Axis], level: usize) -> usize {
    axes.iter().fold(1, |all: usize, axis| all.saturating_mul(axis.reach(level)))
}

/// How many columns (axis 0) or rows (axis 1) of the input make a cell of `level` inside a panel.
pub fn within(grid: &Grid, axis: usize, level: usize) -> usize {
    (1..=level).map(|level| grid.inner_factor(axis, level)).product()
}

/// A panel of cells; or of the input, that is, with nothing but its voxels.
#[derive(Default)]
pub struct Tallied<T> {
    pub region: Vec<Span>,
    pub modes: Vec<T>,
    /// A bit for every cell, row by row, 64 to a word: set where it is not uniform.
    pub mixed: Vec<u64>,
    /// The voxels, where the level above looks at them.
    pub inputs: Vec<Input<T>>,
    /// The lists of the cells that are not uniform, where it does not, and how many there are before each row.
    pub lists: Lists<T>,
    pub before: Vec<usize>,
    /// Where cells have leaders: these, row by row, how many there are of each cell, and whether its mixed cells have lists.
    pub leaders: Vec<T>,
    pub of: usize,
    pub listed: bool,
}

/// A panel of the input.
pub struct Input<T> {
    pub region: Vec<Span>,
    /// If its rows cannot be lent as they lie.
    pub gathered: Option<Vec<T>>,
}

/// A child panel to be read.
pub struct Opened<'a, T> {
    pub panel: Panel<'a, T>,
    /// Nothing for the input.
    pub tallied: Option<&'a Tallied<T>>,
    /// Voxels in each cell of a row but the last, and in that; of all rows but the last, and of that.
    pub voxels: [(u64, u64); 2],
}

impl<'a, T: Label> Opened<'a, T> {
    /// Row `j`, with the bits and the lists of its cells.
    pub fn row(&self, j: usize) -> ChildRow<'a, T> {
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
pub struct Carry<'a, T> {
    pub mixed: &'a mut Vec<u64>,
    /// Unless it looks at the voxels:
    pub lists: Option<&'a mut Lists<T>>,
    pub before: &'a mut Vec<usize>,
}

/// The rows of a panel of cells.
pub struct Rows<'a, T> {
    pub plan: &'a Plan,
    pub backend: Backend,
    pub level: usize,
    /// The children.
    pub opened: &'a [Opened<'a, T>],
    /// The voxels, if they are looked at.
    pub voxels: &'a [Panel<'a, T>],
}

impl<T: Label> Rows<'_, T> {
    /// Decides all of them.
    pub fn decide(
        &self,
        out: &mut PanelMut<'_, T>,
        carry: Option<Carry<'_, T>>,
        flags: &mut Flags,
        work: &mut Work<T>,
    ) {
        let Rows { plan: Plan { grid, sparse, signed, looks, .. }, backend, level, opened, voxels } = *self;
        let (fx, fy) = (grid.inner_factor(0, level), grid.inner_factor(1, level));
        let (width, height, words) = (within(grid, 0, level), within(grid, 1, level), out.cols().div_ceil(64));
        let mut carry = carry.map(|carry| carry.clear(out.rows() * words));
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

/// A panel of cells that have leaders.
pub struct Led<'a, T> {
    pub plan: &'a Plan,
    pub backend: Backend,
    pub level: usize,
    /// Cells up to this level may be looked at.
    pub looks: usize,
    /// The level of the smallest cells that may carry lists.
    pub lists: usize,
    pub children: &'a [Tallied<T>],
    /// The children, if the mixed cells of all have lists.
    pub listed: Option<&'a [Opened<'a, T>]>,
    /// The voxels, and how many panels of them each child has.
    pub voxels: &'a [Panel<'a, T>],
    /// See there.
    pub inputs: &'a [usize],
}

impl<T: Label> Led<'_, T> {
    /// Decides all cells.
    pub fn decide(&self, out: &mut PanelMut<'_, T>, tallied: &mut Tallied<T>, flags: &mut Flags, work: &mut Work<T>) {
        let Led { plan: &Plan { ref grid, sparse, signed, .. }, backend, level, children, voxels, .. } = *self;
        let (fx, fy) = (grid.inner_factor(0, level), grid.inner_factor(1, level));
        let (child, full) = (reach(grid.axes(), level - 1), reach(grid.axes(), level));
        let (of, stride) = (leaders::count(level, full), leaders::stride::<T>(out.cols()));
        (tallied.of, tallied.listed) = (of, false);
        tallied.leaders.resize(out.rows() * rows_of(of) * stride, T::ZERO);
        let leaders = &mut tallied.leaders[..];
        if level == 1 {
            backend.run(Begin { panels: voxels, fx, fy, signed, sparse, out, leaders });
            return;
        }
        out.keep();
        let Flags { cells, open, .. } = flags;
        for bits in [&mut tallied.mixed, &mut *open] {
            bits.resize(out.rows() * stride.div_ceil(64), 0);
        }
        let panels = children.iter().map(|child| (&child.leaders[..], child.region[1].len)).collect();
        let below = Children { panels, of: children[0].of, fy };
        let mixed = &mut tallied.mixed[..];
        backend.run(Merge { children: &below, fx, signed, child, full, out, of, leaders, mixed, open });
        self.settle(&below, out, tallied, (open, cells), work);
    }

    /// Decides the cells that leaders leave open; or all that are mixed, where they carry lists.
    fn settle(
        &self,
        below: &Children<'_, T>,
        out: &mut PanelMut<'_, T>,
        tallied: &mut Tallied<T>,
        (open, cells): (&[u64], &mut Vec<usize>),
        work: &mut Work<T>,
    ) {
        let Led { plan: Plan { grid, .. }, backend, level, looks, lists, listed: children, .. } = *self;
        let count = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
        // Where leaders decide little, lists are worth their price, and on the way to them a look at every label.
        let many = level <= lists && 2 * count(open) > count(&tallied.mixed);
        tallied.listed =
            level < grid.levels() && (children.is_some() || level == lists && (many || looks < grid.levels()));
        let Tallied { modes, mixed, lists, before, leaders, of, listed, .. } = tallied;
        lists.cleared();
        before.clear();
        modes.clear();
        let (fx, width) = (grid.inner_factor(0, level), within(grid, 0, level));
        let (size, words) = (leaders.len() / out.rows(), mixed.len() / out.rows());
        let bits = if *listed || children.is_some() { &mixed[..] } else { open };
        let (mut inputs, mut ends, mut led) = (Vec::new(), Vec::new(), Vec::new());
        for (j, leaders) in leaders.chunks_exact_mut(size).enumerate() {
            places(&bits[j * words..(j + 1) * words], cells);
            let out = out.row_mut(j).voxels;
            before.push(lists.count());
            let lists = listed.then_some(&mut *lists);
            if let Some(children) = children {
                let rows =
                    children.iter().flat_map(|child| cell(j, below.fy, child.panel.rows()).map(|y| child.row(y)));
                merge(cells, &mut rows.collect::<Vec<_>>(), fx, out, lists, work);
            } else if !cells.is_empty() {
                self.rows(j, &mut inputs, &mut ends);
                let rows = &inputs[..];
                if *listed || many {
                    backend.run(Look { cells, rows, width, children: &[], fx, out, lists, work });
                } else {
                    below.rows(j, &mut led);
                    let (children, ends) = (&led[..], &ends[..]);
                    backend.run(Settle { cells, rows, width, children, fx, ends, leaders, of: *of, out, work });
                }
            }
            if *listed {
                modes.extend_from_slice(out);
            }
        }
    }
}

impl<'a, T: Label> Led<'a, T> {
    /// The rows of voxels of row `j`, one row of children after the other, and where those of each end.
    fn rows(&self, j: usize, rows: &mut Vec<&'a [T]>, ends: &mut Vec<usize>) {
        let Led { plan: Plan { grid, .. }, level, children, inputs, .. } = *self;
        let (fy, height) = (grid.inner_factor(1, level), within(grid, 1, level - 1));
        rows.clear();
        ends.clear();
        let mut voxels = self.voxels;
        for (child, &inputs) in children.iter().zip(inputs) {
            let (of_child, others) = voxels.split_at(inputs);
            for y in cell(j, fy, child.region[1].len) {
                for panel in of_child {
                    rows.extend(cell(y, height, panel.rows()).map(|y| panel.row(y)));
                }
                ends.push(rows.len());
            }
            voxels = others;
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
