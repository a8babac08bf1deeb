//! The benchmark of the lobby service works: a few of everything, on the bare server and on the service.

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
