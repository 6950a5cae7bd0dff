//! The evaluation protocol of the published code (YU1ut/Ensemble-of-Leave-out-Classifiers), for figures that can be held
//! against its own.
//!
//! It scores 10,000 test images against 10,000 others in the order of their file names, leaves out of both the 1,000
//! indices that its choice of the epoch may have seen, and perturbs by a magnitude for each network and pair of sets.
//! One thing is not its: images of 36 x 36, as in ODIN's "crop" sets, go through its networks whole, and lose their border here.

use crate::{
    fold::{DEFAULT_SEED, permutation},
    network::Network,
};

/// Images of each set before any is dropped.
pub const IMAGES: usize = 10_000;
/// Images dropped from each set.
const DROPPED: usize = 1_000;

/// The indices that are scored, ascending: all of [`IMAGES`] but the first thousand of NumPy's permutation with seed 3.
pub fn kept_indices() -> Vec<usize> {
    let mut kept = permutation(DEFAULT_SEED, IMAGES).split_off(DROPPED);
    kept.sort_unstable();
    kept
}

/// The magnitude of the perturbation, in units of the 0 to 1 pixel range; its README's table, and the paper's 0.002 for what
/// is not in it. `ood` may be an archive's name.
pub fn epsilon(network: &Network, dataset: &str, ood: &str) -> f64 {
    let name = ood.split_once('.').map_or(ood, |(name, _)| name);
    match (network, dataset, name) {
        (Network::DenseNetBc { .. }, "cifar100", "LSUN" | "LSUN_resize") => 0.003,
        (Network::WideResNet { .. }, "cifar10", "Imagenet" | "Imagenet_resize") => 0.003,
        (Network::WideResNet { .. }, "cifar10", "LSUN") => 0.001,
        _ => 0.002,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_thousand_indices_are_kept_in_order() {
        let kept = kept_indices();
        assert_eq!(kept.len(), 9_000);
        assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        // The permutation starts with these.
        for dropped in [5876, 6555, 1448, 3351, 231] {
            assert!(kept.binary_search(&dropped).is_err(), "{dropped}");
        }
    }

    #[test]
    fn magnitudes_are_those_of_the_published_table() {
        let of = |network: &str, dataset, ood| epsilon(&network.parse().unwrap(), dataset, ood);
        let sets = ["Imagenet", "Imagenet_resize", "LSUN", "LSUN_resize"];
        assert_eq!(sets.map(|set| of("densenet-bc-100-12", "cifar10", set)), [0.002; 4]);
        assert_eq!(sets.map(|set| of("densenet-bc-100-12", "cifar100", set)), [0.002, 0.002, 0.003, 0.003]);
        assert_eq!(sets.map(|set| of("wrn-28-10", "cifar10", set)), [0.003, 0.003, 0.001, 0.002]);
        assert_eq!(sets.map(|set| of("wrn-28-10", "cifar100", set)), [0.002; 4]);
        assert_eq!(of("wrn-28-10", "cifar10", "Imagenet.tar.gz"), 0.003);
    }
}
