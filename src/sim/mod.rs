//! Whole clusters under a seed: threads that take turns, virtual time, disks that fail on request.
//!
//! A test that passes a thousand times may fail once, and never again where one could look. In a [`Simulation`]
//! nothing happens by chance: its threads run one at a time, a seed decides who is next wherever it could matter (at
//! locks, waits and calls to the disk), and clocks are virtual, so that an hour of waiting takes no time. A seed that
//! fails once fails always. The code under test is the real one, and need not know: clusters that are opened inside
//! run on the simulation's threads and clock.
//!
//! A [`Disk`] knows what was synced and what was not. It can cut the power, keep, lose or tear what no sync has
//! covered, fail a call, run full. It works outside of simulations too.
//!
//! # Faults
//! In simulations and on ordinary threads alike, at any moment and from any thread:
//!
//! | what happens | call | until |
//! |---|---|---|
//! | a broker stops in order | [`Broker::stop`](crate::Broker::stop) | [`start`](crate::Broker::start) |
//! | a broker crashes | [`Broker::crash`](crate::Broker::crash) | [`start`](crate::Broker::start) |
//! | its machine loses power | [`Broker::crash`](crate::Broker::crash), then [`Disk::cut_power`] | [`start`](crate::Broker::start) |
//! | followers on a broker stall | [`Broker::pause`](crate::Broker::pause) | [`resume`](crate::Broker::resume) |
//! | followers on a broker are slow | [`Broker::slow_down`](crate::Broker::slow_down) | [`resume`](crate::Broker::resume) |
//! | the link between two brokers is cut | [`Broker::disconnect`](crate::Broker::disconnect) | [`reconnect`](crate::Broker::reconnect) |
//! | calls to a disk fail | [`Disk::fail`] | [`Disk::heal`] |
//! | a disk is full | [`Disk::set_capacity`] | the same with `None` |
//! | time goes by at once | [`Clock::advance`]; in a simulation [`Sim::sleep`] | |
//! | the wall clock is set | [`Sim::set_wall_clock`] | |
//!
//! Disks are those that brokers were opened on, by [`broker_on`](crate::ClusterBuilder::broker_on); a clock is given to
//! [`ClusterBuilder::clock`](crate::ClusterBuilder::clock).
//!
//! ```
//! use brooklet::sim::{Clock, Disk, PowerCut};
//! use brooklet::{Acks, Cluster, NewTopic, Record};
//! use std::time::Duration;
//!
//! let (clock, disks) = (Clock::new(), [Disk::new(), Disk::new(), Disk::new()]);
//! let builder = (1..).zip(&disks).fold(Cluster::builder(), |builder, (id, disk)| builder.broker_on(id, disk));
//! let cluster = builder.clock(&clock).open()?;
//! let [one, two, three] = [cluster.broker(1)?, cluster.broker(2)?, cluster.broker(3)?];
//! let brokers = vec![one.id(), two.id(), three.id()];
//! let email = cluster.create_topic(NewTopic::new("email").assignment([brokers]))?;
//!
//! // The leader does not reach one of the others, which is in sync for half a minute more.
//! one.disconnect(&three);
//! let hasty = cluster.producer().acks(Acks::Leader).enable_idempotence(false).build()?;
//! hasty.send(Record::to(&email).value("welcome"))?.wait()?;
//! clock.advance(Duration::from_secs(31));
//! while email.partition(0)?.describe()?.isr != [one.id(), two.id()] {
//!     std::thread::yield_now();
//! }
//! one.reconnect(&three);
//!
//! // Its machine loses power, and with that all that it had not synced: the other one has it.
//! let producer = cluster.producer().build()?;
//! producer.send(Record::to(&email).value("goodbye"))?.wait()?;
//! one.crash()?;
//! disks[0].cut_power(PowerCut::LosesAll);
//! assert_eq!(email.partition(0)?.describe()?.leader, Some(two.id()));
//! one.start()?;
//! # Ok::<(), brooklet::Error>(())
//! ```
//!
//! Whether what clients saw could have happened in a correct log is checked by [`history`].
//!
//! ```
//! use brooklet::sim::{Disk, PowerCut, Simulation};
//! use brooklet::{Cluster, NewTopic, Offset, Record};
//! use std::time::Duration;
//!
//! for seed in 0..10 {
//!     Simulation::new(seed).run(move |sim| {
//!         let disk = Disk::new();
//!         let cluster = Cluster::builder().open_on(&disk)?;
//!         let email = cluster.create_topic(NewTopic::new("email"))?;
//!
//!         let producer = cluster.producer().build()?;
//!         let sending = sim.spawn("producer", move || {
//!             let sends = (0..100).map_while(|n| producer.send(Record::to("email").value(&format!("{n}"))).ok());
//!             sends.map_while(|delivery| delivery.wait().ok()).count()
//!         });
//!         sim.sleep(Duration::from_millis(5));
//!         disk.cut_power(PowerCut::Mixes(seed));
//!         let acknowledged = sending.join();
//!         drop((email, cluster));
//!
//!         let email = Cluster::builder().open_on(&disk)?.topic("email")?;
//!         let high = email.partition(0)?.watermarks()?.high;
//!         assert!(high >= Offset::new(acknowledged as i64).unwrap(), "what was acknowledged is there");
//!         Ok::<(), brooklet::Error>(())
//!     })
//!     .value?;
//! }
//! # Ok::<(), brooklet::Error>(())
//! ```

pub mod history;

use std::fmt;
use std::future::Future;
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Timestamp;
use crate::env::{Baton, Failure, Handle, Runtime};

pub use crate::env::{CallKind, Clock, Disk, DiskCall, Fault, Journal, PowerCut};

/// The batch format from close by, for tests that feed it any bytes.
#[doc(hidden)]
pub mod record {
    pub use crate::record::{
        Batch, BatchBuilder, BatchError, BatchRewriter, CloseOptions, ControlRecord, EncodedBatch,
        Frame, HEADER_LENGTH, LOG_OVERHEAD, Limits, RecordFields, RecordView, crc32c,
    };
}

/// A program to be run under a seed. See the [module](self).
#[derive(Clone, Copy, Debug)]
#[must_use = "a simulation does nothing until it runs"]
pub struct Simulation {
    seed: u64,
}

/// What a simulation came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// What the program returned.
    pub value: T,
    /// A fingerprint of all that happened. The same program under the same seed has the same one.
    pub trace: u64,
    /// Number of points at which another thread could have been let run.
    pub points: u64,
    /// Virtual time that went by.
    pub elapsed: Duration,
}

impl Simulation {
    /// The simulation that this seed stands for.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Runs `program`, and returns when it and all threads that it [spawned](Sim::spawn) are over.
    ///
    /// # Panics
    /// If a thread of the simulation panics, or if all of them wait and nobody will ever wake them. The message names
    /// the seed.
    pub fn run<T: Send + 'static>(
        self,
        program: impl FnOnce(&Sim) -> T + Send + 'static,
    ) -> Outcome<T> {
        let seed = self.seed;
        let ran = Baton::run(seed, move |baton| program(&Sim { baton: Arc::clone(baton) }));
        match ran {
            Ok((value, ended)) => {
                Outcome { value, trace: ended.trace, points: ended.points, elapsed: ended.elapsed }
            }
            Err(Failure::Stuck(why)) => panic!("simulation of seed {seed}: {why}"),
            Err(Failure::Panicked(payload)) => match message(&*payload) {
                Some(message) => panic!("simulation of seed {seed}: {message}"),
                None => panic::resume_unwind(payload),
            },
        }
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

/// A running [`Simulation`], for the program in it. A handle, cheap to clone.
#[derive(Clone)]
pub struct Sim {
    baton: Arc<Baton>,
}

impl Sim {
    /// Starts a thread of the simulation.
    ///
    /// # Panics
    /// If the operating system has no more threads.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Joining<T> {
        match self.baton.spawn_user(name, body) {
            Ok(handle) => Joining { handle },
            Err(error) => panic!("no thread for {name}: {error}"),
        }
    }

    /// Waits, in virtual time.
    pub fn sleep(&self, duration: Duration) {
        self.baton.sleep(duration);
    }

    /// Virtual time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        self.baton.now().as_duration()
    }

    /// What the wall clock shows. A simulation begins at 2024-01-01T00:00:00Z.
    pub fn wall_clock(&self) -> Timestamp {
        self.baton.wall_clock()
    }

    /// Sets the wall clock, forward or back; waits and timeouts do not notice.
    pub fn set_wall_clock(&self, to: Timestamp) {
        let since = Duration::from_millis(u64::try_from(to.as_millis()).unwrap_or(0));
        self.baton.jump_wall_clock(since);
    }

    /// Runs a future to its end on the calling thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.baton.block_on(future)
    }

    /// A random number from the simulation's seed.
    pub fn random(&self) -> u64 {
        self.baton.random()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

/// A thread of a simulation, to be waited for. Dropped, it goes on by itself.
#[must_use = "dropped, the thread goes on by itself"]
pub struct Joining<T> {
    handle: Handle<T>,
}

impl<T> Joining<T> {
    /// Waits until the thread is over, and returns what it returned.
    pub fn join(self) -> T {
        self.handle.join()
    }
}

impl<T> fmt::Debug for Joining<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").finish_non_exhaustive()
    }
}
