//! A small internet on this machine: network namespaces with a router in the middle, and two homes behind routers of their own.
//!
//! ```text
//!   home 0 ── gate 0 ── core ── gate 1 ── home 1        core has 192.0.2.1 and 192.0.2.2, where servers are
//! ```

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xtask::network_tools::ensure_network_tools;

/// Where the lobby service and its relay are.
pub const SERVICE: &str = "192.0.2.1";
/// Where another server is.
pub const OTHER: &str = "192.0.2.2";
/// Names of namespaces are this, the process id and a number, and which one it is.
const NAME: &str = "understudy";
/// Where `ip` keeps them.
const FOLDER: &str = "/run/netns";

/// How a home reaches the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its address is public.
    Open,
    /// Behind a translator that gives a port one face to everybody, and lets in only those who were written to.
    Cone,
    /// Behind a translator that gives a port another face to each other side, and lets in only that one.
    Symmetric,
    /// Behind a translator that lets no datagram through.
    NoUdp,
}

/// The namespaces; removed with everything in them when this is dropped.
#[derive(Debug)]
pub struct Internet {
    name: String,
    namespaces: Vec<String>,
}

impl Internet {
    /// Makes it.
    ///
    /// # Panics
    /// If this is not root, in whatever user namespace, or a tool is missing.
    #[must_use]
    pub fn new(homes: [Access; 2]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        ensure_network_tools().unwrap_or_else(|error| panic!("{error}"));
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}-{}-{number}", std::process::id());
        let mut internet = Self { name, namespaces: Vec::new() };
        internet.add("core");
        let core = internet.core();
        for address in [SERVICE, OTHER] {
            ip(&core, &format!("address add {address}/32 dev lo"));
        }
        for (site, access) in homes.into_iter().enumerate() {
            internet.add_site(site, access);
        }
        internet
    }

    /// The namespace of the router in the middle, and of all servers.
    #[must_use]
    pub fn core(&self) -> String {
        format!("{}-core", self.name)
    }

    /// The namespace of a home.
    #[must_use]
    pub fn home(&self, site: usize) -> String {
        format!("{}-home{site}", self.name)
    }

    fn gate(&self, site: usize) -> String {
        format!("{}-gate{site}", self.name)
    }

    /// Nothing passes from one home to the other any more. All servers are still there.
    pub fn cut_between_homes(&self) {
        nft(&self.core(), "table inet cut { chain forward { type filter hook forward priority 0; policy drop; }; }");
    }

    /// The homes reach each other again.
    pub fn mend_between_homes(&self) {
        nft(&self.core(), "delete table inet cut");
    }

    /// A home cannot reach this port any more, whatever the protocol.
    pub fn block_port(&self, site: usize, address: &str, port: u16) {
        let rule = format!("ip daddr {address} meta l4proto {{ tcp, udp }} th dport {port} drop");
        nft(
            &self.gate(site),
            &format!("table inet blocked {{ chain forward {{ type filter hook forward priority 0; {rule}; }}; }}"),
        );
    }

    /// A UDP socket in a namespace.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn udp(&self, namespace: &str, address: &str) -> UdpSocket {
        let bind = || UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        within(namespace, bind)
    }

    fn add(&mut self, part: &str) {
        let namespace = format!("{}-{part}", self.name);
        run(Command::new("ip").args(["netns", "add", &namespace]), "");
        self.namespaces.push(namespace.clone());
        ip(&namespace, "link set lo up");
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(Command::new("ip").args(["netns", "exec", &namespace, "sh", "-c", forward]), "");
    }

    fn add_site(&mut self, site: usize, access: Access) {
        self.add(&format!("gate{site}"));
        self.add(&format!("home{site}"));
        let (core, gate, home) = (self.core(), self.gate(site), self.home(site));
        let wan = |host: usize| format!("198.51.100.{}", 4 * site + host);
        // Behind translators both have the same addresses, as homes do.
        let lan = |host: usize| match access {
            Access::Open => format!("203.0.113.{}", 16 * site + host),
            Access::Cone | Access::Symmetric | Access::NoUdp => format!("192.168.1.{host}"),
        };
        let uplink = format!("site{site}");
        cable((&core, &uplink, &format!("{}/30", wan(1))), (&gate, "wan", &format!("{}/30", wan(2))));
        cable((&gate, "lan", &format!("{}/28", lan(1))), (&home, "eth0", &format!("{}/28", lan(2))));
        ip(&gate, &format!("route add default via {}", wan(1)));
        ip(&home, &format!("route add default via {}", lan(1)));
        if access == Access::Open {
            ip(&core, &format!("route add {}/28 via {}", lan(0), wan(2)));
        } else {
            nft(&gate, &translator(access));
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            remove(namespace);
        }
    }
}

/// Does something in a namespace, in a thread that ends with it. Sockets that it opens stay there.
///
/// # Panics
/// If it does, or if the namespace is gone.
pub fn within<T: Send>(namespace: &str, what: impl FnOnce() -> T + Send) -> T {
    let path = format!("{FOLDER}/{namespace}");
    let enter_and_do = || {
        let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|error| panic!("entering {path}: {error}"));
        what()
    };
    std::thread::scope(|scope| scope.spawn(enter_and_do).join())
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

/// What makes a router a translator. What comes unasked is dropped before it is remembered: else it would take the place of what
/// is about to be sent there, which would get another port.
fn translator(access: Access) -> String {
    let masquerade = if access == Access::Symmetric { "masquerade fully-random" } else { "masquerade" };
    let udp = if access == Access::NoUdp { "meta l4proto udp drop;" } else { "" };
    format!(
        "table ip translation {{
            chain outward {{ type nat hook postrouting priority srcnat; oifname wan {masquerade}; }}
        }}
        table inet wall {{
            chain input {{ type filter hook input priority 0; iifname wan meta l4proto udp drop; }}
            chain forward {{ type filter hook forward priority 0; {udp} iifname wan ct state new drop; }}
        }}"
    )
}

/// Two ends: namespace, name, address with the length of its prefix.
fn cable(one: (&str, &str, &str), other: (&str, &str, &str)) {
    ip(one.0, &format!("link add {} type veth peer name {} netns {}", one.1, other.1, other.0));
    for (namespace, name, address) in [one, other] {
        ip(namespace, &format!("address add {address} dev {name}"));
        ip(namespace, &format!("link set {name} up"));
    }
}

fn ip(namespace: &str, arguments: &str) {
    run(Command::new("ip").args(["-n", namespace]).args(arguments.split_whitespace()), "");
}

fn nft(namespace: &str, rules: &str) {
    run(Command::new("ip").args(["netns", "exec", namespace, "nft", "-f", "-"]), rules);
}

fn run(command: &mut Command, input: &str) {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    // A program that has ended already says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{shown}: {said} (networks need root, if only that of a namespace: see CONTRIBUTING.md)"
    );
}

/// Removes namespaces of tests that were killed.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(&format!("{NAME}-")).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !std::path::Path::new(&format!("/proc/{id}")).exists()) {
            remove(&name);
        }
    }
}

fn remove(namespace: &str) {
    let quiet = Command::new("ip").args(["netns", "delete", namespace]).stderr(Stdio::null()).status();
    // What is still there is removed by the next test.
    drop(quiet);
}
