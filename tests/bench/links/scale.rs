//! How much of everything.

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Links of each path that are opened cold.
    pub(crate) cold: usize,
    /// Rounds over all paths of round trips and rates.
    pub(crate) rounds: usize,
    /// Echoes of each kind in a round.
    pub(crate) echoes: usize,
    /// Small messages of each kind in a round.
    pub(crate) small: u64,
    /// Messages of 16 KiB in a round.
    pub(crate) large: u64,
    /// Guests whose memory is measured, beside those that come first.
    pub(crate) guests: usize,
    /// Processes in which it is measured, for each path.
    pub(crate) processes: usize,
    /// Pairs that lose messages, for each path and delay, at the same time.
    pub(crate) lossy_pairs: u64,
    /// Lone messages of each.
    pub(crate) lone: u64,
    /// Cuts of the straight way, for each delay.
    pub(crate) cuts: usize,
}

impl Scale {
    /// The figures that are compared.
    pub(crate) const FULL: Self = Self {
        cold: 21,
        rounds: 5,
        echoes: 500,
        small: 20_000,
        large: 2_000,
        guests: 50,
        processes: 3,
        lossy_pairs: 4,
        lone: 300,
        cuts: 10,
    };
    /// Less of everything.
    pub(crate) const QUICK: Self = Self {
        cold: 7,
        rounds: 3,
        echoes: 200,
        small: 5_000,
        large: 500,
        guests: 20,
        processes: 1,
        lossy_pairs: 3,
        lone: 60,
        cuts: 3,
    };
    /// Everything once, to see that the benchmark works. Its figures mean nothing.
    pub(crate) const TINY: Self = Self {
        cold: 1,
        rounds: 1,
        echoes: 5,
        small: 100,
        large: 10,
        guests: 2,
        processes: 1,
        lossy_pairs: 1,
        lone: 3,
        cuts: 1,
    };
}
