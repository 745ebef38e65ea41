//! Groups of consumers in clusters whose brokers crash, stop, stall and lose sight of each other (suite T3).
//!
//! Method: as in [`replication`](crate::replication), with members that join, leave, stall and are removed while the
//! leaders of `__consumer_offsets` move, topics grow, and others are made anew. Who has which partition, what was handed
//! out and what was committed is written down and checked. In the end all is mended and members only poll: within bounded
//! time each partition must have its member, and everything must have been consumed and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brooklet::sim::history::{Recorder, Rules, check};
use brooklet::sim::{Disk, Joining, PowerCut, Sim, Simulation};
use brooklet::{
    Acks, Cluster, ConsumerGroup, Delivery, ElectionKind, GroupState, NewTopic, Offset,
    PartitionId, Record, TopicName, TopicPartition,
};

use crate::groups_member::{CALM, Member, OVER, STORM, Shared, is_recorded, value};
use crate::groups_plan::{Act, GroupPlan, Plan, Reads, Sender, TopicPlan};
use crate::replication::missing;
use crate::report::{Lived, full, run_seeds};

/// How long a cluster that was mended may take until all is as it should be.
const RECOVERY: Duration = Duration::from_secs(60);

/// Seeds that have found a bug, beyond those that are always run.
const FOUND_A_BUG: [u64; 9] = [44, 47, 90, 161, 252, 392, 449, 586, 696];

/// Goal: no partition has two owners, no record is skipped, no committed offset is lost, and all recovers by itself.
#[test]
fn groups_survive_what_happens_to_brokers_and_members() {
    let count = if full() { 100_000 } else { 40 };
    run_seeds("groups", count, &FOUND_A_BUG, live);
}

fn live(seed: u64) -> Lived {
    let recorder = Recorder::new();
    let plan = Plan::draw(seed);
    let (lived, planned) = (recorder.clone(), plan.clone());
    let simulate = || Simulation::new(seed).run(move |sim| World::open(planned, &lived).live(sim));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(simulate));
    let outcome = outcome.unwrap_or_else(|panic| {
        println!("{}", recorder.history());
        std::panic::resume_unwind(panic)
    });
    let history = recorder.history();
    let groups = plan.groups.iter();
    let rules =
        groups.fold(Rules::new().all_read(true), |rules, group| rules.all_delivered(&group.name));
    let report = check(&history, &rules);
    assert!(report.is_ok(), "{report}\n{plan:?}");
    Lived {
        trace: outcome.trace,
        ops: history.len() as u64,
        faults: outcome.value,
        records_checked: report.polled() as u64,
        acked: report.acknowledged() as u64,
    }
}

struct World {
    plan: Plan,
    recorder: Recorder,
    disks: BTreeMap<i32, Disk>,
    cluster: Cluster,
    shared: Arc<Shared>,
    faults: u64,
}

fn open(plan: &Plan, disks: &BTreeMap<i32, Disk>) -> Cluster {
    let builder = Cluster::builder()
        .config("replica.lag.time.max.ms", plan.max_lag.as_millis())
        .config("broker.session.timeout.ms", plan.broker_timeout.as_millis())
        .config("offsets.topic.num.partitions", plan.offsets_partitions)
        .config("offsets.topic.segment.bytes", plan.offsets_segment_bytes)
        .config("group.initial.rebalance.delay.ms", plan.initial_delay.as_millis())
        .config("group.min.session.timeout.ms", 100)
        .config("group.consumer.session.timeout.ms", plan.session_timeout.as_millis());
    let with_disks = disks.iter().fold(builder, |builder, (id, disk)| builder.broker_on(*id, disk));
    with_disks.open().unwrap()
}

impl World {
    fn open(plan: Plan, recorder: &Recorder) -> Self {
        let disks = (1..=plan.brokers).map(|id| (id, Disk::new())).collect();
        let cluster = open(&plan, &disks);
        let (recorder, shared) = (recorder.clone(), Arc::default());
        let world = Self { plan, recorder, disks, cluster, shared, faults: 0 };
        world.plan.topics.iter().for_each(|topic| world.create(&topic.name).unwrap());
        // An auto-commit may be of where a member began.
        let nobody = world.recorder.client("nobody");
        for group in &world.plan.groups {
            let all = (0..20).flat_map(|index| {
                let of = |topic: &TopicPlan| {
                    let name = TopicName::new(&topic.name).unwrap();
                    TopicPartition::new(name, PartitionId::new(index).unwrap())
                };
                world.plan.topics.iter().map(of).collect::<Vec<_>>()
            });
            let all = all.map(|partition| (partition, Offset::ZERO));
            drop(nobody.commit(&group.name, all));
        }
        world
    }

    fn create(&self, name: &str) -> brooklet::Result<()> {
        let plan = self.plan.topics.iter().find(|topic| topic.name == name).unwrap();
        let topic =
            NewTopic::new(name).partitions(plan.partitions).replication_factor(plan.replicas);
        self.cluster.create_topic(topic).map(drop)
    }

    /// Returns how many faults there were.
    fn live(mut self, sim: &Sim) -> u64 {
        let senders = self.begin_senders(sim);
        let members = self.begin_members(sim);
        let auditor = self.begin_auditor(sim);
        for (after, act) in self.plan.acts.clone() {
            sim.sleep(after);
            self.act(sim, &act);
        }
        self.mend(sim);
        self.shared.phase.store(CALM, Ordering::Relaxed);
        senders.into_iter().for_each(Joining::join);
        self.await_that(sim, "brokers", || missing(&self.cluster));
        self.await_that(sim, "groups", || self.unsettled());
        let values = self.read_all();
        self.check_given(&values);
        self.shared.phase.store(OVER, Ordering::Relaxed);
        self.await_that(sim, "members", || {
            let finished = self.shared.finished.load(Ordering::Relaxed);
            (finished < members.len() + 1).then(|| format!("{finished} have finished"))
        });
        members.into_iter().chain([auditor]).for_each(Joining::join);
        self.await_that(sim, "leaving", || self.inhabited());
        let faults = self.faults + self.shared.faults.load(Ordering::Relaxed);
        let Self { cluster, plan, disks, .. } = self;
        let committed = |cluster: &Cluster| {
            let groups = plan.groups.iter().map(|group| cluster.consumer_group(&group.name));
            groups.map(|group| group.committed_offsets().unwrap()).collect::<Vec<_>>()
        };
        let before = committed(&cluster);
        cluster.close().unwrap();
        let cluster = open(&plan, &disks);
        assert_eq!(committed(&cluster), before, "opened anew it is another");
        cluster.close().unwrap();
        faults
    }

    fn begin_senders(&self, sim: &Sim) -> Vec<Joining<()>> {
        let begin = |(number, sender): (u64, &Sender)| {
            let sending = Sending {
                sim: sim.clone(),
                cluster: self.cluster.clone(),
                recorder: self.recorder.clone(),
                shared: Arc::clone(&self.shared),
                topics: self.plan.topics.iter().map(|topic| topic.name.clone()).collect(),
                sender: sender.clone(),
            };
            sim.spawn(&sender.name, move || sending.run(number * 1_000_000))
        };
        (1..).zip(&self.plan.senders).map(begin).collect()
    }

    fn begin_members(&self, sim: &Sim) -> Vec<Joining<()>> {
        let members = self.plan.groups.iter().flat_map(|group| {
            group.members.iter().map(|plan| Member {
                sim: sim.clone(),
                cluster: self.cluster.clone(),
                recorder: self.recorder.clone(),
                shared: Arc::clone(&self.shared),
                group: group.name.clone(),
                protocol: group.protocol,
                plan: plan.clone(),
                session_timeout: self.plan.session_timeout,
            })
        });
        members.map(|member| sim.spawn(&member.plan.name.clone(), move || member.run())).collect()
    }

    /// Somebody who looks at what groups have committed.
    fn begin_auditor(&self, sim: &Sim) -> Joining<()> {
        let (sim, cluster, shared) = (sim.clone(), self.cluster.clone(), Arc::clone(&self.shared));
        let client = self.recorder.client("auditor");
        let groups = self.plan.groups.iter().map(|group| cluster.consumer_group(&group.name));
        let groups = groups.collect::<Vec<_>>();
        sim.clone().spawn("auditor", move || {
            while shared.phase() != OVER {
                sim.sleep(Duration::from_millis(sim.random() % 100));
                for group in &groups {
                    let all = partitions(&cluster).into_iter().filter(is_recorded);
                    let queries = all.map(|at| (client.committed(group.id(), &at), at));
                    let queries = queries.collect::<Vec<_>>();
                    if let Ok(committed) = group.committed_offsets() {
                        for (query, at) in queries {
                            query.ok(committed.get(&at).map(|next| next.offset()));
                        }
                    }
                    let _ = (group.lag(), cluster.consumer_groups());
                }
            }
            shared.finished.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn act(&mut self, sim: &Sim, act: &Act) {
        self.faults += 1;
        let broker = |id: &i32| self.cluster.broker(*id).unwrap();
        match act {
            Act::Crash(ids) => {
                let crashes = ids.iter().map(|id| {
                    let (broker, disk) = (broker(id), self.disks[id].clone());
                    let cut = match self.plan.loses_power {
                        true => PowerCut::Mixes(sim.random()),
                        false => PowerCut::KeepsAll,
                    };
                    sim.spawn("crash", move || {
                        broker.crash().unwrap();
                        disk.cut_power(cut);
                    })
                });
                crashes.collect::<Vec<_>>().into_iter().for_each(Joining::join);
            }
            Act::Stop(id) => _ = broker(id).stop(),
            Act::Start(id) => _ = broker(id).start(),
            Act::Disconnect(one, other) => broker(one).disconnect(&broker(other)),
            Act::Reconnect(one, other) => broker(one).reconnect(&broker(other)),
            Act::Pause(id) => broker(id).pause(),
            Act::SlowDown(id, delay) => broker(id).slow_down(*delay),
            Act::Resume(id) => broker(id).resume(),
            Act::ElectPreferred => {
                let names = self.plan.topics.iter().map(|topic| topic.name.as_str());
                for name in names.chain(["__consumer_offsets"]) {
                    let Ok(topic) = self.cluster.topic(name) else { continue };
                    for partition in topic.partitions() {
                        let _ = partition.elect_leader(ElectionKind::Preferred);
                    }
                }
            }
            Act::AddPartition(at) => {
                if let Ok(topic) = self.cluster.topic(&self.plan.topics[*at].name) {
                    let _ = topic.increase_partitions_to(topic.partition_count() + 1);
                }
            }
            Act::Recreate(at) => {
                let name = &self.plan.topics[*at].name;
                let _ = self.cluster.delete_topic(name);
                sim.sleep(Duration::from_millis(sim.random() % 50));
                let _ = self.create(name);
            }
            Act::RemoveMember(at) => {
                let group = self.cluster.consumer_group(&self.plan.groups[*at].name);
                let Ok(members) = group.members() else { return };
                if let Some(member) = members.get(sim.random() as usize % members.len().max(1)) {
                    self.shared.removed.lock().unwrap().insert(member.id.clone());
                    // Who has just looked is to have written down what he saw.
                    sim.sleep(Duration::from_millis(5));
                    let _ = group.remove_member(&member.id);
                }
            }
            Act::Rest => {}
        }
    }

    /// All that can be mended from outside is mended.
    fn mend(&self, sim: &Sim) {
        let mut brokers = self.cluster.brokers();
        for one in &brokers {
            one.resume();
            brokers.iter().for_each(|other| one.reconnect(other));
        }
        while !brokers.is_empty() {
            let before = brokers.len();
            let mut errors = Vec::new();
            brokers.retain(|broker| broker.start().map_err(|error| errors.push(error)).is_err());
            assert!(brokers.len() < before, "{errors:?}\n{:?}", self.plan);
        }
        let passing = self.plan.topics.iter().filter(|topic| topic.is_passing);
        for topic in passing {
            self.await_that(sim, "topic", || {
                let _ = self.create(&topic.name);
                self.cluster.topic(&topic.name).err().map(|error| error.to_string())
            });
        }
    }

    fn await_that(&self, sim: &Sim, what: &str, missing: impl Fn() -> Option<String>) {
        let deadline = sim.elapsed() + RECOVERY;
        while let Some(missing) = missing() {
            assert!(
                sim.elapsed() < deadline,
                "{what}: not well after {RECOVERY:?}: {missing}\n{:?}",
                self.plan
            );
            sim.sleep(Duration::from_millis(100));
        }
    }

    fn groups(&self) -> impl Iterator<Item = (&GroupPlan, ConsumerGroup)> {
        let groups = self.plan.groups.iter();
        groups.map(|plan| (plan, self.cluster.consumer_group(&plan.name)))
    }

    /// What is not as it should be, while members poll and nothing else happens.
    fn unsettled(&self) -> Option<String> {
        for (plan, group) in self.groups() {
            let described = match group.describe() {
                Ok(described) => described,
                Err(error) => return Some(format!("{}: {error}", plan.name)),
            };
            let mut wanted = partitions(&self.cluster);
            wanted.retain(|partition| {
                plan.members.iter().any(|member| match &member.reads {
                    Reads::Pattern(_) => true,
                    Reads::Names(names) => {
                        names.iter().any(|name| *name == *partition.topic.as_str())
                    }
                })
            });
            let members = described.members.iter();
            let owned = members.flat_map(|member| member.assigned.clone()).collect::<Vec<_>>();
            let owned_once = owned.iter().cloned().collect::<BTreeSet<_>>();
            let is_stable = described.state == GroupState::Stable
                && described.members.len() == plan.members.len()
                && owned.len() == owned_once.len()
                && owned_once == wanted;
            if !is_stable {
                return Some(format!("{described:?}, but {wanted:?} are wanted"));
            }
            match group.lag() {
                Ok(lag) if lag.total().records == 0 => {}
                lag => return Some(format!("{}: {lag:?} {described:?}", plan.name)),
            }
        }
        None
    }

    /// Groups whose members have not all left.
    fn inhabited(&self) -> Option<String> {
        let described = self.groups().map(|(_, group)| group.describe());
        let is_left = |state| matches!(state, GroupState::Empty | GroupState::Dead);
        described
            .map(|described| described.map_err(|error| error.to_string()))
            .find(|described| !described.as_ref().is_ok_and(|of| is_left(of.state)))
            .map(|described| format!("{described:?}"))
    }

    /// Reads every partition from beginning to end.
    fn read_all(&self) -> BTreeMap<TopicPartition, Vec<u64>> {
        let client = self.recorder.client("final");
        let mut seen = BTreeMap::new();
        for at in partitions(&self.cluster) {
            let topic = self.cluster.topic(at.topic.as_str()).unwrap();
            let partition = topic.partition(at.partition.into()).unwrap();
            let mut consumer = self.cluster.consumer().build().unwrap();
            consumer.assign([partition]).unwrap();
            if is_recorded(&at) {
                client.assign([(&at, Some(Offset::ZERO))]);
            }
            let values: &mut Vec<u64> = seen.entry(at.clone()).or_default();
            loop {
                let polling = is_recorded(&at).then(|| client.poll());
                let records = consumer.poll(Duration::ZERO);
                polling.into_iter().for_each(|polling| polling.end(&records, value));
                let records = records.unwrap();
                if records.is_empty() {
                    break;
                }
                values.extend(records.iter().map(|record| value(&record)));
            }
        }
        seen
    }

    /// Every record there is was handed out in each group that reads it.
    fn check_given(&self, values: &BTreeMap<TopicPartition, Vec<u64>>) {
        // Nobody is to wait for a real lock while others have their turn.
        let given = self.shared.given.lock().unwrap().clone();
        for (_, group) in self.groups() {
            for at in group.lag().unwrap().partitions.into_keys() {
                let of_group = given.get(group.id());
                let is_given = |value: &&u64| of_group.is_some_and(|given| given.contains(value));
                let missed = values[&at].iter().filter(|value| !is_given(value));
                let missed = missed.collect::<Vec<_>>();
                assert!(missed.is_empty(), "{}: {at}: {missed:?}\n{:?}", group.id(), self.plan);
            }
        }
    }
}

/// All that there are, but for the cluster's own.
fn partitions(cluster: &Cluster) -> BTreeSet<TopicPartition> {
    let names = cluster.topics().unwrap_or_default().into_iter();
    let names = names.filter(|name| !name.as_str().starts_with("__"));
    let topics = names.filter_map(|name| cluster.topic(name.as_str()).ok());
    let all = topics.flat_map(|topic| topic.partitions());
    all.map(|partition| partition.topic_partition().clone()).collect()
}

/// One who sends until all calms down.
struct Sending {
    sim: Sim,
    cluster: Cluster,
    recorder: Recorder,
    shared: Arc<Shared>,
    topics: Vec<String>,
    sender: Sender,
}

impl Sending {
    fn run(self, first: u64) {
        let Self { sim, cluster, recorder, shared, topics, sender } = self;
        let client = recorder.client(&sender.name);
        let patience = Duration::from_secs(10);
        let producer =
            cluster.producer().acks(Acks::All).batch_size(300).delivery_timeout(patience);
        let producer = producer.build().unwrap();
        let mut on_their_way = Vec::new();
        for value in first..first + sender.records {
            if shared.phase() != STORM {
                break;
            }
            let Ok(topic) = cluster.topic(&topics[sim.random() as usize % topics.len()]) else {
                continue;
            };
            let partition = sim.random() as u32 % topic.partition_count();
            let is_recorded = topic.name().as_str().starts_with("topic");
            let sending = is_recorded.then(|| client.send(value));
            let value = value.to_be_bytes();
            let record = Record::to(topic.name().as_str()).partition(partition).value(&value);
            match (producer.send(record), sending) {
                (Ok(delivery), Some(sending)) => on_their_way.push((sending, delivery)),
                (Err(error), Some(sending)) => sending.end(&Err(error)),
                // Whoever waited for it would not know which life of the topic it went to.
                (_, None) => {}
            }
            match sim.random() % 4 {
                0 => on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&sent.wait())),
                _ => sim.sleep(sender.pause * (sim.random() % 4) as u32),
            }
        }
        on_their_way.drain(..).for_each(|(sending, sent)| sending.end(&Delivery::wait(sent)));
    }
}
