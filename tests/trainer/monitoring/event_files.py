"""Reads what the trackers wrote: TensorBoard's event files with TensorBoard, files of Weights & Biases record by record."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

BLOCK, BEGINNING = 32 * 1024, 7
"""Bytes of a block of a log of LevelDB, and of the header of such a file of Weights & Biases."""


def events_in(folder: Path) -> EventAccumulator:
    """What TensorBoard shows of a folder."""
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def scalars_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each scalar, by its tag."""
    events = events_in(folder)
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def history_in(file: Path) -> dict[str, list[tuple[int, Any]]]:
    """Step and value of everything that was logged to an offline run of Weights & Biases."""
    from wandb.proto import wandb_internal_pb2

    logged: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        for item in record.history.item:
            key = item.key or ".".join(item.nested_key)
            logged[key].append((record.history.step.num, json.loads(item.value_json)))
    return logged


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB; each part has a checksum (4 bytes), a length (2) and a type (1)."""
    position, parts = BEGINNING, b""
    while position + 7 <= len(content):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        # 1: a whole record, 4: the last part of one.
        if kind in (1, 4):
            yield parts
            parts = b""
