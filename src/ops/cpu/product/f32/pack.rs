//! Operands of f32 laid out as the parent module says.

use super::block_rows;
use crate::ops::cpu::instructions::Instructions;
use crate::ops::cpu::product::matrix::Matrix;
use crate::ops::cpu::product::{PANEL, Run};

/// Writes `right` as the rows from `row` on of the panels of its columns from `first` on.
pub(in super::super) fn pack_panels(
    right: &Matrix,
    first: usize,
    row: usize,
    panels: &mut [f32],
    panel_len: usize,
) {
    let places = row * PANEL..(row + right.rows()) * PANEL;
    if right.strides().1 != 1 {
        for (index, panel) in panels.chunks_exact_mut(panel_len).enumerate() {
            pack_columns(right, first + index * PANEL, &mut panel[places.clone()]);
        }
        return;
    }
    for from in 0..right.rows() {
        let at = (row + from) * PANEL;
        for (index, panel) in panels.chunks_exact_mut(panel_len).enumerate() {
            let first = first + index * PANEL;
            let columns = (right.columns() - first).min(PANEL);
            let to = &mut panel[at..at + PANEL];
            let values = right.from(from, first);
            match (values.first_chunk::<PANEL>(), to.first_chunk_mut::<PANEL>()) {
                (Some(values), Some(to)) if columns == PANEL => *to = *values,
                _ => {
                    to[..columns].copy_from_slice(&values[..columns]);
                    to[columns..].fill(0.0);
                }
            }
        }
    }
}

/// Writes values of a row from a column on. What is beyond the last column reaches no sum that is read.
#[inline]
pub(in super::super) fn pack_run(
    panels: &mut [f32],
    panel_len: usize,
    row: usize,
    mut column: usize,
    mut run: Run,
) {
    while run.len() > 0 {
        let at = column / PANEL * panel_len + row * PANEL;
        let panel = panels[at..].first_chunk_mut::<PANEL>();
        let from = column % PANEL;
        let len = run.len().min(PANEL - from);
        match (panel, run) {
            (Some(panel), Run::Values(values)) => {
                match values.first_chunk::<PANEL>() {
                    Some(values) if from == 0 => *panel = *values,
                    _ => panel[from..from + len].copy_from_slice(&values[..len]),
                }
                run = Run::Values(&values[len..]);
            }
            (Some(panel), Run::Zeros(n)) => {
                panel[from..from + len].fill(0.0);
                run = Run::Zeros(n - len);
            }
            (None, _) => unreachable!("a panel of {panel_len} values"),
        }
        column += len;
    }
}

/// Writes the panel of the columns from `first` on, of a matrix whose columns are runs of memory.
fn pack_columns(right: &Matrix, first: usize, panel: &mut [f32]) {
    let columns = (right.columns() - first).min(PANEL);
    let (row_stride, _) = right.strides();
    // A column is a row of memory: blocks of rows, so that both sides stay in the cache.
    const BLOCK: usize = 16;
    panel.chunks_mut(BLOCK * PANEL).enumerate().for_each(|(block, to)| {
        if columns < PANEL {
            to.fill(0.0);
        }
        let from = block * BLOCK;
        let len = to.len() / PANEL;
        for column in 0..columns {
            let values = right.from(from, first + column);
            for row in 0..len {
                to[row * PANEL + column] = values[row * row_stride];
            }
        }
    });
}

/// Writes blocks of [`block_rows`] rows from row `first` on, `[block][inner][row]`, of a matrix whose columns are runs of
/// memory.
pub(in super::super) fn pack_rows(
    left: &Matrix,
    first: usize,
    blocks: &mut [f32],
    instructions: Instructions,
) {
    match block_rows(instructions) {
        12 => pack_rows_of::<12>(left, first, blocks),
        6 => pack_rows_of::<6>(left, first, blocks),
        _ => pack_rows_of::<4>(left, first, blocks),
    }
}

fn pack_rows_of<const ROWS: usize>(left: &Matrix, first: usize, blocks: &mut [f32]) {
    // Columns at a time: long enough runs to write, and little enough to read that it stays in the cache.
    const COLUMNS: usize = 16;
    let inner = left.columns();
    for at in (0..inner).step_by(COLUMNS) {
        let columns = at..inner.min(at + COLUMNS);
        for (index, block) in blocks.chunks_exact_mut(ROWS * inner).enumerate() {
            let from = first + index * ROWS;
            let n = ROWS.min(left.rows() - from);
            let (places, _) = block[at * ROWS..].as_chunks_mut::<ROWS>();
            for (column, to) in columns.clone().zip(places) {
                let values = left.from(from, column);
                match values.first_chunk::<ROWS>() {
                    Some(values) if n == ROWS => *to = *values,
                    _ => {
                        to[..n].copy_from_slice(&values[..n]);
                        to[n..].fill(0.0);
                    }
                }
            }
        }
    }
}
