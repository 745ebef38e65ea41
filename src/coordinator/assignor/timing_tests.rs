use super::*;
use crate::base::{TopicId, TopicName};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn members(n: usize, skip: Option<usize>, sub: impl Fn(usize) -> Arc<[u32]>) -> Vec<MemberSpec> {
    (0..n)
        .filter(|i| Some(*i) != skip)
        .map(|i| MemberSpec {
            id: format!("m{i:05}").into(),
            instance_id: None,
            rack: None,
            subscription: sub(i),
        })
        .collect()
}

fn best(mut f: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<_> = (0..31).map(|_| f()).collect();
    all.sort();
    println!("      min {:?} median {:?}", all[0], all[15]);
    all[15]
}

fn measure(
    what: &str,
    topics: &Arc<[TopicSpec]>,
    members: &[MemberSpec],
    previous: &[Option<u32>],
) -> Vec<Option<u32>> {
    let mut result = Vec::new();
    for a in
        [&UniformAssignor as &dyn Assignor, &StickyAssignor, &RangeAssignor, &RoundRobinAssignor]
            .into_iter()
            .rev()
    {
        println!("{what} {a:?}");
        best(|| {
            let (m, p) = (members.to_vec(), previous.to_vec());
            let t = Instant::now();
            let g = GroupSpec::new(Arc::clone(topics), m, p);
            let made = t.elapsed();
            let r = a.assign(&g);
            let all = t.elapsed();
            result = r.owners().to_vec();
            let _ = made;
            all
        });
        best(|| {
            let (m, p) = (members.to_vec(), previous.to_vec());
            let g = GroupSpec::new(Arc::clone(topics), m, p);
            let t = Instant::now();
            let r = a.assign(&g);
            let all = t.elapsed();
            drop(r);
            all
        });
    }
    result
}

#[test]
fn timing() {
    for (count, each) in [(1u32, 10_000u32), (10, 1000), (10_000, 1)] {
        let topics: Arc<[TopicSpec]> = (0..count)
            .map(|i| TopicSpec {
                id: TopicId::from_bytes([0; 16]),
                name: TopicName::new(&format!("t{i:05}")).unwrap(),
                partitions: each,
            })
            .collect();
        let all: Arc<[u32]> = (0..count).collect();
        println!("==== {count} topics of {each}");
        let fresh = measure("fresh", &topics, &members(1000, None, |_| all.clone()), &[]);
        let joined = measure("join", &topics, &members(1001, None, |_| all.clone()), &fresh);
        let _ = measure("same", &topics, &members(1001, None, |_| all.clone()), &joined);
        let left: Vec<_> = fresh
            .iter()
            .map(|o| {
                o.and_then(|o| {
                    if o == 500 {
                        None
                    } else if o > 500 {
                        Some(o - 1)
                    } else {
                        Some(o)
                    }
                })
            })
            .collect();
        measure("leave", &topics, &members(1000, Some(500), |_| all.clone()), &left);
        if count == 10 {
            println!("---- subscriptions of 3 of 10");
            let sub = |i: usize| -> Arc<[u32]> {
                let mut v: Vec<u32> =
                    [i, i / 10, i / 100 + 3].iter().map(|x| (*x % 10) as u32).collect();
                v.sort();
                v.dedup();
                v.into()
            };
            let fresh = measure("fresh", &topics, &members(1000, None, sub), &[]);
            measure("join", &topics, &members(1001, None, sub), &fresh);
            measure("leave", &topics, &members(1000, Some(500), sub), &left);
            let mut bad = fresh.clone();
            bad.iter_mut().for_each(|o| *o = o.map(|o| o % 7));
            measure("bad", &topics, &members(1000, None, sub), &bad);
        }
    }
}
