//! What is measured, in the order of the table.

use std::collections::BTreeMap;
use std::time::Duration;

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    SeatsPerSecond,
    SeatMedian,
    SeatLate,
    SeatCpu,
    SeatDatabase,
    CreatesPerSecond,
    CreateCpu,
    CreateDatabase,
    LobbyMemory,
    SocketMemory,
    SocketCpu,
    DeliveriesPerSecond,
    DeliveryMedian,
    DeliveryLate,
    AnsweredMedian,
    AnsweredLate,
    DeliveryCpu,
    ChangeCpu,
    ChangeDatabase,
    UploadsPerSecond,
    UploadMedian,
    UploadLate,
    UploadCpu,
    UploadDatabase,
    UpsertsPerSecond,
    UpsertCpu,
    UpsertDatabase,
    DeltasPerSecond,
    DurableRatio,
    DeltaCpu,
    DeltaDatabase,
    PatchesPerSecond,
    PatchCpu,
    PatchDatabase,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Microseconds,
    Kibibytes,
    Times,
}

/// What is aimed at: no more than this, or no more than so many times the limit's; or no less than that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aim {
    /// In seconds or bytes.
    pub(crate) most: Option<f64>,
    pub(crate) times_bare: Option<f64>,
    pub(crate) least: Option<f64>,
}

impl Row {
    /// All lines under their headings.
    pub(crate) const SECTIONS: [(&str, &[Self]); 6] = [
        (
            "create or join: request, socket, seat (lobbies of 4, 16 clients)",
            &[Self::SeatsPerSecond, Self::SeatMedian, Self::SeatLate, Self::SeatCpu, Self::SeatDatabase],
        ),
        (
            "create: the request alone (16 clients)",
            &[Self::CreatesPerSecond, Self::CreateCpu, Self::CreateDatabase, Self::LobbyMemory],
        ),
        ("idle event sockets", &[Self::SocketMemory, Self::SocketCpu]),
        (
            "events: a member joins or leaves, three listen",
            &[
                Self::DeliveriesPerSecond,
                Self::DeliveryMedian,
                Self::DeliveryLate,
                Self::AnsweredMedian,
                Self::AnsweredLate,
                Self::DeliveryCpu,
                Self::ChangeCpu,
                Self::ChangeDatabase,
            ],
        ),
        (
            "snapshot uploads of 10 KB (16 hosts)",
            &[Self::UploadsPerSecond, Self::UploadMedian, Self::UploadLate, Self::UploadCpu, Self::UploadDatabase],
        ),
        (
            "durable snapshots: 10 KB state, one tick on (many lobbies)",
            &[
                Self::UpsertsPerSecond,
                Self::UpsertCpu,
                Self::UpsertDatabase,
                Self::DeltasPerSecond,
                Self::DurableRatio,
                Self::DeltaCpu,
                Self::DeltaDatabase,
                Self::PatchesPerSecond,
                Self::PatchCpu,
                Self::PatchDatabase,
            ],
        ),
    ];

    /// What it says, in the words of the table.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::SeatsPerSecond | Self::CreatesPerSecond | Self::UploadsPerSecond => "per second",
            Self::SeatMedian | Self::UploadMedian => "p50",
            Self::SeatLate | Self::UploadLate => "p99",
            Self::SeatCpu => "CPU of the server, per create or join",
            Self::CreateCpu => "CPU of the server, per create",
            Self::LobbyMemory => "memory per lobby",
            Self::SocketMemory => "memory per socket, its lobby's share included",
            Self::SocketCpu => "CPU per socket and second",
            Self::DeliveriesPerSecond => "deliveries per second",
            Self::DeliveryMedian => "p50 since the request was sent",
            Self::DeliveryLate => "p99 since the request was sent",
            Self::AnsweredMedian => "p50 since the request was answered",
            Self::AnsweredLate => "p99 since the request was answered",
            Self::DeliveryCpu => "CPU of the server, per delivery",
            Self::ChangeCpu => "CPU of the server, per request nobody hears",
            Self::UploadCpu => "CPU of the server, per upload",
            Self::UpsertsPerSecond => "rival: one upsert of all a transaction, a second",
            Self::UpsertCpu => "its CPU, client and SQLite, per snapshot",
            Self::DeltasPerSecond => "ours: deltas in a group commit, a second",
            Self::DurableRatio => "as many times the rival's",
            Self::DeltaCpu => "its CPU, hosts and SQLite, per snapshot",
            Self::PatchesPerSecond => "ours through HTTP (16 hosts), a second",
            Self::PatchCpu => "CPU of the server, per snapshot",
            Self::SeatDatabase
            | Self::CreateDatabase
            | Self::ChangeDatabase
            | Self::UploadDatabase
            | Self::UpsertDatabase
            | Self::DeltaDatabase
            | Self::PatchDatabase => "CPU of the database's own processes",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::SeatsPerSecond
            | Self::CreatesPerSecond
            | Self::DeliveriesPerSecond
            | Self::UploadsPerSecond
            | Self::UpsertsPerSecond
            | Self::DeltasPerSecond
            | Self::PatchesPerSecond => Unit::PerSecond,
            Self::DurableRatio => Unit::Times,
            Self::SeatMedian
            | Self::SeatLate
            | Self::DeliveryMedian
            | Self::DeliveryLate
            | Self::AnsweredMedian
            | Self::AnsweredLate
            | Self::UploadMedian
            | Self::UploadLate => Unit::Milliseconds,
            Self::SeatCpu
            | Self::SeatDatabase
            | Self::CreateCpu
            | Self::CreateDatabase
            | Self::SocketCpu
            | Self::DeliveryCpu
            | Self::ChangeCpu
            | Self::ChangeDatabase
            | Self::UploadCpu
            | Self::UploadDatabase
            | Self::UpsertCpu
            | Self::UpsertDatabase
            | Self::DeltaCpu
            | Self::DeltaDatabase
            | Self::PatchCpu
            | Self::PatchDatabase => Unit::Microseconds,
            Self::LobbyMemory | Self::SocketMemory => Unit::Kibibytes,
        }
    }

    pub(crate) const fn aim(self) -> Option<Aim> {
        let (most, times_bare) = match self {
            Self::DurableRatio => return Some(Aim { most: None, times_bare: None, least: Some(10.0) }),
            Self::SeatCpu => (Some(110e-6), Some(2.2)),
            Self::SocketMemory => (Some(10.0 * 1024.0), None),
            Self::DeliveryCpu => (None, Some(1.5)),
            Self::DeliveryLate => (Some(4e-3), None),
            Self::SeatsPerSecond
            | Self::SeatMedian
            | Self::SeatLate
            | Self::SeatDatabase
            | Self::CreateDatabase
            | Self::ChangeDatabase
            | Self::UploadDatabase
            | Self::CreatesPerSecond
            | Self::CreateCpu
            | Self::LobbyMemory
            | Self::SocketCpu
            | Self::DeliveriesPerSecond
            | Self::DeliveryMedian
            | Self::AnsweredMedian
            | Self::AnsweredLate
            | Self::ChangeCpu
            | Self::UploadsPerSecond
            | Self::UploadMedian
            | Self::UploadLate
            | Self::UploadCpu
            | Self::UpsertsPerSecond
            | Self::UpsertCpu
            | Self::UpsertDatabase
            | Self::DeltasPerSecond
            | Self::DeltaCpu
            | Self::DeltaDatabase
            | Self::PatchesPerSecond
            | Self::PatchCpu
            | Self::PatchDatabase => return None,
        };
        Some(Aim { most, times_bare, least: None })
    }
}

impl Unit {
    /// A figure that is in seconds, bytes, or a number, in a second or not.
    pub(crate) fn write(self, value: f64) -> String {
        let (value, name) = match self {
            Self::PerSecond => return format!("{value:.0} /s"),
            Self::Times => return format!("{value:.1} x"),
            Self::Milliseconds => (value * 1e3, "ms"),
            Self::Microseconds => (value * 1e6, "µs"),
            Self::Kibibytes => (value / 1024.0, "KiB"),
        };
        let digits = if value.abs() < 10.0 { 2 } else { 1 };
        format!("{value:.digits$} {name}")
    }
}

/// Figures of one measurement: seconds, bytes, or numbers, in a second or not.
#[derive(Debug, Default)]
pub(crate) struct Figures(pub(crate) BTreeMap<Row, f64>);

impl Figures {
    pub(crate) fn add(&mut self, row: Row, value: f64) {
        self.0.insert(row, value);
    }

    /// CPU time per thing done; nothing where nothing was measured.
    pub(crate) fn add_cpu(&mut self, row: Row, cpu: Option<Duration>, count: usize) {
        if let Some(cpu) = cpu {
            self.add(row, cpu.as_secs_f64() / count as f64);
        }
    }

    pub(crate) fn add_duration(&mut self, row: Row, duration: Duration) {
        self.add(row, duration.as_secs_f64());
    }
}
