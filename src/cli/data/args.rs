//! Where data sets are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

/// Where data sets are.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Folder of the data sets [env: ELOC_DATA; default: eloc/data in the user's cache folder].
    #[arg(long = "data", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Base address that replaces the data sets' own folders when they are downloaded.
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

impl DataArgs {
    /// The data folder.
    pub fn dir(&self) -> PathBuf {
        data_dir(self.dir.as_deref())
    }
}

/// The data folder: the flag, else the environment variable `ELOC_DATA`, else `eloc/data` in the
/// user's cache folder, else (where there is no such folder) `data`.
fn data_dir(flag: Option<&Path>) -> PathBuf {
    choose_data_dir(flag, std::env::var_os("ELOC_DATA"), dirs::cache_dir())
}

pub(super) fn choose_data_dir(flag: Option<&Path>, variable: Option<OsString>, cache: Option<PathBuf>) -> PathBuf {
    match (flag, variable.filter(|value| !value.is_empty()), cache) {
        (Some(flag), _, _) => flag.to_owned(),
        (None, Some(variable), _) => variable.into(),
        (None, None, Some(cache)) => cache.join("eloc").join("data"),
        (None, None, None) => PathBuf::from("data"),
    }
}
