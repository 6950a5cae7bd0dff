//! Work on all cores; in a browser, where there is one, in turn.

use std::ops::Range;

#[cfg(not(target_family = "wasm"))]
use rayon::prelude::*;

use super::aligned::Aligned;

/// Cores at work.
#[cfg(not(target_family = "wasm"))]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Cores at work.
#[cfg(target_family = "wasm")]
pub fn threads() -> usize {
    1
}

/// Calls `work` for each index below `count`.
pub fn for_each(count: usize, work: impl Fn(usize) + Send + Sync) {
    #[cfg(not(target_family = "wasm"))]
    (0..count).into_par_iter().for_each(work);
    #[cfg(target_family = "wasm")]
    (0..count).for_each(work);
}

/// The sum of what `work` adds for each index below `count` to `length` zeros; the same number of threads gives the same digits.
pub fn fold(count: usize, length: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Aligned {
    let parts = threads().min(count).max(1);
    let sum = |part: usize| {
        let mut total = Aligned::zeros(length);
        (count * part / parts..count * (part + 1) / parts).for_each(|index| work(index, &mut total));
        total
    };
    #[cfg(not(target_family = "wasm"))]
    let totals: Vec<Aligned> = (0..parts).into_par_iter().map(sum).collect();
    #[cfg(target_family = "wasm")]
    let totals = (0..parts).map(sum);
    let add = |mut a: Aligned, b: Aligned| {
        a.iter_mut().zip(b.iter()).for_each(|(a, b)| *a += b);
        a
    };
    totals.into_iter().reduce(add).expect("there is one part at least")
}

/// `length` numbers, of which `work` writes each `part`, given its index.
pub fn fill(length: usize, part: usize, work: impl Fn(usize, &mut [f32]) + Send + Sync) -> Vec<f32> {
    let mut out = vec![0.0; length];
    for_each_part(&mut out, part, work);
    out
}

/// Calls `work` for each `part` of some numbers, given its index.
pub fn for_each_part(numbers: &mut [f32], part: usize, work: impl Fn(usize, &mut [f32]) + Send + Sync) {
    #[cfg(not(target_family = "wasm"))]
    let parts = numbers.par_chunks_mut(part.max(1));
    #[cfg(target_family = "wasm")]
    let parts = numbers.chunks_mut(part.max(1));
    parts.enumerate().for_each(|(index, part)| work(index, part));
}

/// `length` numbers and as many bytes, of which `work` writes each `part` of both, given its index.
pub fn fill_both(
    length: usize,
    part: usize,
    work: impl Fn(usize, &mut [f32], &mut [u8]) + Send + Sync,
) -> (Vec<f32>, Vec<u8>) {
    let (mut values, mut bytes) = (vec![0.0; length], vec![0; length]);
    #[cfg(not(target_family = "wasm"))]
    let parts = values.par_chunks_mut(part.max(1)).zip(bytes.par_chunks_mut(part.max(1)));
    #[cfg(target_family = "wasm")]
    let parts = values.chunks_mut(part.max(1)).zip(bytes.chunks_mut(part.max(1)));
    parts.enumerate().for_each(|(index, (values, bytes))| work(index, values, bytes));
    (values, bytes)
}

/// For each index below `count`, what `work` adds to `length` zeros.
pub fn sums(count: usize, length: usize, work: impl Fn(usize, &mut [f32]) + Send + Sync) -> Vec<Vec<f32>> {
    let sum = |index: usize| {
        let mut sum = vec![0.0; length];
        work(index, &mut sum);
        sum
    };
    #[cfg(not(target_family = "wasm"))]
    return (0..count).into_par_iter().map(sum).collect();
    #[cfg(target_family = "wasm")]
    (0..count).map(sum).collect()
}

/// The sums over `parts` `[2 channels]` of either half.
pub fn totals<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, channels: usize) -> [Vec<f32>; 2] {
    [0, channels].map(|first| {
        let of = |channel: usize| parts.clone().map(|sums| f64::from(sums[first + channel])).sum::<f64>() as f32;
        (0..channels).map(of).collect()
    })
}

/// How maps are divided: into groups of images, or some rows of one.
pub struct Units {
    pub images: usize,
    /// Rows of a map.
    pub height: usize,
    /// Images of a unit.
    pub group: usize,
    /// Rows of a unit.
    pub rows: usize,
}

impl Units {
    /// Units of a map.
    fn parts(&self) -> usize {
        self.height.div_ceil(self.rows.max(1))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.images.div_ceil(self.group) * self.parts()
    }

    /// The images and rows of a unit.
    pub fn of(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (group, part) = (index / self.parts(), index % self.parts());
        let images = group * self.group..((group + 1) * self.group).min(self.images);
        (images, part * self.rows..((part + 1) * self.rows).min(self.height))
    }
}
