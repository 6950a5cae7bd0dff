//! The check that a PyTorch file's pickles are a state dict and nothing else.
//!
//! A pickle is a program for a stack machine that can call any Python function by name. Nothing here calls anything; but a
//! file that wants more than a state dict needs is either not what it should be or hostile, so it is refused by the name of
//! what it wants, also where the result would be thrown away. `torch.save` writes protocol 2.

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Read, Seek},
    path::Path,
};

use crate::images::archive;

/// Functions and types that a state dict, an optimiser's state and a NumPy number are rebuilt with.
const GLOBALS: [&str; 24] = [
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.FloatStorage",
    "torch.DoubleStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.cuda.FloatStorage",
    "torch.cuda.DoubleStorage",
    "torch.cuda.HalfStorage",
    "torch.cuda.LongStorage",
    "torch.cuda.IntStorage",
    "torch.cuda.ByteStorage",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
];

/// Pickles at the start of a legacy file: magic number, protocol, system, object, storage keys.
const LEGACY_PICKLES: usize = 5;
/// Most bytes of a zip file's pickle; a deflated one could claim any size.
const MAX_PICKLE: u64 = 64 << 20;

/// Checks the pickles of a zip or legacy file.
///
/// # Errors
/// What was expected and found.
pub fn check_file(path: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = BufReader::new(File::open(path).map_err(text)?);
    let head = file.fill_buf().map_err(text)?;
    let is_zip = head.starts_with(b"PK");
    // Another form that a reader may know, whose pickles lie elsewhere.
    if archive::Format::detect(head) == Some(archive::Format::Tar) {
        return Err("expected a zip or legacy file, found a tar archive".to_owned());
    }
    if !is_zip {
        return (0..LEGACY_PICKLES).try_for_each(|_| check(&mut file));
    }
    file.rewind().map_err(text)?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
        .collect();
    let [name] = &names[..] else {
        return Err(format!("expected one data.pkl in the zip file, found {}", names.len()));
    };
    let mut pickle = Vec::new();
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    entry.take(MAX_PICKLE + 1).read_to_end(&mut pickle).map_err(text)?;
    if pickle.len() as u64 > MAX_PICKLE {
        return Err(format!("expected a {name} of at most {MAX_PICKLE} bytes, found more"));
    }
    check(&mut Cursor::new(pickle))
}

/// Reads one pickle to its end, and refuses opcodes and globals that no state dict needs.
///
/// # Errors
/// What was expected and found.
pub fn check(input: &mut impl BufRead) -> Result<(), String> {
    loop {
        let [opcode] = bytes(input)?;
        match opcode {
            b'.' => return Ok(()),
            // PROTO
            0x80 => match bytes(input)? {
                [2] => {}
                [found] => return Err(format!("expected pickle protocol 2, found {found}")),
            },
            // GLOBAL
            b'c' => {
                let name = format!("{}.{}", line(input)?, line(input)?);
                if !GLOBALS.contains(&name.as_str()) {
                    return Err(format!("expected a state dict, found a pickle that asks for {name}; nothing was run"));
                }
            }
            // MARK, EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3, NONE, NEWTRUE, NEWFALSE, REDUCE, BUILD,
            // BINPERSID, SETITEM, SETITEMS, APPEND, APPENDS
            b'(' | b'}' | b']' | b')' | b't' | 0x85..=0x89 | b'N' | b'R' | b'b' | b'Q' | b's' | b'u' | b'a' | b'e' => {}
            // BININT1, BINPUT, BINGET
            b'K' | b'q' | b'h' => skip(input, 1)?,
            // BININT2
            b'M' => skip(input, 2)?,
            // BININT, LONG_BINPUT, LONG_BINGET
            b'J' | b'r' | b'j' => skip(input, 4)?,
            // BINFLOAT
            b'G' => skip(input, 8)?,
            // LONG1, SHORT_BINSTRING
            0x8a | b'U' => {
                let [length] = bytes(input)?;
                skip(input, length.into())?;
            }
            // BINUNICODE, BINSTRING
            b'X' | b'T' => {
                let length = u32::from_le_bytes(bytes(input)?);
                skip(input, length.into())?;
            }
            _ => return Err(format!("expected the pickle of a state dict, found opcode {opcode:#04x} in it")),
        }
    }
}

fn bytes<const N: usize>(input: &mut impl BufRead) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|_| cut_off())?;
    Ok(bytes)
}

fn skip(input: &mut impl BufRead, count: u64) -> Result<(), String> {
    let skipped = std::io::copy(&mut input.take(count), &mut std::io::sink()).map_err(|error| error.to_string())?;
    if skipped == count { Ok(()) } else { Err(cut_off()) }
}

fn line(input: &mut impl BufRead) -> Result<String, String> {
    let mut line = Vec::new();
    input.take(256).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    match line.pop() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&line).into_owned()),
        _ => Err(cut_off()),
    }
}

fn cut_off() -> String {
    "expected a whole pickle, found one that breaks off".to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn refused(pickle: &[u8], expected: &str) {
        let found = check(&mut Cursor::new(pickle)).unwrap_err();
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn an_ordered_dict_passes() {
        // OrderedDict() with an int, a float, a long, a string and None under keys.
        let pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(U\x01aK\x01X\x01\x00\x00\x00bG?\xf0\0\0\0\0\0\0\
                       U\x01c\x8a\x01\x05U\x01dU\x03xyzU\x01eNu.";
        assert_eq!(check(&mut Cursor::new(pickle)), Ok(()));
    }

    #[test]
    fn calls_are_refused_by_name_also_where_their_result_is_thrown_away() {
        refused(b"\x80\x02cposix\nsystem\nU\x02ls\x85R.", "posix.system");
        refused(b"\x80\x02(cbuiltins\neval\nU\x011\x85R1}.", "builtins.eval");
        // A part of an allowed name is not an allowed name.
        refused(b"\x80\x02ctorch\nload\nU\x01x\x85R.", "torch.load");
    }

    #[test]
    fn opcodes_of_no_state_dict_are_refused() {
        // POP, STACK_GLOBAL, INST, OBJ, NEWOBJ, EXT1
        for opcode in [b'0', 0x93, b'i', b'o', 0x81, 0x82] {
            refused(&[0x80, 2, opcode], &format!("{opcode:#04x}"));
        }
        refused(&[0x80, 4], "protocol 2");
    }

    /// A reader could take another one than the one that was checked.
    #[test]
    fn files_with_more_than_one_place_for_pickles_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in ["archive/data.pkl", "data.pkl"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(b"\x80\x02}.").unwrap();
        }
        zip.finish().unwrap();
        assert!(check_file(&path).unwrap_err().contains("expected one data.pkl in the zip file, found 2"));

        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        tar.append_data(&mut header, "storages", &b""[..]).unwrap();
        tar.finish().unwrap();
        assert!(check_file(&path).unwrap_err().contains("found a tar archive"));
    }

    #[test]
    fn pickles_that_break_off_are_refused() {
        for pickle in [&b""[..], b"\x80", b"\x80\x02ccollections\nOrdered", b"X\xff\0\0\0abc", b"\x80\x02}"] {
            refused(pickle, "breaks off");
        }
    }
}
