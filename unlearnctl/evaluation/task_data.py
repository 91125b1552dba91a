"""Local copies of the data that lm-eval's own tasks would take from the hub."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.data.formats import SUFFIXES, file_rows
from unlearnctl.data.sources import rows_of
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLIT_KEYS = ("training_split", "validation_split", "test_split", "fewshot_split")


@dataclass(frozen=True)
class LocalData:
    """Calling it gives the rows of one task, as the harness's `custom_dataset` must.

    Args:
        folder: `SPLIT/NAME_SPLIT.csv` without a header, as MMLU's authors publish it, or the hub dataset's own layout.
        name: of the hub dataset's configuration, such as a subject.
        splits: what the task reads.
        key: config key for messages.
    """

    folder: Path
    name: str | None
    splits: tuple[str, ...]
    key: str

    @classmethod
    def of_task(cls, config: Mapping[str, Any], folder: Path, key: str) -> LocalData:
        """Take configuration and splits from a task's settings."""
        splits = [str(config[name]) for name in SPLIT_KEYS if config.get(name)]
        return cls(folder, config.get("dataset_name"), tuple(dict.fromkeys(splits)), key)

    def __call__(self, **_: object) -> DatasetDict:
        """Read every split.

        Raises:
            UserError: the folder lacks one, or a file is damaged.
        """
        from datasets import Dataset, DatasetDict

        return DatasetDict({split: Dataset.from_list(list(self._rows(split))) for split in self.splits})

    def _rows(self, split: str) -> Iterator[Mapping[str, Any]]:
        table = self.folder / split / f"{self.name}_{split}.csv"
        if table.is_file():
            yield from table_rows(table, self.key)
            return
        if table.parent.is_dir() and any(table.parent.glob(f"*_{split}.csv")):
            known = [file.name for file in table.parent.glob("*.csv")]
            raise UserError(f"{self.key}={self.folder}: no {split}/{table.name}{nearest(table.name, known)}")
        inside = self.folder / (self.name or "")
        # Named outright, because the hub's conventions take `dev` for another word for `validation`.
        files = [file for file in sorted(inside.glob(f"{split}[-.]*")) if file.suffix in SUFFIXES]
        spec = CorpusSpec(str(self.folder), name=self.name, split=split)
        corpus = self.key.removesuffix(".path")
        for file in files:
            yield from (row for _, row in file_rows(file, spec, corpus))
        if not files:
            yield from (row for _, row in rows_of(spec, corpus))


def table_rows(file: Path, key: str) -> Iterator[dict[str, Any]]:
    """Yield question, choices and answer (counted from 0) of a table without a header: question, choices, letter.

    Raises:
        UserError: a line is not of that form.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        for number, cells in enumerate(csv.reader(lines), 1):
            letters = [chr(ord("A") + place) for place in range(len(cells) - 2)]
            if len(letters) < 2 or cells[-1].strip() not in letters:
                raise UserError(
                    f"{key}: {file}: row {number} has {len(cells)} cells; expected a question, its choices and the "
                    "letter of the right one"
                )
            yield {
                "question": cells[0],
                "choices": cells[1:-1],
                "answer": letters.index(cells[-1].strip()),
            }
