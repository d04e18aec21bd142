//! Packs f32 operands in the layouts of the parent module.

use super::block_rows;
use crate::fetch::fetch;
use crate::instructions::Instructions;
use crate::product::matrix::Matrix;
#[cfg(target_arch = "x86_64")]
use crate::product::transpose::transpose;
use crate::product::{PANEL, Run};

/// Edge of a block that is transposed at once.
const BLOCK: usize = 16;

/// Packs `right` into the rows from `row` on of panels; the first panel holds its columns from `first` on.
pub(in super::super) fn pack_panels(
    right: &Matrix,
    first: usize,
    row: usize,
    panels: &mut [f32],
    panel_len: usize,
    instructions: Instructions,
) {
    let places = row * PANEL..(row + right.rows()) * PANEL;
    if right.strides().1 != 1 {
        for (index, panel) in panels.chunks_exact_mut(panel_len).enumerate() {
            let panel = &mut panel[places.clone()];
            pack_columns(right, first + index * PANEL, panel, instructions);
        }
        return;
    }
    // Row-major order: a sequential stream for the hardware prefetcher.
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

/// Writes consecutive values of a row from a column on. Columns beyond the last are not set: no result depends on them.
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

/// Packs the panel of the columns from `first` on, of a column-major matrix.
fn pack_columns(right: &Matrix, first: usize, panel: &mut [f32], instructions: Instructions) {
    let columns = (right.columns() - first).min(PANEL);
    for column in 0..columns {
        fetch(&right.from(0, first + column)[..right.rows()]);
    }
    // Blocks, so that both sides stay in the L1 cache.
    for (block, to) in panel.chunks_mut(BLOCK * PANEL).enumerate() {
        if columns < PANEL {
            to.fill(0.0);
        }
        for column in (0..columns).step_by(BLOCK) {
            let columns = BLOCK.min(columns - column);
            let from = right.from(block * BLOCK, first + column);
            transpose_block(from, right.strides().1, columns, &mut to[column..], instructions);
        }
    }
}

/// Transposes `columns` contiguous runs, `stride` apart, into columns of `to`, which has rows of [`PANEL`]; as many
/// values of each as `to` has rows, [`BLOCK`] at most.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // the instructions
fn transpose_block(
    from: &[f32],
    stride: usize,
    columns: usize,
    to: &mut [f32],
    instructions: Instructions,
) {
    let rows = to.len().div_ceil(PANEL);
    #[cfg(target_arch = "x86_64")]
    if instructions >= Instructions::Avx512 && rows == BLOCK && columns == BLOCK {
        // SAFETY: the processor has the instructions.
        #[allow(unsafe_code)]
        unsafe {
            transpose(from, stride, to, PANEL);
        }
        return;
    }
    for column in 0..columns {
        for row in 0..rows {
            to[row * PANEL + column] = from[column * stride + row];
        }
    }
}

/// Packs blocks of [`block_rows`] rows from row `first` on, `[block][inner][row]`, of a column-major matrix.
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
    // Columns at a time: enough for long sequential writes, few enough for the hardware prefetcher to follow each.
    const COLUMNS: usize = 8;
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
