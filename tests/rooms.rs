//! The plan of the house that `src/lib.rs` draws: a room uses itself and the rooms below it, and no two files use each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The rooms and files of `src`, from the ground up; those of one line do not see each other.
const STOREYS: [&[&str]; 9] = [
    &["error"],
    &["fold"],
    &["images"],
    &["network"],
    &["detection"],
    &["evaluation"],
    &["training"],
    &["weights"],
    &["cli", "web", "lib", "main"],
];

/// Module paths by module path, such as `training::loss`; the door of a room, its `mod.rs`, goes by the room's name.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_use_what_is_below_them() {
    let storey = |module: &str| {
        let room = module.split("::").next().unwrap();
        let found = STOREYS.iter().position(|rooms| rooms.contains(&room));
        (found.unwrap_or_else(|| panic!("{room}: expected a room of the plan, found another")), room.to_owned())
    };
    let uses = uses();
    for (module, used) in &uses {
        for other in used {
            let ((from, here), (to, there)) = (storey(module), storey(other));
            assert!(to < from || here == there, "{module} uses {other}, which is not below it");
        }
    }
    assert!(uses["error"].is_empty(), "error uses {:?}", uses["error"]);
    assert!(uses["training::train"].contains("training::batches"), "the test sees what files use: {uses:?}");
}

#[test]
fn no_files_use_each_other() {
    let mut uses = uses();
    // What uses nothing that is left, or is used by nothing that is left, stands in no circle.
    loop {
        let is_used = |module: &String| uses.values().any(|used| used.contains(module));
        let free = uses.iter().find(|(module, used)| used.is_empty() || !is_used(module));
        let Some(free) = free.map(|(module, _)| module.clone()) else { break };
        uses.remove(&free);
        for used in uses.values_mut() {
            used.remove(&free);
        }
    }
    assert!(uses.is_empty(), "files that use each other: {uses:#?}");
}

/// Which modules each file of `src` uses by its paths; a re-export counts as a use.
fn uses() -> Uses {
    let mut sources = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    let of = |(module, source): (&String, &String)| {
        let is_door = sources.keys().any(|other| other.starts_with(&format!("{module}::")));
        let paths = paths(source).into_iter().filter_map(|path| absolute(&path, module, is_door, &sources));
        let known = paths.filter_map(|path| deepest(&path, &sources)).filter(|other| other != module);
        (module.clone(), known.collect())
    };
    sources.iter().map(of).collect()
}

/// The sources of all files below `folder`, without comments, by module.
fn read(folder: &Path, prefix: &str, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            read(&path, &format!("{prefix}{stem}::"), sources);
        } else {
            let module =
                if stem == "mod" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{stem}") };
            let code = |line: &str| line.split("//").next().unwrap().to_owned() + "\n";
            sources.insert(module, fs::read_to_string(&path).unwrap().lines().map(code).collect());
        }
    }
}

/// All paths that begin with `crate`, `eloc`, `super` or, in a `use`, anything; `*` ends one.
fn paths(source: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for statement in source.split("use ").skip(1) {
        flatten("", statement.split(';').next().unwrap(), &mut paths);
    }
    for root in ["crate::", "eloc::", "super::"] {
        for (start, _) in source.match_indices(root) {
            let rest = &source[start..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            // What goes on with a group is a `use`.
            if !rest[..end].ends_with("::") {
                paths.push(rest[..end].to_owned());
            }
        }
    }
    paths
}

/// The paths of a `use` tree.
fn flatten(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split_whitespace().next().unwrap_or_default();
        return paths.push(format!("{prefix}{name}"));
    };
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    let group = &group[..group.rfind('}').unwrap_or(group.len())];
    for (index, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..index].trim().is_empty() {
                    flatten(&prefix, &group[start..index], paths);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// A path from the root of `src`; none for what starts elsewhere.
fn absolute(path: &str, module: &str, is_door: bool, sources: &BTreeMap<String, String>) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::").or(path.strip_prefix("eloc::")) {
        return Some(rest.to_owned());
    }
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    // In the tests of a file `super` is the file.
    let Some(mut rest) = path.strip_prefix("super::").filter(|rest| *rest != "*") else {
        let child = format!("{module}::{path}");
        return (is_door && deepest(&child, sources).is_some_and(|found| found != module)).then_some(child);
    };
    let mut base = if is_door { module.rsplit_once("::").map_or("", |(parent, _)| parent) } else { parent };
    while let Some(further) = rest.strip_prefix("super::") {
        (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), further);
    }
    Some(format!("{base}::{rest}").trim_start_matches(':').to_owned())
}

/// The longest beginning of `path` that is a file.
fn deepest(path: &str, sources: &BTreeMap<String, String>) -> Option<String> {
    let mut path = path;
    loop {
        if sources.contains_key(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}
