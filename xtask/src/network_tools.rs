//! Programs of the system that tests of real networks need, and how they get there.

use std::io;
use std::path::Path;

use crate::postgres::{can_install, install_package};
use crate::process::{ClusterError, io_error};

/// Each program and the package of Debian's that has it.
const TOOLS: [(&str, &str); 3] = [("ip", "iproute2"), ("nft", "nftables"), TURN_SERVER];
const TURN_SERVER: (&str, &str) = ("turnserver", "coturn");
/// Read by Debian's scripts before they start a service that comes with a package; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICE: &str = "#!/bin/sh\nexit 101\n";

/// Installs what is missing, if this is root on a machine with `apt-get`, and says so on standard output.
///
/// # Errors
/// [`ClusterError::Io`], which says what to install.
pub fn ensure_network_tools() -> Result<(), ClusterError> {
    TOOLS.into_iter().try_for_each(ensure)
}

/// Installs the TURN server alone, likewise.
///
/// # Errors
/// Those of [`ensure_network_tools`].
pub fn ensure_turn_server() -> Result<(), ClusterError> {
    ensure(TURN_SERVER)
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests is told what happens to the machine")]
fn ensure((program, package): (&str, &str)) -> Result<(), ClusterError> {
    if is_there(program) {
        return Ok(());
    }
    if !can_install() {
        let what = format!("find {program}: install it (Debian, as root: `apt-get install {package}`)");
        return Err(io_error(what)(io::ErrorKind::NotFound.into()));
    }
    println!("{program} is not installed: `apt-get install {package}`, without starting what it brings");
    without_services(|| install_package(package))
}

/// Whoever has a policy of its own keeps it.
fn without_services(install: impl FnOnce() -> Result<(), ClusterError>) -> Result<(), ClusterError> {
    use std::os::unix::fs::PermissionsExt;

    let policy = Path::new(POLICY);
    if policy.exists() {
        return install();
    }
    std::fs::write(policy, NO_SERVICE).map_err(io_error(format!("write {POLICY}")))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    let allowed = std::fs::set_permissions(policy, executable).map_err(io_error(format!("make {POLICY} a program")));
    let installed = allowed.and_then(|()| install());
    std::fs::remove_file(policy).map_err(io_error(format!("remove {POLICY}")))?;
    installed
}

/// The tools of administrators may not be on the path of everybody.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(also).any(|folder| folder.join(program).is_file())
}
