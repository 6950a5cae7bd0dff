//! The published code's checkpoints, networks and arithmetic, against PyTorch in double precision. The golden values and the
//! checkpoints are made by tests/golden/pytorch.py.

#[path = "bench/multiply_adds.rs"]
mod multiply_adds;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Device, Tensor, TensorData},
};
use eloc::{
    detection::{
        ensemble::{FoldOutputs, Member, Outputs, Score, argmax},
        odin::{GradientMode, Odin, perturb},
    },
    fold::{Fold, folds},
    images::image::{Normalisation, PIXELS},
    network::Classifier,
    training::{
        learner::{Batch, Learner},
        loss::MarginEntropy,
        recipe::Recipe,
    },
    weights::pytorch::{Checkpoint, to_safetensors},
};
use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

const IMAGES: usize = 64;

/// A file of tests/golden/pytorch.py; those of the largest network are where ELOC_GOLDEN says.
fn golden(name: &str) -> PathBuf {
    match std::env::var_os("ELOC_GOLDEN") {
        Some(folder) if name.starts_with("wrn-28-10") => Path::new(&folder).join(name),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch").join(name),
    }
}

/// A set of golden checkpoints, unpacked, and the values that PyTorch found with them.
struct Case {
    folder: TempDir,
    set: &'static str,
    network: &'static str,
    classes: usize,
    folds: usize,
    values: Vec<u8>,
}

impl Case {
    fn new(network: &'static str) -> Self {
        let (set, classes, folds) = match network {
            "wrn-10-1" => ("cifar100_wide", 100, 5),
            "densenet-bc-10-4" => ("cifar10_dense", 10, 5),
            "densenet-bc-100-12" => ("densenet-bc-100-12.pth", 10, 1),
            "wrn-28-10" => ("wrn-28-10.pth", 10, 1),
            other => unreachable!("no golden values of {other}"),
        };
        let folder = TempDir::new().unwrap();
        let archive = File::open(golden(&format!("{set}.tar.gz"))).unwrap();
        if folds == 1 {
            let mut bytes = Vec::new();
            GzDecoder::new(archive).read_to_end(&mut bytes).unwrap();
            fs::write(folder.path().join("checkpoint"), bytes).unwrap();
        } else {
            tar::Archive::new(GzDecoder::new(archive)).unpack(folder.path()).unwrap();
        }
        let values = fs::read(golden(&format!("{network}.safetensors"))).unwrap();
        Case { folder, set, network, classes, folds, values }
    }

    fn checkpoint(&self, fold: usize) -> PathBuf {
        if self.folds == 1 {
            return self.folder.path().join("checkpoint");
        }
        let (dataset, kind) = self.set.split_once('_').unwrap();
        self.folder.path().join(format!("{dataset}_fold_{fold}_{kind}_checkpoint/model_best.pth.tar"))
    }

    fn member(&self, fold: usize) -> Member {
        let (fold, classifier) = self.classifier(fold);
        Member::new(fold, classifier, &Device::flex())
    }

    fn classifier(&self, fold: usize) -> (Fold, Classifier) {
        let path = self.checkpoint(fold);
        let checkpoint = Checkpoint::inspect(&path).unwrap();
        assert_eq!(checkpoint.network.to_string(), self.network);
        let classifier = checkpoint.read(&path, &Device::flex()).unwrap();
        let fold = folds(self.classes, 5, 3).unwrap().remove(fold - 1);
        assert_eq!(checkpoint.classes, fold.kept.len());
        (fold, classifier)
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        f64_values(&SafeTensors::deserialize(&self.values).unwrap(), name)
    }

    fn signs(&self, name: &str) -> Vec<i8> {
        let file = SafeTensors::deserialize(&self.values).unwrap();
        file.tensor(name).unwrap().data().iter().map(|&byte| byte as i8).collect()
    }
}

fn f64_values(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        Dtype::I64 => bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

/// The images of tests/golden/pytorch.py, `[64, 3, 32, 32]`: noise on a coarse pattern.
fn images() -> Vec<u8> {
    fn hash(index: usize) -> usize {
        let mut h = (index as u32).wrapping_mul(2_654_435_761);
        h ^= h >> 15;
        h = h.wrapping_mul(2_246_822_519);
        h ^= h >> 13;
        (h >> 24) as usize
    }
    (0..IMAGES * PIXELS)
        .map(|index| {
            let (plane, row, column) = (index / 1024, index / 32 % 32, index % 32);
            let block = plane * 64 + row / 4 * 8 + column / 4;
            ((3 * hash(block) + hash(index + 1_000_000)) / 4) as u8
        })
        .collect()
}

fn largest_difference(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Every fold's logits, scores, and what the ensemble makes of them. `tolerance` is that of the scores: where rounding turns a
/// sign of the perturbation, a deep network's score moves by more than its own rounding.
fn agrees(network: &'static str, tolerance: f64) {
    let case = Case::new(network);
    let images = images();
    let device = Device::flex();
    let mut all: Vec<(Member, FoldOutputs)> = Vec::new();
    for fold in 1..=case.folds {
        let member = case.member(fold);
        let (odin, normalisation) = (Odin::default(), Normalisation::default());
        let outputs = pollster::block_on(member.outputs(&images, &odin, &normalisation, &device)).unwrap();
        let classes = member.fold.kept.len();
        let expected = case.f64(&format!("fold-{fold}.logits"));
        let difference = largest_difference(outputs.logits.iter().map(|&v| v.into()), &expected);
        assert!(difference < 1e-4, "fold {fold}, logits: {difference}");
        for (found, expected) in outputs.logits.chunks_exact(classes).zip(expected.chunks_exact(classes)) {
            assert_eq!(argmax(found), argmax(expected));
        }
        all.push((member, outputs));
    }
    let outputs = Outputs {
        classes: case.classes,
        temperature: 1000.0,
        folds: all.iter().map(|(member, outputs)| (&member.fold, outputs)).collect(),
    };
    for (index, scores) in outputs.fold_scores().into_iter().enumerate() {
        let difference = largest_difference(scores, &case.f64(&format!("fold-{}.score", index + 1)));
        assert!(difference < tolerance, "fold {}, score: {difference}", index + 1);
    }
    if case.folds > 1 {
        let difference = largest_difference(outputs.scores(Score::Eloc), &case.f64("score"));
        assert!(difference < tolerance, "ensemble score: {difference}");
        let probabilities = (0..IMAGES).flat_map(|image| outputs.class_probabilities(image));
        let difference = largest_difference(probabilities, &case.f64("probabilities"));
        assert!(difference < 1e-5, "class probabilities: {difference}");
        let largest = case
            .f64("mean-softmax")
            .chunks_exact(case.classes)
            .map(|p| p.iter().copied().fold(0.0, f64::max))
            .collect::<Vec<_>>();
        let difference = largest_difference(outputs.scores(Score::MaxSoftmax), &largest);
        assert!(difference < 1e-5, "max softmax: {difference}");
        let kept = folds(case.classes, 5, 3).unwrap().into_iter().flat_map(|fold| fold.kept);
        assert_eq!(largest_difference(kept.map(|class| class as f64), &case.f64("kept")), 0.0);
    }
}

#[test]
fn a_shallow_densenet_of_five_legacy_checkpoints_agrees() {
    agrees("densenet-bc-10-4", 1e-6);
}

#[test]
fn a_narrow_wide_resnet_of_five_zip_checkpoints_agrees() {
    agrees("wrn-10-1", 1e-6);
}

#[test]
fn the_densenet_of_the_paper_agrees() {
    agrees("densenet-bc-100-12", 1e-6);
}

/// In double precision the step goes PyTorch's way wherever the gradient is above a millionth of the image's largest. In single
/// precision a few pixels of a deep network differ, in PyTorch too: rounding decides on which side of 0 a ReLU's input lies.
fn signs_agree(network: &'static str) {
    let device = Device::flex();
    let case = Case::new(network);
    let single = case.classifier(1).1.ready(&device);
    // Read once more, since clones share their running statistics.
    let double = case.classifier(1).1.map(&mut ToDouble);
    for (mode, name) in [(GradientMode::CrossEntropy, "cross-entropy"), (GradientMode::Entropy, "entropy")] {
        let odin = Odin { gradient: mode, ..Odin::default() };
        let expected = case.signs(&format!("fold-1.sign.{name}"));
        let count = expected.len() / PIXELS;
        let values = normalised(&images()[..expected.len()]);
        let input = Tensor::<4>::from_data(TensorData::new(values, [count, 3, 32, 32]), (&device, DType::F64));
        let perturbed = |classifier: &Classifier, dtype: DType| -> Vec<f64> {
            let input = input.clone().cast(dtype);
            let found = perturb(classifier, input.clone(), &odin, &Normalisation::default());
            (found.images - input).cast(DType::F64).into_data().try_to_vec().unwrap()
        };
        // The step goes against the gradient.
        let differing = |steps: &[f64]| {
            let pairs = steps.iter().zip(&expected).filter(|(_, sign)| **sign != 0);
            pairs.filter(|(step, sign)| (**step < 0.0) != (**sign > 0)).count()
        };
        assert!(expected.iter().filter(|sign| **sign != 0).count() > expected.len() * 9 / 10);
        assert_eq!(differing(&perturbed(&double, DType::F64)), 0, "{network}, {name}, double precision");
        let wrong = differing(&perturbed(&single, DType::F32));
        assert!(wrong < expected.len() / 1_000, "{network}, {name}, single precision: {wrong}");
    }
}

#[test]
fn gradients_have_the_signs_of_pytorch() {
    ["densenet-bc-10-4", "wrn-10-1", "densenet-bc-100-12"].into_iter().for_each(signs_agree);
}

#[test]
#[ignore = "needs the files of `tests/golden/pytorch.py FOLDER`, and ELOC_GOLDEN=FOLDER"]
fn the_wide_resnet_of_the_paper_agrees() {
    agrees("wrn-28-10", 3e-6);
    signs_agree("wrn-28-10");
}

/// Those that the benchmark reckons with; counted in PyTorch by tests/golden/networks.py.
#[test]
fn multiply_adds_are_those_of_pytorch() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/networks.json")).unwrap();
    for row in golden.as_array().unwrap() {
        let name = row["network"].as_str().unwrap();
        assert_eq!(row["multiply_adds"], multiply_adds::multiply_adds(&name.parse().unwrap()), "{name}");
    }
}

/// Casts every weight and statistic to double precision.
struct ToDouble;

impl ModuleMapper for ToDouble {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|tensor| tensor.cast(DType::F64))
    }
}

/// Normalised in double precision, as the golden values were.
fn normalised(images: &[u8]) -> Vec<f64> {
    let (mean, std) = ([125.3, 123.0, 113.9], [63.0, 62.1, 66.7]);
    let channel = |index: usize| index / 1024 % 3;
    let value = |(index, &pixel): (usize, &u8)| (f64::from(pixel) - mean[channel(index)]) / std[channel(index)];
    images.iter().enumerate().map(value).collect()
}

/// Two forward passes, the loss, and stochastic gradient descent with momentum and weight decay.
#[test]
fn training_steps_are_those_of_pytorch() {
    let bytes = fs::read(golden("steps.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let images = images();
    for network in ["densenet-bc-10-4", "wrn-10-1"] {
        let case = Case::new(network);
        let (fold, classifier) = case.classifier(1);
        let margin = f64_values(&golden, &format!("{network}.margin"))[0];
        let recipe = Recipe { loss: MarginEntropy { beta: 0.2, margin, logit_norm: None }, ..Recipe::reference() };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut learner = Learner::new(
            &network.parse().unwrap(),
            fold.kept.len(),
            &recipe,
            Normalisation::default(),
            &mut rng,
            &Device::flex(),
        );
        learner.model = learner.model.load_record(classifier.into_record());
        let batch = Batch {
            kept: images[..8 * PIXELS].to_vec(),
            labels: (0..8).map(|image| (image * 3 + 1) % fold.kept.len() as i64).collect(),
            targets: None,
            left_out: Some(images[8 * PIXELS..16 * PIXELS].to_vec()),
            outliers: None,
        };
        let names: BTreeMap<&str, Vec<&str>> = ["step-1", "step-2"]
            .map(|step| {
                let prefix = format!("{network}.{step}.");
                (step, golden.names().into_iter().filter_map(|name| name.strip_prefix(&prefix)).collect())
            })
            .into();
        for (step, names) in names.into_iter().filter(|(_, names)| !names.is_empty()) {
            learner.step(&batch, 0.1);
            let file = to_safetensors(&learner.model.valid()).unwrap();
            let file = SafeTensors::deserialize(&file).unwrap();
            for name in names {
                let expected = f64_values(&golden, &format!("{network}.{step}.{name}"));
                let difference = largest_difference(f64_values(&file, name), &expected);
                assert!(difference < 1e-5, "{network}, {step}, {name}: {difference}");
            }
        }
    }
}

#[test]
fn exported_tensors_have_the_names_and_layouts_of_the_checkpoint() {
    for network in ["densenet-bc-10-4", "wrn-10-1"] {
        let case = Case::new(network);
        let file = to_safetensors(&case.classifier(1).1).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        let reader = pytorch_reader::PytorchReader::with_top_level_key(case.checkpoint(1), "state_dict").unwrap();
        let mut expected: Vec<&str> = reader.tensors().keys().map(String::as_str).collect();
        expected.retain(|name| !name.ends_with("num_batches_tracked"));
        expected.sort_unstable();
        let mut found = file.names();
        found.sort_unstable();
        assert_eq!(found, expected);
        for name in found {
            let expected = reader.get(name).unwrap();
            let found = file.tensor(name).unwrap();
            assert_eq!(found.shape(), expected.shape(), "{name}");
            assert!(found.data() == expected.read().unwrap(), "{name}");
        }
    }
}
