//! Sound, odd and hostile archives of each kind.

use super::*;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::Cell;
use std::io::{Cursor, Write};
use tar::EntryType;
use zip::write::{SimpleFileOptions, ZipWriter};

type Files = Vec<(String, Vec<u8>)>;

fn read(bytes: &[u8], limits: &Limits) -> (Files, Result<()>) {
    let mut files = Files::new();
    let end =
        for_each_file(Cursor::new(bytes), limits, |name, bytes| files.extend(bytes.ok().map(|bytes| (name, bytes))));
    (files, end)
}

/// The files of an archive, and the label of each entry that is left out with what it is.
fn read_all(bytes: &[u8]) -> (Files, Vec<(String, String)>) {
    let (mut files, mut left_out) = (Files::new(), Vec::new());
    for_each_file(Cursor::new(bytes), &Limits::default(), |name, bytes| match bytes {
        Ok(bytes) => files.push((name, bytes)),
        Err(Error::ArchiveEntry { found }) => left_out.push((name, found)),
        Err(error) => panic!("{error}"),
    })
    .unwrap();
    (files, left_out)
}

fn owned(files: &[(&str, &[u8])]) -> Files {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

fn text_pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, found)| ((*name).to_owned(), (*found).to_owned())).collect()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The paths are stored as they are, also those that leave the folder.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn each_format(files: &[(&str, &[u8])]) -> [(Format, Vec<u8>); 3] {
    let tar = tar(files);
    [(Format::Zip, zip(files)), (Format::TarGz, gzip(&tar)), (Format::Tar, tar)]
}

fn limited(found: &Result<()>, expected: &str) -> bool {
    matches!(found, Err(Error::ArchiveLimit { what, .. }) if *what == expected)
}

#[test]
fn files_come_out_of_every_format_with_paths_as_labels() {
    let files: [(&str, &[u8]); 3] = [("b/2.png", b"two"), ("../../etc/passwd", b""), ("/1", b"one")];
    for (format, bytes) in each_format(&files) {
        assert_eq!(Format::detect(&bytes), Some(format));
        let (found, end) = read(&bytes, &Limits::default());
        end.unwrap();
        let expected = files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        assert_eq!(found, expected, "{format:?}");
    }
}

#[test]
fn labels_do_not_depend_on_how_the_path_is_written() {
    for (_, bytes) in each_format(&[("./a/b.png", b""), ("a\\c.png", b"")]) {
        let labels: Vec<_> = read(&bytes, &Limits::default()).0.into_iter().map(|f| f.0).collect();
        assert_eq!(labels, ["a/b.png", "a/c.png"]);
    }
}

/// An entry of a tar.
fn entry(archive: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

#[test]
fn folders_are_passed_over_and_what_is_no_file_is_told() {
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name) in [
        (EntryType::Directory, "folder"),
        (EntryType::Symlink, "symbolic"),
        (EntryType::Link, "hard"),
        (EntryType::Char, "device"),
        (EntryType::Fifo, "pipe"),
        (EntryType::new(b'Q'), "other"),
    ] {
        entry(&mut archive, kind, name, "/etc/passwd", b"");
    }
    let (files, left_out) = read_all(&archive.into_inner().unwrap());
    let expected = [
        ("symbolic", "a symbolic link to /etc/passwd"),
        ("hard", "a link to /etc/passwd, which is not before it in the archive"),
        ("device", "a device"),
        ("pipe", "a pipe"),
        ("other", "one of type 'Q'"),
    ];
    assert_eq!((files, left_out), (Files::new(), text_pairs(&expected)));
}

#[test]
fn hard_link_is_its_file_once_more() {
    let mut archive = tar::Builder::new(Vec::new());
    entry(&mut archive, EntryType::Regular, "./0.png", "", b"zero");
    entry(&mut archive, EntryType::Link, "./same.png", "./0.png", b"");
    entry(&mut archive, EntryType::Regular, "1.png", "", b"one");
    entry(&mut archive, EntryType::Link, "third.png", "same.png", b"");
    // The name is used again: a link before that is to the first file, one behind it to the second.
    entry(&mut archive, EntryType::Regular, "0.png", "", b"zero, newer");
    entry(&mut archive, EntryType::Link, "newer.png", "0.png", b"");
    let tar = archive.into_inner().unwrap();
    let expected: [(&str, &[u8]); 6] = [
        ("0.png", b"zero"),
        ("1.png", b"one"),
        ("0.png", b"zero, newer"),
        ("same.png", b"zero"),
        ("third.png", b"zero"),
        ("newer.png", b"zero, newer"),
    ];
    for bytes in [&gzip(&tar), &tar] {
        assert_eq!(read_all(bytes), (owned(&expected), vec![]));
    }
}

#[test]
fn links_count_towards_the_limits() {
    let mut archive = tar::Builder::new(Vec::new());
    entry(&mut archive, EntryType::Regular, "a", "", &[0; 2000]);
    for link in ["b", "c", "d"] {
        entry(&mut archive, EntryType::Link, link, "a", b"");
    }
    let tar = archive.into_inner().unwrap();
    let limits = Limits { total_bytes: tar.len() as u64 + 5000, ..Limits::default() };
    assert!(limited(&read(&tar, &limits).1, "bytes in all"));
    assert!(read(&tar, &Limits { total_bytes: tar.len() as u64 + 6000, ..limits }).1.is_ok());
}

/// A file of 5000 bytes, of which 600 are stored, 100 at the start and 500 at its end.
fn sparse_file() -> Vec<u8> {
    let mut file = vec![0; 5000];
    file[..100].fill(1);
    file[4500..].fill(2);
    file
}

#[test]
fn sparse_files_of_gnu_are_read() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("hole.bmp").unwrap();
    let gnu = header.as_gnu_mut().unwrap();
    let octal = |field: &mut [u8; 12], value: u64| field[..11].copy_from_slice(format!("{value:011o}").as_bytes());
    for (part, (start, length)) in gnu.sparse.iter_mut().zip([(0, 512), (4500, 500)]) {
        octal(&mut part.offset, start);
        octal(&mut part.numbytes, length);
    }
    octal(&mut gnu.realsize, 5000);
    header.set_size(1012);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, &[&[1; 100][..], &[0; 412], &[2; 500]].concat()[..]).unwrap();
    entry(&mut archive, EntryType::Regular, "next", "", b"next");
    let tar = archive.into_inner().unwrap();
    assert_eq!(read_all(&tar), (owned(&[("hole.bmp", &sparse_file()), ("next", b"next")]), vec![]));
    let limits = Limits { entry_bytes: 5000, ..Limits::default() };
    assert!(limited(&read(&tar, &limits).1, "bytes in one entry"));
}

#[test]
fn sparse_files_of_posix_are_read() {
    let parts = [&[1; 100][..], &[2; 500]].concat();
    let mut map = b"2\n0\n100\n4500\n500\n".to_vec();
    map.resize(512, 0);
    let in_data: (&[(&str, &str)], Vec<u8>) =
        (&[("major", "1"), ("minor", "0"), ("realsize", "5000")], [map, parts.clone()].concat());
    let in_header: (&[(&str, &str)], Vec<u8>) = (&[("map", "0,100,4500,500"), ("size", "5000")], parts.clone());
    let oldest: (&[(&str, &str)], Vec<u8>) =
        (&[("size", "5000"), ("offset", "0"), ("numbytes", "100"), ("offset", "4500"), ("numbytes", "500")], parts);
    for (fields, stored) in [in_data, in_header, oldest] {
        let mut archive = tar::Builder::new(Vec::new());
        let fields = fields.iter().chain(&[("name", "./hole.bmp")]);
        let fields: Vec<(String, &[u8])> =
            fields.map(|(key, value)| (format!("GNU.sparse.{key}"), value.as_bytes())).collect();
        archive.append_pax_extensions(fields.iter().map(|(key, value)| (key.as_str(), *value))).unwrap();
        entry(&mut archive, EntryType::Regular, "GNUSparseFile.0/hole.bmp", "", &stored);
        entry(&mut archive, EntryType::Link, "link", "hole.bmp", b"");
        let tar = archive.into_inner().unwrap();
        assert_eq!(read_all(&tar), (owned(&[("hole.bmp", &sparse_file()), ("link", &sparse_file())]), vec![]));
        let limits = Limits { entry_bytes: 5000, ..Limits::default() };
        assert!(limited(&read(&tar, &limits).1, "bytes in one entry"));
    }
}

#[test]
fn sparse_file_whose_map_does_not_fit_is_damage() {
    for map in ["0,601", "4500,501", "0,100,4500", "18446744073709551615,600"] {
        let mut archive = tar::Builder::new(Vec::new());
        let fields = [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"5000")];
        archive.append_pax_extensions(fields).unwrap();
        entry(&mut archive, EntryType::Regular, "a", "", &[1; 600]);
        let end = read(&archive.into_inner().unwrap(), &Limits::default()).1;
        assert!(matches!(end, Err(Error::Archive { entries: 1, .. })), "{map}: {end:?}");
    }
}

#[test]
fn tar_from_before_posix_is_told_by_its_checksum() {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [("folder/", &b""[..]), ("folder/a", b"a")] {
        let mut header = tar::Header::new_old();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }
    let mut tar = archive.into_inner().unwrap();
    assert_eq!(Format::detect(&tar), Some(Format::Tar));
    assert_eq!(read_all(&tar), (owned(&[("folder/a", b"a")]), vec![]));
    tar[0] ^= 1;
    assert_eq!(Format::detect(&tar), None);
    assert_eq!(Format::detect(&[0; 512]), None);
}

/// Calls `change` with the local header of each entry of a zip, then with that in the directory, both from the version that
/// is needed on.
fn change_headers(zip: &mut [u8], change: impl Fn(&mut [u8])) {
    for (signature, start) in [(b"PK\x03\x04", 4), (b"PK\x01\x02", 6)] {
        let found: Vec<usize> = (0..zip.len() - 4).filter(|&at| zip[at..].starts_with(signature)).collect();
        found.into_iter().for_each(|at| change(&mut zip[at + start..]));
    }
}

#[test]
fn entries_of_a_zip_that_cannot_be_read_are_told() {
    for (field, value, expected) in [
        (4, 9, "one compressed with Deflate64 (method 9), not stored or deflated"),
        (4, 12, "one compressed with BZip2 (method 12), not stored or deflated"),
        (4, 14, "one compressed with LZMA (method 14), not stored or deflated"),
        (4, 42, "one compressed with another method (method 42), not stored or deflated"),
        (2, 1, "an encrypted one"),
    ] {
        let mut bytes = zip(&[("a", b"a"), ("b", b"b")]);
        // The other entry is as it was.
        let is_first = Cell::new(true);
        change_headers(&mut bytes, |header| {
            if is_first.replace(!is_first.get()) {
                header[field] = value;
            }
        });
        assert_eq!(read_all(&bytes), (owned(&[("b", b"b")]), text_pairs(&[("a", expected)])));
    }

    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.add_symlink("link", "a", SimpleFileOptions::default()).unwrap();
    archive.add_directory("folder", SimpleFileOptions::default()).unwrap();
    let bytes = archive.finish().unwrap().into_inner();
    assert_eq!(read_all(&bytes), (Files::new(), text_pairs(&[("link", "a symbolic link")])));
}

#[test]
fn files_of_one_name_are_all_read() {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for folder in ["f", "g"] {
        archive.add_directory(folder, SimpleFileOptions::default()).unwrap();
    }
    let files: [(&str, &[u8]); 4] = [("a", b"first"), ("b", b"b"), ("c", b"second"), ("d", b"last")];
    for (name, bytes) in files {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    let mut bytes = archive.finish().unwrap().into_inner();
    for header in [&b"PK\x03\x04"[..], b"PK\x01\x02"] {
        let length = if header[2] == 3 { 30 } else { 46 };
        let starts: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(header)).collect();
        for (start, name) in starts.into_iter().zip(b"ffabaa") {
            bytes[start + length] = *name;
        }
    }
    let expected = owned(&[("a", b"last"), ("b", b"b"), ("a", b"first"), ("a", b"second")]);
    assert_eq!(read_all(&bytes), (expected.clone(), vec![]));
    // Also behind a program, whose bytes the directory does not count.
    assert_eq!(read_all(&[&b"MZ a program"[..], &bytes].concat()), (expected, vec![]));
    // The earlier file is compressed in a way that is not read.
    let at = bytes.windows(4).enumerate().filter(|(_, part)| *part == b"PK\x03\x04").nth(2).unwrap().0;
    bytes[at + 8] = 9;
    let found = "one compressed with Deflate64 (method 9), not stored or deflated";
    let expected = owned(&[("a", b"last"), ("b", b"b"), ("a", b"second")]);
    assert_eq!(read_all(&bytes), (expected.clone(), text_pairs(&[("a", found)])));
    bytes[at] = 0;
    let found = "one of several files of this name, of which the last can be read";
    assert_eq!(read_all(&bytes), (expected, text_pairs(&[("a", found)])));
}

/// Two Shift-JIS letters whose second byte is that of a backslash, and a name in UTF-8 with a backslash that parts folders.
#[test]
fn byte_of_a_backslash_in_a_letter_parts_no_folders() {
    let mut bytes = zip(&[("XX.png", b"1"), ("YY.png", b"2"), ("ä\\b.png", b"3")]);
    for (plain, letter) in [(b"XX", b"\x83\x5c"), (b"YY", b"\x95\x5c")] {
        while let Some(at) = bytes.windows(2).position(|pair| pair == plain) {
            bytes[at..at + 2].copy_from_slice(letter);
        }
    }
    let (files, left_out) = read_all(&bytes);
    assert!(left_out.is_empty());
    assert_eq!(files, owned(&[("â\\.png", b"1"), ("ò\\.png", b"2"), ("ä/b.png", b"3")]));
    assert!(files.iter().all(|(label, _)| !is_hidden(label)));

    let mut archive = tar(&[("X.png", b"1")]);
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&archive[..512]);
    header.as_old_mut().name[..6].copy_from_slice(b"\x83\x5c.png");
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    assert_eq!(read_all(&archive).0, owned(&[(r"\x83\\.png", b"1")]));
}

#[test]
fn zip_behind_a_program_is_read() {
    let bytes = [&b"MZ\x90 a program"[..], &[7; 3000], &zip(&[("a", b"a")])].concat();
    assert_eq!(read_all(&bytes), (owned(&[("a", b"a")]), vec![]));
    // But not an image with one behind it.
    let image = [&b"\x89PNG\r\n\x1a\n"[..], &zip(&[("a", b"a")])].concat();
    assert_eq!(Format::of(&mut Cursor::new(image)).unwrap(), None);
}

#[test]
fn other_archives_are_refused_by_name() {
    for (head, kind) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"BZh91AY", "bzip2")] {
        let end = read(head, &Limits::default()).1;
        assert!(matches!(end, Err(Error::ArchiveKind { kind: found }) if found == kind), "{end:?}");
    }
}

#[test]
fn what_systems_leave_behind_is_hidden() {
    for hidden in [".DS_Store", "a/__MACOSX/b", "a/._b.png", "a/thumbs.DB", "$Recycle.Bin/a", "lost+found", "Icon\r"] {
        assert!(is_hidden(hidden), "{hidden}");
    }
    for shown in ["a.png", "../a.png", "./a.png", "thumbs.db.png", "recycle/a", "eaDir", "lost and found"] {
        assert!(!is_hidden(shown), "{shown}");
    }
}

#[test]
fn nested_archive_is_not_opened() {
    let inner = zip(&[("a", b"a")]);
    let (files, end) = read(&zip(&[("inner.zip", &inner)]), &Limits::default());
    end.unwrap();
    assert_eq!(files, [("inner.zip".to_owned(), inner)]);
}

#[test]
fn other_bytes_are_rejected_as_an_archive() {
    let end = read(b"GIF89a and so on", &Limits::default()).1;
    assert!(matches!(end, Err(Error::ArchiveFormat { head }) if head == b"GIF89a a"));
    assert!(matches!(read(b"", &Limits::default()).1, Err(Error::ArchiveFormat { .. })));
}

#[test]
fn truncated_archive_is_rejected() {
    let mut noise = [0; 5000];
    ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut noise);
    for (format, bytes) in each_format(&[("a", b"sound"), ("b", &noise)]) {
        let (files, end) = read(&bytes[..3000], &Limits::default());
        match format {
            Format::Zip => assert!(matches!(end, Err(Error::Zip { entries: 0, .. }))),
            Format::Tar | Format::TarGz => {
                assert!(matches!(end, Err(Error::Archive { entries: 2, .. })));
                assert_eq!(files, [("a".to_owned(), b"sound".to_vec())]);
            }
        }
    }
}

#[test]
fn zip_entry_with_a_wrong_checksum_is_rejected() {
    let mut bytes = zip(&[("a", &[7; 100])]);
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[directory + 16] ^= 1;
    assert!(matches!(read(&bytes, &Limits::default()).1, Err(Error::Archive { .. })));
}

#[test]
fn too_many_entries_are_rejected() {
    let limits = Limits { entries: 2, ..Limits::default() };
    for (format, bytes) in each_format(&[("a", b""), ("b", b""), ("c", b"")]) {
        assert!(limited(&read(&bytes, &limits).1, "entries"), "{format:?}");
    }
    for (format, bytes) in each_format(&[("a", b""), ("b", b"")]) {
        assert!(read(&bytes, &limits).1.is_ok(), "{format:?}");
    }
}

#[test]
fn too_large_entry_is_rejected() {
    let limits = Limits { entry_bytes: 3000, ..Limits::default() };
    for (format, bytes) in each_format(&[("a", &[0; 1000]), ("b", &[0; 4000])]) {
        let (files, end) = read(&bytes, &limits);
        assert!(limited(&end, "bytes in one entry"), "{format:?}");
        assert_eq!(files.len(), 1);
    }
}

#[test]
fn too_large_total_is_rejected() {
    let limits = Limits { total_bytes: 5000, ..Limits::default() };
    for (format, bytes) in each_format(&[("a", &[0; 3000]), ("b", &[0; 3000])]) {
        assert!(limited(&read(&bytes, &limits).1, "bytes in all"), "{format:?}");
    }
}

#[test]
fn bomb_is_stopped_by_its_ratio() {
    let zeros = vec![0; 20 << 20];
    let tar = tar(&[("zeros", &zeros)]);
    for bytes in [zip(&[("zeros", &zeros)]), gzip(&tar)] {
        let (files, end) = read(&bytes, &Limits::default());
        assert!(limited(&end, "bytes for an archive of its size"));
        assert!(files.is_empty());
    }
    assert!(read(&tar, &Limits::default()).1.is_ok());
}

#[test]
fn bomb_in_a_long_name_is_stopped() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(20 << 20);
    header.set_cksum();
    archive.append(&header, std::io::repeat(b'a').take(20 << 20)).unwrap();
    let end = read(&gzip(&archive.into_inner().unwrap()), &Limits::default()).1;
    assert!(limited(&end, "bytes for an archive of its size"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_rejected(start in 0_usize..4, tail: Vec<u8>) {
        let starts: [&[u8]; 4] = [b"PK\x03\x04", b"PK\x05\x06", &[0x1f, 0x8b, 8], b""];
        let _ = read(&[starts[start], &tail].concat(), &Limits::default());
    }

    #[test]
    fn damage_anywhere_is_survived(position in 0_usize..2000, value: u8) {
        for (_, mut bytes) in each_format(&[("a", &[1; 700]), ("b", b"text")]) {
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = read(&bytes, &Limits::default());
        }
    }
}
