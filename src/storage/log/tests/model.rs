//! A log against a `Vec`.

use proptest::prelude::*;

use super::indexes::assert_live_indexes_equal_rebuilt_ones;
use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// Batches of records, each a timestamp and a size.
    Append(Vec<Vec<(i64, usize)>>),
    TruncateTo(prop::sample::Index),
    Read {
        from: prop::sample::Index,
        max_bytes: usize,
        upto: prop::sample::Index,
    },
    Sync,
    Checkpoint,
    /// Closed or not, then opened with some of the derived files gone.
    Reopen {
        clean: bool,
        missing: Missing,
    },
}

/// Which derived files are removed: a bit for each, by turns.
#[derive(Clone, Debug)]
struct Missing {
    indexes: u32,
    epochs: bool,
    metadata: bool,
}

fn any_op() -> impl Strategy<Value = Op> {
    let record = (
        prop_oneof![4 => 0..1000i64, 1 => Just(-1)],
        prop_oneof![8 => 0..40usize, 1 => 40..400usize],
    );
    let batches = prop::collection::vec(prop::collection::vec(record, 1..6), 1..6);
    let missing =
        (prop_oneof![2 => Just(0), 1 => any::<u32>()], prop::bool::weighted(0.2), any::<bool>());
    let reopen = (any::<bool>(), missing).prop_map(|(clean, (indexes, epochs, metadata))| {
        Op::Reopen { clean, missing: Missing { indexes, epochs, metadata } }
    });
    let read = (any::<prop::sample::Index>(), 0..3000usize, any::<prop::sample::Index>())
        .prop_map(|(from, max_bytes, upto)| Op::Read { from, max_bytes, upto });
    prop_oneof![
        8 => batches.prop_map(Op::Append),
        2 => any::<prop::sample::Index>().prop_map(Op::TruncateTo),
        4 => read,
        2 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        2 => reopen,
    ]
}

#[derive(Clone, Debug)]
struct Setup {
    segment_bytes: u32,
    index_interval_bytes: u32,
    segment_index_bytes: u32,
    cache_bytes: usize,
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let index_bytes = prop_oneof![3 => Just(10 << 20), 1 => 24..200u32];
    let cache_bytes = prop_oneof![Just(0), Just(1000), Just(1 << 20)];
    (1000..4000u32, 0..500u32, index_bytes, cache_bytes).prop_map(
        |(segment_bytes, index_interval_bytes, segment_index_bytes, cache_bytes)| Setup {
            segment_bytes,
            index_interval_bytes,
            segment_index_bytes,
            cache_bytes,
        },
    )
}

/// A log, and the batches that it should hold.
struct Checked {
    place: Place,
    log: Log,
    model: Vec<Vec<Seen>>,
    records: usize,
}

impl Checked {
    fn new(mut place: Place, setup: &Setup) -> Self {
        place.config.segment_bytes = setup.segment_bytes;
        place.config.index_interval_bytes = setup.index_interval_bytes;
        place.config.segment_index_bytes = setup.segment_index_bytes;
        place.cache_bytes = setup.cache_bytes;
        let log = place.open();
        Self { place, log, model: Vec::new(), records: 0 }
    }

    fn end(&self) -> i64 {
        self.model.last().and_then(|batch| batch.last()).map_or(0, |record| record.offset + 1)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(batches) => self.append(batches),
            Op::TruncateTo(at) => {
                let to = at.index(self.end() as usize + 2) as i64;
                self.log.truncate_to(offset(to)).unwrap();
                self.model.retain(|batch| batch.last().unwrap().offset < to);
            }
            Op::Read { from, max_bytes, upto } => self.read(from, *max_bytes, upto),
            Op::Sync => assert_eq!(self.log.sync().unwrap(), self.log.end()),
            Op::Checkpoint => assert_eq!(self.log.checkpoint().unwrap(), self.log.flushed()),
            Op::Reopen { clean, missing } => self.reopen(*clean, missing),
        }
        assert!(self.log.flushed() <= self.log.end() && !self.log.is_offline());
        assert_eq!(self.log.end().value(), self.end());
    }

    fn append(&mut self, batches: &[Vec<(i64, usize)>]) {
        let mut encoded_batches = Vec::new();
        let mut next = self.end();
        for records in batches {
            let mut content = Vec::new();
            let mut expected = Vec::new();
            for (timestamp, size) in records {
                self.records += 1;
                let mut value = self.records.to_be_bytes().to_vec();
                value.resize(8 + size, b'.');
                content.push((*timestamp, value.clone()));
                let timestamp = Some(*timestamp).filter(|t| *t >= 0);
                expected.push(Seen { offset: next, timestamp, value });
                next += 1;
            }
            let batch = encoded(&content);
            if batch.size() as u64 > u64::from(self.place.config.segment_bytes) {
                next -= records.len() as i64;
                continue;
            }
            encoded_batches.push(batch);
            self.model.push(expected);
        }
        for result in self.log.append_as_client(encoded_batches, epoch(self.records as i32 / 50)) {
            result.unwrap();
        }
    }

    fn read(&self, from: &prop::sample::Index, max_bytes: usize, upto: &prop::sample::Index) {
        let end = self.end();
        let (from, upto) =
            (from.index(end as usize + 1) as i64, upto.index(end as usize + 1) as i64);
        let fetched = self.log.read(offset(from), max_bytes, offset(upto)).unwrap();
        let first = self.model.iter().position(|batch| batch.last().unwrap().offset >= from);
        let fits = self.model[first.unwrap_or(self.model.len())..]
            .iter()
            .take_while(|batch| batch.last().unwrap().offset < upto)
            .take(fetched.batches.len());
        assert_eq!(seen(&fetched.batches), fits.flatten().cloned().collect::<Vec<_>>());
        let sizes = fetched.batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
        assert!(fetched.batches.len() <= 1 || sizes <= max_bytes);
        if fetched.batches.is_empty() && from < upto {
            let holder = &self.model[first.unwrap()];
            assert!(
                holder.last().unwrap().offset >= upto,
                "nothing at {from} below {upto} of {end}"
            );
        }
    }

    fn reopen(&mut self, clean: bool, missing: &Missing) {
        if clean {
            self.log.close().unwrap();
            // A26
            let image = self.place.image();
            self.log = self.place.open();
            self.log.close().unwrap();
            let names =
                |image: &BTreeMap<String, Vec<u8>>| image.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&self.place.image()), names(&image));
            assert_eq!(self.place.image(), image);
        }
        let indexes = self.place.names("index");
        let turns =
            indexes.iter().enumerate().filter(|(at, _)| missing.indexes >> (at % 32) & 1 == 1);
        let mut gone = turns.map(|(_, name)| name.as_str()).collect::<Vec<_>>();
        gone.extend(missing.epochs.then_some("leader-epoch-checkpoint"));
        gone.extend(missing.metadata.then_some("partition.metadata"));
        for name in gone {
            if self.place.read(name).is_some() {
                self.place.remove(name);
            }
        }
        self.log = match clean {
            true => self.place.open(),
            false => self.place.recover(self.log.flushed().value()).0,
        };
    }

    /// All of the log, and of its indexes.
    fn check(&self, max_bytes: usize) {
        let all = self.model.concat();
        assert_eq!(read_from(&self.log, Offset::ZERO, max_bytes).unwrap(), all);
        for time in (0..1001).step_by(77) {
            let timestamp = Timestamp::from_millis(time).unwrap();
            let found =
                self.log.find_timestamp(timestamp, self.log.end(), &Limits::default()).unwrap();
            let expected = all.iter().find(|record| record.timestamp.is_some_and(|t| t >= time));
            assert_eq!(
                found.map(|found| (found.offset.value(), found.timestamp.as_millis())),
                expected.map(|record| (record.offset, record.timestamp.unwrap()))
            );
        }
        assert_live_indexes_equal_rebuilt_ones(&self.log, &self.place);
    }
}

fn log_matches_a_vec(place: Place, setup: &Setup, ops: &[Op]) {
    let mut checked = Checked::new(place, setup);
    for (at, op) in ops.iter().enumerate() {
        checked.apply(op);
        if at % 4 == 0 || matches!(op, Op::TruncateTo(_) | Op::Reopen { .. }) {
            checked.check(1 << (at % 13));
        }
    }
    checked.check(1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any operations, reopening included, the log holds what a `Vec` would, and its indexes what is to be in
    /// them (B5).
    #[test]
    fn a_log_in_memory_matches_a_vec(setup in any_setup(), ops in prop::collection::vec(any_op(), 1..60)) {
        log_matches_a_vec(Place::in_memory(1000, 100), &setup, &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mapped_log_matches_a_vec(setup in any_setup(), ops in prop::collection::vec(any_op(), 1..40)) {
        log_matches_a_vec(Place::on_disk(ReadMode::Map, 1000, 100), &setup, &ops);
    }

    #[test]
    fn a_log_that_is_read_by_calls_matches_a_vec(setup in any_setup(), ops in prop::collection::vec(any_op(), 1..40)) {
        log_matches_a_vec(Place::on_disk(ReadMode::Pread, 1000, 100), &setup, &ops);
    }
}
