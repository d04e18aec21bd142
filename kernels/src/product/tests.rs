#![allow(clippy::unwrap_used)]

use super::*;
use crate::instructions::ALL;
use crate::random::normals as random;

/// Every combination of precision and instructions that this processor has.
fn ways() -> Vec<Way> {
    let sets = ALL.into_iter().filter(|&set| set <= Instructions::widest());
    let way = |precision, instructions| Way { precision, instructions };
    sets.flat_map(|set| {
        let bf16 = Precision::bf16().filter(|_| set >= Instructions::Avx512Bf16);
        [Some(Precision::F32), bf16].into_iter().flatten().map(move |one| way(one, set))
    })
    .collect()
}

fn product(a: Matrix, b: Matrix, way: Way, onto: Option<&[f32]>, shared: bool) -> Vec<f32> {
    let (rows, columns) = (a.rows(), b.columns());
    let mut out = onto.map_or(vec![9.0; rows * columns], <[f32]>::to_vec);
    let (left, right) = (Left::in_way(a, way, shared), Right::in_way(b, way, shared));
    multiply(MatrixMut::new(&mut out, rows, columns), &left, &right, onto.is_some());
    out
}

/// To bf16, ties to even.
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    let bits = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    f32::from_bits(bits & 0xffff_0000)
}

fn wanted(a: &Matrix, b: &Matrix, way: Way, onto: Option<&[f32]>) -> Vec<f64> {
    let round = |value| if way.precision == Precision::F32 { value } else { rounded(value) };
    let columns = b.columns();
    let mut out = Vec::new();
    for row in 0..a.rows() {
        for column in 0..columns {
            let mut sum = onto.map_or(0.0, |onto| f64::from(onto[row * columns + column]));
            for at in 0..a.columns() {
                let (a, b) = (a.from(row, at)[0], b.from(at, column)[0]);
                sum += f64::from(round(a)) * f64::from(round(b));
            }
            out.push(sum);
        }
    }
    out
}

#[test]
fn every_way_multiplies_every_layout_at_odd_and_even_shapes() {
    for (rows, inner, columns) in [
        (1, 1, 1),
        (2, 0, 3),
        (3, 2, 5),
        (8, 32, 32),
        (13, 33, 31),
        (17, 7, 65),
        (32, 64, 32),
        (33, 600, 40),
        (50, 257, 96),
        // A row stride of 4 KiB.
        (25, 1024, 33),
        // More rows than are packed at once.
        (1100, 3, 33),
    ] {
        let (a, b) = (random(0, rows * inner), random(1, inner * columns));
        let onto = random(2, rows * columns);
        let lefts = [Matrix::new(&a, rows, inner), Matrix::new(&a, inner, rows).transposed()];
        let rights =
            [Matrix::new(&b, inner, columns), Matrix::new(&b, columns, inner).transposed()];
        for way in ways() {
            for (a, b) in lefts.iter().flat_map(|&a| rights.iter().map(move |&b| (a, b))) {
                for onto in [None, Some(&onto[..])] {
                    let actual = product(a, b, way, onto, false);
                    for (at, (actual, wanted)) in
                        actual.iter().zip(wanted(&a, &b, way, onto)).enumerate()
                    {
                        let difference = (f64::from(*actual) - wanted).abs();
                        assert!(
                            difference < 1e-5 * (inner as f64 + 1.0),
                            "{rows}x{inner}x{columns} {way:?}: {actual}, not {wanted}, at {at}"
                        );
                    }
                    assert_eq!(actual, product(a, b, way, onto, true), "packed by all threads");
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_rows_nor_a_column_on_the_others() {
    // Whole blocks of rows and parts of them, with one and with several updates of the output.
    for (rows, inner, columns) in [(29, 300, 70), (40, 600, 70)] {
        let (a, b) = (random(0, rows * inner), random(1, inner * columns));
        let (a, b) = (Matrix::new(&a, rows, inner), Matrix::new(&b, inner, columns));
        let onto = random(2, rows * columns);
        for (way, adds) in ways().into_iter().flat_map(|way| [(way, false), (way, true)]) {
            let onto = adds.then_some(&onto[..]);
            let whole = product(a, b, way, onto, false);
            for row in [0, 11, rows - 1] {
                let at = row * columns..(row + 1) * columns;
                let onto = onto.map(|onto| &onto[at.clone()]);
                let alone = product(a.rows_at(row..row + 1), b, way, onto, false);
                assert_eq!(alone, whole[at], "{way:?}");
            }
        }
        for way in ways() {
            let whole = product(a, b, way, None, false);
            let some = b.transposed().rows_at(32..70).transposed();
            let some = product(a, some, way, None, false);
            let same = some.chunks(38).zip(whole.chunks(columns)).all(|(a, b)| *a == b[32..]);
            assert!(same, "{way:?}");
        }
    }
}

#[test]
fn a_right_operand_packed_in_parts_is_the_one_packed_at_once() {
    let (rows, columns) = (2 * 64 + 13, 70);
    let values = random(1, rows * columns);
    let matrix = Matrix::new(&values, rows, columns);
    let left = random(0, 5 * rows);
    for way in ways() {
        let parts = Right::parts_in_way([rows, columns], way, |add| {
            for first in (0..rows).step_by(64) {
                add(matrix.rows_at(first..rows.min(first + 64)));
            }
        });
        let left = Left::in_way(Matrix::new(&left, 5, rows), way, false);
        let mut out = vec![0.0; 5 * columns];
        multiply(MatrixMut::new(&mut out, 5, columns), &left, &parts, false);
        let whole = product(left.matrix, matrix, way, None, false);
        assert_eq!(out, whole, "{way:?}");
    }
    let nothing = Right::parts_in_way([64, 0], ways()[0], |add| {
        add(Matrix::new(&[], 32, 0));
        add(Matrix::new(&[], 32, 0));
    });
    assert_eq!(nothing.columns, 0);
}

#[test]
fn a_sum_of_products_is_theirs_whatever_the_number_of_threads() {
    let (rows, columns) = (33, 100);
    let inner = [64, 70, 5];
    let values = inner.map(|inner| (random(0, rows * inner), random(1, inner * columns)));
    for way in ways() {
        let pairs: Vec<(Left, Right)> = values
            .iter()
            .zip(inner)
            .map(|((a, b), inner)| {
                let (a, b) =
                    (Matrix::new(a, inner, rows).transposed(), Matrix::new(b, inner, columns));
                (Left::in_way(a, way, false), Right::in_way(b, way, false))
            })
            .collect();
        let mut wanted = vec![0.0; rows * columns];
        for (left, right) in &pairs {
            multiply(MatrixMut::new(&mut wanted, rows, columns), left, right, true);
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sum = pool.install(|| sum_of_products([rows, columns], &pairs));
            assert_eq!(sum, wanted, "{way:?} on {threads} threads");
        }
    }
    assert_eq!(sum_of_products([2, 3], &[]), [0.0; 6]);
}

#[test]
fn a_not_a_number_reaches_its_row_and_no_other() {
    let mut a = random(0, 40 * 33);
    a[20 * 33 + 32] = f32::NAN;
    let b = random(1, 33 * 34);
    for way in ways() {
        let out = product(Matrix::new(&a, 40, 33), Matrix::new(&b, 33, 34), way, None, false);
        for (row, values) in out.chunks(34).enumerate() {
            assert!(values.iter().all(|value| value.is_nan() == (row == 20)), "{row} {way:?}");
        }
    }
}
