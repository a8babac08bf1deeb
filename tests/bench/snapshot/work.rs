//! What is measured, in the order of the table.

use std::hint::black_box;

use protocol::snapshot::{Image, Snapshot};
use zstd::zstd_safe::CParameter;

use super::Failure;
use super::case::Case;

/// The level at which snapshots are compressed.
const LEVEL: i32 = 1;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Image,
    Encode,
    Decode,
    DeltaEncode,
    DeltaApply,
    Checksum,
    Compress,
    Decompress,
    DictionaryCompress,
    WideCompress,
    WideDecompress,
    Copy,
}

/// What the works begin with.
pub(crate) struct Inputs {
    after: Snapshot,
    before_image: Image,
    after_image: Image,
    record: Vec<u8>,
    delta: Vec<u8>,
    frame: Vec<u8>,
    wide_frame: Vec<u8>,
}

impl Inputs {
    /// Prepares them, and looks that everything comes back as it was.
    pub(crate) fn of(case: Case) -> Result<Self, Failure> {
        let [before, after] = case.snapshots()?;
        let (before_image, after_image) = (before.to_image()?, after.to_image()?);
        let record = after_image.to_record(None)?;
        let delta = after_image.delta_from(&before_image, None)?;
        let frame = zstd::bulk::compress(after_image.bytes(), LEVEL)?;
        let wide_frame = with_all_of_it(&before_image, &after_image)?;
        let inputs = Self { after, before_image, after_image, record, delta, frame, wide_frame };
        inputs.check()?;
        Ok(inputs)
    }

    fn check(&self) -> Result<(), Failure> {
        let read = Image::from_record(&self.record, None)?;
        let applied = self.before_image.apply(&self.delta, None)?;
        let unpacked = without_dictionary(&self.before_image, &self.wide_frame, self.plain().len())?;
        if read != self.after_image || applied != self.after_image || unpacked != self.plain() {
            return Err("what was encoded does not come back".into());
        }
        if read.decode()? == self.after { Ok(()) } else { Err("the snapshot does not come back".into()) }
    }

    /// The plain bytes of the snapshot: MessagePack.
    pub(crate) fn plain(&self) -> &[u8] {
        self.after_image.bytes()
    }
}

impl Work {
    pub(crate) const ALL: [Self; 12] = [
        Self::Image,
        Self::Encode,
        Self::Decode,
        Self::DeltaEncode,
        Self::DeltaApply,
        Self::Checksum,
        Self::Compress,
        Self::Decompress,
        Self::DictionaryCompress,
        Self::WideCompress,
        Self::WideDecompress,
        Self::Copy,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Image => "image: MessagePack and checksum",
            Self::Encode => "full record: image, zstd, checksum",
            Self::Decode => "decode the full record",
            Self::DeltaEncode => "delta record, from two images",
            Self::DeltaApply => "apply the delta, to an image",
            Self::Checksum => "checksum alone, BLAKE3",
            Self::Compress => "rival: zstd of the whole (compression alone)",
            Self::Decompress => "rival: unpack zstd of the whole",
            Self::DictionaryCompress => "rival: zstd, previous one as dictionary",
            Self::WideCompress => "rival: the same as prefix, all of it in reach",
            Self::WideDecompress => "rival: unpack that",
            Self::Copy => "rival: memcpy into new memory",
        }
    }

    /// Does it once: bytes of what comes out.
    pub(crate) fn run(self, inputs: &Inputs) -> Result<usize, Failure> {
        let (before, after) = (&inputs.before_image, &inputs.after_image);
        Ok(match self {
            Self::Image => black_box(inputs.after.to_image()?).bytes().len(),
            Self::Encode => black_box(inputs.after.to_image()?.to_record(None)?).len(),
            Self::Decode => black_box(Image::from_record(&inputs.record, None)?.decode()?).body.state.len(),
            Self::DeltaEncode => black_box(after.delta_from(before, None)?).len(),
            Self::DeltaApply => black_box(before.apply(&inputs.delta, None)?).bytes().len(),
            Self::Checksum => black_box(blake3::hash(black_box(inputs.plain()))).as_bytes().len(),
            Self::Compress => black_box(zstd::bulk::compress(inputs.plain(), LEVEL)?).len(),
            Self::Decompress => black_box(zstd::bulk::decompress(&inputs.frame, inputs.plain().len())?).len(),
            Self::DictionaryCompress => black_box(with_dictionary(before, after)?).len(),
            Self::WideCompress => black_box(with_all_of_it(before, after)?).len(),
            Self::WideDecompress => {
                black_box(without_dictionary(before, &inputs.wide_frame, inputs.plain().len())?).len()
            }
            Self::Copy => black_box(black_box(inputs.plain()).to_vec()).len(),
        })
    }
}

/// As a program does it that knows nothing better: the dictionary is another one each time, so there is nothing to prepare.
fn with_dictionary(before: &Image, after: &Image) -> Result<Vec<u8>, Failure> {
    Ok(zstd::bulk::Compressor::with_dictionary(LEVEL, before.bytes())?.compress(after.bytes())?)
}

/// As one does it who knows that level 1 forgets most of a large dictionary, by its window and by its table, and that loading one
/// takes longer than referring to it.
fn with_all_of_it(before: &Image, after: &Image) -> Result<Vec<u8>, Failure> {
    let log = (before.bytes().len() + after.bytes().len()).next_power_of_two().ilog2();
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::WindowLog(log))?;
    compressor.set_parameter(CParameter::HashLog(log - 3))?;
    compressor.context_mut().ref_prefix(before.bytes()).map_err(|_| "zstd takes no prefix")?;
    Ok(compressor.compress(after.bytes())?)
}

fn without_dictionary(before: &Image, frame: &[u8], bytes: usize) -> Result<Vec<u8>, Failure> {
    Ok(zstd::bulk::Decompressor::with_dictionary(before.bytes())?.decompress(frame, bytes)?)
}
