//! Sets of images in memory: labelled ([`Dataset`]) and unlabelled ([`ImageSet`]), and the CIFAR binary format.
//!
//! All images are planar 32 x 32 RGB as in [`image`](crate::images::image), one after the other in a single buffer.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::images::image::PIXELS;

/// Labelled images, for training and for the in-distribution side of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// `[n, 3, 32, 32]`.
    pub images: Vec<u8>,
    /// `[n]`, each an index into `classes`.
    pub labels: Vec<u16>,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
}

impl Dataset {
    /// Checks that there is a label for each image, a class for each label and an image for each class.
    ///
    /// # Errors
    /// [`Error::ImageBytes`], [`Error::Label`] or [`Error::EmptyClass`].
    pub fn new(images: Vec<u8>, labels: Vec<u16>, classes: Vec<String>) -> Result<Self> {
        if images.len() != labels.len() * PIXELS {
            return Err(Error::ImageBytes { expected: labels.len() * PIXELS, found: images.len() });
        }
        let mut seen = vec![false; classes.len()];
        for (image, &label) in labels.iter().enumerate() {
            match seen.get_mut(usize::from(label)) {
                Some(seen) => *seen = true,
                None => {
                    return Err(Error::Label { image, label, classes: classes.len() });
                }
            }
        }
        if let Some(empty) = seen.iter().position(|&seen| !seen) {
            return Err(Error::EmptyClass { class: classes[empty].clone() });
        }
        Ok(Self { images, labels, classes })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Image `index`, `[3, 32, 32]`.
    ///
    /// # Panics
    /// When there are not that many images.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * PIXELS..][..PIXELS]
    }

    /// The images at `indices`, in that order, with all classes kept, also those that no index names.
    ///
    /// # Panics
    /// When an index is not less than [`len`](Self::len).
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self {
            images: indices.iter().flat_map(|&index| self.image(index)).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            classes: self.classes.clone(),
        }
    }

    /// Splits into (kept, held out) at random, the same share of every class, each part in the original order.
    ///
    /// Of a class of `n` images `round(per_class_fraction * n)` are held out, but at least 1 and at most `n - 1`, and
    /// none of a class of one image. Fraction 0 holds out nothing.
    ///
    /// # Panics
    /// When the fraction is not in [0, 1).
    pub fn hold_out(&self, per_class_fraction: f64, seed: u64) -> (Self, Self) {
        assert!((0.0..1.0).contains(&per_class_fraction), "a share in [0, 1), found {per_class_fraction}");

        let mut members = vec![Vec::new(); self.classes.len()];
        for (index, &label) in self.labels.iter().enumerate() {
            members[usize::from(label)].push(index);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut is_held_out = vec![false; self.len()];
        for mut members in members {
            members.shuffle(&mut rng);
            let wanted = (per_class_fraction * members.len() as f64).round() as usize;
            let held_out = match members.len() {
                n if n >= 2 && per_class_fraction > 0.0 => wanted.clamp(1, n - 1),
                _ => 0,
            };
            members[..held_out].iter().for_each(|&index| is_held_out[index] = true);
        }
        let (held_out, kept): (Vec<_>, Vec<_>) = (0..self.len()).partition(|&index| is_held_out[index]);
        (self.subset(&kept), self.subset(&held_out))
    }
}

/// Images without labels, for the out-of-distribution side of an evaluation and for scoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// The name in tables.
    pub name: String,
    /// `[n, 3, 32, 32]`.
    pub images: Vec<u8>,
    /// `[n]`, where each image came from.
    pub sources: Vec<String>,
    /// Source and reason of each image that could not be read.
    pub skipped: Vec<(String, String)>,
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Image `index`, `[3, 32, 32]`.
    ///
    /// # Panics
    /// When there are not that many images.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * PIXELS..][..PIXELS]
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.images.truncate(count.saturating_mul(PIXELS));
        self.sources.truncate(count);
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not less than [`len`](Self::len).
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self {
            name: self.name.clone(),
            images: indices.iter().flat_map(|&index| self.image(index)).copied().collect(),
            sources: indices.iter().map(|&index| self.sources[index].clone()).collect(),
            skipped: self.skipped.clone(),
        }
    }
}

/// The two CIFAR sets in their binary version, <https://www.cs.toronto.edu/~kriz/cifar.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// CIFAR-10.
    Ten,
    /// CIFAR-100.
    Hundred,
}

impl Cifar {
    /// The set called `name` on the command line and in manifests.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ten, Self::Hundred].into_iter().find(|which| which.name() == name)
    }

    /// Its name on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ten => "cifar10",
            Self::Hundred => "cifar100",
        }
    }

    /// Class names in label order; for CIFAR-100 the fine ones.
    pub fn classes(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Ten => &CIFAR_10_CLASSES,
            Self::Hundred => &CIFAR_100_CLASSES,
        };
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Names of its files with training images, and of the one with test images.
    pub fn files(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Ten => (
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
                "test_batch.bin",
            ),
            Self::Hundred => (&["train.bin"], "test.bin"),
        }
    }

    /// Whether the file of this name or path is called as one of theirs with images.
    pub fn has_file(path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        [Self::Ten, Self::Hundred].map(Self::files).iter().any(|(train, test)| train.contains(&name) || *test == name)
    }

    /// Whether the file of this name or path is called as one that comes with them and has no images.
    pub fn has_note(path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        ["batches.meta.txt", "readme.html", "fine_label_names.txt", "coarse_label_names.txt"].contains(&name)
    }

    /// Reads a `.bin` file of either set as [`parse`](Self::parse) does: the size of a record tells them apart, the file's
    /// name or path which was meant where both would fit.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn read(path: &str, bytes: &[u8]) -> Result<(Self, Vec<u8>, Vec<u16>)> {
        let is_hundred = path.ends_with("test.bin") || path.ends_with("train.bin");
        let meant = if is_hundred { [Self::Hundred, Self::Ten] } else { [Self::Ten, Self::Hundred] };
        let [first, second] = meant.map(|which| which.parse(bytes).map(|(images, labels)| (which, images, labels)));
        first.or_else(|error| second.map_err(|_| error))
    }

    /// Reads one `.bin` file: images `[n, 3, 32, 32]` and their labels `[n]`.
    ///
    /// A record is the label (CIFAR-100: coarse label, fine label; the fine one is returned), then the 3072 bytes of a
    /// planar image.
    ///
    /// # Errors
    /// [`Error::CifarSize`] when the file is empty or cut off, [`Error::Label`] when a label has no class.
    pub fn parse(self, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u16>)> {
        let (label_bytes, classes) = match self {
            Self::Ten => (1, CIFAR_10_CLASSES.len()),
            Self::Hundred => (2, CIFAR_100_CLASSES.len()),
        };
        let record = label_bytes + PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(Error::CifarSize { record, found: bytes.len() });
        }
        let mut images = Vec::with_capacity(bytes.len() / record * PIXELS);
        let mut labels = Vec::with_capacity(bytes.len() / record);
        for (image, record) in bytes.chunks_exact(record).enumerate() {
            let label = u16::from(record[label_bytes - 1]);
            if usize::from(label) >= classes {
                return Err(Error::Label { image, label, classes });
            }
            labels.push(label);
            images.extend_from_slice(&record[label_bytes..]);
        }
        Ok((images, labels))
    }

    /// Whether these are the published images and labels, in the published order.
    pub fn is_published(self, train: &Dataset, test: &Dataset) -> bool {
        let digest = |set: &Dataset| -> String {
            // A label of CIFAR fits into a byte.
            let labels: Vec<u8> = set.labels.iter().map(|&label| label as u8).collect();
            format!("{:x}", Sha256::new().chain_update(&set.images).chain_update(labels).finalize())
        };
        let published = match self {
            Self::Ten => [
                "d3be75e75177197a7119cfad65fa068bcb30b993cb96bbac5c7fd3b5d99c2497",
                "ac6f09c611e8bcabeb3ffc906eaf0bf453a52713d8fa8539fc34a2ea5bbcdbb9",
            ],
            Self::Hundred => [
                "4e50520a1125d045fade68001374cf6c74e360819dc08b7ecffe4e6c79e9b419",
                "dc66669533e5da36cbeb472b8e2af54edcb17f1d9736fdbd5fede79d08f46b2f",
            ],
        };
        [train, test].map(digest) == published
    }
}

const CIFAR_10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

#[rustfmt::skip]
const CIFAR_100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `counts[c]` images of class `c`; the first two bytes of an image say which one it is.
    fn numbered(counts: &[usize]) -> Dataset {
        let labels: Vec<u16> = (0..).zip(counts).flat_map(|(class, &count)| vec![class; count]).collect();
        let mut images = vec![0; labels.len() * PIXELS];
        for (index, image) in images.chunks_exact_mut(PIXELS).enumerate() {
            image[..2].copy_from_slice(&(index as u16).to_le_bytes());
        }
        Dataset::new(images, labels, counts.iter().map(|n| format!("of {n}")).collect()).unwrap()
    }

    fn numbers(set: &Dataset) -> Vec<u16> {
        (0..set.len()).map(|index| u16::from_le_bytes([set.image(index)[0], set.image(index)[1]])).collect()
    }

    fn record(labels: &[u8], fill: u8) -> Vec<u8> {
        [labels, &[fill; PIXELS]].concat()
    }

    #[test]
    fn wrong_number_of_image_bytes_is_rejected() {
        let found = Dataset::new(vec![0; PIXELS + 1], vec![0], vec!["a".into()]);
        assert!(matches!(found, Err(Error::ImageBytes { expected: PIXELS, found }) if found == PIXELS + 1));
    }

    #[test]
    fn label_without_a_class_is_rejected() {
        let found = Dataset::new(vec![0; 2 * PIXELS], vec![0, 1], vec!["a".into()]);
        assert!(matches!(found, Err(Error::Label { image: 1, label: 1, classes: 1 })));
    }

    #[test]
    fn class_without_an_image_is_rejected() {
        let found = Dataset::new(vec![0; PIXELS], vec![1], vec!["a".into(), "b".into()]);
        assert!(matches!(found, Err(Error::EmptyClass { class }) if class == "a"));
    }

    #[test]
    fn subset_keeps_the_given_order_and_all_classes() {
        let set = numbered(&[2, 2]).subset(&[3, 0, 0]);
        assert_eq!((numbers(&set), set.labels.clone(), set.classes.len()), (vec![3, 0, 0], vec![1, 0, 0], 2));
    }

    #[test]
    fn a_tenth_of_each_class_is_held_out() {
        let (kept, held_out) = numbered(&[50, 20, 3, 1]).hold_out(0.1, 7);
        let count = |set: &Dataset, class| set.labels.iter().filter(|&&label| label == class).count();
        assert_eq!([0, 1, 2, 3].map(|class| count(&held_out, class)), [5, 2, 1, 0]);
        assert_eq!([0, 1, 2, 3].map(|class| count(&kept, class)), [45, 18, 2, 1]);
    }

    #[test]
    fn hold_out_is_the_same_on_every_machine() {
        assert_eq!(numbers(&numbered(&[10, 10]).hold_out(0.2, 0).1), [2, 8, 10, 14]);
        assert!(numbered(&[10, 10]).hold_out(0.0, 0).1.is_empty());
    }

    #[test]
    fn cifar_records_are_read() {
        let bytes = [record(&[3], 10), record(&[9], 20)].concat();
        let (images, labels) = Cifar::Ten.parse(&bytes).unwrap();
        assert_eq!((labels, images.len()), (vec![3, 9], 2 * PIXELS));
        assert_eq!((images[0], images[PIXELS]), (10, 20));

        let (images, labels) = Cifar::Hundred.parse(&record(&[19, 99], 30)).unwrap();
        assert_eq!((labels, images), (vec![99], vec![30; PIXELS]));
    }

    #[test]
    fn truncated_cifar_is_rejected() {
        let bytes = [record(&[3], 10), record(&[9], 20)].concat();
        let found = Cifar::Ten.parse(&bytes[..bytes.len() - 1]);
        assert!(matches!(found, Err(Error::CifarSize { record: 3073, found: 6145 })));
        assert!(matches!(Cifar::Hundred.parse(&[]), Err(Error::CifarSize { record: 3074, found: 0 })));
    }

    #[test]
    fn set_of_a_cifar_file_is_told_by_its_records() {
        let (ten, hundred) = (record(&[3], 10), record(&[19, 99], 30));
        for (name, bytes, expected) in [
            ("a/test_batch.bin", &ten, (Cifar::Ten, 3)),
            ("test.bin", &hundred, (Cifar::Hundred, 99)),
            ("renamed/test.bin", &ten, (Cifar::Ten, 3)),
            ("data_batch_1.bin", &hundred, (Cifar::Hundred, 99)),
        ] {
            let (which, images, labels) = Cifar::read(name, bytes).unwrap();
            assert_eq!(((which, labels[0]), images.len()), (expected, PIXELS), "{name}");
        }
        assert!(matches!(Cifar::read("train.bin", &ten[1..]), Err(Error::CifarSize { record: 3074, .. })));
        assert!(Cifar::has_file("a/data_batch_5.bin") && Cifar::has_file("train.bin") && !Cifar::has_file("a.bin"));
        assert!(Cifar::has_note("a/readme.html") && !Cifar::has_note("readme.html/a.png"));
    }

    #[test]
    fn cifar_label_out_of_range_is_rejected() {
        let bytes = [record(&[3], 10), record(&[10], 20)].concat();
        assert!(matches!(Cifar::Ten.parse(&bytes), Err(Error::Label { image: 1, label: 10, classes: 10 })));
    }

    #[test]
    fn cifar_classes_are_in_official_order() {
        for (which, first, last, count) in
            [(Cifar::Ten, "airplane", "truck", 10), (Cifar::Hundred, "apple", "worm", 100)]
        {
            let classes = which.classes();
            assert_eq!((classes[0].as_str(), classes[count - 1].as_str(), classes.len()), (first, last, count));
            assert!(classes.is_sorted());
        }
    }

    proptest! {
        #[test]
        fn hold_out_is_a_partition(
            counts in proptest::collection::vec(1_usize..20, 1..6), fraction in 0.0..1.0, seed: u64,
        ) {
            let (kept, held_out) = numbered(&counts).hold_out(fraction, seed);
            let (kept, held_out) = (numbers(&kept), numbers(&held_out));
            prop_assert!(kept.is_sorted() && held_out.is_sorted());
            let mut all = [kept, held_out].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..counts.iter().sum::<usize>() as u16).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_parsed_or_rejected(bytes: Vec<u8>) {
            let _ = Cifar::Ten.parse(&bytes);
            let _ = Cifar::Hundred.parse(&bytes);
        }
    }
}
