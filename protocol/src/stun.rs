//! STUN binding (RFC 8489): an address that asks is told how it looks from here. Peers behind a translator learn so where others may
//! reach them. Only this one question is known, and only plainly put: without credentials, without a wish to be answered elsewhere.

use std::net::{IpAddr, SocketAddr};

/// At bytes 4 to 8 of each message.
const MAGIC_COOKIE: u32 = 0x2112_a442;
const HEADER_BYTES: usize = 20;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const FINGERPRINT_BYTES: usize = ATTRIBUTE_HEADER_BYTES + 4;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// Attributes from here on may be passed over by who does not know them (section 14).
const FIRST_OPTIONAL: u16 = 0x8000;
/// What the checksum is combined with, so that it is not taken for that of another protocol (section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// It is cut short, or its lengths do not fit.
    #[error("the message is malformed")]
    Malformed,
    /// It is no binding request, or one that asks for more than an address.
    #[error("the message is no plain binding request")]
    NotPlain,
    /// Its checksum is wrong.
    #[error("the message's fingerprint is wrong")]
    Fingerprint,
}

/// Whether these bytes want to be a STUN message: the first byte of a binding's, with which no relay frame begins, and the magic cookie.
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    let is_binding = datagram.first().is_some_and(|first| *first <= 1);
    is_binding && field(datagram, 4) == Some(MAGIC_COOKIE.to_be_bytes())
}

/// A question for the sender's own address.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// |0 0|  type 0x0001              |  bytes after these 20         |
/// |                   magic cookie 0x2112a442                     |
/// |                   transaction id, 12 bytes                    |
/// |  attribute type               |  bytes of its value           |
/// |  value, and zeroes up to a multiple of four …                 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingRequest {
    /// The asker's random number, which the answer repeats.
    pub transaction: [u8; 12],
    /// It has a checksum, and wants one.
    pub has_fingerprint: bool,
}

impl BindingRequest {
    /// Reads a message. Never panics.
    ///
    /// # Errors
    /// [`StunError`] for everything that is not to be answered.
    pub fn decode(datagram: &[u8]) -> Result<Self, StunError> {
        let kind = u16::from_be_bytes(field(datagram, 0).ok_or(StunError::Malformed)?);
        let length = u16::from_be_bytes(field(datagram, 2).ok_or(StunError::Malformed)?);
        let transaction = field(datagram, 8).ok_or(StunError::Malformed)?;
        if !is_stun(datagram) || datagram.len() != HEADER_BYTES + usize::from(length) || length % 4 != 0 {
            return Err(StunError::Malformed);
        }
        if kind != BINDING_REQUEST {
            return Err(StunError::NotPlain);
        }
        let mut has_fingerprint = false;
        let mut at = HEADER_BYTES;
        while at < datagram.len() {
            let attribute = Attribute::decode(datagram, at)?;
            if has_fingerprint || attribute.kind < FIRST_OPTIONAL {
                return Err(if has_fingerprint { StunError::Malformed } else { StunError::NotPlain });
            }
            if attribute.kind == FINGERPRINT {
                has_fingerprint = attribute.is_fingerprint_of(&datagram[..at]);
                has_fingerprint.then_some(()).ok_or(StunError::Fingerprint)?;
            }
            at = attribute.end;
        }
        Ok(Self { transaction, has_fingerprint })
    }

    /// Writes the answer: the address from which the question came. 32 bytes for IPv4 and 44 for IPv6, 8 more with a fingerprint. So it is
    /// at most 1.6 times as long as its question for IPv4, and 2.2 times for IPv6 (1.25 and 1.36 times with the headers of IP and UDP).
    #[must_use]
    pub fn answer(&self, source: SocketAddr) -> Vec<u8> {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let value = xor_address(source, &self.transaction);
        let length = ATTRIBUTE_HEADER_BYTES + value.len() + if self.has_fingerprint { FINGERPRINT_BYTES } else { 0 };
        let mut message = Vec::with_capacity(HEADER_BYTES + length);
        message.extend(BINDING_SUCCESS.to_be_bytes());
        message.extend(short(length));
        message.extend(MAGIC_COOKIE.to_be_bytes());
        message.extend(self.transaction);
        message.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
        message.extend(short(value.len()));
        message.extend(value);
        if self.has_fingerprint {
            let fingerprint = fingerprint(&message);
            message.extend(FINGERPRINT.to_be_bytes());
            message.extend(short(4));
            message.extend(fingerprint.to_be_bytes());
        }
        message
    }
}

/// An attribute and where the next one begins.
struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    end: usize,
}

impl<'a> Attribute<'a> {
    fn decode(datagram: &'a [u8], at: usize) -> Result<Self, StunError> {
        let kind = u16::from_be_bytes(field(datagram, at).ok_or(StunError::Malformed)?);
        let length = usize::from(u16::from_be_bytes(field(datagram, at + 2).ok_or(StunError::Malformed)?));
        let start = at + ATTRIBUTE_HEADER_BYTES;
        let value = datagram.get(start..start + length).ok_or(StunError::Malformed)?;
        let end = start + length.next_multiple_of(4);
        if end > datagram.len() {
            return Err(StunError::Malformed);
        }
        Ok(Self { kind, value, end })
    }

    fn is_fingerprint_of(&self, before: &[u8]) -> bool {
        *self.value == fingerprint(before).to_be_bytes()
    }
}

/// Family and port and address, each combined with what is known of the message, so that no translator on the way rewrites it
/// (section 14.2).
fn xor_address(address: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let mask = [&MAGIC_COOKIE.to_be_bytes()[..], transaction].concat();
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (FAMILY_V4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (FAMILY_V6, ip.octets().to_vec()),
    };
    let port = address.port().to_be_bytes();
    let masked = |bytes: &[u8]| bytes.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>();
    [vec![0, family], masked(&port), masked(&ip)].concat()
}

/// The checksum of a message up to its last attribute, whose header already counts that attribute.
fn fingerprint(before: &[u8]) -> u32 {
    crc32(before) ^ FINGERPRINT_XOR
}

/// CRC-32 of ITU V.42, bit by bit: messages are short and rare.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("an answer has less than a hundred bytes").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.1: a request with a username, a priority and an integrity check.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
        80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    /// Section 2.2: to 192.0.2.1, port 32853.
    const SAMPLE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    /// Section 2.3: to 2001:db8:1234:5678:11:2233:4455:6677, port 32853.
    const SAMPLE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179\
        bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn attribute(message: &[u8], kind: u16) -> Option<Vec<u8>> {
        let mut at = HEADER_BYTES;
        while at < message.len() {
            let attribute = Attribute::decode(message, at).unwrap();
            if attribute.kind == kind {
                return Some(attribute.value.to_vec());
            }
            at = attribute.end;
        }
        None
    }

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&[0, 1], &length[..], &MAGIC_COOKIE.to_be_bytes(), &TRANSACTION, attributes].concat()
    }

    fn with_fingerprint() -> Vec<u8> {
        let mut message = request(&[0; FINGERPRINT_BYTES]);
        let before = message.len() - FINGERPRINT_BYTES;
        let checksum = fingerprint(&message[..before]).to_be_bytes();
        message.splice(before.., [&FINGERPRINT.to_be_bytes()[..], &[0, 4], &checksum].concat());
        message
    }

    #[test]
    fn the_checksums_of_the_standards_samples_are_right() {
        for sample in [SAMPLE_REQUEST, SAMPLE_IPV4, SAMPLE_IPV6].map(bytes) {
            assert!(is_stun(&sample));
            let (before, last) = sample.split_at(sample.len() - FINGERPRINT_BYTES);
            assert_eq!(last[ATTRIBUTE_HEADER_BYTES..], fingerprint(before).to_be_bytes());
        }
    }

    #[test]
    fn addresses_are_written_as_in_the_standards_samples() {
        let asked = BindingRequest { transaction: TRANSACTION, has_fingerprint: true };
        let samples = [("192.0.2.1:32853", SAMPLE_IPV4), ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", SAMPLE_IPV6)];
        for (source, sample) in samples {
            let answer = asked.answer(source.parse().unwrap());
            let sample = bytes(sample);
            assert_eq!(answer[4..HEADER_BYTES], sample[4..HEADER_BYTES], "cookie and transaction");
            assert_eq!(attribute(&answer, XOR_MAPPED_ADDRESS), attribute(&sample, XOR_MAPPED_ADDRESS));
            let (before, last) = answer.split_at(answer.len() - FINGERPRINT_BYTES);
            assert_eq!(last[ATTRIBUTE_HEADER_BYTES..], fingerprint(before).to_be_bytes());
        }
    }

    #[test]
    fn a_plain_request_is_answered_and_an_answer_has_a_fingerprint_if_its_question_has() {
        let plain = BindingRequest::decode(&request(&[])).unwrap();
        assert_eq!(plain, BindingRequest { transaction: TRANSACTION, has_fingerprint: false });
        assert_eq!(plain.answer("192.0.2.1:1".parse().unwrap()).len(), 32);
        assert_eq!(plain.answer("[2001:db8::1]:1".parse().unwrap()).len(), 44);
        assert_eq!(plain.answer("[::ffff:192.0.2.1]:1".parse().unwrap()).len(), 32, "a mapped address is IPv4");
        let named = BindingRequest::decode(&request(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0])).unwrap();
        assert_eq!(named, plain, "what its sender is called does not matter");
        let checked = BindingRequest::decode(&with_fingerprint()).unwrap();
        assert!(checked.has_fingerprint);
        assert_eq!(checked.answer("192.0.2.1:1".parse().unwrap()).len(), 40);
    }

    #[test]
    fn whatever_asks_for_more_than_an_address_or_is_damaged_is_not_answered() {
        let not_plain = [
            bytes(SAMPLE_REQUEST),
            bytes(SAMPLE_IPV4),
            request(&[0, 3, 0, 4, 0, 0, 0, 6]), // CHANGE-REQUEST of RFC 5780: answer from elsewhere.
        ];
        for message in not_plain {
            assert_eq!(BindingRequest::decode(&message), Err(StunError::NotPlain));
        }
        let mut wrong = with_fingerprint();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(BindingRequest::decode(&wrong), Err(StunError::Fingerprint));
        let with_more = [with_fingerprint(), vec![0x80, 0x22, 0, 0]].concat();
        assert_eq!(BindingRequest::decode(&with_more), Err(StunError::Malformed), "its length does not fit");
        for attributes in [&[0x80, 0x22, 0, 5, 1, 2, 3, 4][..], &[0x80, 0x22, 0xff, 0xff]] {
            assert_eq!(BindingRequest::decode(&request(attributes)), Err(StunError::Malformed));
        }
    }

    #[test]
    fn cut_changed_and_random_bytes_are_answered_or_not_but_never_panic() {
        let mut random = fastrand::Rng::with_seed(8489);
        let samples = [bytes(SAMPLE_REQUEST), request(&[]), with_fingerprint()];
        for sample in &samples {
            for length in 0..sample.len() {
                assert!(BindingRequest::decode(&sample[..length]).is_err());
            }
        }
        for _ in 0..20_000 {
            let mut message = samples[random.usize(..samples.len())].clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..message.len());
                message[at] = random.u8(..);
            }
            let _ = BindingRequest::decode(&message).map(|asked| asked.answer("192.0.2.1:1".parse().unwrap()));
            let length = random.usize(..64);
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let _ = BindingRequest::decode(&noise);
        }
    }

    #[test]
    fn no_relay_frame_is_taken_for_a_question() {
        use crate::frame::RelayFrame;

        for first in 0..=u8::MAX {
            let mut message = request(&[]);
            message[0] = first;
            message[1] = 1;
            assert!(!is_stun(&message) || RelayFrame::decode(&message).is_err(), "{first}");
        }
    }
}
