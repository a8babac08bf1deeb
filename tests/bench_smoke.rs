//! The benchmarks work: a few of everything, on the bare server and on the service, quiet and under attack, of snapshots, and
//! of links.

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
fn durable_snapshots_are_saved_in_both_ways_and_compared() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-lobby"));
    let output = Command::new(program).args(["--database", "sqlite", "--tiny", "--only", "durable"]).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for (label, unit) in [
        ("rival: one upsert of all a transaction, a second", "/s"),
        ("its CPU, client and SQLite, per snapshot", "µs"),
        ("ours: deltas in a group commit, a second", "/s"),
        ("as many times the rival's", " x "),
        ("its CPU, hosts and SQLite, per snapshot", "µs"),
        ("ours through HTTP (16 hosts), a second", "/s"),
        ("CPU of the server, per snapshot", "µs"),
    ] {
        let line = table.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("no {label} in\n{table}"));
        assert!(line.contains(unit), "{line}");
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

#[test]
fn every_kind_of_state_is_measured_and_its_delta_is_ten_times_smaller() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-snapshot"));
    let output = Command::new(program).arg("--tiny").output().unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let tables: Vec<_> = report.split("\n\n").filter(|table| table.contains(" plain bytes)")).collect();
    assert_eq!(tables.len(), 6, "{report}");
    for table in tables {
        for line in [
            "full record: image, zstd, checksum",
            "decode the full record",
            "delta record, from two images",
            "apply the delta, to an image",
            "checksum alone",
            "compression alone",
            "previous one as dictionary",
            "memcpy",
        ] {
            let found =
                table.lines().find(|text| text.contains(line)).unwrap_or_else(|| panic!("no {line} in\n{table}"));
            assert!([" µs (", " B ", " %", "x"].iter().all(|unit| found.contains(unit)), "{found}");
        }
        assert!(table.contains("(aim ≥ 10x: met)"), "{table}");
    }
}

#[test]
fn a_migration_of_eight_processes_is_measured_and_no_message_is_lost_with_it_or_comes_twice() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-migration"));
    let output = Command::new(program).arg("--tiny").output().unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n{report}");
    let row = report.lines().find(|line| line.contains("relay  crash     10 KB")).unwrap_or_else(|| panic!("{report}"));
    assert!(row.contains("0, 0 of ") && row.contains("p50 ≤ 100 ms: ") && row.contains("p99 ≤ 250 ms: "), "{row}");
    for phase in ["noticed", "elected", "found", "restored", "resumed"] {
        assert!(report.contains(phase), "no {phase} in\n{report}");
    }
    assert_eq!(row.matches(" - ").count(), 0, "each phase was told of: {row}");
}

#[test]
fn links_of_all_paths_are_measured_and_beside_them_the_crate_with_its_defaults() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bench-links"));
    let output = Command::new(program).arg("--tiny").output().unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n{report}");
    for (label, unit, columns) in [
        ("from the guest's seat to the host's first message", " ms", 4),
        ("until the game is on the straight way", " ms", 1),
        ("unreliable, p99", " µs", 3),
        ("  reliable, p99", " µs", 3),
        ("100 B reliable  ", " /s", 3),
        ("100 B unreliable, that arrived", " /s", 3),
        ("16 KiB reliable  ", " MB/s", 3),
        ("16 KiB reliable, CPU of all per message", " µs", 3),
        ("memory per guest", " KiB", 2),
        ("  0 ms: worst  ", ".", 3),
        ("  25 ms: worst  ", ".", 2),
        ("relay to WebRTC: from the guest's hello", " ms (", 2),
        ("when the way is cut", " ms", 2),
    ] {
        let line =
            report.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("no {label} in\n{report}"));
        assert_eq!(line.matches(unit).count(), columns, "{line}");
    }
    assert!(report.contains("WebRTC of the crate's default: ") && report.contains("aim ≤ 0.35x"), "{report}");
    assert_eq!(report.matches("aim ≤ 55.0 ms").count(), 2, "{report}");
}
