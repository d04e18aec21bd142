//! Nearest neighbours in the space of features: which training image a sample is most like, and whether samples are
//! copies.

use rayon::prelude::*;

/// The nearest of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its place in the set.
    pub index: usize,
    /// Its Euclidean distance.
    pub distance: f64,
}

/// The nearest vector of `set` to each of `queries`; the first of equally near ones. Empty for an empty set.
///
/// # Shapes
/// - `queries`: `[n, n_features]`; `set`: `[m, n_features]`
pub fn nearest(queries: &[f32], set: &[f32], n_features: usize) -> Vec<Neighbour> {
    let found = queries.par_chunks_exact(n_features);
    found.filter_map(|query| nearest_except(query, set, n_features, None)).collect()
}

/// The distance from each of the vectors at `places` of a set to the nearest other one.
///
/// # Shapes
/// - `set`: `[m, n_features]`
pub fn distances_within(set: &[f32], n_features: usize, places: &[usize]) -> Vec<f64> {
    let found = places.par_iter().filter_map(|place| {
        let query = &set[place * n_features..(place + 1) * n_features];
        nearest_except(query, set, n_features, Some(*place))
    });
    found.map(|neighbour| neighbour.distance).collect()
}

/// The share of `distances` below the median of `usual`, equal ones counted by half; `None` where either is empty.
///
/// Of distances from the same distribution it is one half; of copies it approaches 1.
pub fn share_nearer(distances: &[f64], usual: &[f64]) -> Option<f64> {
    let mut usual = usual.to_vec();
    usual.sort_by(f64::total_cmp);
    let (middle, odd) = (usual.len() / 2, usual.len() % 2 == 1);
    let upper = *usual.get(middle)?;
    let median = if odd { upper } else { (usual[middle - 1] + upper) / 2.0 };
    let score = |distance: &f64| match distance.partial_cmp(&median) {
        Some(std::cmp::Ordering::Less) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let sum: f64 = distances.iter().map(score).sum();
    (!distances.is_empty()).then(|| sum / distances.len() as f64)
}

fn nearest_except(
    query: &[f32],
    set: &[f32],
    n_features: usize,
    except: Option<usize>,
) -> Option<Neighbour> {
    let others = set.chunks_exact(n_features).enumerate();
    let squares = others.filter(|(index, _)| Some(*index) != except).map(|(index, vector)| {
        // Not from the products: vectors that are nearly equal would lose their distance to rounding.
        let square: f64 = query.iter().zip(vector).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (index, square)
    });
    let (index, square) = squares.min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Neighbour { index, distance: square.sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_and_a_vector_is_not_its_own() {
        let set = [0.0, 0.0, 3.0, 4.0, 0.0, 1.0];
        let found = nearest(&[0.0, 0.6, 3.0, 4.0], &set, 2);
        let indices: Vec<_> = found.iter().map(|neighbour| neighbour.index).collect();
        assert_eq!(indices, [2, 1]);
        assert_eq!(found[1].distance, 0.0);
        assert_eq!(distances_within(&set, 2, &[0, 1]), [1.0, 18f64.sqrt()]);
        assert!(distances_within(&set[..2], 2, &[0]).is_empty());
    }

    #[test]
    fn copies_are_nearer_than_images_are_to_each_other_and_others_are_not() {
        let usual = [1.0, 2.0, 3.0];
        assert_eq!(share_nearer(&[0.0; 4], &usual), Some(1.0));
        assert_eq!(share_nearer(&[9.0; 4], &usual), Some(0.0));
        assert_eq!(share_nearer(&usual, &usual), Some(0.5));
        assert_eq!(share_nearer(&[2.4, 2.6], &[1.0, 2.0, 3.0, 4.0]), Some(0.5));
        assert_eq!(share_nearer(&[], &usual), None);
        assert_eq!(share_nearer(&usual, &[]), None);
    }
}
