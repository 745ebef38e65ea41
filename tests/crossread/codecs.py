"""Reads with kafka-python what brooklet wrote with each codec, and writes the same records in place of others.

    PYTHON=VENV/bin/python cargo test --test format another_implementation -- --ignored

The test runs this with a directory that holds `expected.json`, the records, and `data`, a store that was closed. In it

- every `ours-CODEC-0` must hold these records, compressed with that codec wherever that pays;
- every `theirs-CODEC-0` gets a segment with them, in batches that kafka-python compresses.
"""

import json
import struct
import sys
from pathlib import Path

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
BATCH = 23


def unhex(field):
    return None if field is None else bytes.fromhex(field)


def load(path):
    """(timestamp, key, value, headers) of each expected record."""
    return [
        (
            record["timestamp"],
            unhex(record["key"]),
            unhex(record["value"]),
            [(name, unhex(value)) for name, value in record["headers"]],
        )
        for record in json.loads(path.read_text())
    ]


def check(directory, codec, expected):
    """Compares a partition with the expected records; an AssertionError says what differs."""
    offset, codecs = 0, set()
    for segment in sorted(directory.glob("*.log")):
        assert int(segment.stem) == offset, f"{segment}: should begin at {offset}"
        batches = MemoryRecords(segment.read_bytes())
        for batch in batches:
            place = f"{segment}, batch at offset {batch.base_offset}"
            assert batch.validate_crc(), f"{place}: CRC does not match"
            codecs.add(batch.compression_type)
            first = offset
            for record in batch:
                found = (record.timestamp, record.key, record.value, record.headers)
                assert record.offset == offset, f"{place}: offset {record.offset}"
                assert found == expected[offset], f"{place}: {found} is not {expected[offset]}"
                offset += 1
            assert batch.next_offset == offset, f"{place}: last offset {batch.last_offset}"
            assert batch.max_timestamp == max(t for t, *_ in expected[first:offset]), place
        rest = batches.size_in_bytes() - batches.valid_bytes()
        assert rest == 0, f"{segment}: {rest} bytes behind the last batch"
    assert offset == len(expected), f"{directory}: {offset} records"
    assert CODECS.index(codec) in codecs, f"{directory}: compressed by {codecs}"


def write(directory, codec, records):
    """Replaces the partition's files by one segment with these records."""
    for path in directory.glob("0*"):
        path.unlink()
    (directory / "leader-epoch-checkpoint").unlink(missing_ok=True)
    log = bytearray()
    for base in range(0, len(records), BATCH):
        builder = MemoryRecordsBuilder(2, CODECS.index(codec), 1 << 20)
        for timestamp, key, value, headers in records[base : base + BATCH]:
            assert builder.append(timestamp, key, value, headers) is not None
        builder.close()
        batch = builder.buffer()
        struct.pack_into(">q", batch, 0, base)
        log += batch
    (directory / f"{0:020}.log").write_bytes(log)


def main():
    root = Path(sys.argv[1])
    expected = load(root / "expected.json")
    for codec in CODECS:
        check(root / "data" / f"ours-{codec}-0", codec, expected)
        write(root / "data" / f"theirs-{codec}-0", codec, expected)
    print(f"crossread: {len(CODECS)} times {len(expected):,} records equal, and as many written")


if __name__ == "__main__":
    main()
