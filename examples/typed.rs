//! Orders by type, as JSON; what is no order is put aside: `cargo run --release --example typed`

use std::time::Duration;

use brooklet::{Cluster, Json, NewTopic, Record};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    quantity: u32,
}

fn main() -> brooklet::Result<()> {
    let cluster = Cluster::temp()?;
    let dead_letters = cluster.create_topic(NewTopic::new("orders.dead"))?;
    let orders = cluster.create_topic(NewTopic::new("orders"))?;
    let orders = orders.typed::<String, Order>().values(Json); // keys are text, as they would be anyway

    let producer = cluster.producer().build()?;
    for (customer, quantity, item) in [("ann", 2, "cups"), ("bob", 6, "plates")] {
        let order = Order { item: item.into(), quantity };
        producer.send(&orders.record(customer, &order)?)?;
    }
    // To the log all values are bytes, and anybody may write some.
    producer.send(Record::to("orders").key("eve").value("six plates, please"))?;
    producer.flush()?;

    let mut consumer = cluster.consumer().build()?;
    consumer.assign(orders.topic().partitions())?;
    for order in orders.read(&consumer.poll(Duration::from_secs(1))?) {
        match order {
            Ok(order) => {
                println!("{} wants {} {}", order.key, order.value.quantity, order.value.item)
            }
            // The error knows the record, so that it can be kept as it is for somebody to look at.
            Err(error) => {
                let why = error.to_string();
                let record = error.record().forward_to(&dead_letters).header("error", &why);
                println!("{} holds what is no order: {why}", producer.send(record)?.wait()?);
            }
        }
    }
    cluster.close()
}
