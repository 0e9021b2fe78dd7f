"""TensorBoard's event files: a value, a picture or a text as an event, and the file that events are appended to.

The messages and the framing are the `tensorboard` package's own, as its summary writers put them together.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

PREFIX = "events.out.tfevents."


class EventFile:
    """A new event file in `folder`. What was written is on disk after `flush`."""

    def __init__(self, folder: Path) -> None:
        now = time.time_ns()
        host = socket.gethostname().replace(os.sep, "_")
        # Readers take the files of a folder in the order of their names: the time has to be the first to differ.
        self.path = folder / f"{PREFIX}{now // 10**9:010d}.{now % 10**9:09d}.{host}.{os.getpid()}"
        self._file = self.path.open("xb")
        self._records = RecordWriter(self._file)
        self.write([Event(wall_time=now / 1e9, file_version="brain.Event:2")])

    def write(self, events: Iterable[Event]) -> None:
        for event in events:
            self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def value_event(name: str, step: int, when: float, value: float) -> Event:
    return Event(wall_time=when, step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))


def picture_event(name: str, step: int, when: float, png: bytes) -> Event:
    """The picture goes in as it is; its size stands in the PNG's header (RFC 2083, section 4.1.1)."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Event(wall_time=when, step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))


def opening_events(trial: str, when: float, settings: Mapping[str, Any]) -> Iterator[Event]:
    """What a folder begins with: the settings as text and as hyper-parameters.

    Whoever watches while the folder is written anew is told to forget what it has shown.
    """
    yield Event(wall_time=when, step=0, session_log=SessionLog(status=SessionLog.START))
    text = "```json\n" + json.dumps(settings, indent=2) + "\n```"
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=TensorShapeProto())
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    value = Summary.Value(tag="settings", tensor=tensor, metadata=metadata)
    yield Event(wall_time=when, step=0, summary=Summary(value=[value]))
    yield Event(wall_time=when, step=0, summary=hparams_pb(dict(flat(settings)), trial_id=trial, start_time_secs=when))


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, bool | float | str]]:
    """``training.learning_rate`` and its value; what is neither a number nor a text, as JSON."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
