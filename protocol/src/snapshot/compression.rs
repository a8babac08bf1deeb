//! zstd, with a bound on what comes out: nothing that is read here is trusted.
//!
//! All calls take and give whole buffers. What comes out is its own window, so a frame that asks for a large one gets no memory for it.

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::SnapshotError;
use crate::limits;

/// The fastest level that is dense enough: states are mostly noise, which no level makes smaller.
const LEVEL: i32 = 1;
/// Smaller than this a frame's own header and tables eat most of the gain, and setting zstd up takes longer than all the rest.
const WORTH_BYTES_MIN: usize = 256;
/// Base and result, both at [`limits::SNAPSHOT_BYTES_MAX`], are in the window.
const WINDOW_LOG_MAX: u32 = (2 * limits::SNAPSHOT_BYTES_MAX).ilog2();

/// Compresses. What zstd sets up for it is kept for the next call.
#[derive(Default)]
pub(super) struct Squeezer(Option<CCtx<'static>>);

impl Squeezer {
    /// `None` if that would not make it smaller.
    pub(super) fn squeeze(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() < WORTH_BYTES_MIN {
            return None;
        }
        let context = self.0.get_or_insert_with(CCtx::create);
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).expect("the level is in its bounds");
        let mut frame = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
        context.compress2(&mut frame, plain).expect("the buffer is as large as zstd asks for");
        Some(frame).filter(|frame| frame.len() < plain.len())
    }
}

/// Compresses with `base` as what came before, so that what is in it too costs almost nothing, wherever it stands.
pub(super) fn squeeze_against(base: &[u8], plain: &[u8]) -> Vec<u8> {
    let window_log = (base.len() + plain.len()).next_power_of_two().ilog2().clamp(10, WINDOW_LOG_MAX);
    // A place for each eighth byte: level 1 looks at each third. With its own table it would forget most of a large base.
    let hash_log = (window_log - 3).clamp(10, 22);
    let mut context = CCtx::create();
    for parameter in
        [CParameter::CompressionLevel(LEVEL), CParameter::WindowLog(window_log), CParameter::HashLog(hash_log)]
    {
        context.set_parameter(parameter).expect("these parameters are in their bounds");
    }
    context.ref_prefix(base).expect("nothing has been compressed yet");
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    context.compress2(&mut frame, plain).expect("the buffer is as large as zstd asks for");
    frame
}

/// Decompresses. What zstd sets up for it is kept for the next call.
#[derive(Default)]
pub(super) struct Expander(Option<DCtx<'static>>);

impl Expander {
    /// One frame that says how much it holds, at most `bytes_max`.
    pub(super) fn expand(&mut self, frame: &[u8], bytes_max: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut plain = Vec::with_capacity(content_bytes(frame, bytes_max)?);
        let context = self.0.get_or_insert_with(DCtx::create);
        context.decompress(&mut plain, frame).map_err(|_| SnapshotError::Body)?;
        Ok(plain)
    }
}

/// Decompresses what [`squeeze_against`] made with the same base, at most `bytes_max`.
pub(super) fn expand_against(base: &[u8], frame: &[u8], bytes_max: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut plain = Vec::with_capacity(content_bytes(frame, bytes_max)?);
    let mut context = DCtx::create();
    context.ref_prefix(base).map_err(|_| SnapshotError::Body)?;
    context.decompress(&mut plain, frame).map_err(|_| SnapshotError::Body)?;
    Ok(plain)
}

/// What the one frame says that it holds. zstd holds it to that.
fn content_bytes(frame: &[u8], bytes_max: usize) -> Result<usize, SnapshotError> {
    if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err(SnapshotError::Body);
    }
    let bytes = zstd_safe::get_frame_content_size(frame).ok().flatten().ok_or(SnapshotError::Body)?;
    usize::try_from(bytes).ok().filter(|&bytes| bytes <= bytes_max).ok_or(SnapshotError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_out_again_and_noise_is_left_alone() {
        let plain = b"the same again and ".repeat(50);
        let mut squeezer = Squeezer::default();
        let frame = squeezer.squeeze(&plain).unwrap();
        assert_eq!(Expander::default().expand(&frame, plain.len()), Ok(plain.clone()));
        let mut noise = vec![0; 5000];
        fastrand::Rng::with_seed(1).fill(&mut noise);
        assert_eq!((squeezer.squeeze(&noise), squeezer.squeeze(b"")), (None, None));
        let against = squeeze_against(&noise, &[&noise[2000..], &noise[..2000]].concat());
        assert!(against.len() < 100, "{}", against.len());
        assert_eq!(expand_against(&noise, &against, 5000).unwrap()[..3000], noise[2000..]);
    }

    #[test]
    fn a_bomb_is_refused_before_anything_is_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
        assert!(bomb.len() < 200);
        assert_eq!(Expander::default().expand(&bomb, (1 << 20) - 1), Err(SnapshotError::TooLarge));
        assert_eq!(Expander::default().expand(&bomb, 1 << 20).map(|plain| plain.len()), Ok(1 << 20));
        // Many frames in a row, one that does not say how much it holds, and none at all.
        assert_eq!(Expander::default().expand(&bomb.repeat(2), 1 << 22), Err(SnapshotError::Body));
        let silent = zstd::stream::encode_all(&[0; 1000][..], 1).unwrap();
        assert_eq!(Expander::default().expand(&silent, 1 << 20), Err(SnapshotError::Body));
        for nothing in [&b""[..], b"noise", &[0; 40]] {
            assert_eq!(Expander::default().expand(nothing, 1 << 20), Err(SnapshotError::Body));
        }
    }
}
