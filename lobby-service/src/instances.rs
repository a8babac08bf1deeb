//! Several instances of the service on one store: each has one lease there. Whoever loses it has its members taken over by another.
//!
//! ```text
//! renew every 2 s ─▶ held: go on; take over the members of those whose lease has run out
//!                 ─▶ lost: another has taken over ours: close all sockets, start anew under another name
//!                 ─▶ no answer: if there are others, close all sockets before the lease runs out
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::{InstanceId, PeerKey};
use protocol::limits;
use protocol::presence::Seat;
use tokio::time::timeout;

use crate::auth::random;
use crate::service::Service;
use crate::store::{Renewal, StoreError};

/// Time between two renewals: two may fail.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two attempts while the store is away.
const RETRY: Duration = Duration::from_millis(250);
/// The sockets of an instance that cannot renew are closed so long before its lease runs out: a term of the database may begin
/// before the request for it was sent, and clocks differ in speed.
const MARGIN: Duration = Duration::from_millis(500);

/// For so long after its answer was lost a save may still be made: the database gives up a statement earlier.
const STRAYS_FOR: Duration = Duration::from_secs(8);

/// What is known of the other instances.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    /// Whether there were any at the last renewal.
    has_others: AtomicBool,
    /// Until when members may turn up in stored lobbies as heard here with nobody who would notice that they are gone.
    strays_until: Mutex<Option<Instant>>,
    /// Instances whose members were taken over, and when that was last done.
    inherited: Mutex<BTreeMap<InstanceId, Instant>>,
}

impl Instances {
    /// Whether anybody else is to be told what happens here.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// There is at least one other.
    pub(crate) fn heard_of_others(&self) {
        self.has_others.store(true, Ordering::Relaxed);
    }

    /// It is not known what became of some commands: members may have been saved as heard here who are not.
    pub(crate) fn seek_strays(&self) {
        *lock(&self.strays_until) = Some(Instant::now() + STRAYS_FOR);
    }

    /// Whether to look for them now.
    fn has_strays(&self) -> bool {
        let mut until = lock(&self.strays_until);
        let has = until.is_some();
        // Once more after that time.
        until.take_if(|until| *until <= Instant::now());
        has
    }

    fn inherited(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instant>> {
        lock(&self.inherited)
    }
}

/// Nothing in here panics half way, so that a poisoned lock guards a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins this instance's lease, and gives every member that nobody hears a full term, so that a restart elects nobody.
///
/// # Errors
/// The store's.
pub(crate) async fn begin(service: &Arc<Service>) -> Result<(), StoreError> {
    let asked = Instant::now();
    let renewal = service.store.register(service.leases.instance(), limits::LEASE).await?;
    follow(service, &renewal, asked);
    take_over(service).await?;
    Ok(())
}

/// Renews the lease until the service stops.
pub(crate) async fn keep(service: Arc<Service>) {
    // Since when this instance's lease runs, at the earliest; `None` once it has resigned.
    let mut renewed_at = Some(Instant::now());
    loop {
        let asked = Instant::now();
        let nap = match renew(&service, renewed_at).await {
            Ok(nap) => {
                renewed_at = Some(asked);
                nap
            }
            Err(error) => {
                tracing::warn!(%error, "the instance's lease could not be renewed");
                service.was_away();
                if renewed_at.is_some_and(|at| is_over(&service, at)) {
                    renewed_at = None;
                    resign(&service);
                }
                RETRY
            }
        };
        tokio::time::sleep(nap).await;
    }
}

/// Returns when to renew next.
async fn renew(service: &Arc<Service>, renewed_at: Option<Instant>) -> Result<Duration, StoreError> {
    let Some(renewed_at) = renewed_at else {
        begin(service).await?;
        return Ok(RENEW_INTERVAL);
    };
    let asked = Instant::now();
    // The answer is waited for no longer than the lease lasts, or it could not be given up in time.
    let patience = (limits::LEASE - 2 * MARGIN).saturating_sub(renewed_at.elapsed()).max(MARGIN);
    let renewal = timeout(patience, service.store.renew(service.leases.instance(), limits::LEASE));
    let renewal = renewal.await.map_err(|late| StoreError::Unavailable(late.into()))??;
    Ok(renewed(service, &renewal, asked).await)
}

/// Whether another instance may take over the members soon: until then they have to be on their way to it. If there is no other,
/// nobody is helped by closing their sockets.
fn is_over(service: &Service, renewed_at: Instant) -> bool {
    service.instances.has_others() && renewed_at.elapsed() + MARGIN + RETRY >= limits::LEASE
}

/// All sockets are closed, and the instance starts anew under another name once the database is back.
fn resign(service: &Service) {
    tracing::warn!("this instance's lease is lost; its members go to another one");
    service.leases.start_anew(InstanceId::from_bytes(random()));
    // What was on its way is saved under the old name.
    service.instances.seek_strays();
}

/// Returns when to renew next.
async fn renewed(service: &Arc<Service>, renewal: &Renewal, asked: Instant) -> Duration {
    follow(service, renewal, asked);
    let done = if renewal.is_held { inherit(service, renewal).await } else { start_anew(service).await };
    match done {
        Ok(()) => RENEW_INTERVAL,
        Err(error) => {
            tracing::warn!(%error, "members of another instance could not be taken over yet");
            service.was_away();
            RETRY
        }
    }
}

fn follow(service: &Service, renewal: &Renewal, asked: Instant) {
    let me = service.leases.instance();
    service.instances.has_others.store(renewal.live.iter().any(|&live| live != me), Ordering::Relaxed);
    if service.store.is_shared() && service.clock.follow(renewal.now, asked) {
        tracing::warn!("the clock of the database was set; every deadline gets its time again");
        service.was_away();
    }
}

async fn start_anew(service: &Arc<Service>) -> Result<(), StoreError> {
    resign(service);
    begin(service).await
}

/// Looks after the members of those who are gone, until nobody is held by them any more.
async fn inherit(service: &Arc<Service>, renewal: &Renewal) -> Result<(), StoreError> {
    let now = Instant::now();
    let is_due = {
        let mut inherited = service.instances.inherited();
        inherited.retain(|gone, _| renewal.inherited.contains(gone));
        renewal.inherited.iter().any(|gone| {
            inherited.get(gone).is_none_or(|&at| now.saturating_duration_since(at) > limits::LEASE + RENEW_INTERVAL)
        })
    };
    if !is_due && !service.instances.has_strays() {
        return Ok(());
    }
    let held = take_over(service).await?;
    for &gone in &renewal.inherited {
        if held.contains(&gone) {
            tracing::info!(instance = %gone, "the members of an instance that is gone are looked after here");
            service.instances.inherited().insert(gone, now);
        } else {
            service.store.bury(gone).await?;
        }
    }
    Ok(())
}

/// Gives a full term to every connected member that no live instance hears. Returns the instances that are gone and still stand in
/// lobbies.
pub(crate) async fn take_over(service: &Arc<Service>) -> Result<BTreeSet<InstanceId>, StoreError> {
    let result = seek(service).await;
    if result.is_err() {
        service.instances.seek_strays();
    }
    result
}

async fn seek(service: &Arc<Service>) -> Result<BTreeSet<InstanceId>, StoreError> {
    let members = connected(service).await?;
    // Asked for after the members were: whoever holds one and is not live is gone.
    let me = service.leases.instance();
    let renewal = service.store.renew(me, limits::LEASE).await?;
    let is_gone = |holder: InstanceId| holder != me && !renewal.live.contains(&holder);
    service.leases.take_over(members.iter().copied().filter(|&(_, _, holder)| holder == me || is_gone(holder)));
    Ok(members.into_iter().map(|(_, _, holder)| holder).filter(|&holder| is_gone(holder)).collect())
}

/// Every connected member. Those that are heard here are among them: what was heard is not saved at once.
async fn connected(service: &Arc<Service>) -> Result<Vec<(Seat, PeerKey, InstanceId)>, StoreError> {
    let (mut members, mut after, mut renewed_at) = (Vec::new(), None, Instant::now());
    loop {
        let page = service.store.connected_lobbies(after, limits::LIST_PAGE_MAX).await?;
        for lobby in &page {
            members.extend(lobby.connected().map(|(connection, key, holder)| ((lobby.id(), connection), key, holder)));
        }
        match page.last() {
            Some(last) => after = Some(last.id()),
            None => return Ok(members),
        }
        // Of many lobbies this takes longer than a lease.
        if renewed_at.elapsed() > RENEW_INTERVAL {
            renewed_at = Instant::now();
            service.store.renew(service.leases.instance(), limits::LEASE).await?;
        }
    }
}
