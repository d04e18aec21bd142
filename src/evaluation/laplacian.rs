//! The Laplacian pyramid of an image (Burt and Adelson 1983), as Karras et al. 2018 build it: each level is the image less
//! what remains after halving and doubling it again, and the last is the halved image itself. The filter is `[1 4 6 4 1] /
//! 16` in both directions, and images go on beyond their edges as in a mirror that stands on the edge pixel.

const FILTER: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

/// One channel, `[height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

/// The levels of a plane, the finest first.
pub(super) fn pyramid(plane: Plane, n_levels: usize) -> Vec<Plane> {
    let mut levels = vec![plane];
    for _ in 1..n_levels {
        let Some(finest) = levels.last_mut() else { break };
        let halved = halve(finest);
        let doubled = double(&halved);
        finest.values.iter_mut().zip(doubled.values).for_each(|(value, low)| *value -= low);
        levels.push(halved);
    }
    levels
}

fn halve(plane: &Plane) -> Plane {
    let smooth = filtered(plane, 1.0);
    let rows = smooth.values.chunks_exact(plane.width).step_by(2);
    let values = rows.flat_map(|row| row.iter().step_by(2).copied()).collect();
    Plane { height: plane.height.div_ceil(2), width: plane.width.div_ceil(2), values }
}

fn double(plane: &Plane) -> Plane {
    let (height, width) = (2 * plane.height, 2 * plane.width);
    let mut spread = Plane { height, width, values: vec![0.0; height * width] };
    for (row, from) in plane.values.chunks_exact(plane.width).enumerate() {
        let to = spread.values[2 * row * width..].iter_mut().step_by(2);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }
    filtered(&spread, 2.0)
}

/// `plane` filtered in both directions, with a filter `scale` times as strong in each.
fn filtered(plane: &Plane, scale: f32) -> Plane {
    let Plane { height, width, values } = plane;
    let weights = FILTER.map(|weight| weight * scale);
    let mut rows = vec![0.0; values.len()];
    for (to, from) in rows.chunks_exact_mut(*width).zip(values.chunks_exact(*width)) {
        for (x, to) in to.iter_mut().enumerate() {
            *to = (0..5).map(|tap| weights[tap] * from[mirrored(x, tap, *width)]).sum();
        }
    }
    let mut both = vec![0.0; values.len()];
    for (y, to) in both.chunks_exact_mut(*width).enumerate() {
        for (tap, weight) in weights.into_iter().enumerate() {
            let from = &rows[mirrored(y, tap, *height) * width..][..*width];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        }
    }
    Plane { height: *height, width: *width, values: both }
}

/// The place under tap `tap` of the filter at `at`, of `n` places.
fn mirrored(at: usize, tap: usize, n: usize) -> usize {
    let at = (at + tap).abs_diff(2); // at + tap - 2, mirrored at 0
    let last = n - 1;
    if at > last { last.saturating_sub(at - last) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_stands_on_the_edge_pixel() {
        let places = |at| (0..5).map(|tap| mirrored(at, tap, 4)).collect::<Vec<_>>();
        assert_eq!(places(0), [2, 1, 0, 1, 2]);
        assert_eq!(places(1), [1, 0, 1, 2, 3]);
        assert_eq!(places(3), [1, 2, 3, 2, 1]);
    }

    #[test]
    fn levels_add_up_to_the_image() {
        let values: Vec<f32> = (0..32 * 16).map(|i| (i * 7 % 31) as f32).collect();
        let plane = Plane { height: 32, width: 16, values };
        let levels = pyramid(plane.clone(), 2);
        assert_eq!((levels[1].height, levels[1].width), (16, 8));
        let low = double(&levels[1]);
        for (i, value) in plane.values.iter().enumerate() {
            assert!((levels[0].values[i] + low.values[i] - value).abs() < 1e-4, "{i}");
        }
    }

    #[test]
    fn a_flat_image_has_nothing_but_its_last_level() {
        let plane = Plane { height: 32, width: 32, values: vec![3.0; 1024] };
        let levels = pyramid(plane, 2);
        assert!(levels[0].values.iter().all(|value| value.abs() < 1e-5));
        assert!(levels[1].values.iter().all(|value| (value - 3.0).abs() < 1e-5));
    }
}
