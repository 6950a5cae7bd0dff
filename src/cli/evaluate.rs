//! `eloc evaluate`: the metric table of an ensemble on an in-distribution set and any out-of-distribution sets.

use std::{
    ffi::{OsStr, OsString},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use eloc::{
    detection::{ensemble::Score, odin::Odin},
    evaluation::{
        metrics::Definition,
        protocol,
        report::{IdSet, OodSet, Provenance, Report},
    },
    images::dataset::Dataset,
    weights::manifest::Manifest,
};

use super::{
    compare::{Earlier, Images, Scored},
    data::{self, DataArgs, Set, TrainingData},
    device::DeviceChoice,
    exclude::Excluded,
    odin::OdinArgs,
    output,
    scoring::{self, Cache},
    shell, store,
};

/// What `eloc evaluate` takes.
#[derive(Args, Debug)]
pub struct EvaluateArgs {
    /// Folder of the weights.
    #[arg(long)]
    pub weights: PathBuf,
    /// In-distribution test set: cifar10, cifar100, shapes or a folder of class/name.png, of which a fifth is measured, as
    /// `train` holds it out, or of test/class/name.png beside train/ [default: the set that the weights were trained on].
    #[arg(long)]
    pub id: Option<String>,
    /// Out-of-distribution sets: names (Imagenet, Imagenet_resize, LSUN, LSUN_resize, iSUN, cifar10, cifar100, uniform,
    /// gaussian, patterns, fractals, shapes; uniform:500 for 500 images of it), folders or archives [default: those of --compare].
    #[arg(long, num_args = 1.., required_unless_present = "compare")]
    pub ood: Vec<OsString>,
    /// Leave out the images of out-of-distribution sets that this file names, one a line: paths within a set, or how they end.
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
    /// Score only the first N images of each set; of an --id folder, N from all of its classes.
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Use only the first N of the trained folds; others may be missing.
    #[arg(long, value_name = "N")]
    pub folds: Option<NonZeroUsize>,
    /// Definition of the metrics [default: standard, or that of --compare].
    #[arg(long, value_enum)]
    pub definition: Option<DefinitionChoice>,
    /// Do as the published code does: 9,000 of 10,000 images of each set, its magnitudes and its metrics.
    #[arg(long, value_enum, conflicts_with_all = ["limit", "compare"])]
    pub protocol: Option<ProtocolChoice>,
    #[command(flatten)]
    pub odin: OdinArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Do the evaluation in this file again, which the page or --json wrote, and print the differences; sets and settings
    /// are those of the file unless flags say otherwise.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Print the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

/// Whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolChoice {
    /// The published code's.
    Reference,
}

/// Whose definitions of the metrics.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DefinitionChoice {
    /// scikit-learn's.
    Standard,
    /// The published code's.
    Reference,
    /// OpenOOD's: out-of-distribution images are the positives in FPR95 and AUPR-out.
    #[value(name = "openood")]
    OpenOod,
}

impl DefinitionChoice {
    /// The library's value.
    pub fn definition(self) -> Definition {
        match self {
            DefinitionChoice::Standard => Definition::Standard,
            DefinitionChoice::Reference => Definition::Reference,
            DefinitionChoice::OpenOod => Definition::OpenOod,
        }
    }
}

impl EvaluateArgs {
    /// The table of `weights` on the terminal, with the defaults of every other flag.
    pub fn new(weights: &Path, id: &str, ood: &[String], data: &DataArgs, device: DeviceChoice) -> Self {
        EvaluateArgs {
            weights: weights.to_owned(),
            id: Some(id.to_owned()),
            ood: ood.iter().map(OsString::from).collect(),
            exclude: None,
            limit: None,
            folds: None,
            definition: None,
            protocol: None,
            odin: OdinArgs::default(),
            data: data.clone(),
            json: None,
            compare: None,
            markdown: false,
            device,
        }
    }
}

/// Prints the table and writes the report.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    store::check_writable(args.json.as_deref())?;
    let earlier = args.compare.as_deref().map(Earlier::read).transpose()?;
    let device = args.device.open()?;
    if let (Some(path), Some(earlier)) = (&args.compare, &earlier)
        && earlier.report.ood.iter().any(|set| set.epsilon.is_some())
    {
        bail!("{}: expected one epsilon for all sets, found one for each, as of --protocol reference", path.display());
    }
    let (mut manifest, members) =
        match args.folds.map(NonZeroUsize::get).or(earlier.as_ref().map(|earlier| earlier.report.folds)) {
            Some(folds) => store::read_first_folds(&args.weights, folds, &device.device)?,
            None => store::read_ensemble(&args.weights, &device.device)?,
        };
    let published = args.protocol.map(|_| Odin::default());
    let start = earlier.as_ref().map(|earlier| earlier.report.odin).or(published).unwrap_or(manifest.odin);
    manifest.odin = args.odin.over(start)?;
    let odin = manifest.odin;
    let id_name = match (&args.id, &earlier) {
        (Some(id), _) => id,
        (None, Some(earlier)) if data::is_built_in(&earlier.report.id.name) => &earlier.report.id.name,
        (None, Some(earlier)) => bail!("--id: expected what the file calls {}, found no --id", earlier.report.id.name),
        (None, None) => data::trained_on("--id", &manifest.dataset)?,
    };
    let ood_names: Vec<&OsStr> = match &earlier {
        Some(earlier) if args.ood.is_empty() => earlier.report.ood.iter().map(|set| OsStr::new(&set.name)).collect(),
        _ => args.ood.iter().map(OsString::as_os_str).collect(),
    };
    if let Some(earlier) = &earlier {
        earlier.check_sets(ood_names.len())?;
    }
    // Without --limit, as many images as the earlier evaluation had.
    let limit = |before: Option<usize>| args.limit.map(NonZeroUsize::get).or(before);
    let id_limit = limit(earlier.as_ref().map(|earlier| earlier.report.id.images));
    let mut test = test_set(data::training("--id", id_name, &args.data)?, &manifest, id_limit)?;
    if args.protocol.is_some() {
        check_size(id_name, test.len())?;
        test = test.subset(&protocol::kept_indices());
    }
    anyhow::ensure!(
        test.classes == manifest.classes,
        "--id {id_name}: expected the {} classes of the weights ({}, ...), found {} ({}, ...)",
        manifest.classes.len(),
        manifest.classes[0],
        test.classes.len(),
        test.classes[0],
    );

    // All of them first: what cannot be read should not show after hours.
    let excluded = args.exclude.as_deref().map(Excluded::read).transpose()?;
    let mut sets: Vec<(String, Set, usize)> = Vec::new();
    for (index, name) in ood_names.into_iter().enumerate() {
        let mut set = data::image_set(name, &args.data)?;
        // Two folders may end alike.
        let is_other = sets.iter().any(|(other, ..)| other == set.name());
        let set_name = if is_other { name.to_string_lossy().into_owned() } else { set.name().to_owned() };
        let mut without = 0;
        if let Some(excluded) = &excluded {
            (set, without) = excluded.out_of(set)?;
        }
        if earlier.is_some() {
            // Images are compared by where they came from.
            set = Set::Loaded(set.load());
        }
        let before = earlier.as_ref().and_then(|earlier| earlier.report.ood.get(index)).map(|set| set.images);
        // The page takes those of an archive in another order.
        let by_name = earlier.as_ref().filter(|_| args.limit.is_none());
        match by_name.and_then(|earlier| earlier.chosen(index, set.sources())) {
            Some(chosen) => set = set.subset(&chosen),
            None => set.truncate(limit(before).unwrap_or(set.len())),
        }
        if args.protocol.is_some() {
            check_size(&name.to_string_lossy(), set.len())?;
            set = set.subset(&protocol::kept_indices());
        }
        sets.push((set_name, set, without));
    }
    if let Some(excluded) = &excluded {
        excluded.check()?;
    }

    let definition = match (args.definition, &earlier) {
        (Some(choice), _) => choice.definition(),
        (None, Some(earlier)) => earlier.report.definition,
        (None, None) if args.protocol.is_some() => Definition::Reference,
        (None, None) => Definition::Standard,
    };
    let data_dir = args.data.dir();
    let cache = Cache::new(&data_dir, &device.name);
    let id_outputs =
        |manifest: &Manifest| scoring::outputs(manifest, &members, id_name, &test.images, Some(&cache), &device.device);
    let outputs = id_outputs(&manifest)?;
    let id = scoring::view(&manifest, &members, &outputs);
    let id_set = IdSet::new(id_name, &test.labels, &id);
    let mut id_scores = id.all_scores();
    // What an earlier run's scores are compared with.
    let mut scored = Vec::new();
    if earlier.is_some() {
        let classes = test.labels.iter().map(|&label| test.classes[usize::from(label)].clone()).collect();
        scored.push(Scored { images: Images::Classes(classes), scores: id.scores(Score::Eloc) });
    }
    let mut ood_sets = Vec::new();
    for (name, set, excluded) in sets {
        let epsilon = (args.protocol.is_some() && args.odin.epsilon.is_none())
            .then(|| protocol::epsilon(&manifest.network, &manifest.dataset, &name));
        if let Some(epsilon) = epsilon.filter(|epsilon| *epsilon != manifest.odin.epsilon) {
            manifest.odin.epsilon = epsilon;
            id_scores = scoring::view(&manifest, &members, &id_outputs(&manifest)?).all_scores();
        }
        let scores = scoring::all_scores(&manifest, &members, &name, &set, &cache, &device.device)?;
        let measured = OodSet::new(&name, &id_scores, &scores, definition).with_context(|| name.clone())?;
        ood_sets.push(OodSet { epsilon, excluded, ..measured });
        if earlier.is_some() {
            let scores = scores.of(Score::Eloc).to_vec();
            scored.push(Scored { images: Images::Sources(set.load().sources), scores });
        }
    }
    let images = id_set.images + ood_sets.iter().map(|set| set.images).sum::<usize>();
    let seconds = cache.seconds();
    let report = Report {
        provenance: Provenance::new(shell::command_line(), device.name.clone(), seconds),
        trained_on: manifest.dataset.clone(),
        network: manifest.network.to_string(),
        folds: members.len(),
        odin,
        definition,
        id: id_set,
        ood: ood_sets,
    };
    // Neither a file that cannot be written nor a reader who has gone should cost the other its results.
    let written = store::write_json(args.json.as_deref(), &report);
    let mut text = if args.markdown { report.markdown() } else { report.text() };
    if let Some(earlier) = &earlier {
        text += &earlier.differences(&report, &scored);
    }
    let printed = output::line(text.trim_end());
    let speed = match cache.was_used() {
        true => ", with what earlier runs took for logits that were at hand".to_owned(),
        false => format!(", {:.0} images/s", images as f64 / seconds),
    };
    output::note(format_args!("{images} images in {seconds:.1} s{speed}"));
    written.and(printed)
}

fn check_size(name: &str, images: usize) -> Result<()> {
    anyhow::ensure!(
        images == protocol::IMAGES,
        "--protocol reference: expected {} images in {name}, found {images}",
        protocol::IMAGES
    );
    Ok(())
}

/// The test images of `data`, at most `limit`.
///
/// # Errors
/// When the weights of `manifest` may have been trained on some of them.
fn test_set(data: TrainingData, manifest: &Manifest, limit: Option<usize>) -> Result<Dataset> {
    let trained_on = manifest.images_sha256.as_ref();
    anyhow::ensure!(
        !data.test_is_drawn || data.name != manifest.dataset || trained_on.is_none_or(|hash| *hash == data.sha256()),
        "--id: expected {} as it was when the weights were trained, found a folder of that name with other images, of which the \
         fifth for testing may hold some that were trained on; test with test/CLASS beside train/CLASS, or give a folder of \
         new images another name",
        data.name
    );
    Ok(match limit {
        Some(limit) if limit < data.test.len() => {
            data.test.subset(&some_indices(data.test.len(), limit, data::is_built_in(&data.name)))
        }
        _ => data.test,
    })
}

/// `count` of `images` indices: the first where the images are in any order, else some from all over, since a folder's images
/// come class by class.
fn some_indices(images: usize, count: usize, in_any_order: bool) -> Vec<usize> {
    (0..count).map(|index| if in_any_order { index } else { index * images / count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_images_of_a_folder_are_of_all_its_classes() {
        assert_eq!(some_indices(10, 4, true), [0, 1, 2, 3]);
        assert_eq!(some_indices(10, 5, false), [0, 2, 4, 6, 8]);
        assert_eq!(some_indices(10, 4, false), [0, 2, 5, 7]);
        assert_eq!(some_indices(10, 10, false), (0..10).collect::<Vec<_>>());
    }
}
