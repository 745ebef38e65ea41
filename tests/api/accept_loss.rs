//! Damaged partitions in use: readers go on behind what is damaged, and a loss that is accepted lets writers go on.

use std::path::Path;

use brooklet::{Cluster, Consumer, ErrorKind, Offset, Partition, Record, SeekTo};

use super::{LONG, consumer, producer, send_all, topic};

fn offsets(range: std::ops::Range<u32>) -> std::ops::Range<Offset> {
    Offset::from(range.start)..Offset::from(range.end)
}

/// A store that was not closed, with ten batches in `email-0`, of which the one at 4 and the last two are damaged.
fn damaged(dir: &Path) {
    let cluster = Cluster::open(dir).unwrap();
    let email = topic(&cluster, 2);
    for value in 0..10 {
        let value = format!("value {value}");
        let record = Record::to(&email).partition(0).value(&value);
        producer(&cluster).send(record).unwrap().wait().unwrap();
    }
    drop(email);
    cluster.close().unwrap();
    std::fs::remove_file(dir.join(".kafka_cleanshutdown")).unwrap();
    let file = dir.join("email-0/00000000000000000000.log");
    let mut log = std::fs::read(&file).unwrap();
    let size = log.len() / 10;
    log[4 * size + 63] ^= 1;
    log.truncate(8 * size);
    std::fs::write(file, log).unwrap();
}

/// All values that a consumer gets who follows what the errors say, and the errors' offsets.
fn consume(consumer: &mut Consumer, partition: &Partition) -> (Vec<String>, Vec<[Offset; 2]>) {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    while consumer.position(partition).unwrap() < partition.watermarks().unwrap().high {
        match consumer.poll(LONG) {
            Ok(records) => values.extend(
                records.iter().map(|r| String::from_utf8(r.value().unwrap().to_vec()).unwrap()),
            ),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::CorruptMessage);
                let bad = error.unreadable_offsets().unwrap();
                assert!(error.to_string().contains(&format!("seek to {}", bad.end)), "{error}");
                consumer.seek(partition, SeekTo::Offset(bad.end)).unwrap();
                errors.push([bad.start, bad.end]);
            }
        }
    }
    (values, errors)
}

fn good() -> Vec<String> {
    [0, 1, 2, 3, 5, 6, 7].map(|value| format!("value {value}")).into()
}

#[test]
fn a_consumer_goes_on_where_the_error_says() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    let partition = email.partition(0).unwrap();
    let (values, errors) = consume(&mut consumer(&cluster, &email), &partition);
    assert_eq!(values, good());
    assert_eq!(errors, [[4, 5], [8, 10]].map(|range| range.map(Offset::from)));
    let error = partition.read(Offset::from(4), 1 << 20).unwrap_err();
    assert_eq!(error.unreadable_offsets(), Some(offsets(4..5)));
    assert_eq!(partition.read(Offset::from(99), 1).unwrap_err().unreadable_offsets(), None);
}

#[test]
fn a_partition_whose_loss_was_accepted_is_written_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    let partition = email.partition(0).unwrap();
    let mut reader = consumer(&cluster, &email);
    let send = || producer(&cluster).send(Record::to(&email).partition(0).value("new"))?.wait();
    let refused = send().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Storage);
    assert!(format!("{refused:?}").contains("accept_loss"), "{refused:?}");
    // Less than is damaged, and what is not damaged.
    for range in [offsets(0..9), offsets(0..4)] {
        assert_eq!(partition.accept_loss(range).unwrap_err().kind(), ErrorKind::InvalidState);
    }
    let lost = |range| {
        let lost = partition.accept_loss(range).unwrap();
        lost.into_iter().map(|damage| damage.offsets).collect::<Vec<_>>()
    };
    assert_eq!(lost(offsets(8..10)), [offsets(8..10)]);
    assert!(format!("{:?}", send().unwrap_err()).contains("4..5"));
    assert_eq!(lost(offsets(0..10)), [offsets(4..5)]);
    assert_eq!(partition.scrub().unwrap().damages, []);
    assert_eq!(send().unwrap().offset, Some(Offset::from(10)));
    let expected = [good(), vec!["new".to_owned()]].concat();
    assert_eq!(consume(&mut reader, &partition), (expected.clone(), vec![]));
    // What is missing is passed over, however little is read at once.
    for at in [4, 8, 9] {
        let records = partition.read(Offset::from(at), 1).unwrap();
        assert_eq!(
            records.iter().next().unwrap().offset(),
            Offset::from(if at == 4 { 5 } else { 10 })
        );
    }
    drop((reader, partition, email));
    cluster.close().unwrap();
    for unclean in [false, true] {
        if unclean {
            std::fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
        }
        let cluster = Cluster::open(dir.path()).unwrap();
        let email = cluster.topic("email").unwrap();
        let partition = email.partition(0).unwrap();
        let read = consume(&mut consumer(&cluster, &email), &partition);
        assert_eq!(read, (expected.clone(), vec![]));
        assert!(cluster.open_report().partitions.iter().all(|found| found.damage.is_none()));
        drop((partition, email));
        cluster.close().unwrap();
    }
}

/// Found while the partition is in use: nobody is stopped.
#[test]
fn a_loss_is_accepted_while_producers_and_consumers_are_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = topic(&cluster, 1);
    let partition = email.partition(0).unwrap();
    send_all(&producer(&cluster), &email, ["a", "b", "c"].repeat(5));
    drop((email, partition));
    cluster.close().unwrap();
    let file = dir.path().join("email-0/00000000000000000000.log");
    let mut log = std::fs::read(&file).unwrap();
    log[63] ^= 1;
    std::fs::write(file, log).unwrap();
    let cluster = Cluster::open(dir.path()).unwrap();
    let email = cluster.topic("email").unwrap();
    let partition = email.partition(0).unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let values = (0..300).map(|value| value.to_string());
            values.for_each(|value| send_all(&producer(&cluster), &email, [value]));
        });
        let lost = partition.accept_loss(partition.scrub().unwrap().damages[0].offsets.clone());
        assert_eq!(lost.unwrap()[0].offsets.start, Offset::ZERO);
        sending.join().unwrap();
    });
    let (values, errors) = consume(&mut consumer(&cluster, &email), &partition);
    let new = values.iter().filter_map(|value| value.parse::<u32>().ok());
    assert_eq!(new.collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    assert_eq!(errors, Vec::<[Offset; 2]>::new());
}
