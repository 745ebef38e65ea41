//! brooklet: policy `os` for W1, W2, READ and L1, `on-ack` for W3 and W3b. One topic, one partition; or on three brokers
//! in directories beside each other, replicated with factor 3 and `acks=all`, in 1 or 100 partitions; the
//! 100 exist when the clock starts, or are made while it runs.
use super::*;
use brooklet::{Cluster, Consumer, FlushPolicy, NewTopic, Producer, Record, Topic};
use std::time::Duration;

pub struct Brooklet {
    cluster: Cluster,
    topic: Topic,
    producer: Producer,
}

impl Brooklet {
    pub fn open(dir: &Path, cfg: &Cfg) -> Result<Self> {
        let policy = if cfg.durable { FlushPolicy::OnAck } else { FlushPolicy::Os };
        let cluster = Cluster::builder().flush_policy(policy).open_at(dir.join("data"))?;
        Self::with(cluster, NewTopic::new("t"))
    }
    pub fn open3(dir: &Path, cfg: &Cfg) -> Result<Self> {
        Self::replicated(dir, cfg, 1)
    }
    pub fn open3x100_new(dir: &Path, cfg: &Cfg) -> Result<Self> {
        Self::replicated(dir, cfg, 100)
    }
    /// Its partitions have one record each.
    pub fn open3x100(dir: &Path, cfg: &Cfg) -> Result<Self> {
        let peer = Self::replicated(dir, cfg, 100)?;
        for id in 0..100 {
            peer.producer.send(Record::to(&peer.topic).partition(id).value("first"))?.wait()?;
        }
        Ok(peer)
    }
    fn replicated(dir: &Path, cfg: &Cfg, partitions: u32) -> Result<Self> {
        let policy = if cfg.durable { FlushPolicy::OnAck } else { FlushPolicy::Os };
        let mut builder = Cluster::builder().flush_policy(policy);
        for id in 1..=3 {
            builder = builder.broker(id, dir.join(format!("data{id}")));
        }
        Self::with(builder.open()?, NewTopic::new("t").partitions(partitions).replication_factor(3))
    }
    fn with(cluster: Cluster, topic: NewTopic) -> Result<Self> {
        let topic = cluster.create_topic_if_missing(topic)?;
        let producer = cluster.producer().build()?;
        Ok(Self { cluster, topic, producer })
    }
    fn consumer(&self) -> Result<Consumer> {
        let mut consumer = self.cluster.consumer().build()?;
        consumer.assign(self.topic.partitions())?;
        Ok(consumer)
    }
}

impl Peer for Brooklet {
    fn append(&mut self, v: &'static [u8]) -> Result<()> {
        let _ = self.producer.send(Record::to(&self.topic).value(v))?;
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(self.producer.flush()?)
    }
    fn sync(&mut self) -> Result<()> {
        self.producer.flush()?; // under `on-ack` this waits for the sync
        Ok(())
    }
    fn scan(&mut self, f: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        let mut consumer = self.consumer()?;
        loop {
            let records = consumer.poll(Duration::ZERO)?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                if !f(record.value().unwrap()) {
                    return Ok(());
                }
            }
        }
    }
    fn get(&mut self, off: u64, f: &mut dyn FnMut(&[u8])) -> Result<()> {
        let partition = self.topic.partition(0)?;
        let records = partition.read(brooklet::Offset::from(off as u32), 1)?;
        f(records.iter().next().unwrap().value().unwrap());
        Ok(())
    }
    fn durable(&self) -> Option<Durable> {
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        Some(Arc::new(move |v| {
            producer.send(Record::to(&topic).value(v))?.wait()?;
            Ok(())
        }))
    }
    fn split(self: Box<Self>) -> Result<(Sink, Source)> {
        let mut consumer = self.consumer()?;
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let sink: Sink = Box::new(move |vs| {
            for v in vs {
                let _ = producer.send(Record::to(&topic).value(v))?;
            }
            Ok(())
        });
        let source: Source = Box::new(move |f| {
            for record in &consumer.poll(Duration::from_millis(100))? {
                f(record.value().unwrap());
            }
            Ok(())
        });
        Ok((sink, source))
    }
    fn close(self: Box<Self>) -> Result<()> {
        drop(self.producer);
        drop(self.topic);
        Ok(self.cluster.close()?)
    }
    fn note(&self) -> String {
        "defaults but the policy: os, or on-ack for W3 and W3b".into()
    }
}
