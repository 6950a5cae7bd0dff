//! Many images off the disk at once: what lies in a folder, and decoding on all cores.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use eloc::images::{
    archive::{self, Limits, is_hidden},
    dataset::Cifar,
    image,
};

use super::ahead::caught;

/// Where images came from, and they, `[n, 3, 32, 32]`, or what is wrong with them; one but for a file of CIFAR's.
pub type Loaded = (String, Result<Vec<u8>>);

/// All files below `folder` with their paths relative to it (`/` between the parts), sorted by
/// these bytewise, as Python sorts them.
///
/// What file managers and systems leave behind is left out. Links to files are followed, links to
/// folders are not, so that there is an end. These, links to nothing and folders that cannot be read
/// stand among the files: reading them fails with the reason.
pub fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    collect(folder, "", &mut files).with_context(|| folder.display().to_string())?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_hidden(&name) {
            continue;
        }
        let (path, label) = (entry.path(), format!("{prefix}{name}"));
        let is_searched = entry.file_type()?.is_dir() && collect(&path, &format!("{label}/"), files).is_ok();
        if !is_searched {
            files.push((label, path));
        }
    }
    Ok(())
}

/// Whether the name ends like that of an image that can be decoded.
pub fn has_image_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|e| ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif"].contains(&e.as_str()))
}

/// Runs `load` on all cores for each (label, job) that `produce` hands out, and returns the
/// results sorted by label, equal labels in the order they were handed out.
///
/// Only a few jobs wait at any time, so that an archive of any size can be produced from.
pub fn load_parallel<J: Send, T: Send>(
    produce: impl FnOnce(&mut dyn FnMut(String, J)) -> Result<()>,
    load: impl Fn(&str, J) -> Result<T> + Sync,
) -> Result<Vec<(String, Result<T>)>> {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    let (jobs, waiting) = mpsc::sync_channel::<(String, usize, J)>(4 * threads);
    let waiting = Mutex::new(waiting);
    let next_job = || waiting.lock().expect("no thread panics while it waits").recv().ok();
    let work = || {
        let mut loaded = Vec::new();
        while let Some((label, number, job)) = next_job() {
            let result = caught(|| load(&label, job));
            loaded.push((label, number, result));
        }
        loaded
    };

    let (produced, mut loaded) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut number = 0;
        let produced = produce(&mut |label, job| {
            jobs.send((label, number, job)).expect("the workers outlive the jobs");
            number += 1;
        });
        drop(jobs);
        let loaded: Vec<_> =
            workers.into_iter().flat_map(|worker| worker.join().expect("panics while loading are caught")).collect();
        (produced, loaded)
    });
    produced?;
    loaded.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    Ok(loaded.into_iter().map(|(label, _, image)| (label, image)).collect())
}

/// Reads and decodes files on all cores; see [`load_parallel`].
pub fn load_files(files: Vec<(String, PathBuf)>) -> Result<Vec<Loaded>> {
    let produce = |job: &mut dyn FnMut(String, PathBuf)| {
        files.into_iter().for_each(|(label, path)| job(label, path));
        Ok(())
    };
    load_parallel(produce, |_, path| load_file(&path))
}

/// The images of an archive, each or what is wrong with it.
pub fn load_archive(path: &Path) -> Result<Vec<Loaded>> {
    let reader = BufReader::new(File::open(path)?);
    let produce = |job: &mut dyn FnMut(String, eloc::error::Result<Vec<u8>>)| {
        archive::for_each_file(reader, &Limits::default(), |label, bytes| {
            if !is_hidden(&label) {
                job(label, bytes);
            }
        })?;
        Ok(())
    };
    load_parallel(produce, |label, bytes| decode(label, &bytes?))
}

/// The image or images in the bytes of a file.
fn decode(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(if Cifar::has_file(name) { Cifar::read(name, bytes)?.1 } else { image::decode(bytes)?.into() })
}

/// Reads and decodes one file, which may be as large as one in an archive.
pub fn load_file(path: &Path) -> Result<Vec<u8>> {
    let most = Limits::default().entry_bytes;
    let found = fs::metadata(path)?;
    if found.is_dir() {
        fs::read_dir(path)?;
        bail!("expected a file, found a link to a folder, which is not followed");
    }
    // Opening a pipe would wait for somebody to write to it.
    ensure!(found.is_file(), "expected a file, found a pipe or a device");
    ensure!(found.len() <= most, "image: expected a file of at most {most} bytes, found {}", found.len());
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    decode(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn results_are_sorted_by_label_then_by_order() {
        let produce = |job: &mut dyn FnMut(String, u8)| {
            (0..200_u8).for_each(|value| job(format!("{:03}", 99 - value / 2), value));
            Ok(())
        };
        let loaded = load_parallel(produce, |_, value| Ok(value)).unwrap();
        let values = loaded.iter().map(|(_, image)| *image.as_ref().unwrap());
        let expected = (0..100_u8).rev().flat_map(|pair| [2 * pair, 2 * pair + 1]);
        assert!(values.eq(expected));
    }

    #[test]
    fn panicking_decoder_costs_one_image() {
        let produce = |job: &mut dyn FnMut(String, bool)| {
            (0..50).for_each(|number| job(format!("{number:02}"), number % 2 == 0));
            Ok(())
        };
        let load = |_: &str, sound| {
            if sound { Ok(()) } else { panic!("as some decoder might") }
        };
        let loaded = load_parallel(produce, load).unwrap();
        assert_eq!(loaded.iter().filter(|(_, image)| image.is_err()).count(), 25);
    }

    #[test]
    fn error_of_the_producer_comes_back() {
        let produce = |job: &mut dyn FnMut(String, ())| {
            job("a".to_owned(), ());
            Err(anyhow!("broke off"))
        };
        assert!(load_parallel(produce, |_, ()| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_followed_and_links_to_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let png = ::image::RgbImage::new(32, 32);
        png.save(dir.path().join("a.png")).unwrap();
        for (to, name) in [("a.png", "b.png"), (".", "loop"), ("gone.png", "nothing.png")] {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        }
        let loaded: Vec<_> =
            files_below(dir.path()).unwrap().into_iter().map(|(label, path)| (label, load_file(&path))).collect();
        let labels: Vec<_> = loaded.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["a.png", "b.png", "loop", "nothing.png"]);
        assert_eq!(loaded[1].1.as_ref().unwrap(), loaded[0].1.as_ref().unwrap());
        let reason = |index: usize| format!("{:#}", loaded[index].1.as_ref().unwrap_err());
        assert!(reason(2).contains("a link to a folder") && reason(3).contains("No such file"));
    }
}
