//! Unlabelled images that need not all be in memory.

use std::{borrow::Cow, ops::Range};

use eloc::images::{dataset::ImageSet, image::PIXELS};

/// Makes the images of some indices of a set, with a seed.
pub type Generate = fn(Range<usize>, u64) -> ImageSet;

/// Unlabelled images.
pub enum Set {
    /// In memory.
    Loaded(ImageSet),
    /// The first `count` of a set, made when they are asked for.
    Generated { name: String, generate: Generate, count: usize, seed: u64 },
}

impl Set {
    /// The name in tables.
    pub fn name(&self) -> &str {
        match self {
            Set::Loaded(set) => &set.name,
            Set::Generated { name, .. } => name,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Set::Loaded(set) => set.len(),
            Set::Generated { count, .. } => *count,
        }
    }

    /// `[n]`, where each image came from; empty where they are made when asked for.
    pub fn sources(&self) -> &[String] {
        match self {
            Set::Loaded(set) => &set.sources,
            Set::Generated { .. } => &[],
        }
    }

    /// Keeps the first `most` images.
    pub fn truncate(&mut self, most: usize) {
        match self {
            Set::Loaded(set) => set.truncate(most),
            Set::Generated { count, .. } => *count = most.min(*count),
        }
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not less than [`len`](Self::len).
    pub fn subset(self, indices: &[usize]) -> Set {
        Set::Loaded(self.load().subset(indices))
    }

    /// All of it.
    pub fn load(self) -> ImageSet {
        match self {
            Set::Loaded(set) => set,
            Set::Generated { generate, count, seed, .. } => generate(0..count, seed),
        }
    }

    /// The images `[n, 3, 32, 32]`, `size` at a time.
    pub fn pieces(&self, size: usize) -> impl Iterator<Item = Cow<'_, [u8]>> {
        (0..self.len()).step_by(size).map(move |start| {
            let indices = start..self.len().min(start + size);
            match self {
                Set::Loaded(set) => Cow::from(&set.images[indices.start * PIXELS..indices.end * PIXELS]),
                Set::Generated { generate, seed, .. } => Cow::from(generate(indices, *seed).images),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use eloc::images::synthetic;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_the_whole_set(count in 1_usize..20, most in 1_usize..20, size in 1_usize..20, seed: u64) {
            let whole = synthetic::uniform_noise(0..count.min(most), seed);
            let generated =
                Set::Generated { name: "uniform".into(), generate: synthetic::uniform_noise, count, seed };
            for mut set in [Set::Loaded(synthetic::uniform_noise(0..count, seed)), generated] {
                set.truncate(most);
                prop_assert_eq!((set.name(), set.len()), ("uniform", whole.len()));
                let pieces: Vec<Cow<[u8]>> = set.pieces(size).collect();
                let (last, others) = pieces.split_last().unwrap();
                prop_assert!(!last.is_empty() && last.len() <= size * PIXELS);
                prop_assert!(others.iter().all(|piece| piece.len() == size * PIXELS));
                prop_assert_eq!(&pieces.concat(), &whole.images);
                prop_assert_eq!(&set.load(), &whole);
            }
        }
    }
}
