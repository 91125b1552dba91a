"""Reads text files line by line, compressed or not, in bounded memory; errors name the file and the line."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from unlearnctl.utils.errors import UserError, brief

PACKED = (".gz", ".zst")
LONGEST = 1 << 30  # bytes of one line
# Text compresses tenfold at most, so a file that unpacks to far more than its size is not a corpus but a bomb.
MOST = 100  # times its own size that a compressed file may unpack to, once that exceeds ...
FREE = 1 << 28  # ... this many bytes


def suffix(file: Path) -> str:
    """Return the suffix in lower case: `.jsonl` for `a.jsonl` and for `a.jsonl.gz`."""
    return Path(bare(file)).suffix.lower()


def bare(file: Path) -> str:
    """Return the file's name without `.gz` or `.zst`."""
    return file.stem if file.suffix.lower() in PACKED else file.name


def lines(file: Path, key: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line.

    Raises:
        UserError: not UTF-8, a compressed file that is damaged or unpacks to far more than texts do, or a line beyond
            `LONGEST`; names the file and, if there is one, the line.
    """
    at = f"{key}.path={file}"
    most = max(FREE, MOST * file.stat().st_size)
    number = total = 0
    packed = file.suffix.lower() in PACKED
    with _open(file) as stream:
        while raw := _next(stream, at):
            number += 1
            total += len(raw)
            if len(raw) > LONGEST:
                raise UserError(f"{at}: line {number} is longer than {LONGEST >> 30} GiB")
            if packed and total > most:
                raise UserError(f"{at}: unpacks to more than {MOST} times its size; unpack it first")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                place = f"(byte {error.start + 1} of the line)"
                raise UserError(f"{at}: line {number} is not UTF-8 {place}") from None
            yield number, text


def _open(file: Path) -> io.BufferedIOBase:
    kind = file.suffix.lower()
    if kind == ".gz":
        return gzip.open(file)
    if kind == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"), 1 << 16)
    return file.open("rb")


def _next(stream: io.BufferedIOBase, at: str) -> bytes:
    try:
        return stream.readline(LONGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{at}: cannot be read to its end ({brief(error)})") from None
