"""Local copies of the data that lm-eval's own tasks would take from the hub."""

from __future__ import annotations

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
        corpus = self.key.removesuffix(".path")
        table = self.folder / split / f"{self.name}_{split}.csv"
        if table.is_file():
            spec = CorpusSpec(str(table), format="questions")
            yield from (row for _, row in file_rows(table, spec, corpus))
            return
        if table.parent.is_dir() and any(table.parent.glob(f"*_{split}.csv")):
            known = [file.name for file in table.parent.glob("*.csv")]
            raise UserError(f"{self.key}={self.folder}: no {split}/{table.name}{nearest(table.name, known)}")
        inside = self.folder / (self.name or "")
        # Named outright, because the hub's conventions take `dev` for another word for `validation`.
        files = [file for file in sorted(inside.glob(f"{split}[-.]*")) if file.suffix in SUFFIXES]
        spec = CorpusSpec(str(self.folder), name=self.name, split=split)
        for file in files:
            yield from (row for _, row in file_rows(file, spec, corpus))
        if not files:
            yield from (row for _, row in rows_of(spec, corpus))
