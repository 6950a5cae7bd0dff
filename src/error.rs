//! The one error type of the library. Each message says what was read, what was expected and what was found; the
//! command line adds the path, which the library never knows.

use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that no supported format decodes, or an image over the limits.
    #[error("image: expected a sound PNG, JPEG, WebP, BMP or GIF of at most 8192 x 8192 pixels and 96 MiB")]
    Image(#[from] image::ImageError),

    /// Not a whole number of records, or none.
    #[error("CIFAR file: expected one or more records of {record} bytes, found {found} bytes")]
    CifarSize {
        /// Bytes of one record.
        record: usize,
        /// What was found.
        found: usize,
    },

    /// A label that no class has.
    #[error("label of image {image}: expected less than {classes} (one per class), found {label}")]
    Label {
        /// Index of the image.
        image: usize,
        /// The label found.
        label: u16,
        /// Number of classes.
        classes: usize,
    },

    /// The pixel buffer does not hold as many images as it should.
    #[error("images: expected {expected} bytes (3 x 32 x 32 for each image), found {found}")]
    ImageBytes {
        /// What was expected.
        expected: usize,
        /// What was found.
        found: usize,
    },

    /// A class without a single image.
    #[error("class `{class}`: expected at least one image, found none")]
    EmptyClass {
        /// Name of the class.
        class: String,
    },

    /// Neither zip, tar nor gzip by content.
    #[error("archive: expected zip, tar or tar.gz, found bytes that start with {head:02x?}")]
    ArchiveFormat {
        /// First bytes of what was found.
        head: Vec<u8>,
    },

    /// An archive of a kind that is not read.
    #[error("archive: expected zip, tar or tar.gz, found {kind}")]
    ArchiveKind {
        /// The kind found.
        kind: &'static str,
    },

    /// Something in an archive that is no file, or stored in a way that is not read.
    #[error("archive entry: expected a file that can be read, found {found}")]
    ArchiveEntry {
        /// What was found.
        found: String,
    },

    /// A damaged or truncated tar, gzip stream or archive entry.
    #[error("archive: expected sound contents, found damage after {entries} entries")]
    Archive {
        /// Entries read before it.
        entries: u64,
        /// The cause.
        source: std::io::Error,
    },

    /// A damaged zip directory or an entry stored in a way that is not supported.
    #[error("zip archive: expected sound deflated or stored entries, found damage after {entries} entries")]
    Zip {
        /// Entries read before it.
        entries: u64,
        /// The cause.
        source: zip::result::ZipError,
    },

    /// An archive that unpacks to more than the limits allow.
    #[error("archive: expected {what} of at most {limit}, found more")]
    ArchiveLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },

    /// More folds than classes or than there may be, or fewer than two folds.
    #[error("{folds} folds of {classes} classes: expected between 2 folds and one per class, at most 1000")]
    FoldCount {
        /// Number of classes to split.
        classes: usize,
        /// Number of folds asked for.
        folds: usize,
    },

    /// A fold would keep too few classes to classify anything.
    #[error(
        "fold {fold} of {folds} keeps {kept} of {classes} classes: expected at least 2; \
         take more classes or other folds"
    )]
    FoldTooSmall {
        /// 1-based number of the fold.
        fold: usize,
        /// Number of folds asked for.
        folds: usize,
        /// Number of classes the fold would keep.
        kept: usize,
        /// Number of classes to split.
        classes: usize,
    },

    /// One of the two sets of scores has no element.
    #[error("no {side} scores: expected at least 1, found 0")]
    NoScores {
        /// The set that is empty.
        side: Side,
    },

    /// A score that is not a finite number.
    #[error("{side} score {index} (counted from 0): expected a finite number, found {value}")]
    ScoreNotFinite {
        /// The set the score belongs to.
        side: Side,
        /// 0-based position in that set.
        index: usize,
        /// The score found.
        value: f64,
    },

    /// A file of scores or logits that cannot be measured.
    #[error("{place}: expected {expected}, found {found}")]
    ScoreFile {
        /// The file, and where in it.
        place: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },

    /// Two scores of one set that are not of the same images.
    #[error("{side} set: expected two scores of each image, found {} and {} scores", counts[0], counts[1])]
    NotPaired {
        /// The set.
        side: Side,
        /// How many scores of each kind.
        counts: [usize; 2],
    },

    /// Bootstrap settings that give no interval.
    #[error(
        "bootstrap: expected at least 1 resample and a level between 0 and 1 (exclusive), \
         found {resamples} resamples and level {level}"
    )]
    Bootstrap {
        /// Number of resamples asked for.
        resamples: usize,
        /// Confidence level asked for.
        level: f64,
    },

    /// Histogram settings that give no bins.
    #[error(
        "histogram: expected at least 1 bin and a finite range from low to high, \
         found {bins} bins from {low} to {high}"
    )]
    Histogram {
        /// Number of bins asked for.
        bins: usize,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },

    /// A network's name that no family has.
    #[error(
        "network `{name}`: expected compact, compact-A-B-C, densenet-bc-DEPTH-GROWTH or wrn-DEPTH-WIDEN \
         (depth 10, 16, 22, ...; sizes of at least 1)"
    )]
    UnknownNetwork {
        /// The name found.
        name: String,
    },

    /// A fold that has nothing to train on.
    #[error("fold {fold}: expected training images of kept and of left-out classes, found {kept} and {left_out}")]
    FoldData {
        /// 1-based number of the fold.
        fold: usize,
        /// Training images of kept classes.
        kept: usize,
        /// Training images of left-out classes.
        left_out: usize,
    },

    /// Nothing to measure a fold's accuracy on.
    #[error("fold {fold}: expected validation images of kept classes, found none")]
    NoValidation {
        /// 1-based number of the fold.
        fold: usize,
    },

    /// A file that is no PyTorch checkpoint of the published code.
    #[error("{file}: {reason}")]
    Pytorch {
        /// The file.
        file: String,
        /// What was expected and found.
        reason: String,
    },

    /// A training of no epochs.
    #[error("recipe: expected at least 1 epoch, found 0")]
    NoEpochs,

    /// The training diverged.
    #[error(
        "fold {fold}, epoch {epoch}, step {step}: expected a finite loss, found none; \
         try a lower learning rate"
    )]
    NotFinite {
        /// 1-based number of the fold.
        fold: usize,
        /// 1-based number of the epoch.
        epoch: usize,
        /// 1-based number of the step.
        step: usize,
    },

    /// The caller stopped the training.
    #[error("training stopped")]
    Stopped,

    /// A checkpoint that does not fit the run.
    #[error("checkpoint: expected the network of this run, found another or damage: {reason}")]
    Checkpoint {
        /// What does not fit.
        reason: String,
    },

    /// A manifest that is not one.
    #[error("manifest: expected a manifest of format {format}, found other JSON or none")]
    Manifest {
        /// The format this version reads.
        format: u32,
        /// Where the JSON is not one.
        source: serde_json::Error,
    },

    /// A manifest whose values do not fit together.
    #[error("manifest: expected {expected}, found {found}")]
    ManifestValue {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },

    /// Weights of another version of the format.
    #[error("manifest: expected format {expected}, found {found}; train again or take a matching version of eloc")]
    WeightsVersion {
        /// The format this version reads.
        expected: u32,
        /// The format found.
        found: u32,
    },

    /// A fold file that is not the one its manifest describes.
    #[error("{file}: expected the file that the manifest describes ({expected}), found another ({found})")]
    WeightsHash {
        /// Name of the file.
        file: String,
        /// Size and SHA-256 in the manifest.
        expected: String,
        /// Size and SHA-256 of the file.
        found: String,
    },

    /// A fold file whose tensors do not fit its network.
    #[error("{file}: expected the tensors of the manifest's network, found {reason}")]
    Weights {
        /// Name of the file.
        file: String,
        /// What does not fit.
        reason: String,
    },

    /// A device that could not return its results.
    #[error("device: expected results, found none")]
    Device(#[from] burn::tensor::ExecutionError),
}

/// Which of the two sets a score belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In-distribution.
    Id,
    /// Out-of-distribution.
    Ood,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Side::Id => "in-distribution",
            Side::Ood => "out-of-distribution",
        })
    }
}
