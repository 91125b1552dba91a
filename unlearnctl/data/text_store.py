"""Holds the texts of a corpus: in memory, or, if the corpus is large, in an unnamed file that ends with the process."""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import IO, Any, overload

from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.paths import cache_dir

LARGE = 1 << 25  # characters; a larger corpus is kept on disk, and tokenised as its rows are drawn
EVERY = 5.0  # seconds between two lines of progress


class TextStore(Sequence[str]):
    """A sequence of texts that grows by `append`; beyond `LARGE` characters it takes 8 bytes of memory per text."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._ends = array("q", [0])
        self._hash = hashlib.sha256()

    @property
    def large(self) -> bool:
        """Return whether the texts are on disk."""
        return self._file is not None

    def append(self, text: str) -> None:
        """Add a text at the end.

        Raises:
            UserError: the disk is full, or cannot be written.
        """
        self._size += len(text)
        if self._file is None:
            self._held.append(text)
            if self._size <= LARGE:
                return
            texts, self._held = self._held, []
        else:
            texts = [text]
        try:
            self._write(texts)
        except OSError as error:
            raise UserError(
                f"{cache_dir()}: cannot hold the texts of this corpus ({brief(error)}); set UNLEARNCTL_CACHE to a "
                "folder with more room, or a limit"
            ) from None

    def _write(self, texts: list[str]) -> None:
        if self._file is None:
            cache_dir().mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=cache_dir())  # noqa: SIM115  open as long as this object
        for text in texts:
            raw = text.encode()
            self._ends.append(self._ends[-1] + len(raw))
            self._file.write(raw)
            self._hash.update(b"%d " % len(raw) + raw)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def digest(self) -> str:
        """Return a hash of all texts, if they are on disk."""
        return self._hash.hexdigest()

    def __len__(self) -> int:
        return len(self._held) or len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if self._file is None:
            return self._held[place]
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        index = range(len(self))[place]  # counts from the end if negative, and raises if out of range
        start, end = self._ends[index], self._ends[index + 1]
        self._file.flush()
        return os.pread(self._file.fileno(), end - start, start).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


def in_chunks(column: Sequence[Any], size: int = 1024) -> Iterator[Sequence[Any]]:
    """Yield a column in chunks of `size`."""
    return (column[start : start + size] for start in range(0, len(column), size))


class Progress:
    """Prints the progress of a long task, every few seconds."""

    def __init__(self, what: str) -> None:
        self.what, self.next = what, time.monotonic() + EVERY

    def at(self, count: int) -> None:
        """Print a line, if enough time has passed since the last."""
        if time.monotonic() >= self.next:
            print(f"{self.what.format(count=f'{count:,}')}", flush=True)
            self.next = time.monotonic() + EVERY
