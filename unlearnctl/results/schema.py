"""Declare results.json once; reading, writing and checking follow the declaration (see docs/results_schema.md).

The digest inside the file reveals an edit or damage, but not a forger, who can compute it again. A signature would, but
it needs keys that somebody has to keep. A copy of the digest in another place, such as a paper, does prove the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, ValidationError

from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import load_record

SCHEMA = "unlearnctl/results/1"
STATUSES = ("completed", "interrupted", "stopped_early", "diverged")
ENDED = ("completed", "stopped_early")  # nothing is left to do in such a run
ALWAYS = ("status", "config", "provenance", "after")  # in every file that we write
DIGEST = "sha256"
LARGEST = 64_000_000  # bytes, many times what a run writes
ALLOWED = {  # what our messages say for an error of pydantic
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be a text",
}


def _number(value: object) -> object:
    # a diverged run has NaN and infinity; an integer that no float can hold would break every sum
    if value is None or isinstance(value, float) or numbers.finite(value) is not None:
        return value
    raise ValueError("must be a number or null")


def _not_negative(value: float | None) -> float | None:
    if (numbers.finite(value) or 0) < 0:
        raise ValueError("must be 0 or more")
    return value


def _in_order(ends: list[float | None]) -> list[float | None]:
    if len(ends) != 2:
        raise ValueError("must be two numbers or null")
    low, high = map(numbers.finite, ends)
    if low is not None and high is not None and low > high:
        raise ValueError("must have its lower end first")
    return ends


Number = Annotated[float | None, PlainValidator(_number)]


class Part(BaseModel):
    """A mapping in the file: absent and null both read as None, and other keys may stand beside these.

    A report can be made from half a record, but not from a value of the wrong type.
    """

    model_config = ConfigDict(strict=True)


class Entry(Part):
    """One metric of a suite."""

    value: Number = None
    stderr: Annotated[Number, AfterValidator(_not_negative)] = None
    n: Number = None
    chance: Number = None
    role: str | None = None
    goal: str | None = None
    interval: Annotated[list[Number], AfterValidator(_in_order)] | None = None


Suites = dict[str, dict[str, Entry]]


class Corpus(Part):
    """Counts of the rows of a corpus, by what happened to them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number]
    left_out: dict[str, Number] | None = None


class AttackSettings(Part):
    """The settings of a variant that plots use as an axis."""

    lr: Number = None
    step: Number = None


class Attack(Part):
    """One variant of an attack."""

    attack: str
    variant: str
    scores: Suites
    base: Suites | None = None
    settings: AttackSettings | None = None


class Repair(Part):
    """What `unlearnctl repair` chose."""

    method: str
    strength: Number = None
    modules: dict[str, Any] | None = None


class Results(Part):
    """The whole file."""

    status: str | None = None
    config: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    data: dict[str, Corpus] | None = None
    train: dict[str, Any] | None = None
    before: Suites | None = None
    after: Suites | None = None
    unlearned: Suites | None = None
    repair: Repair | None = None
    paired: dict[str, dict[str, dict[str, Any]]] | None = None
    attacks: list[Attack] | None = None
    flags: list[dict[str, Any]] | None = None
    questions: dict[str, list[dict[str, Any]]] | None = None


def validate_results(record: Any) -> None:
    """Check a record against the declaration.

    Raises:
        UserError: the key, its value and what is allowed, of the first that is wrong.
    """
    found = record.get("schema") if isinstance(record, Mapping) else None
    if found != SCHEMA:
        raise UserError(f"schema={numbers.cut(repr(found))}: must be {SCHEMA}")
    try:
        Results.model_validate(record)
    except ValidationError as error:
        raise UserError(_line(error)) from None


def _line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = "".join(f"[{at}]" if isinstance(at, int) else f".{numbers.cut(at)}" for at in first["loc"])[1:]
    if first["type"] == "missing":
        return f"{key}: required"
    reason = first.get("ctx", {}).get("error") or ALLOWED.get(first["type"], first["msg"])
    return f"{key}={numbers.cut(repr(first['input']))}: {reason}"


def read_results(path: Path) -> dict[str, Any]:
    """Read the results.json of any verb.

    Raises:
        UserError: it is missing, cannot be read, or is not of this schema.
    """
    if not path.is_file():
        raise UserError(
            f"{path.parent}: no results.json, so there is nothing to report. Give the directory of a finished run"
        )
    if (size := path.stat().st_size) > LARGEST:
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB, more than a run writes (at most {LARGEST / 1e6:.0f} MB)"
        )
    try:
        record = load_record(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON ({' '.join(str(error).split())})") from None
    try:
        validate_results(record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return record


def read_ending(directory: Path) -> tuple[str | None, str | None]:
    """Read the status of a run and the reason why it stopped; None for what its results.json does not say."""
    try:
        record = load_record(directory / "results.json")
    except (OSError, ValueError):
        return None, None
    record = record if isinstance(record, dict) else {}
    train = record.get("train")
    status = record.get("status")
    reason = train.get("stop_reason") if isinstance(train, dict) else None
    return status if isinstance(status, str) else None, reason if isinstance(reason, str) else None


def write_results(path: Path, record: Mapping[str, Any]) -> None:
    """Check a record and write it with its digest; a failed write leaves the old file.

    Raises:
        UserError: a key is missing or wrong.
        OSError: it cannot be written.
    """
    data = with_digest(record)
    validate_results(data)
    for key in ALWAYS:
        if data.get(key) is None:
            raise UserError(f"{key}: required in results.json")
    if data["status"] not in STATUSES:
        raise UserError(f"status={data['status']}: must be one of {', '.join(STATUSES)}")
    write_atomically(path, json.dumps(data, indent=2) + "\n")


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a record into plain JSON data with its digest as the last key."""
    data = json.loads(json.dumps({key: value for key, value in record.items() if key != DIGEST}, default=str))
    return {**data, DIGEST: digest(data)}


def digest(record: Mapping[str, Any]) -> str:
    """Hash the canonical JSON (sorted keys, no spaces, ASCII) of all keys but the digest: SHA-256, as hex."""
    content = {key: value for key, value in record.items() if key != DIGEST}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_changed(record: Mapping[str, Any]) -> bool:
    """Tell whether the content no longer matches its digest; old files have none."""
    return DIGEST in record and record[DIGEST] != digest(record)
