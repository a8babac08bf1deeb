use std::time::Instant;

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::HostEpoch;
use protocol::limits;

use super::*;
use crate::simulated::SimulatedNetwork;
use crate::transport::link::{FrameReader, FrameWriter};

const ATTEMPT: u32 = 7;
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A process of one side.
struct End {
    rtc: WebRtc,
    key: PeerKey,
}

fn end_over(network: Option<&NetworkControl>) -> End {
    let key = SessionKey::generate().unwrap();
    End { rtc: WebRtc::new(&key, network).unwrap(), key: key.peer_key() }
}

fn ends() -> (End, End) {
    (end_over(None), end_over(None))
}

fn terms(expected: PeerKey) -> Terms {
    Terms { attempt: ATTEMPT, expected, ice_servers: Vec::new(), relay_only: false, loopback: true }
}

/// A link with the streams of its one end.
struct Side {
    link: Link,
    writer: FrameWriter,
    reader: FrameReader,
}

impl Side {
    fn new((link, stream): (Link, LinkStream)) -> Self {
        let (writer, reader) = stream.split();
        Self { link, writer, reader }
    }

    async fn of(link: Link) -> Self {
        let stream = link.stream().await.unwrap();
        Self::new((link, stream))
    }
}

/// What both sides of an attempt got, and what they signalled.
struct Opened {
    offered: Result<(Link, LinkStream), LinkError>,
    answered: Result<Link, LinkError>,
    signals: Vec<Signal>,
}

/// Opens a link between both, on these terms.
async fn open(dialling: (&End, Terms), answering: (&End, Terms)) -> Opened {
    open_and_say(dialling, answering, None).await
}

/// The same; the side that dials says something as soon as the link is open for it.
async fn open_and_say(dialling: (&End, Terms), answering: (&End, Terms), first: Option<&'static str>) -> Opened {
    let (to_dialling, for_dialling) = mpsc::channel(64);
    let (to_answering, for_answering) = mpsc::channel(64);
    let (from_dialling, mut of_dialling) = mpsc::channel(64);
    let (from_answering, of_answering) = mpsc::channel(64);
    let (seen, mut signals) = mpsc::unbounded_channel();
    let offering = async {
        let signalling = Signalling { outgoing: from_dialling, incoming: for_dialling };
        let mut offered = dialling.0.rtc.offer(dialling.1, signalling).await;
        if let (Ok((_, stream)), Some(first)) = (&mut offered, first) {
            stream.send.write(&mut framed(first)).await.unwrap();
        }
        offered
    };
    let answering = async {
        let Some(Signal::Offer { attempt: ATTEMPT, description }) = of_dialling.recv().await else {
            panic!("no offer")
        };
        seen.send(Signal::Offer { attempt: ATTEMPT, description: description.clone() }).unwrap();
        tokio::spawn(pass(of_dialling, to_answering, seen.clone()));
        tokio::spawn(pass(of_answering, to_dialling, seen));
        let signalling = Signalling { outgoing: from_answering, incoming: for_answering };
        answering.0.rtc.answer(answering.1, signalling, description).await
    };
    let (offered, answered) = tokio::join!(offering, answering);
    let signals = std::iter::from_fn(|| signals.try_recv().ok()).collect();
    Opened { offered, answered, signals }
}

async fn pass(mut from: mpsc::Receiver<Signal>, to: mpsc::Sender<Signal>, seen: mpsc::UnboundedSender<Signal>) {
    while let Some(signal) = from.recv().await {
        let _ = seen.send(signal.clone());
        let _ = to.send(signal).await;
    }
}

async fn pair_of(dialling: &End, answering: &End) -> (Side, Side) {
    let opened = open((dialling, terms(answering.key)), (answering, terms(dialling.key))).await;
    (Side::new(opened.offered.unwrap()), Side::of(opened.answered.unwrap()).await)
}

async fn pair() -> (Side, Side) {
    let (dialling, answering) = ends();
    pair_of(&dialling, &answering).await
}

fn framed(bytes: impl Into<Bytes>) -> [Bytes; 2] {
    let bytes = bytes.into();
    [Bytes::copy_from_slice(&(bytes.len() as u32).to_be_bytes()), bytes]
}

fn numbered(number: u64, payload: &[u8]) -> Bytes {
    PeerFrame { epoch: HostEpoch(1), body: PeerBody::Reliable { number, payload } }.to_vec().into()
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index * 31) as u8).collect()
}

#[tokio::test]
async fn frames_states_and_datagrams_go_both_ways() {
    let (mut a, mut b) = pair().await;
    let large = pattern(1024 * 1024 + 5);
    let (mut states, state) = (a.link.open_states().await.unwrap(), pattern(300_000));
    let mut states_read = b.link.accept_states().await.unwrap();
    let exchange = async {
        a.writer.write(&mut framed("hello")).await.unwrap();
        b.writer.write(&mut framed(large.clone())).await.unwrap();
        states.write(&mut framed(state.clone())).await.unwrap();
    };
    let read = async {
        assert_eq!(b.reader.frame(5).await.unwrap(), "hello");
        assert_eq!(a.reader.frame(FRAME_BYTES_MAX).await.unwrap(), large);
        assert_eq!(states_read.frame(FRAME_BYTES_MAX).await.unwrap(), state);
    };
    tokio::join!(exchange, read);
    a.link.send_datagram(b"there".to_vec());
    assert_eq!(b.link.datagram().await.unwrap(), "there");
    b.link.send_datagram(b"back".to_vec());
    assert_eq!(a.link.datagram().await.unwrap(), "back");
    assert_eq!(a.link.path(), LinkPath::WebRtc { turned: false });
    assert!(matches!(a.link.stream().await, Err(LinkError::Finished)), "there is one stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_as_soon_as_the_link_is_open_for_one_side_is_heard_by_the_other() {
    let (dialling, answering) = ends();
    for _ in 0..20 {
        let (of_dialling, of_answering) = (terms(answering.key), terms(dialling.key));
        let opened = open_and_say((&dialling, of_dialling), (&answering, of_answering), Some("hello")).await;
        let mut answered = Side::of(opened.answered.unwrap()).await;
        let heard = tokio::time::timeout(Duration::from_secs(20), answered.reader.frame(5)).await;
        assert_eq!(heard.unwrap().unwrap(), "hello");
        drop(opened.offered);
    }
}

#[tokio::test]
async fn what_is_signalled_is_what_the_service_lets_through_and_no_more() {
    let (dialling, answering) = ends();
    let opened = open((&dialling, terms(answering.key)), (&answering, terms(dialling.key))).await;
    assert!(opened.offered.is_ok() && opened.answered.is_ok());
    assert!(matches!(&opened.signals[0], Signal::Offer { description, .. } if !description.candidates.is_empty()));
    for signal in opened.signals {
        assert_eq!(signal.clone().admitted(false), Ok(signal));
    }
}

#[tokio::test]
async fn a_closed_link_ends_for_both_and_what_came_before_is_still_read() {
    let (mut a, mut b) = pair().await;
    a.writer.write(&mut framed("last")).await.unwrap();
    a.writer.finish().await;
    a.link.close();
    a.link.closed().await;
    b.link.closed().await;
    assert_eq!(b.reader.frame(5).await.unwrap(), "last");
    assert!(matches!(b.reader.frame(5).await, Err(LinkError::Down(_))));
    assert!(matches!(b.writer.write(&mut framed("late")).await, Err(LinkError::Down(_))));
    assert!(matches!(b.link.datagram().await, Err(LinkError::Down(_))));
}

#[tokio::test]
async fn what_is_finished_has_arrived_long_before_the_peer_would_acknowledge_it_by_itself() {
    let (mut a, _b) = pair().await;
    let began_at = Instant::now();
    a.writer.write(&mut framed("last")).await.unwrap();
    a.writer.finish().await;
    assert!(began_at.elapsed() < Duration::from_millis(150), "{:?}", began_at.elapsed());
}

#[tokio::test]
async fn a_peer_with_another_certificate_is_not_spoken_to() {
    let ((dialling, answering), stranger) = (ends(), end_over(None));
    let try_with = async |expected_answering, expected_dialling| {
        let opened = open((&dialling, terms(expected_answering)), (&answering, terms(expected_dialling))).await;
        assert!(opened.offered.is_err() && opened.answered.is_err());
    };
    tokio::join!(try_with(stranger.key, dialling.key), try_with(answering.key, stranger.key));
}

#[tokio::test]
async fn where_addresses_are_secret_none_is_gathered_and_nothing_but_relays_is_asked() {
    let (dialling, turn) = (end_over(None), tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let url = format!("turn:{}?transport=udp", turn.local_addr().unwrap());
    let server = IceServer { urls: vec![url], username: "1:player".into(), credential: "secret".into() };
    let secret = Terms { relay_only: true, ice_servers: vec![server], ..terms(dialling.key) };
    let (outgoing, mut signals) = mpsc::channel(64);
    let (_to_dialling, incoming) = mpsc::channel(64);
    let mut offering = Box::pin(dialling.rtc.offer(secret, Signalling { outgoing, incoming }));
    let mut request = [0; 1500];
    tokio::select! {
        _ = &mut offering => panic!("nobody answers"),
        asked = turn.recv_from(&mut request) => drop(asked.unwrap()),
    }
    drop(offering);
    let mut told = Vec::new();
    while let Some(signal) = signals.recv().await {
        told.push(signal);
    }
    assert!(matches!(&told[0], Signal::Offer { description, .. } if description.candidates.is_empty()));
    assert_eq!(told[1..], [Signal::Close { attempt: ATTEMPT }]);
}

#[tokio::test]
async fn where_addresses_are_secret_and_there_is_no_relay_there_is_no_attempt() {
    let dialling = end_over(None);
    let secret = Terms { relay_only: true, ..terms(dialling.key) };
    let (outgoing, mut signals) = mpsc::channel(64);
    let (_to_dialling, incoming) = mpsc::channel(64);
    assert!(dialling.rtc.offer(secret, Signalling { outgoing, incoming }).await.is_err());
    assert_eq!(signals.recv().await, None);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_within_the_window() {
    let (mut a, mut b) = pair().await;
    let mut written = 0;
    let frame = pattern(64 * 1024 - 4);
    let writing = async {
        loop {
            a.writer.write(&mut framed(frame.clone())).await.unwrap();
            written += frame.len() + 4;
        }
    };
    // Room for the window and no more: this would go on for ever otherwise.
    let stopped = tokio::time::timeout(Duration::from_secs(1), writing).await;
    assert!(stopped.is_err());
    let window = limits::LANE_WINDOW_BYTES as usize;
    assert!((window - 64 * 1024..=window).contains(&written), "{written}");
    // States and datagrams are not held up by that.
    let mut states = a.link.open_states().await.unwrap();
    states.write(&mut framed("state")).await.unwrap();
    assert_eq!(b.link.accept_states().await.unwrap().frame(5).await.unwrap(), "state");
    a.link.send_datagram(b"quick".to_vec());
    assert_eq!(b.link.datagram().await.unwrap(), "quick");
    for _ in 0..written / (64 * 1024) {
        assert_eq!(b.reader.frame(FRAME_BYTES_MAX).await.unwrap(), frame);
    }
}

#[tokio::test]
async fn a_numbered_message_comes_early_as_a_datagram_as_well_and_others_do_not() {
    let (mut a, mut b) = pair().await;
    let small = numbered(1, b"small");
    let mut frames: Vec<_> = framed("not numbered").into_iter().chain(framed(small.clone())).collect();
    a.writer.write(&mut frames).await.unwrap();
    // At once, and again in case that is lost.
    for _ in 0..3 {
        assert_eq!(b.link.datagram().await.unwrap(), small);
    }
    assert_eq!(b.reader.frame(100).await.unwrap(), "not numbered");
    assert_eq!(b.reader.frame(100).await.unwrap(), small);
    a.link.send_datagram(b"next".to_vec());
    assert_eq!(b.link.datagram().await.unwrap(), "next");
}

/// Bounds that SCTP alone does not meet: it would be late with as many messages as packets are lost, which are five.
#[tokio::test]
async fn where_packets_are_lost_lone_messages_do_not_wait_for_sctp() {
    let network = NetworkControl::new(SimulatedNetwork::new(7));
    let (dialling, answering) = (end_over(Some(&network)), end_over(Some(&network)));
    let (mut a, mut b) = pair_of(&dialling, &answering).await;
    network.set(SimulatedNetwork::new(7).loss(0.05));
    let mut late = 0;
    for number in 1..=100 {
        let (frame, sent_at) = (numbered(number, b"lone"), Instant::now());
        a.writer.write(&mut framed(frame.clone())).await.unwrap();
        loop {
            let came = tokio::select! {
                came = b.link.datagram() => came.unwrap(),
                came = b.reader.frame(100) => came.unwrap(),
            };
            if came == frame {
                break;
            }
        }
        late += usize::from(sent_at.elapsed() > Duration::from_millis(500));
    }
    assert!(network.counts().lost > 0);
    assert!(late <= 1, "{late} of 100 were late");
}

/// Open files, tasks and resident memory (KiB) of this process.
fn footprint() -> (usize, usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (files, tokio::runtime::Handle::current().metrics().num_alive_tasks(), kib)
}

/// Opens links, uses them, and lets them go: closed by one side, by the other, or just dropped. A few at a time.
async fn open_and_close(count: usize) {
    let (dialling, answering) = ends();
    let left = std::cell::Cell::new(count);
    let some = async || {
        while let Some(number) = left.get().checked_sub(1) {
            left.set(number);
            let (mut a, mut b) = pair_of(&dialling, &answering).await;
            a.writer.write(&mut framed("x")).await.unwrap();
            assert_eq!(b.reader.frame(1).await.unwrap(), "x");
            match number % 3 {
                0 => a.link.close(),
                1 => b.link.close(),
                _ => drop(a),
            }
            b.link.closed().await;
        }
    };
    tokio::join!(some(), some(), some(), some());
}

/// Set where it runs in a process of its own: other tests open files as well.
const ALONE: &str = "WEBRTC_LEAKS_ALONE";

#[test]
fn a_thousand_links_leave_nothing_behind() {
    if std::env::var_os(ALONE).is_none() {
        let name = "transport::webrtc::tests::a_thousand_links_leave_nothing_behind";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").status().unwrap();
        return assert!(ended.success());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        open_and_close(50).await;
        let (files, tasks, kib) = settled((0, 0)).await;
        open_and_close(1000).await;
        let (files_after, tasks_after, kib_after) = settled((files, tasks)).await;
        assert!(files_after <= files, "{files} open files before, {files_after} after");
        assert!(tasks_after <= tasks, "{tasks} tasks before, {tasks_after} after");
        assert!(kib_after < kib + 8 * 1024, "{kib} KiB before, {kib_after} KiB after");
    });
}

/// The footprint once so few files and tasks are left, or when a second has passed.
async fn settled((files, tasks): (usize, usize)) -> (usize, usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let now = footprint();
        if (now.0 <= files && now.1 <= tasks) || Instant::now() > deadline {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn signals_that_make_no_sense_change_nothing() {
    let (dialling, answering) = ends();
    let (outgoing, mut signals) = mpsc::channel(64);
    let (to_dialling, incoming) = mpsc::channel(64);
    let (from_answering, mut answers) = mpsc::channel(64);
    let (_to_answering, for_answering) = mpsc::channel(64);
    let offering = dialling.rtc.offer(terms(answering.key), Signalling { outgoing, incoming });
    let disturbing = async {
        let Some(Signal::Offer { description, .. }) = signals.recv().await else { panic!("no offer") };
        let wrong = |ufrag: &str, pwd: &str| Description { ufrag: ufrag.into(), pwd: pwd.into(), candidates: vec![] };
        let password = "p".repeat(24);
        for description in [wrong("", ""), wrong("frag\r\na=x", &password), wrong("frag", "short")] {
            to_dialling.send(Signal::Answer { attempt: ATTEMPT, description }).await.unwrap();
        }
        let other = Signal::Answer { attempt: ATTEMPT + 1, description: wrong("frag", &password) };
        to_dialling.send(other).await.unwrap();
        to_dialling.send(Signal::Close { attempt: ATTEMPT + 1 }).await.unwrap();
        for candidate in ["", "candidate:", "candidate:1 1 udp 1 127.0.0.1 9 typ host", "candidate:\u{fffd}"] {
            let candidates = vec![candidate.to_owned()];
            to_dialling.send(Signal::Candidates { attempt: ATTEMPT, candidates }).await.unwrap();
        }
        let signalling = Signalling { outgoing: from_answering, incoming: for_answering };
        let answering = answering.rtc.answer(terms(dialling.key), signalling, description);
        let passing = async {
            while let Some(signal) = answers.recv().await {
                // In the end nobody listens.
                let _ = to_dialling.send(signal.clone()).await;
                // Another answer comes too late.
                if let Signal::Answer { .. } = signal {
                    let description = wrong("frag", &password);
                    to_dialling.send(Signal::Answer { attempt: ATTEMPT, description }).await.unwrap();
                }
            }
        };
        tokio::join!(async { answering.await.unwrap().closed().await }, passing);
    };
    let used = async {
        let (link, _stream) = offering.await.unwrap();
        link.close();
    };
    tokio::join!(used, disturbing);
}
