//! Fetches the public data sets: with progress, resumed after a break, checked before use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::http::{Response, StatusCode};

use super::images::has_image_extension;
use eloc::images::archive::{self, Limits, is_hidden};

/// A public archive and how to tell that it is whole.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub name: &'static str,
    /// The folder part, which a mirror takes the place of, without the last `/`.
    pub folder: &'static str,
    pub file: &'static str,
    /// What follows the file name in the URL of the folder, not of a mirror.
    pub query: &'static str,
    pub check: Check,
}

/// What a sound archive fulfils.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// MD5 in lower-case hexadecimal, as published with the set. It finds damage, not malice.
    Md5(&'static str),
    /// Unpacks to this many images. For sets whose authors publish no checksum.
    Images(usize),
}

/// CIFAR (checksums from <https://www.cs.toronto.edu/~kriz/cifar.html>) and the five sets of ODIN
/// (counts from Liang et al. 2018; no checksum is published).
pub const SOURCES: [Source; 7] = [
    cifar("cifar10", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    cifar("cifar100", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    odin("Imagenet", "https://www.dropbox.com/s/avgm2u562itwpkl", "Imagenet.tar.gz", 10_000),
    odin("Imagenet_resize", "https://www.dropbox.com/s/kp3my3412u5k9rl", "Imagenet_resize.tar.gz", 10_000),
    odin("LSUN", "https://www.dropbox.com/s/fhtsw1m3qxlwj6h", "LSUN.tar.gz", 10_000),
    odin("LSUN_resize", "https://www.dropbox.com/s/moqh2wh8696c3yl", "LSUN_resize.tar.gz", 10_000),
    odin("iSUN", "https://www.dropbox.com/s/ssz7qxfqae0cca5", "iSUN.tar.gz", 8_925),
];

const fn cifar(name: &'static str, file: &'static str, md5: &'static str) -> Source {
    let folder = "https://www.cs.toronto.edu/~kriz";
    Source { name, folder, file, query: "", check: Check::Md5(md5) }
}

const fn odin(name: &'static str, folder: &'static str, file: &'static str, n: usize) -> Source {
    Source { name, folder, file, query: "?dl=1", check: Check::Images(n) }
}

/// Longest wait for a name, a connection, or the next bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the archive `name`, one of [`SOURCES`], into `data_dir` and returns its path.
///
/// `mirror` is a URL of a folder with the same files, used instead of the original. A file that
/// is there already is only checked. A broken download stays as `FILE.part` and is gone on with.
///
/// # Errors
/// When the name is unknown, the server cannot be reached or breaks off, the folder cannot be
/// written, or the file is not the published one. A new file that is not is removed, one that was
/// there before is left as it is.
pub fn fetch(name: &str, data_dir: &Path, mirror: Option<&str>) -> Result<PathBuf> {
    let source = SOURCES.iter().find(|source| source.name == name).with_context(|| {
        let names = SOURCES.map(|source| source.name).join(", ");
        format!("data set: expected one of {names}, found `{name}`")
    })?;
    fetch_source(source, data_dir, mirror)
}

/// [`fetch`] for an archive that need not be in [`SOURCES`].
fn fetch_source(source: &Source, data_dir: &Path, mirror: Option<&str>) -> Result<PathBuf> {
    let target = data_dir.join(source.file);
    if target.is_file() {
        verify(&target, source.check).with_context(|| format!("{} (remove it to fetch it again)", target.display()))?;
        return Ok(target);
    }
    fs::create_dir_all(data_dir).with_context(|| data_dir.display().to_string())?;
    // Processes that train a fold each may all start by fetching: one does, the others wait for its file. Where folders
    // cannot be locked, each fetches.
    let folder = File::open(data_dir);
    let _locked = folder.as_ref().map(|folder| folder.lock());
    if target.is_file() {
        return Ok(target);
    }

    let url = match mirror {
        Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), source.file),
        None => format!("{}/{}{}", source.folder, source.file, source.query),
    };
    let part = data_dir.join(format!("{}.part", source.file));
    download(&url, &part).with_context(|| format!("{url} to {}", part.display()))?;
    if let Err(error) = verify(&part, source.check) {
        fs::remove_file(&part).with_context(|| part.display().to_string())?;
        return Err(error.context(format!("{url} (removed what was fetched)")));
    }
    fs::rename(&part, &target).with_context(|| target.display().to_string())?;
    Ok(target)
}

/// Appends to `part` what it lacks of the file at `url`.
fn download(url: &str, part: &Path) -> Result<()> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        // The archive as it is stored: a byte range of anything else is of no use.
        .accept_encoding("identity")
        .timeout_resolve(Some(PATIENCE))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(3 * PATIENCE))
        .timeout_per_read(Some(3 * PATIENCE))
        .build()
        .into();

    let had = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut request = agent.get(url);
    if had > 0 {
        request = request.header(RANGE, format!("bytes={had}-"));
    }
    let response = request.call()?;
    let range = ContentRange::of(&response);
    let mut options = OpenOptions::new();
    let (start, file) = match response.status() {
        StatusCode::PARTIAL_CONTENT if range.start == Some(had) => (had, options.append(true).open(part)?),
        // The server does not do ranges: from the beginning.
        StatusCode::OK => (0, options.write(true).create(true).truncate(true).open(part)?),
        // Nothing is missing.
        StatusCode::RANGE_NOT_SATISFIABLE if range.total == Some(had) => return Ok(()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            fs::remove_file(part)?;
            bail!("expected a file of at least {had} bytes, found another; try again from the beginning")
        }
        status => bail!("expected status 200, or 206 from byte {had}, found {status}"),
    };
    let total = response.body().content_length().map(|length| start + length);
    let end = copy(response.into_body().into_reader(), file, start, total).with_context(|| {
        let kept = fs::metadata(part).map_or(0, |metadata| metadata.len());
        format!("broke off after {kept} bytes; the next try goes on from there")
    })?;
    if let Some(total) = total {
        ensure!(end == total, "expected {total} bytes, found {end}; the next try goes on from there");
    }
    Ok(())
}

/// `bytes START-END/TOTAL` or `bytes */TOTAL`.
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn of<T>(response: &Response<T>) -> Self {
        let value = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let (range, total) = value.and_then(|value| value.strip_prefix("bytes ")?.split_once('/')).unwrap_or_default();
        let start = range.split_once('-').and_then(|(start, _)| start.parse().ok());
        Self { start, total: total.parse().ok() }
    }
}

/// Copies with a progress bar and returns the position in the whole file at the end.
fn copy(mut from: impl Read, mut to: File, start: u64, total: Option<u64>) -> io::Result<u64> {
    let progress = match total {
        Some(total) => ProgressBar::new(total).with_style(
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
                .expect("the template is well formed"),
        ),
        None => ProgressBar::new_spinner(),
    };
    progress.set_position(start);
    progress.reset_eta();
    let mut position = start;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => {
                to.write_all(&buffer[..read])?;
                position += read as u64;
                progress.set_position(position);
            }
        }
    }
    to.sync_all()?;
    progress.finish_and_clear();
    Ok(position)
}

fn verify(path: &Path, check: Check) -> Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    match check {
        Check::Md5(expected) => {
            let mut digest = Md5::new();
            io::copy(&mut reader, &mut digest)?;
            let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            ensure!(found == expected, "MD5: expected {expected}, found {found}");
        }
        Check::Images(expected) => {
            let mut found = 0;
            archive::for_each_file(reader, &Limits::default(), |label, bytes| {
                found += usize::from(bytes.is_ok() && has_image_extension(&label) && !is_hidden(&label));
            })?;
            ensure!(found == expected, "images: expected {expected}, found {found}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use tempfile::tempdir;

    /// How the server treats a request.
    #[derive(Clone, Copy)]
    enum Manner {
        Proper,
        /// Announces everything and closes after this many bytes.
        Breaks(usize),
        IgnoresRange,
        Missing,
    }

    /// Serves `content` on localhost, one request in each manner; also gives the range asked for.
    fn serve(content: &'static [u8], manners: &'static [Manner]) -> (String, Receiver<Option<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/folder", listener.local_addr().unwrap());
        let (sender, ranges) = channel();
        thread::spawn(move || {
            for &manner in manners {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
                assert_eq!(head[0], "GET /folder/set.tar.gz HTTP/1.1");
                let range = head.iter().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok()
                });
                sender.send(range).unwrap();
                stream.write_all(&answer(content, manner, range)).unwrap();
            }
        });
        (url, ranges)
    }

    fn answer(content: &[u8], manner: Manner, range: Option<usize>) -> Vec<u8> {
        let total = content.len();
        let (status, range, body) = match (manner, range) {
            (Manner::Missing, _) => ("404 Not Found", String::new(), &b""[..]),
            (Manner::IgnoresRange, _) | (_, None) => ("200 OK", String::new(), content),
            (_, Some(start)) if start >= total => {
                ("416 Range Not Satisfiable", format!("Content-Range: bytes */{total}\r\n"), &b""[..])
            }
            (_, Some(start)) => {
                let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
                ("206 Partial Content", range, &content[start..])
            }
        };
        let head = format!("HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let sent = if let Manner::Breaks(bytes) = manner { &body[..bytes] } else { body };
        [head.as_bytes(), sent].concat()
    }

    const CONTENT: &[u8] = b"the whole archive";
    const SOURCE: Source = Source {
        name: "set",
        folder: "",
        file: "set.tar.gz",
        query: "",
        check: Check::Md5("0f615e673407cb8a41b570c735b7e4d9"),
    };

    fn message(result: Result<PathBuf>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn whole_file_is_fetched_checked_and_not_fetched_twice() {
        let (url, _ranges) = serve(CONTENT, &[Manner::Proper]);
        let dir = tempdir().unwrap();
        let data_dir = dir.path().join("new").join("folder");
        let path = fetch_source(&SOURCE, &data_dir, Some(&url)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1);
        // The server is gone by now.
        assert_eq!(fetch_source(&SOURCE, &data_dir, Some(&url)).unwrap(), path);
    }

    #[test]
    fn broken_download_is_gone_on_with() {
        let (url, ranges) = serve(CONTENT, &[Manner::Breaks(5), Manner::Proper]);
        let dir = tempdir().unwrap();
        let error = message(fetch_source(&SOURCE, dir.path(), Some(&url)));
        assert!(error.contains("the next try goes on"), "{error}");
        assert_eq!(fs::read(dir.path().join("set.tar.gz.part")).unwrap(), &CONTENT[..5]);

        let path = fetch_source(&SOURCE, dir.path(), Some(&url)).unwrap();
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [None, Some(5)]);
    }

    #[test]
    fn server_without_ranges_is_read_from_the_beginning() {
        let (url, ranges) = serve(CONTENT, &[Manner::IgnoresRange]);
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("set.tar.gz.part"), &CONTENT[..5]).unwrap();
        let path = fetch_source(&SOURCE, dir.path(), Some(&url)).unwrap();
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        assert_eq!(ranges.recv().unwrap(), Some(5));
    }

    #[test]
    fn complete_part_is_not_fetched_again() {
        let (url, _ranges) = serve(CONTENT, &[Manner::Proper]);
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("set.tar.gz.part"), CONTENT).unwrap();
        assert!(fetch_source(&SOURCE, dir.path(), Some(&url)).is_ok());
    }

    #[test]
    fn overlong_part_is_removed() {
        let (url, _ranges) = serve(CONTENT, &[Manner::Proper]);
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("set.tar.gz.part"), [0; 100]).unwrap();
        assert!(message(fetch_source(&SOURCE, dir.path(), Some(&url))).contains("at least 100 bytes"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn wrong_checksum_is_rejected() {
        let (url, _ranges) = serve(b"another archive", &[Manner::Proper]);
        let dir = tempdir().unwrap();
        let error = message(fetch_source(&SOURCE, dir.path(), Some(&url)));
        assert!(error.contains("MD5: expected") && error.contains(", found "), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_that_was_there_is_never_removed() {
        let dir = tempdir().unwrap();
        let file = dir.path().join("set.tar.gz");
        fs::write(&file, b"something else").unwrap();
        let error = message(fetch_source(&SOURCE, dir.path(), Some("http://127.0.0.1:1")));
        assert!(error.contains("MD5: expected"), "{error}");
        assert_eq!(fs::read(file).unwrap(), b"something else");
    }

    #[test]
    fn set_without_a_checksum_is_checked_by_its_images() {
        let mut archive = tar::Builder::new(Vec::new());
        for name in ["set/1.png", "set/2.jpeg", "set/notes.txt"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            archive.append_data(&mut header, name, io::empty()).unwrap();
        }
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("set.tar.gz"), archive.into_inner().unwrap()).unwrap();
        let source = |n| Source { check: Check::Images(n), ..SOURCE };
        fetch_source(&source(2), dir.path(), None).unwrap();
        let error = message(fetch_source(&source(3), dir.path(), None));
        assert!(error.ends_with("images: expected 3, found 2"), "{error}");
    }

    #[test]
    fn missing_file_unreachable_server_and_unknown_name_are_rejected() {
        let (url, _ranges) = serve(CONTENT, &[Manner::Missing]);
        let dir = tempdir().unwrap();
        let error = message(fetch_source(&SOURCE, dir.path(), Some(&url)));
        assert!(error.contains("found 404"), "{error}");

        // Port 1 of localhost refuses.
        let error = message(fetch("cifar10", dir.path(), Some("http://127.0.0.1:1/")));
        assert!(error.starts_with("http://127.0.0.1:1/cifar-10-binary.tar.gz to "), "{error}");
        assert!(message(fetch("cifar", dir.path(), None)).contains("cifar10, cifar100, Imagenet"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn unwritable_data_folder_is_rejected() {
        let dir = tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = message(fetch_source(&SOURCE, &file.join("data"), Some("http://127.0.0.1:1")));
        assert!(error.starts_with(&file.display().to_string()), "{error}");
    }
}
