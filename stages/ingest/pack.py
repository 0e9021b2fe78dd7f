"""Packs: the original bytes of accepted images in tars of bounded size, each beside a small description."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.data.tar import BLOCK, TarWriter
from stages.ingest.inspect import Photo

MAX_PACK_BYTES = 256 << 20

COLUMNS = {
    "image": "string", "name": "string", "entry": "string", "offset": "int64", "size": "int64",
    "width": "int32", "height": "int32", "ext": "string",
}  # fmt: skip


class PackWriter:
    """Writes ``<stem>.tar``, ``<stem>-1.tar``, … through `open_entry`, a new one whenever the next image would not fit.

    `rows` is the index of what was written (columns of :data:`COLUMNS`). With no image there is no file.
    """

    def __init__(self, stem: str, open_entry: Callable[[str], Path]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._stem, self._open_entry = stem, open_entry
        self._tar: TarWriter | None = None
        self._packs = 0

    def add(self, image: str, name: str, photo: Photo, data: bytes) -> None:
        """Add one image: `image` is the sha256 of `data`, `name` where it came from."""
        about = {"name": unicodedata.normalize("NFC", name), "width": photo.width, "height": photo.height}
        payload = json.dumps(about, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        tar = self._room_for(len(data) + len(payload) + 4 * BLOCK)
        member = f"{image}.{photo.ext}"
        group = tar.add([(member, data), (f"{image}.json", payload)])
        place = next(m for m in group.members if m.name == member)
        self.rows.append(
            {
                "image": image,
                **about,
                "entry": tar.path.name,
                "offset": place.offset,
                "size": place.size,
                "ext": photo.ext,
            }
        )

    def close(self) -> None:
        """End the last pack."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def _room_for(self, size: int) -> TarWriter:
        if self._tar is not None and self._tar.size + size > MAX_PACK_BYTES:
            self.close()
        if self._tar is None:
            suffix = f"-{self._packs}" if self._packs else ""
            self._tar = TarWriter(self._open_entry(f"{self._stem}{suffix}.tar"))
            self._packs += 1
        return self._tar
