"""What a suite asks of a model, item by item: kept, so that a killed evaluation resumes; dealt out over all ranks."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from unlearnctl.distributed.collectives import gathered, on_main, rank_and_size
from unlearnctl.distributed.heartbeat import beat
from unlearnctl.utils.atomic import open_ours
from unlearnctl.utils.safe_json import loads

Work = Callable[[list[int]], Iterable[tuple[int, Any]]]


class Answers:
    """Answers by item. Every suite gets its per-item results through `all` and nothing else.

    Args:
        folder: where to keep them, one JSON line each as soon as it is known, one file a rank; None keeps them in
            memory. The folder must be for one model and one set of suite settings (`stages` sees to that).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.rank, self.ranks = rank_and_size()
        self.folder = folder
        # Rank 0 reads for all, because ranks that knew different answers would wait for each other.
        self._known: dict[str, Any] = on_main(lambda: _read(folder)) if folder is not None else {}
        self.resumed = len(self._known)
        self.mute = False  # it has been said that they cannot be kept

    def all(
        self, kind: str, items: Sequence[Any], work: Work, cost: Callable[[int], float] | None = None
    ) -> list[Any]:
        """Return one answer per item, in order, on every rank.

        Args:
            kind: what is asked, unique within the suites that share these answers.
            items: what identifies each question, as plain JSON data; equal items are asked once.
            work: gets indices into `items` (this rank's share of what is not known, costly ones first) and yields
                (index, answer) as they come; an answer is plain JSON data.
            cost: of an index; ranks get runs of items, as they are ordered, of like cost.
        """
        keys = [_key(kind, item) for item in items]
        # Built from the end, so that of equal items the first one is kept.
        missing = list({k: i for i, k in reversed(list(enumerate(keys))) if k not in self._known}.values())
        price = cost or (lambda index: 1.0)
        # The costliest come first, so that running out of memory shows at once and a batch holds items of similar
        # length.
        mine = sorted(_share(missing, price, self.rank, self.ranks), key=lambda i: (-price(i), i))
        found: dict[str, Any] = {}
        if mine:
            with self._log() as write:
                for index, answer in work(mine):
                    beat(f"evaluation, {len(found) + 1} of {len(mine)} answers")
                    found[keys[index]] = answer
                    write(keys[index], answer)
        for part in gathered(found):
            self._known |= part
        return [self._known[key] for key in keys]

    def each(self, kind: str, items: Sequence[Any], answer: Callable[[Any], Any]) -> list[Any]:
        """Do what `all` does, for work without batches."""

        def work(places: list[int]) -> Iterator[tuple[int, Any]]:
            for place in places:
                yield place, answer(items[place])

        return self.all(kind, items, work)

    def forget(self) -> None:
        """Remove the files, because their result is saved."""
        if self.folder is not None and self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _log(self) -> Iterator[Callable[[str, Any], None]]:
        """Write an answer to this rank's file, on a new line even after half a line.

        Where the file cannot be written, an evaluation that is killed repeats what is not in it; that is all.
        """
        file = self._open()

        def write(key: str, answer: Any) -> None:
            nonlocal file
            if file is None:
                return
            try:
                file.write(f"\n{json.dumps([key, answer])}\n")
                file.flush()
            except OSError as error:
                self._say(error)
                _close(file)
                file = None

        try:
            yield write
        finally:
            _close(file)

    def _open(self) -> TextIO | None:
        if self.folder is None:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return open_ours(self.folder / f"{self.rank}.jsonl", "a", encoding="utf-8")
        except OSError as error:
            self._say(error)
            return None

    def _say(self, error: OSError) -> None:
        if not self.mute:
            print(
                f"evaluation: answers are not kept ({error.strerror or error}: {self.folder}); it continues without"
            )
        self.mute = True


def _close(file: TextIO | None) -> None:
    if file is not None:
        with suppress(OSError):  # it tries again to write what it could not
            file.close()


def _read(folder: Path) -> dict[str, Any]:
    known = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key, answer = loads(line)
            except (ValueError, TypeError):
                continue  # the line that was being written when the process was killed
            known[key] = answer
    return known


def _share(items: list[int], cost: Callable[[int], float], rank: int, ranks: int) -> list[int]:
    """Select the rank's items: those whose middle lies in its part of the total cost."""
    total, before, mine = sum(map(cost, items)), 0.0, []
    for item in items:
        if int((before + cost(item) / 2) * ranks / max(total, 1e-9)) == rank:
            mine.append(item)
        before += cost(item)
    return mine


def _key(kind: str, item: Any) -> str:
    return hashlib.sha256(json.dumps([kind, item]).encode()).hexdigest()[:32]
