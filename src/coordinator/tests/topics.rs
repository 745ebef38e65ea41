//! Which topics groups see.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::cluster::CreateTopic;
use crate::env::{Baton, Failure};

/// Method: under many seeds, threads ask two shards while topics are created, so that the latest are the most.
#[test]
fn no_group_sees_topics_that_are_older_than_those_that_it_has_seen() {
    for seed in 0..200 {
        match Baton::run(seed, look_while_topics_are_created) {
            Ok(_) => {}
            Err(Failure::Stuck(why)) => panic!("seed {seed}: {why}"),
            Err(Failure::Panicked(panic)) => {
                println!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn look_while_topics_are_created(baton: &Arc<Baton>) {
    let settings = [("offsets.topic.num.partitions", "2")];
    let core = open_all(&[Disk::new()], &settings, crate::env::runtime(None));
    let groups = coordinator(&core);
    core.internal_topic_or_create(InternalTopic::ConsumerOffsets).unwrap();
    let most = [0; 2].map(AtomicUsize::new).map(Arc::new);
    let looking = (0..4).map(|n| {
        let (core, groups) = (Arc::clone(&core), Arc::clone(&groups));
        let most = Arc::clone(&most[n % 2]);
        let shard = groups.shard(PartitionId::new(i32::try_from(n % 2).unwrap()).unwrap());
        let look = move || {
            let topic = core.internal_topic(InternalTopic::ConsumerOffsets).unwrap();
            for _ in 0..6 {
                let looked = groups.ask(&core, &topic, &shard, |_, world, _| {
                    // With the lock of the shard held.
                    let seen = most.swap(world.topics.len(), Ordering::Relaxed);
                    assert!(seen <= world.topics.len(), "{seen} were seen");
                    Ok(())
                });
                looked.unwrap();
            }
        };
        baton.spawn_user("looks", look).unwrap()
    });
    let looking = looking.collect::<Vec<_>>();
    for n in 0..4 {
        let create = CreateTopic { name: format!("email-{n}"), ..CreateTopic::default() };
        core.create_topic(create).unwrap();
    }
    looking.into_iter().for_each(|looks| looks.join());
    core.close().unwrap();
}
