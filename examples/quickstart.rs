//! Create a topic, send a few records, read them back: `cargo run --release --example quickstart`

use std::time::Duration;

use brooklet::{Cluster, NewTopic, Record};

fn main() -> brooklet::Result<()> {
    // A broker and its topics, in this process. `Cluster::open("./data")` keeps them in a directory.
    let cluster = Cluster::temp()?;
    let email = cluster.create_topic_if_missing(NewTopic::new("email").partitions(3))?;

    // Producers are cheap to clone and usable from any thread. Equal keys go to the same partition, in order.
    let producer = cluster.producer().build()?;
    for (user, text) in [("ann", "welcome"), ("bob", "welcome"), ("ann", "your invoice")] {
        let delivery = producer.send(Record::to(&email).key(user).value(text))?;
        println!("sent      {}", delivery.wait()?); // on disk now; async code writes `delivery.await?`
    }

    // A consumer reads the partitions that it is assigned, from the beginning.
    let mut consumer = cluster.consumer().build()?;
    consumer.assign(email.partitions())?;
    let mut received = 0;
    while received < 3 {
        for record in &consumer.poll(Duration::from_secs(1))? {
            let [key, value] = [record.key(), record.value()]
                .map(|b| String::from_utf8_lossy(b.unwrap_or_default()));
            println!("received  {}@{}  {key}: {value}", record.topic_partition(), record.offset());
            received += 1;
        }
    }
    cluster.close()
}
