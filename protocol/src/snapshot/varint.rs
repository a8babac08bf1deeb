//! Numbers of any length: seven bits a byte, the lowest first, the top bit set in all but the last (LEB128).

use super::SnapshotError;

/// Bytes of the longest number that is read: none here is above 32 bits.
const BYTES_MAX: usize = 5;

/// Appends a number.
pub(super) fn push(bytes: &mut Vec<u8>, number: usize) {
    let mut left = number;
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// Reads numbers and slices from the front of bytes that may be anything.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Result<usize, SnapshotError> {
        let mut number = 0_u64;
        for place in 0..BYTES_MAX {
            let (&byte, rest) = self.0.split_first().ok_or(SnapshotError::Body)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return usize::try_from(number).map_err(|_| SnapshotError::Body);
            }
        }
        Err(SnapshotError::Body)
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(SnapshotError::Body)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_those_without_an_end_are_refused() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, 16 * 1024 * 1024, u32::MAX as usize] {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            bytes.push(9);
            let mut reader = Reader(&bytes);
            assert_eq!((reader.number(), reader.take(1)), (Ok(number), Ok(&[9][..])));
            assert!(reader.is_empty() && reader.take(1).is_err());
        }
        for endless in [&[0x80][..], &[0xFF; 20], &[]] {
            assert_eq!(Reader(endless).number(), Err(SnapshotError::Body));
        }
    }
}
