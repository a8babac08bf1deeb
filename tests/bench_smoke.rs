//! The benchmarks of the lobby service work: a few of everything, on the bare server and on the service, quiet and under attack.

use std::path::PathBuf;
use std::process::Command;

/// What the table must tell.
const LINES: [(&str, usize); 12] = [
    ("create or join: request, socket, seat", 1),
    ("per second", 4),
    ("CPU of the server, per create or join", 1),
    ("memory per lobby", 1),
    ("memory per socket", 1),
    ("CPU per socket and second", 1),
    ("p50 since the request was sent", 1),
    ("p99 since the request was sent", 1),
    ("p99 since the request was answered", 1),
    ("CPU of the server, per delivery", 1),
    ("CPU of the server, per upload", 1),
    ("≤ 110.0 µs or 2.2x", 1),
];

#[test]
fn every_line_of_the_table_of_the_lobby_benchmark_is_measured() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-lobby"));
    let output = Command::new(program).args(["--database", "memory", "--tiny"]).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for (text, count) in LINES {
        let lines: Vec<_> = table.lines().filter(|line| line.contains(text)).collect();
        assert!(lines.len() >= count, "{text} is in {} lines of\n{table}", lines.len());
    }
    // Each line has a figure of both servers; their ratio is there where the bare one used anything.
    for line in table.lines().filter(|line| line.starts_with("  ") && line.contains("per second")) {
        assert!(line.matches("/s").count() == 2 && line.contains('x'), "{line}");
    }
}

#[test]
fn every_attack_is_made_and_what_it_did_is_told() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-hostile"));
    let output = Command::new(program).arg("--quick").output().unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for kind in ["half-open requests", "sockets that never read", "bodies over the limit"] {
        let section = report.split_once(&format!("\n{kind}\n")).unwrap_or_else(|| panic!("no {kind} in\n{report}")).1;
        let section = section.split("\n\n").next().unwrap_or_default();
        for what in
            ["requests ", "events ", "CPU of the service", "memory ", "open descriptors", "cut off", "still there"]
        {
            assert!(section.contains(what), "no {what:?} of {kind} in\n{report}");
        }
        assert_eq!(section.matches("x (aim").count(), 2, "{section}");
    }
    // A header that never ends is cut off when its time is over, and no earlier; the rest takes longer than a quick run.
    let (_, after) = report.split_once("cut off, after ").unwrap();
    let seconds: f64 = after.split_once(' ').unwrap().0.parse().unwrap();
    assert!((0.5..5.0).contains(&seconds), "{report}");
}
