//! Names of files in archives and folders.

/// Whether the file of this name or path, or a folder on the way to it, is one that file managers and systems leave behind.
pub fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| (name.starts_with('.') && name != "." && name != "..") || is_system(name))
}

/// Whether a system keeps a file or folder of this name for itself.
pub fn is_system(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        // macOS, whose other names start with a dot.
        "__MACOSX",
        "Icon\r",
        // Windows.
        "$RECYCLE.BIN",
        "RECYCLER",
        "System Volume Information",
        "Thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        // Linux.
        "lost+found",
        // Network storage of Synology and QNAP.
        "@eaDir",
        "#recycle",
        "@Recycle",
    ];
    // Windows does not care for the case of letters.
    NAMES.iter().any(|system| system.eq_ignore_ascii_case(name))
}

/// The label of a file by its stored name; what `decode` makes of it where it is not UTF-8.
///
/// In Shift-JIS, GBK and Big5 the second byte of a letter may be that of a backslash, so that it parts folders in UTF-8 only.
pub fn label(name: &[u8], decode: impl FnOnce() -> String) -> String {
    let path = std::str::from_utf8(name).map_or_else(|_| decode(), |name| name.replace('\\', "/"));
    // `tar -C FOLDER .` stores paths as `./name`.
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}
