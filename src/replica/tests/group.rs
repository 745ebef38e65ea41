//! Three replicas of a partition, a controller and the messages between them: every step is taken by whoever tests.

use super::*;
use crate::env::sync::EventListener;
use crate::env::{Next, PowerCut, Task};
use crate::record::Limits;
use crate::replica::{
    FetchRequest, FollowError, Followed, Follower, FollowerEnd, Peers, Served, SyncScheduler,
};
use crate::storage::Damage;

/// A follower is behind for too long after that.
pub(super) const MAX_LAG: Duration = Duration::from_secs(10);

/// Time that stands still until it is moved.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Duration>);

impl Clock {
    pub(super) fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Runtime for Clock {
    fn now(&self) -> Moment {
        Moment::since_start(*self.0.lock())
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn park(&self, _: EventListener, _: Option<Moment>) -> bool {
        panic!("there is nobody to wait for")
    }

    fn spawn(&self, _: &str, _: Box<dyn FnMut() -> Next + Send>) -> io::Result<Task> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn random(&self) -> u64 {
        7
    }
}

/// Nobody does anything by himself.
#[derive(Debug)]
struct Idle;

impl Peers for Idle {
    fn follower(&self, _: &Replica, broker: BrokerId) -> Arc<dyn Follower> {
        Arc::new(Way(broker))
    }

    fn synced(&self, _: &Replica) {}

    fn has_news(&self, _: &Arc<Replica>) -> bool {
        false
    }

    fn is_read(&self, _: &Replica) {}

    fn isr_is_outdated(&self, _: &Arc<Replica>) -> bool {
        false
    }

    fn watch_lag(&self, _: &Arc<Replica>, _: Moment) -> bool {
        false
    }

    fn heal(&self, _replica: &Replica) -> Vec<Damage> {
        Vec::new()
    }

    fn failed(&self, replica: &Replica) {
        panic!("nothing fails on broker {}", replica.broker());
    }
}

impl SyncScheduler for Idle {
    fn schedule(&self, _: Arc<Replica>) {}

    fn flushed(&self) {}

    fn truncating(&self, _: &TopicPartition, _: Offset) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Way(BrokerId);

impl Follower for Way {
    fn broker(&self) -> BrokerId {
        self.0
    }

    fn wake(&self) {}

    fn help(&self) {}
}

/// A broker with a replica.
pub(super) struct Member {
    disk: Disk,
    /// Counts its lives.
    pub(super) incarnation: u64,
    pub(super) is_alive: bool,
    pub(super) replica: Arc<Replica>,
}

/// A partition on brokers 0, 1 and 2.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) clock: Arc<Clock>,
    /// As the controller has it.
    pub(super) state: PartitionState,
}

pub(super) fn id(at: usize) -> BrokerId {
    BrokerId::new(i32::try_from(at).unwrap()).unwrap()
}

pub(super) fn index(broker: BrokerId) -> usize {
    usize::try_from(broker.value()).unwrap()
}

impl Group {
    /// All in sync, led by broker 0.
    pub(super) fn new(min_isr: usize) -> Self {
        let all = (0..3).map(id).collect::<Vec<_>>();
        let state = PartitionState {
            isr: all.clone(),
            min_isr,
            max_lag: MAX_LAG,
            replicas: all,
            ..PartitionState::alone(id(0), LeaderEpoch::ZERO)
        };
        let clock = Arc::<Clock>::default();
        let member = |at| {
            let disk = Disk::new();
            let log = open_log(&disk, Shutdown::Clean);
            let replica = replica(log, id(at), &state, &clock);
            Member { disk, incarnation: 1, is_alive: true, replica }
        };
        Self { members: (0..3).map(member).collect(), clock, state }
    }

    pub(super) fn replica(&self, at: usize) -> &Replica {
        &self.members[at].replica
    }

    pub(super) fn replica_if_alive(&self, at: usize) -> Option<&Replica> {
        self.members[at].is_alive.then(|| self.replica(at))
    }

    /// Those that may lead.
    pub(super) fn able(&self) -> Vec<BrokerId> {
        let isr = self.state.isr.iter().copied();
        isr.filter(|broker| self.members[index(*broker)].is_alive).collect()
    }

    /// Sends a record to the leader that the controller knows of, which writes it.
    pub(super) fn send(&self, value: &str, acks: Acks) -> Arc<Asker> {
        let mut builder = BatchBuilder::new(BytesMut::new());
        let value = Some(value.as_bytes());
        builder.append(&RecordFields { value, ..Default::default() }).unwrap();
        let batch = builder.close(&CloseOptions::default()).unwrap();
        let asker = Arc::new(Asker::default());
        let completion = Arc::clone(&asker) as _;
        let append = Append { batch, origin: AppendOrigin::Client, acks, completion };
        let leader = &self.members[index(self.state.leader.unwrap())].replica;
        match leader.enqueue(append) {
            Ok(()) => leader.drive(),
            Err(error) => Arc::clone(&asker).complete(Err(error.error.into())),
        }
        asker
    }

    /// The controller gives the partition another leader, and tells all.
    pub(super) fn lead(&mut self, at: usize) {
        self.elect(Some(id(at)));
        self.tell_all();
    }

    /// As [`Group::lead`], but nobody knows yet.
    pub(super) fn elect(&mut self, leader: Option<BrokerId>) {
        self.state.leader = leader;
        self.state.leader_epoch = LeaderEpoch::new(self.state.leader_epoch.value() + 1).unwrap();
        self.state.partition_epoch += 1;
    }

    /// The controller records who is in sync.
    pub(super) fn set_isr(&mut self, isr: &[usize]) {
        self.state.isr = isr.iter().copied().map(id).collect();
        self.state.partition_epoch += 1;
    }

    pub(super) fn tell(&self, at: usize) {
        if self.members[at].is_alive {
            self.replica(at).assume(self.state.clone());
        }
    }

    pub(super) fn tell_all(&self) {
        (0..3).for_each(|at| self.tell(at));
    }

    /// The leader that a replica knows of, if it is another and runs.
    pub(super) fn leader_of(&self, at: usize) -> Option<&Replica> {
        let leader = index(self.replica(at).led_by().0?);
        (leader != at && self.members[leader].is_alive).then(|| self.replica(leader))
    }

    /// A follower asks its leader. `None` if there is nothing to ask, or it is not answered.
    pub(super) fn ask(&self, at: usize, max_bytes: usize) -> Option<(FetchRequest, Served)> {
        if !self.members[at].is_alive {
            return None;
        }
        let request = self.replica(at).fetch_request(self.members[at].incarnation)?;
        let served = self.leader_of(at)?.serve(&request, max_bytes).ok()?;
        Some((request, served))
    }

    /// A follower takes a step, and its leader hears of it. `None` if there was nothing to do.
    pub(super) fn step(&self, at: usize) -> Option<Followed> {
        let (request, served) = self.ask(at, 1 << 20)?;
        let followed = self.take(at, &request, served)?;
        if let Followed::Copied(said) = followed {
            let _is_late = self.leader_of(at)?.heard(&said);
        }
        (followed != Followed::UpToDate).then_some(followed)
    }

    /// A follower takes what it is given. `None` if that came too late.
    pub(super) fn take(
        &self,
        at: usize,
        request: &FetchRequest,
        served: Served,
    ) -> Option<Followed> {
        match self.replica(at).follow(request, served) {
            Ok(followed) => Some(followed),
            Err(FollowError::Stale) => None,
            Err(error) => panic!("broker {at}: {error}"),
        }
    }

    /// What a follower has to say of itself.
    pub(super) fn said(&self, at: usize) -> Option<FollowerEnd> {
        let Member { replica, incarnation, is_alive, .. } = &self.members[at];
        replica.as_follower(*incarnation).filter(|_| *is_alive)
    }

    /// A replica syncs, and a follower says so.
    pub(super) fn sync(&self, at: usize) {
        self.replica(at).sync();
        if let (Some(said), Some(leader)) = (self.said(at), self.leader_of(at)) {
            let _is_late = leader.heard(&said);
        }
    }

    /// Followers copy and all sync until nothing more happens, in so many rounds.
    ///
    /// # Panics
    /// If that is not enough.
    pub(super) fn settle(&self) {
        for _ in 0..20 {
            let steps = (0..3).filter(|at| self.step(*at).is_some()).count();
            let syncs = (0..3).filter(|at| self.members[*at].is_alive);
            syncs.for_each(|at| self.sync(at));
            if steps == 0 {
                return;
            }
        }
        panic!("the followers do not come to rest");
    }

    /// What is in the log of a replica, with the leaders' epochs.
    pub(super) fn log(&self, at: usize) -> Vec<(i32, String)> {
        records(self.replica(at), self.replica(at).log().end())
    }

    /// The power of a broker's machine is cut.
    pub(super) fn crash(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.replica.abandon();
        member.disk.cut_power(PowerCut::LosesAll);
        member.is_alive = false;
        member.incarnation += 1;
        let next = member.incarnation;
        self.members.iter().for_each(|other| other.replica.forget_follower(id(at), next));
    }

    /// It is back, and knows as much of the partition as the controller.
    pub(super) fn restart(&mut self, at: usize) {
        let member = &mut self.members[at];
        let shutdown = Shutdown::Unclean { recovery_point: Offset::ZERO };
        let log = open_log(&member.disk, shutdown);
        member.replica = replica(log, id(at), &self.state, &self.clock);
        member.is_alive = true;
    }
}

fn replica(log: Log, broker: BrokerId, state: &PartitionState, clock: &Arc<Clock>) -> Arc<Replica> {
    Replica::new(OpenReplica {
        broker,
        log,
        topic_id: ID,
        state: state.clone(),
        high_watermark: Offset::ZERO,
        policy: FlushPolicy::OnAck,
        runtime: Arc::clone(clock) as _,
        syncer: Arc::new(Idle),
        peers: Arc::new(Idle),
    })
}

/// The records of a replica below an offset.
pub(super) fn records(replica: &Replica, upto: Offset) -> Vec<(i32, String)> {
    let mut records = Vec::new();
    while records.len() < usize::try_from(upto.value()).unwrap() {
        let next = Offset::new(records.len().try_into().unwrap()).unwrap();
        for batch in replica.log().read(next, 1 << 20, upto).unwrap().batches {
            let epoch = batch.header().leader_epoch().unwrap().value();
            for record in &batch.decode(&Limits::default()).unwrap() {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                records.push((epoch, value));
            }
        }
    }
    records
}
