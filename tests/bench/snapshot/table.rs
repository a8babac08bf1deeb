//! One case's table: medians of all rounds, how far they lie apart, and what they are to each other.

use std::collections::BTreeMap;
use std::fmt;

use super::case::Case;
use super::meter::Batch;
use super::work::{Inputs, Work};

/// Letters of a line's name.
const LABEL: usize = 46;
/// So many times smaller than the full record a delta is to be.
const GAIN_MIN: f64 = 10.0;

/// All figures of a case.
#[derive(Debug)]
pub(crate) struct Table {
    case: Case,
    plain_bytes: usize,
    figures: BTreeMap<Work, Vec<Batch>>,
}

impl Table {
    pub(crate) fn new(case: Case, inputs: &Inputs) -> Self {
        Self { case, plain_bytes: inputs.plain().len(), figures: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, work: Work, batch: Batch) {
        self.figures.entry(work).or_default().push(batch);
    }

    fn bytes(&self, work: Work) -> Option<f64> {
        self.figures.get(&work)?.first().map(|batch| batch.bytes as f64)
    }

    /// The least, the median (of an even number the upper one) and the greatest of the times.
    fn times(&self, work: Work) -> Option<[f64; 3]> {
        let mut times: Vec<_> = self.figures.get(&work)?.iter().map(|batch| batch.us).collect();
        times.sort_unstable_by(f64::total_cmp);
        Some([*times.first()?, *times.get(times.len() / 2)?, *times.last()?])
    }

    fn time(&self, work: Work) -> Option<f64> {
        self.times(work).map(|[_, median, _]| median)
    }

    fn line(&self, work: Work) -> Option<String> {
        let [least, median, greatest] = self.times(work)?;
        let bytes = self.bytes(work)?;
        let time = format!("{median:.1} µs ({least:.1}–{greatest:.1})");
        let of_record = 100.0 * bytes / self.bytes(Work::Encode)?;
        let of_zstd = median / self.time(Work::Compress)?;
        Some(format!("  {:<LABEL$}{time:>30}{bytes:>10} B{of_record:>10.2} %{of_zstd:>14.3}x", work.label()))
    }

    /// The delta beside the record, and beside what zstd does with all of the previous one.
    fn judgement(&self) -> Option<String> {
        let gain = self.bytes(Work::Encode)? / self.bytes(Work::DeltaEncode)?;
        let verdict = if gain >= GAIN_MIN { "met" } else { "MISSED" };
        let bytes = self.bytes(Work::DeltaEncode)? / self.bytes(Work::WideCompress)?;
        let encode = self.time(Work::DeltaEncode)? / self.time(Work::WideCompress)?;
        let apply = self.time(Work::DeltaApply)? / self.time(Work::WideDecompress)?;
        Some(format!(
            "  the delta is {gain:.1}x smaller than the record (aim ≥ {GAIN_MIN}x: {verdict}); of zstd with all of the previous one \
             it has {bytes:.2}x the bytes,\n  {encode:.2}x the CPU to encode, {apply:.2}x the CPU to apply, its checksum included"
        ))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} plain bytes)", self.case.title(), self.plain_bytes)?;
        writeln!(f, "  {:<LABEL$}{:>30}{:>12}{:>12}{:>15}", "", "CPU time", "bytes", "of record", "of zstd's CPU")?;
        Work::ALL.iter().filter_map(|&work| self.line(work)).try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "{}", self.judgement().unwrap_or_default())
    }
}
