//! Work on all cores; in a browser, where there is one, in turn.

#[cfg(not(target_family = "wasm"))]
use rayon::prelude::*;

use super::aligned::Aligned;

/// Cores at work.
#[cfg(not(target_family = "wasm"))]
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Cores at work.
#[cfg(target_family = "wasm")]
pub(super) fn threads() -> usize {
    1
}

/// Calls `work` for each index below `count`.
pub(super) fn for_each(count: usize, work: impl Fn(usize) + Send + Sync) {
    #[cfg(not(target_family = "wasm"))]
    (0..count).into_par_iter().for_each(work);
    #[cfg(target_family = "wasm")]
    (0..count).for_each(work);
}

/// The sum of what `work` adds for each index below `count` to `length` zeros; the same number of threads gives the same digits.
pub(super) fn fold(count: usize, length: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Aligned {
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

/// `length` numbers, of which `work` writes each plane of `plane`, given its index.
pub(super) fn fill(length: usize, plane: usize, work: impl Fn(usize, &mut [f32]) + Send + Sync) -> Vec<f32> {
    let mut out = vec![0.0; length];
    #[cfg(not(target_family = "wasm"))]
    let planes = out.par_chunks_mut(plane.max(1));
    #[cfg(target_family = "wasm")]
    let planes = out.chunks_mut(plane.max(1));
    planes.enumerate().for_each(|(index, plane)| work(index, plane));
    out
}
