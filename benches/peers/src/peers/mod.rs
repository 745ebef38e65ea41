//! One file per peer. To add a peer: write src/peers/<name>.rs implementing `Peer`, add one line to `peers!`.
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    Write,      // W1 W2 W3
    Concurrent, // W3b
    Fill,       // writes the data that READ and O1K open
    Read,       // opens existing data
    Tail,       // L1
}

pub struct Cfg {
    #[allow(dead_code)]
    pub value: usize,
    pub total: u64,
    pub role: Role,
    pub durable: bool, // configured so that `sync` (or every append, if the peer works so) is an fsync
}

#[derive(Debug)]
pub struct Unsupported(pub String);
impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Unsupported {}
pub fn na<T>(why: &str) -> Result<T> {
    Err(anyhow::anyhow!(Unsupported(why.into())))
}

pub type Durable = Arc<dyn Fn(&'static [u8]) -> Result<()> + Send + Sync>;
pub type Sink = Box<dyn FnMut(&[&[u8]]) -> Result<()> + Send>;
/// One poll: hands over whatever is there (it may block until something is).
pub type Source = Box<dyn FnMut(&mut dyn FnMut(&[u8])) -> Result<()> + Send>;

pub trait Peer: Send {
    /// One record, one call (W1). Offsets are implicit: 0, 1, 2, ...
    fn append(&mut self, v: &'static [u8]) -> Result<()>;
    fn append_batch(&mut self, vs: &[&'static [u8]]) -> Result<()> {
        vs.iter().try_for_each(|v| self.append(v))
    }
    /// Everything appended has left user space (or is acknowledged by the server) and is readable.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    /// Everything appended is on disk (fsync).
    fn sync(&mut self) -> Result<()>;
    /// From the first record on, in order; the callback returns false to stop.
    fn scan(&mut self, f: &mut dyn FnMut(&[u8]) -> bool) -> Result<()>;
    fn get(&mut self, _offset: u64, _f: &mut dyn FnMut(&[u8])) -> Result<()> {
        na("no read by offset")
    }
    /// A thread-safe "append one record and return once it is durable" with the peer's own group commit.
    fn durable(&self) -> Option<Durable> {
        None
    }
    fn split(self: Box<Self>) -> Result<(Sink, Source)> {
        na("no tailing")
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
    fn note(&self) -> String {
        String::new()
    }
}

macro_rules! peers {
    ($($(#[$cfg:meta])* $module:ident { $($name:literal => $open:expr),+ $(,)? })+) => {
        $($(#[$cfg])* mod $module;)+
        pub fn names() -> Vec<&'static str> {
            let mut v = Vec::new();
            $($(#[$cfg])* { $(v.push($name);)+ })+
            v
        }
        pub fn open(name: &str, dir: &Path, cfg: &Cfg) -> Result<Box<dyn Peer>> {
            $($(#[$cfg])* { $(if name == $name { return Ok(Box::new($open(dir, cfg)?)); })+ })+
            anyhow::bail!("unknown peer {name}; built with {:?}", names())
        }
    };
}

peers! {
    brooklet_ { "brooklet" => brooklet_::Brooklet::open, "brooklet3" => brooklet_::Brooklet::open3, "brooklet3x100" => brooklet_::Brooklet::open3x100, "brooklet3x100-new" => brooklet_::Brooklet::open3x100_new }
    raw { "raw" => raw::Raw::open }
    rawmmap { "raw-mmap" => rawmmap::RawMmap::open }
    #[cfg(feature = "kafko")]
    kafko_ { "kafko" => kafko_::Kafko_::open, "kafko-256k" => kafko_::Kafko_::open_256k }
    #[cfg(feature = "walrus")]
    walrus { "walrus" => walrus::WalrusP::open_mmap, "walrus-fd" => walrus::WalrusP::open_fd }
    #[cfg(feature = "commitlog")]
    commitlog_ { "commitlog" => commitlog_::Cl::open }
    #[cfg(feature = "seglog")]
    seglog_ { "seglog" => seglog_::Seg::open }
    #[cfg(feature = "raft-engine")]
    raftengine { "raft-engine" => raftengine::Re::open, "raft-engine-lz4" => raftengine::Re::open_lz4 }
    #[cfg(feature = "okaywal")]
    okaywal_ { "okaywal" => okaywal_::Ok_::open }
    #[cfg(feature = "fjall")]
    fjall_ { "fjall" => fjall_::Fj::open }
    #[cfg(feature = "redb")]
    redb_ { "redb" => redb_::Rd::open }
    #[cfg(feature = "yaque")]
    yaque_ { "yaque" => yaque_::Yq::open }
    #[cfg(feature = "rocksdb")]
    rocksdb_ { "rocksdb" => rocksdb_::Rk::open }
    #[cfg(feature = "nats")]
    nats { "nats" => nats::Nats::open }
    #[cfg(feature = "redis")]
    redis_ { "redis" => redis_::Redis::open }
}

pub fn raw_map(f: &std::fs::File, len: usize) -> Result<raw::Map> {
    raw::Map::new(f, len, false)
}
pub fn raw_map_mut(f: &std::fs::File, len: usize) -> Result<raw::Map> {
    raw::Map::new(f, len, true)
}
