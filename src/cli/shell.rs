//! Commands as a shell takes them, to be shown or kept with results.

/// The command line as a shell takes it, with the tool's name in place of its path.
pub fn command_line() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().as_ref()));
    std::iter::once("eloc".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// An argument as a shell takes it.
pub fn quoted(argument: &str) -> String {
    shlex::try_quote(argument).expect("arguments have no zero bytes").into_owned()
}
