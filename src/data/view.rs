//! Views of an image: the image, its horizontal flip, and either shifted by a few pixels. A tokenizer gives each view
//! other codes, so that a prior sees more sequences than there are images.

/// A view of an image: first the flip, then the shift, at which the edge is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Whether it is flipped horizontally.
    pub flipped: bool,
    /// Pixels to the right and down, each at most [`View::MOST_SHIFT`] either way.
    pub shift: [i8; 2],
}

impl View {
    /// The image unchanged.
    pub const AS_IS: Self = Self { flipped: false, shift: [0, 0] };
    /// Its horizontal flip.
    pub const FLIPPED: Self = Self { flipped: true, shift: [0, 0] };
    /// The largest shift: the ids of all views fit a byte.
    pub const MOST_SHIFT: usize = 5;

    /// The views of images with shifts of up to `shift` pixels either way, in the order of their ids.
    pub fn all(flip: bool, shift: usize) -> Vec<Self> {
        let of_shift = |shift| {
            let both = [false, true].into_iter().filter(move |flipped| flip || !flipped);
            both.map(move |flipped| Self { flipped, shift })
        };
        shifts().take_while(|one| distance(*one) <= shift).flat_map(of_shift).collect()
    }

    /// Its id in files: 0 for the image unchanged, 1 for its flip, and two for each shift, the nearer ones first.
    pub fn id(self) -> u8 {
        let place = shifts().position(|shift| shift == self.shift).unwrap_or_default();
        (2 * place) as u8 + u8::from(self.flipped)
    }

    /// The view of an id; `None` for one that no view has.
    pub fn of_id(id: u8) -> Option<Self> {
        let shift = shifts().nth(usize::from(id / 2))?;
        Some(Self { flipped: id % 2 == 1, shift })
    }

    /// Pixels that it is shifted by in the direction in which it is shifted more.
    pub fn distance(self) -> usize {
        distance(self.shift)
    }
}

fn distance([right, down]: [i8; 2]) -> usize {
    usize::from(right.unsigned_abs().max(down.unsigned_abs()))
}

/// All shifts, the nearer ones first, those of one distance row by row.
fn shifts() -> impl Iterator<Item = [i8; 2]> {
    (0..=View::MOST_SHIFT as i8).flat_map(|most| {
        let rows =
            (-most..=most).flat_map(move |down| (-most..=most).map(move |right| [right, down]));
        rows.filter(move |shift| distance(*shift) == most as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bytes_that_tell_views_apart_and_the_first_two_are_those_of_older_files() {
        assert_eq!((View::AS_IS.id(), View::FLIPPED.id()), (0, 1));
        let all = View::all(true, View::MOST_SHIFT);
        assert_eq!(all.len(), 242);
        for (id, view) in (0..).zip(all) {
            assert_eq!((view.id(), View::of_id(id)), (id, Some(view)));
        }
        assert_eq!((View::of_id(242), View::of_id(255)), (None, None));
    }

    #[test]
    fn the_views_of_a_shift_are_all_within_it() {
        assert_eq!(View::all(false, 0), [View::AS_IS]);
        assert_eq!(View::all(true, 0), [View::AS_IS, View::FLIPPED]);
        let views = View::all(false, 1);
        let shifts: Vec<[i8; 2]> = views.iter().map(|view| view.shift).collect();
        let ring = [[-1, -1], [0, -1], [1, -1], [-1, 0], [1, 0], [-1, 1], [0, 1], [1, 1]];
        assert_eq!(shifts, [&[[0, 0]], &ring[..]].concat());
        assert_eq!(View::all(true, 2).len(), 50);
        assert!(View::all(true, 2).iter().all(|view| view.distance() <= 2));
    }
}
