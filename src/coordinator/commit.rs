//! What becomes of a commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use crate::base::Offset;
use crate::coordinator::coordinator::GroupCoordinator;
use crate::coordinator::handle::MemberHandle;
use crate::coordinator::shard::{Shard, Term};
use crate::env::sync::{Event, EventListener, Mutex};
use crate::env::{Moment, Runtime};
use crate::replica::ProduceError;

/// What became of records on their way into the log.
#[derive(Debug)]
pub(super) struct Outcome {
    coordinator: Weak<GroupCoordinator>,
    shard: Arc<Shard>,
    result: OnceLock<Result<(), ProduceError>>,
    /// For those who only wait.
    done: Event,
    /// For those who block for as long as it takes, and may be asked to do the next sync.
    helpers: Event,
    /// Who is to be told with it.
    others: Mutex<Vec<Settled>>,
}

impl Outcome {
    pub(super) fn new(coordinator: &Weak<GroupCoordinator>, shard: &Arc<Shard>) -> Arc<Self> {
        Arc::new(Self {
            coordinator: Weak::clone(coordinator),
            shard: Arc::clone(shard),
            result: OnceLock::new(),
            done: Event::new(),
            helpers: Event::new(),
            others: Mutex::default(),
        })
    }

    /// The records are in the log for good, or have failed.
    pub(super) fn settled(&self, ticket: u64, result: Result<Offset, ProduceError>) {
        let Some(coordinator) = self.coordinator.upgrade() else {
            // Nobody can look at the group any more.
            self.set(result.map(drop));
            return;
        };
        let settled = coordinator.settle(&self.shard, ticket, result);
        self.others.lock().push(settled);
    }

    pub(super) fn set(&self, result: Result<(), ProduceError>) {
        let _first = self.result.set(result);
    }

    pub(super) fn tell(&self) {
        let others = std::mem::take(&mut *self.others.lock());
        for Settled { outcomes, unwritten, summoned } in others {
            if let Some(term) = unwritten {
                term.have_written();
            }
            summoned.iter().for_each(|member| member.summon());
            outcomes.iter().for_each(|outcome| outcome.notify());
        }
        // If its turn has not come, whoever is before it tells.
        self.notify();
    }

    pub(super) fn notify(&self) {
        self.helpers.notify(usize::MAX);
        self.done.notify(usize::MAX);
    }

    pub(super) fn hand_over(&self) -> bool {
        self.helpers.notify(1) > 0
    }
}

/// What follows when records are in the log for good, or have failed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Those that have their results now.
    pub(super) outcomes: Vec<Arc<Outcome>>,
    /// Where there is something more to write.
    pub(super) unwritten: Option<Term>,
    pub(super) summoned: Vec<Arc<MemberHandle>>,
}

/// Records on their way into the log. Dropped, they get there all the same.
#[derive(Debug)]
pub(crate) struct PendingCommit {
    outcome: Arc<Outcome>,
    /// Where they go, as long as nobody was asked to write them.
    unwritten: Option<Term>,
    term: Term,
    runtime: Arc<dyn Runtime>,
    listener: Option<EventListener>,
}

/// What becomes of a commit, for who does not wait for it.
#[derive(Debug)]
pub(crate) struct CommitWatch(Arc<Outcome>);

impl CommitWatch {
    /// Whether it is in the log for good; `None` if that is not decided.
    pub(crate) fn is_written(&self) -> Option<bool> {
        self.0.result.get().map(Result::is_ok)
    }
}

impl PendingCommit {
    pub(crate) fn watch(&self) -> CommitWatch {
        CommitWatch(Arc::clone(&self.outcome))
    }

    pub(super) fn new(outcome: Arc<Outcome>, term: Term, runtime: Arc<dyn Runtime>) -> Self {
        Self { outcome, unwritten: Some(term.clone()), term, runtime, listener: None }
    }

    /// Nothing was to be written.
    pub(super) fn done(outcome: Arc<Outcome>, term: Term, runtime: Arc<dyn Runtime>) -> Self {
        outcome.set(Ok(()));
        Self { outcome, unwritten: None, term, runtime, listener: None }
    }

    /// Waits until they are in the log for good. The calling thread writes and syncs them itself if nobody is at it.
    pub(crate) fn wait(&mut self) -> Result<(), ProduceError> {
        loop {
            let listener = self.outcome.helpers.listen();
            if let Some(result) = self.outcome.result.get() {
                self.unwritten = None;
                return result.clone();
            }
            self.term.leader.help();
            self.unwritten = None;
            if self.outcome.result.get().is_none() {
                self.runtime.park(listener, None);
            }
        }
    }

    /// The same without writing, and up to `deadline`. `None` if it is not decided then.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Option<Moment>,
    ) -> Option<Result<(), ProduceError>> {
        self.have_written();
        loop {
            let listener = self.outcome.done.listen();
            if let Some(result) = self.outcome.result.get() {
                return Some(result.clone());
            }
            if !self.runtime.park(listener, deadline) {
                return self.outcome.result.get().cloned();
            }
        }
    }

    /// What has become of it by now.
    pub(crate) fn result(&self) -> Option<Result<(), ProduceError>> {
        self.outcome.result.get().cloned()
    }

    /// Has the background write it.
    pub(crate) fn have_written(&mut self) {
        if let Some(term) = self.unwritten.take() {
            term.have_written();
        }
    }
}

impl Future for PendingCommit {
    type Output = Result<(), ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.have_written();
        loop {
            if let Some(result) = self.outcome.result.get() {
                return Poll::Ready(result.clone());
            }
            match &mut self.listener {
                None => self.listener = Some(self.outcome.done.listen()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => self.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl Drop for PendingCommit {
    fn drop(&mut self) {
        self.have_written();
    }
}
