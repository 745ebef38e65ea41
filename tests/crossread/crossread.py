"""Reads with kafka-python what the flights example wrote, and compares it with the CSV file.

    cargo run --release --example flights -- [CSV] --data DIR
    python3 -m venv VENV && VENV/bin/pip install -r tests/crossread/requirements.txt
    VENV/bin/python tests/crossread/crossread.py DIR [CSV]

kafka-python has its own code for batches, records, checksums and the partitioner. With it:

- the length and CRC-32C of every batch are right, up to the last byte of every segment;
- the offsets of every partition count from 0 without a gap;
- every row of the file is there once, with its line, key and timestamp, and nothing else is;
- a row with a key is in the partition where Kafka's partitioner puts it, in the order of time;
- rows without a key are in the order of time within each partition.
"""

import argparse
import csv
import gzip
import sys
from collections import Counter, defaultdict
from datetime import datetime, timezone
from pathlib import Path

from kafka.partitioner.default import murmur2
from kafka.record.memory_records import MemoryRecords

SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "flights-sample.csv"
PARTITIONS = 6


def expected_records(path):
    """(timestamp, key, value) of each row as the example sends it: in the order of time."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        lines = file.read().splitlines()
    rows = []
    for line, row in zip(lines[1:], csv.DictReader(lines), strict=True):
        hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ")
        timestamp = int(hour.replace(tzinfo=timezone.utc).timestamp()) * 1000
        key = None if row["tailnum"] == "NA" else row["tailnum"].encode()
        rows.append((timestamp, key, line.encode()))
    rows.sort(key=lambda row: row[0])
    return rows


def stored_records(directory):
    """(timestamp, key, value) of each record of a partition; an AssertionError says what is wrong."""
    records = []
    for segment in sorted(directory.glob("*.log")):
        assert int(segment.stem) == len(records), f"{segment}: should begin at {len(records)}"
        batches = MemoryRecords(segment.read_bytes())
        for batch in batches:
            place = f"{segment}, batch at offset {batch.base_offset}"
            assert batch.magic == 2, f"{place}: magic {batch.magic}"
            assert batch.validate_crc(), f"{place}: CRC does not match"
            for record in batch:
                assert record.offset == len(records), f"{place}: offset {record.offset}"
                assert record.headers == [], f"{place}: headers {record.headers}"
                records.append((record.timestamp, record.key, record.value))
            assert batch.next_offset == len(records), f"{place}: last offset {batch.last_offset}"
            assert batch.max_timestamp == max(t for t, _, _ in records[batch.base_offset :]), place
        rest = batches.size_in_bytes() - batches.valid_bytes()
        assert rest == 0, f"{segment}: {rest} bytes behind the last batch"
    return records


def compare(expected, stored):
    """Number of stored records that are as expected; prints the first difference of each kind."""
    keyed = defaultdict(list)
    for row in expected:
        if row[1] is not None:
            keyed[(murmur2(row[1]) & 0x7FFFFFFF) % PARTITIONS].append(row)
    keyless = Counter(row for row in expected if row[1] is None)

    equal = 0
    for partition, records in stored.items():
        ours = [record for record in records if record[1] is not None]
        same = sum(a == b for a, b in zip(keyed[partition], ours))
        if not same == len(ours) == len(keyed[partition]):
            first = next((pair for pair in zip(keyed[partition], ours) if pair[0] != pair[1]), "length")
            print(f"flights-{partition}: {same} of {len(keyed[partition])} keyed records: {first}")
        equal += same

        times = [timestamp for timestamp, key, _ in records if key is None]
        if times != sorted(times):
            sys.exit(f"flights-{partition}: records without a key are out of order")

    found = Counter(record for records in stored.values() for record in records if record[1] is None)
    for missing in (keyless - found, found - keyless):
        if missing:
            print(f"{missing.total()} records without a key are missing or too many: {next(iter(missing))}")
    return equal + (keyless & found).total()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="directory that the flights example wrote")
    parser.add_argument("csv", type=Path, nargs="?", default=SAMPLE, help="the file it read")
    args = parser.parse_args()

    expected = expected_records(args.csv)
    directories = {p: args.data / f"flights-{p}" for p in range(PARTITIONS)}
    if set(args.data.glob("flights-*")) != set(directories.values()):
        sys.exit(f"{args.data} does not have {PARTITIONS} partitions of flights")
    stored = {p: stored_records(directory) for p, directory in directories.items()}

    total = sum(map(len, stored.values()))
    equal = compare(expected, stored)
    print(f"crossread: {equal:,} of {len(expected):,} records equal")
    if not equal == total == len(expected):
        sys.exit(f"crossread: {total:,} records are stored")


if __name__ == "__main__":
    main()
