//! Group commit: what many requests want saved goes to the store together, in one transaction, and each is answered by its own
//! outcome. While one transaction is on its way the next batch gathers, so batches grow with the load and nobody waits for a timer.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use protocol::id::LobbyId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Saves;
use crate::store::{Change, NewDelta, NewSnapshot, StoreError};

/// Something to be saved. A batch holds one of each lobby.
pub(crate) trait Item: Send + 'static {
    /// Whose it is.
    fn lobby(&self) -> LobbyId;
    /// How much of a batch it takes.
    fn bytes(&self) -> usize;
}

impl Item for Change {
    fn lobby(&self) -> LobbyId {
        self.lobby.id()
    }

    /// About as much as its row: lobbies are small, and those of a thousand members are not.
    fn bytes(&self) -> usize {
        512 * (1 + self.lobby.member_count() + self.events.len())
    }
}

impl Item for NewSnapshot {
    fn lobby(&self) -> LobbyId {
        self.lobby
    }

    fn bytes(&self) -> usize {
        self.record.len()
    }
}

impl Item for NewDelta {
    fn lobby(&self) -> LobbyId {
        self.lobby
    }

    fn bytes(&self) -> usize {
        self.record.len()
    }
}

/// How much waits, and how much goes together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Items that wait. One more is refused at once.
    pub(crate) queue: usize,
    /// Items of one transaction.
    pub(crate) batch: usize,
    /// Bytes of one transaction, unless a single item has more.
    pub(crate) batch_bytes: usize,
}

/// Why something was not saved.
#[derive(Debug)]
pub(crate) enum Unsaved {
    /// Too much waits already. Nothing was begun.
    Full,
    /// The store failed: it may be saved, or not.
    Store(StoreError),
}

type Answer<R> = oneshot::Sender<Result<R, StoreError>>;

/// The way to the store, for all who want something saved.
#[derive(Debug)]
pub(crate) struct Writer<T, R> {
    queue: mpsc::Sender<(T, Answer<R>)>,
}

impl<T: Item, R: Send + 'static> Writer<T, R> {
    /// A writer, and the work that is to be run for as long as it is used. `save` saves a batch and tells how each item ended.
    pub(crate) fn new<S>(bounds: Bounds, saves: Saves, save: S) -> (Self, impl Future<Output = ()> + Send)
    where
        S: AsyncSave<T, R>,
    {
        let (queue, waiting) = mpsc::channel(bounds.queue);
        (Self { queue }, run(bounds, saves, waiting, save))
    }

    /// Has something saved, with whatever else is to be saved at that time.
    ///
    /// # Errors
    /// [`Unsaved`].
    pub(crate) async fn save(&self, item: T) -> Result<R, Unsaved> {
        let (answer, answered) = oneshot::channel();
        let has_ended = || Unsaved::Store(StoreError::Unavailable("the writer has ended".into()));
        self.queue.try_send((item, answer)).map_err(|error| match error {
            TrySendError::Full(_) => Unsaved::Full,
            TrySendError::Closed(_) => has_ended(),
        })?;
        answered.await.map_err(|_| has_ended())?.map_err(Unsaved::Store)
    }
}

/// Saves a batch.
pub(crate) trait AsyncSave<T, R>: Send + 'static {
    /// Returns one outcome for each item, in their order.
    fn save(&self, batch: Vec<T>) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send;
}

async fn run<T: Item, R>(
    bounds: Bounds,
    saves: Saves,
    mut waiting: mpsc::Receiver<(T, Answer<R>)>,
    save: impl AsyncSave<T, R>,
) {
    let mut held_over = VecDeque::new();
    loop {
        if held_over.is_empty() {
            match waiting.recv().await {
                Some(first) => held_over.push_back(first),
                None => return,
            }
        }
        while held_over.len() < bounds.batch
            && let Ok(next) = waiting.try_recv()
        {
            held_over.push_back(next);
        }
        let (batch, answers): (Vec<_>, Vec<_>) = gather(bounds, &mut held_over).into_iter().unzip();
        let began = Instant::now();
        // A bug in one batch is not the end of all others.
        let saved = AssertUnwindSafe(save.save(batch)).catch_unwind().await;
        let saved = saved.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer has panicked".into())));
        saves.ended(answers.len(), began.elapsed(), saved.is_ok());
        match saved {
            Ok(outcomes) => {
                debug_assert_eq!(outcomes.len(), answers.len(), "one outcome for each");
                // Whoever does not wait any more does not need to know.
                answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| drop(answer.send(Ok(outcome))));
            }
            Err(error) => {
                let error = Arc::new(error);
                answers.into_iter().for_each(|answer| drop(answer.send(Err(error.again()))));
            }
        }
    }
}

/// Takes the next batch from what waits; what does not go with it keeps its place.
fn gather<T: Item, A>(bounds: Bounds, waiting: &mut VecDeque<(T, A)>) -> Vec<(T, A)> {
    let (mut batch, mut lobbies, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for _ in 0..waiting.len() {
        let Some(next) = waiting.pop_front() else { break };
        let fits = batch.is_empty() || (batch.len() < bounds.batch && bytes + next.0.bytes() <= bounds.batch_bytes);
        if fits && lobbies.insert(next.0.lobby()) {
            bytes += next.0.bytes();
            batch.push(next);
        } else {
            waiting.push_back(next);
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::metrics::Metrics;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Note(u8, usize);

    impl Item for Note {
        fn lobby(&self) -> LobbyId {
            LobbyId::from_bytes([self.0; 16])
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    /// Saves a batch for each permit that it is given; refuses odd lobbies, and fails for lobby 99.
    struct Slow(Arc<Semaphore>, Arc<Mutex<Vec<Vec<Note>>>>);

    impl AsyncSave<Note, bool> for Slow {
        async fn save(&self, batch: Vec<Note>) -> Result<Vec<bool>, StoreError> {
            self.0.acquire().await.unwrap().forget();
            self.1.lock().unwrap().push(batch.clone());
            if batch.iter().any(|note| note.0 == 99) {
                return Err(StoreError::Unavailable("gone".into()));
            }
            Ok(batch.iter().map(|note| note.0 % 2 == 0).collect())
        }
    }

    const BOUNDS: Bounds = Bounds { queue: 4, batch: 3, batch_bytes: 100 };

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes_and_has_one_of_each_lobby() {
        let mut waiting: VecDeque<_> = [(1, 10), (1, 10), (2, 95), (3, 10), (4, 10), (5, 10), (6, 500)]
            .map(|(lobby, bytes)| (Note(lobby, bytes), ()))
            .into();
        let mut next = || gather(BOUNDS, &mut waiting).iter().map(|(note, ())| note.0).collect::<Vec<_>>();
        assert_eq!(next(), [1, 3, 4]);
        assert_eq!(next(), [1, 5]);
        assert_eq!(next(), [2]);
        assert_eq!(next(), [6], "too large for any batch, and alone in its own");
        assert!(next().is_empty());
    }

    /// P15, P16.
    #[tokio::test]
    async fn each_is_answered_by_its_own_outcome_and_a_full_queue_refuses_at_once() {
        let (permits, saved) = (Arc::new(Semaphore::new(0)), Arc::default());
        let (writer, work) =
            Writer::new(BOUNDS, Metrics::default().saves("notes"), Slow(Arc::clone(&permits), Arc::clone(&saved)));
        let (writer, work) = (Arc::new(writer), tokio::spawn(work));
        let save = |lobby| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.save(Note(lobby, 1)).await })
        };
        let first = save(0);
        while writer.queue.capacity() < BOUNDS.queue || !saved.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        // The first is on its way (or about to be); the next four wait, and one more is refused.
        let mut waiting = Vec::new();
        while writer.queue.capacity() > 0 {
            waiting.push(save(1 + waiting.len() as u8));
            tokio::task::yield_now().await;
        }
        assert!(matches!(writer.save(Note(50, 1)).await, Err(Unsaved::Full)));
        permits.add_permits(9);
        assert!(first.await.unwrap().unwrap());
        for (index, one) in waiting.into_iter().enumerate() {
            assert_eq!(one.await.unwrap().unwrap(), (index + 1) % 2 == 0);
        }
        assert!(matches!(save(99).await.unwrap(), Err(Unsaved::Store(StoreError::Unavailable(_)))));
        assert!(save(2).await.unwrap().unwrap(), "it goes on");
        let batches = saved.lock().unwrap().iter().map(Vec::len).max();
        assert_eq!(batches, Some(BOUNDS.batch));
        work.abort();
    }
}
