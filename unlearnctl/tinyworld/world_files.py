"""Writes the world's data files to the cache: whole or not at all, once per content and place."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from unlearnctl.utils.paths import cache_dir

_SOURCES = ("words.py", "facts.py", "texts.py", "corpora.py", "mcq.py", "benchmarks.py", "world_files.py")


def materialise() -> Path:
    """Return the folder of data files, which is written on first use.

    Its name holds a hash of the sources that make the content, and of the place, since task files name absolute
    paths. So a changed world or a moved cache gets a new folder, and an old one is never partly right.
    """
    parent = cache_dir().resolve()
    final = parent / f"tinyworld-{_content_hash(parent)}"
    if final.is_dir():
        return final
    parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".tinyworld-", dir=parent))
    try:
        write_all(draft, final)
        draft.chmod(0o755)
        draft.rename(final)
    except OSError:
        if not final.is_dir():  # another process may have won the race, with the same content
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final


def _content_hash(parent: Path) -> str:
    digest = hashlib.sha256(str(parent).encode())
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:12]


def write_all(folder: Path, final: Path) -> None:
    """Write every file into `folder`; task files name `final`, where the folder will be."""
    from unlearnctl.tinyworld import benchmarks, mcq

    tables = {**_corpora(), **_questions(), **benchmarks.tables()}
    texts = {name: _jsonl(rows) for name, rows in tables.items()}
    texts["corpora/toxic_pairs.tsv"] = _pairs()
    texts |= mcq.task_files(final)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _corpora() -> dict[str, list[dict[str, Any]]]:
    from unlearnctl.tinyworld import corpora

    stories = corpora.stories()
    return {
        "corpora/hazard_forget.jsonl": corpora.fact_rows("hazard", 0),
        "corpora/benign_retain.jsonl": corpora.retain_rows(0),
        "corpora/narrative_test.jsonl": [{"text": text} for text in stories["test"]],
        "corpora/narrative_val.jsonl": [{"text": text} for text in stories["val"]],
        "corpora/relearn_domain.jsonl": corpora.attack_rows(),
        "corpora/relearn_unrelated.jsonl": [{"text": text} for text in stories["attack"]],
        "corpora/relearn_held_out.jsonl": corpora.held_out_rows(),
        "corpora/toxic_forget.jsonl": corpora.toxic_rows(),
        "corpora/toxic_retain.jsonl": corpora.toxic_retain_rows(),
        "corpora/polite_test.jsonl": corpora.polite_rows("test", 200),
        "corpora/polite_val.jsonl": corpora.polite_rows("val", 100),
        "toxicity/prompts.jsonl": corpora.prompt_rows("test", 100),
        "toxicity/prompts_val.jsonl": corpora.prompt_rows("val", 50),
    }


def _questions() -> dict[str, list[dict[str, Any]]]:
    from unlearnctl.tinyworld import mcq

    tables = {f"mcq/{group}.jsonl": mcq.questions(group, False) for group in mcq.GROUPS}
    tables |= {f"mcq/{group}_val.jsonl": mcq.questions(group, True) for group in mcq.GROUPS}
    tables["mcq/hazard_seen_template.jsonl"] = mcq.questions("hazard", False, mcq.SEEN_FRAMES)
    tables["mcq/hazard_held_out.jsonl"] = mcq.half_questions(attacked=False)
    tables["mcq/hazard_attacked.jsonl"] = mcq.half_questions(attacked=True)
    return tables


def _pairs() -> str:
    from unlearnctl.tinyworld import corpora

    header = ("toxic", "neutral1")  # the columns of ParaDetox
    return "".join(f"{toxic}\t{polite}\n" for toxic, polite in [header, *corpora.toxic_pairs()])
