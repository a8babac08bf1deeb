//! Where Postgres' programs are, and how they get there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{ClusterError, io_error};

/// Where Debian and what derives from it keep them, a folder a version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Read by Debian's scripts before they make the cluster that comes with the package.
const NO_CLUSTER_FOLDER: &str = "/etc/postgresql-common/createcluster.d";
const NO_CLUSTER: &str = "# A test of Understudy installs the programs only.\ncreate_main_cluster = false\n";

/// Finds Postgres' programs: the newest version of Debian's, or else those on the path. If there are none, and this is root on a
/// machine with `apt-get`, they are installed, and it says so on standard output. Returns their folder.
///
/// # Errors
/// [`ClusterError::Io`], which says what to install.
pub fn ensure_installed() -> Result<PathBuf, ClusterError> {
    if let Some(folder) = installed() {
        return Ok(folder);
    }
    if !can_install() {
        let what = "find Postgres' server programs: install them (Debian, as root: `apt-get install postgresql`; macOS: \
                    `brew install postgresql`)";
        return Err(io_error(what)(io::ErrorKind::NotFound.into()));
    }
    install()?;
    installed().ok_or_else(|| {
        io_error("find Postgres' server programs, which apt-get has installed")(io::ErrorKind::NotFound.into())
    })
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let mut folders: Vec<_> = numbered.collect();
    folders.sort_unstable();
    let debian = folders.into_iter().rev().map(|(_, folder)| folder.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = debian.chain(std::env::split_paths(&path).map(|folder| real_folder(&folder)));
    all.find(|folder| ["postgres", "initdb", "psql", "pg_isready"].iter().all(|program| folder.join(program).is_file()))
}

/// The folder in which the server lies that this folder may only point to.
fn real_folder(folder: &Path) -> PathBuf {
    let real = fs::canonicalize(folder.join("postgres")).ok();
    real.as_deref().and_then(Path::parent).unwrap_or(folder).to_owned()
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests is told what happens to the machine")]
fn install() -> Result<(), ClusterError> {
    println!("Postgres is not installed: `apt-get install postgresql`, without a cluster of its own");
    let folder = Path::new(NO_CLUSTER_FOLDER);
    fs::create_dir_all(folder).map_err(io_error(format!("make {NO_CLUSTER_FOLDER}")))?;
    let file = folder.join("understudy.conf");
    fs::write(&file, NO_CLUSTER).map_err(io_error(format!("write {}", file.display())))?;
    let installed = install_package("postgresql");
    fs::remove_file(&file).map_err(io_error(format!("remove {}", file.display())))?;
    installed
}

/// Whether this is root on a machine with `apt-get`.
#[must_use]
pub fn can_install() -> bool {
    is_root() && is_on_path("apt-get")
}

/// Installs a package of Debian's.
///
/// # Errors
/// [`ClusterError::Io`], with what `apt-get` says.
pub fn install_package(package: &str) -> Result<(), ClusterError> {
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The machine may never have read what there is.
    apt_get(&install).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)))
}

fn apt_get(arguments: &[&str]) -> Result<(), ClusterError> {
    let mut command = Command::new("apt-get");
    // Another process may be installing the same.
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    super::run(command.stdin(Stdio::null()), &format!("apt-get {}", arguments.join(" "))).map(drop)
}

/// Whoever owns this process owns what it looks at there; where there is no such folder, there is no apt-get either.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
