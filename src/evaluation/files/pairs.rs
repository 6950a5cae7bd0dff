//! From files to the scores of both sides.

use super::contents::{Contents, Logits, wrong};
use crate::{
    detection::ensemble::{FoldOutputs, Outputs, Score},
    error::{Result, Side},
    fold::Fold,
};

/// What follows from logits of images as given.
const OF_LOGITS: [Score; 7] = [
    Score::MaxSoftmax,
    Score::MaxLogit,
    Score::Energy,
    Score::Entropy,
    Score::Gen,
    Score::ElocUnperturbed,
    Score::ElocPooled,
];

/// Which scores mean in-distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Higher ones, as everywhere in this library.
    #[default]
    Higher,
    /// Lower ones, such as distances; they are negated.
    Lower,
}

/// One score of the images of both sides; higher = more in-distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Name in tables.
    pub score: &'static str,
    /// `[n]`, of in-distribution images.
    pub id: Vec<f64>,
    /// `[m]`, of out-of-distribution images.
    pub ood: Vec<f64>,
}

/// The scores of two sides, each of one or more files, by their names.
///
/// - Scores: one file a side, or a single one of OpenOOD's that holds both. Lower ones are negated where `known` says so.
/// - Logits: max softmax, max logit, energy, entropy, GEN, the sum of the fold scores of Vyas et al. 2018 and the score of the
///   pooled logits, these two at `temperature`, as [`Score`] defines them. Several files a side are networks of one ensemble, in
///   the same order on both sides, each with all classes and the same images.
///
/// # Errors
/// [`Error::ScoreFile`](crate::error::Error::ScoreFile), which names the file that does not fit.
///
/// # Panics
/// Without an in-distribution file.
pub fn pairs(
    id: &[(String, Contents)],
    ood: &[(String, Contents)],
    known: Known,
    temperature: f64,
) -> Result<Vec<Pair>> {
    let (name, first) = &id[0];
    if let Contents::Logits(_) = first {
        if known == Known::Lower {
            return Err(wrong(name, "scores, of which lower ones are known", "logits"));
        }
        return of_logits(id, ood, temperature);
    }
    for files in [id, ood] {
        if let [_, (name, contents), ..] = files {
            return Err(wrong(name, "one file of scores a side, or several of logits", contents.kind()));
        }
    }
    let (score, id, ood) = match (first, ood) {
        (Contents::OpenOod { id, ood, .. }, []) => {
            ("conf", of_side(name, Side::Id, id)?, of_side(name, Side::Ood, ood)?)
        }
        (_, []) => return Err(wrong(name, "OpenOOD's `conf` and `label`, or a file for each side", first.kind())),
        (_, [(other, second), ..]) => {
            let score = if matches!(first, Contents::OpenOod { .. }) { "conf" } else { "scores" };
            (score, scores(name, Side::Id, first)?, scores(other, Side::Ood, second)?)
        }
    };
    let of = |scores: &[f64]| match known {
        Known::Higher => scores.to_vec(),
        Known::Lower => scores.iter().map(|score| -score).collect(),
    };
    Ok(vec![Pair { score, id: of(id), ood: of(ood) }])
}

impl Contents {
    fn kind(&self) -> &'static str {
        match self {
            Contents::Scores(_) => "scores",
            Contents::Logits(_) => "logits",
            Contents::OpenOod { .. } => "OpenOOD's scores",
        }
    }
}

/// The scores of a file that was given for one side.
fn scores<'a>(name: &str, side: Side, contents: &'a Contents) -> Result<&'a [f64]> {
    match contents {
        Contents::Scores(scores) => Ok(scores),
        Contents::OpenOod { id, ood, .. } if !id.is_empty() && !ood.is_empty() => Err(wrong(
            name,
            &format!("{side} images only, or no file for the other side"),
            format!("{} in-distribution and {} out-of-distribution images by `label`", id.len(), ood.len()),
        )),
        // The user's word: not everybody who saves such a file sets the labels of other sets to -1.
        Contents::OpenOod { id, ood, .. } if side == Side::Ood => Ok(if ood.is_empty() { id } else { ood }),
        Contents::OpenOod { id, .. } => of_side(name, side, id),
        Contents::Logits(_) => Err(wrong(name, "scores, as in the other side's file", contents.kind())),
    }
}

fn of_side<'a>(name: &str, side: Side, scores: &'a [f64]) -> Result<&'a [f64]> {
    match scores {
        [] => Err(wrong(name, &format!("at least 1 {side} image by `label`"), 0)),
        scores => Ok(scores),
    }
}

/// Every score of two sides' ensemble.
fn of_logits(id: &[(String, Contents)], ood: &[(String, Contents)], temperature: f64) -> Result<Vec<Pair>> {
    let name = &id[0].0;
    if id.len() != ood.len() {
        let found = format!("{} and {}", id.len(), ood.len());
        return Err(wrong(name, "logits of the same networks on both sides", format!("{found} files")));
    }
    let classes = logits(&id[0])?.classes;
    let of = |files: &[(String, Contents)]| -> Result<Vec<Vec<f64>>> {
        let images = logits(&files[0])?.values.len() / classes;
        let members = files.iter().map(|file| {
            let Logits { classes: found, values } = logits(file)?;
            let found = [values.len() / found, *found];
            if found != [images, classes] {
                return Err(wrong(&file.0, &format!("logits of shape {:?}", [images, classes]), format!("{found:?}")));
            }
            Ok(FoldOutputs { logits: values.clone(), perturbed: Vec::new() })
        });
        let members = members.collect::<Result<Vec<_>>>()?;
        let fold = Fold { number: 1, left_out: Vec::new(), kept: (0..classes).collect() };
        let outputs = Outputs { classes, temperature, folds: members.iter().map(|member| (&fold, member)).collect() };
        Ok(outputs.each(OF_LOGITS).to_vec())
    };
    let (id, ood) = (of(id)?, of(ood)?);
    let pairs = OF_LOGITS.iter().zip(id.into_iter().zip(ood));
    Ok(pairs.map(|(score, (id, ood))| Pair { score: score.label(), id, ood }).collect())
}

fn logits((name, contents): &(String, Contents)) -> Result<&Logits> {
    match contents {
        Contents::Logits(logits) => Ok(logits),
        _ => Err(wrong(name, "logits [n, classes], as in the first file", contents.kind())),
    }
}
