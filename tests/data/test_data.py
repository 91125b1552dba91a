"""Corpora are read with row-exact errors; batches are a pure function of (seed, step)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.models.words import word_tokenizer
from unlearnctl.data.batch import IGNORE
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.encode import encode
from unlearnctl.data.partners import said_instead
from unlearnctl.data.rows import collate
from unlearnctl.data.sampler import indices
from unlearnctl.data.spec import CorpusSpec, DataSpec
from unlearnctl.data.streams import ForgetRetain, check_batch, load_data
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir

ROWS = [{"text": f"w{i} w{i + 1} w{i + 2}", "who": f"p{i}"} for i in range(6)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


# --- readers


def write_jsonl(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in ROWS) + "\n\n")
    return path


def write_json(path: Path) -> Path:
    path.write_text(json.dumps(ROWS))
    return path


def write_table(path: Path) -> Path:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, ["text", "who"], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_parquet(path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def write_hub_folder(path: Path) -> Path:
    write_parquet(path / "data" / "train-00000-of-00001.parquet")
    (path / "README.md").write_text("a card")
    return path


def write_saved(path: Path) -> Path:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


FORMATS: dict[str, Callable[[Path], Path]] = {
    "c.jsonl": write_jsonl, "c.json": write_json, "c.tsv": write_table, "c.csv": write_table,
    "c.parquet": write_parquet, "hub": write_hub_folder, "saved": write_saved,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_corpus(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](tmp_path / name)
    corpus = read_corpus(CorpusSpec(str(path), prompt_field="who"), "data.forget")
    assert corpus.texts == [r["text"] for r in ROWS]
    assert corpus.prompts == [r["who"] for r in ROWS]
    assert len(read_corpus(CorpusSpec(str(path), limit=2), "data.forget").texts) == 2


def test_rows_are_passed_over_after_short_ones(tmp_path: Path) -> None:
    """What `limit` keeps and what `skip` leaves are the two parts of one corpus."""
    path = tmp_path / "c.jsonl"
    path.write_text("".join(f'{{"text": "{"x" * (3 + n % 2)}{n}"}}\n' for n in range(9)))
    whole = CorpusSpec(str(path), min_chars=5)

    def numbers(**change: int) -> list[str]:
        return [text[-1] for text in read_corpus(replace(whole, **change), "k").texts]

    assert numbers() == ["1", "3", "5", "7"]
    assert [*numbers(limit=3), *numbers(skip=3)] == numbers()
    assert numbers(skip=1, every=2) == ["3", "7"]
    assert numbers(every=3, limit=1) == ["1"]
    with pytest.raises(UserError, match=r"k\.skip=4: .* has 4 texts, so none is left"):
        numbers(skip=4)


def test_plain_text_skips_headings_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").write_text(
        " \n = Title = \n \n First line . \n = = Part = = \n Second , longer line . \n"
    )
    spec = CorpusSpec(str(tmp_path / "wiki.txt"))
    assert read_corpus(spec, "k").texts == ["First line .", "Second , longer line ."]
    assert read_corpus(CorpusSpec(spec.path, min_chars=15), "k").texts == ["Second , longer line ."]


def test_tsv_keeps_quotes(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text('text\tn\nhe said "no\t1\n"yes" she said\t2\n')
    assert read_corpus(CorpusSpec(str(tmp_path / "q.tsv")), "k").texts == ['he said "no', '"yes" she said']


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "line 2 is a list, not an object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b', "line 2 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b', "cut short"),
        ("a.json", b'{"text": "a"}', "expected a list of objects, got dict"),
        ("a.json", b"[1, 2]", "item 1 is a int"),
        ("a.txt", b"fine\n\xff\xfe\n", "line 2 is not UTF-8"),
        ("a.parquet", b"PAR1 not really", "not a readable parquet file"),
        ("a.csv", b"name,n\na,1\n", "no such field. It has: name, n"),
        ("a.jsonl", b'{"text": null}\n', "line 1: expected text, got NoneType"),
        ("a.jsonl", b'{"text": "  "}\n', "empty: no text"),
    ],
)
def test_damage_is_one_line_with_the_place(name: str, content: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_corpus(CorpusSpec(str(tmp_path / name)), "data.forget")
    assert line in str(caught.value)
    assert str(caught.value).startswith("data.forget")
    assert "\n" not in str(caught.value)


def write(file: Path, *rows: object) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_the_right_answer_to_a_question_is_named_by_number_or_letter(tmp_path: Path) -> None:
    rows = [{"q": f"Q{n}", "choices": ["a", "b", "c"], "gold": gold} for n, gold in enumerate((2, "A", "b"))]
    spec = CorpusSpec(write(tmp_path / "q.jsonl", *rows), field="choices@gold", prompt_field="q")
    corpus = read_corpus(spec, "data.forget")
    assert (list(corpus.texts), list(corpus.prompts or [])) == (["c", "a", "b"], ["Q0", "Q1", "Q2"])
    plain = CorpusSpec(write(tmp_path / "at.jsonl", {"a@b": "its own name"}), field="a@b")
    assert list(read_corpus(plain, "k").texts) == ["its own name"]


@pytest.mark.parametrize("gold", [3, -1, "D", "AB", "", True, 1.0, None])
def test_a_pointer_to_no_item_is_one_line(gold: object, tmp_path: Path) -> None:
    spec = CorpusSpec(write(tmp_path / "q.jsonl", {"c": ["a", "b", "c"], "gold": gold}), field="c@gold")
    with pytest.raises(
        UserError, match=r"^data\.forget\.field=c@gold: .*line 1: expected a list, and the number"
    ):
        read_corpus(spec, "data.forget")


def test_a_pointer_names_the_field_that_is_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", {"choices": ["a"], "gold": 0})
    with pytest.raises(UserError, match=r"no such field \(did you mean 'gold'\?\)"):
        read_corpus(CorpusSpec(file, field="choices@golds"), "data.forget")


def test_unknown_keys_and_topics() -> None:
    with pytest.raises(UserError, match=r"data\.forget\.feild: unknown key \(did you mean 'field'\?\)"):
        CorpusSpec.from_config({"path": "x", "feild": "text"}, "data.forget")
    base = {"name": "d", "max_length": 9, "padding_side": "right", "shuffle": True}
    topics = {"bio": {"path": "a"}, "cyber": {"path": "b"}}
    with pytest.raises(UserError, match="are not those of"):
        DataSpec.from_config({**base, "forget": topics, "retain": {"bio": {"path": "c"}}})
    shared = DataSpec.from_config({**base, "forget": topics, "retain": {"path": "c"}})
    assert list(shared.retain) == ["bio", "cyber"]


def test_every_shipped_config_is_valid() -> None:
    from omegaconf import OmegaConf

    for file in sorted((conf_dir() / "data").glob("*.yaml")):
        cfg = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(cfg, dict)
        if file.stem == "local":
            cfg["forget"]["path"] = cfg["retain"]["path"] = "x"  # type: ignore[index, call-overload]
        assert DataSpec.from_config(cfg).name == file.stem  # type: ignore[arg-type]


# --- sampler


def test_sampler_is_pure_and_every_epoch_is_a_permutation() -> None:
    whole = indices(10, seed=3, stream="forget", start=0, count=40)
    assert whole == [i for s in range(0, 40, 5) for i in indices(10, 3, "forget", s, 5)]
    for epoch in range(4):
        assert sorted(whole[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert whole[:10] != whole[10:20]
    assert whole != indices(10, 4, "forget", 0, 40)
    assert whole != indices(10, 3, "retain", 0, 40)
    assert indices(3, 0, "x", 2, 4, shuffle=False) == [2, 0, 1, 2]


# --- encode, collate


def test_prompts_do_not_count(tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = encode(Corpus(["w3 w4"], ["w1 w2"]), tokenizer, 16, "k")
    assert row.ids == tokenizer("w1 w2 w3 w4")["input_ids"]
    assert row.prompt == 3  # bos, w1, w2
    batch = collate([row], 0, "right", 2, 2, 1, 0)
    assert batch.labels.tolist() == [[IGNORE, IGNORE, IGNORE, *row.ids[3:]]]
    assert batch.mask.tolist() == [[False, False, False, True, True]]


def test_truncation_and_rows_with_nothing_left(tokenizer: PreTrainedTokenizerFast) -> None:
    corpus = Corpus(["w1 w2 w3 w4", "w5"], ["", "w1 w2 w3 w4"])
    rows = encode(corpus, tokenizer, 4, "k")
    assert [r.index for r in rows] == [0]
    assert len(rows[0].ids) == 4
    with pytest.raises(UserError, match="no row has a token to learn from"):
        encode(Corpus(["w5"], ["w1 w2"]), tokenizer, 2, "data.forget")


def test_left_padding_holds_the_same_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = encode(Corpus(["w1 w2 w3", "w4", "w5 w6"]), tokenizer, 16, "k")
    right, left = (collate(rows, 0, side, 9, 6, 3, 0) for side in ("right", "left"))
    for a, b in zip(right.input_ids, left.input_ids, strict=True):
        assert a[a != 0].tolist() == b[b != 0].tolist()
    assert torch.equal(left.attention_mask, right.attention_mask.flip(1))


def test_spans_of_characters_become_runs_of_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    """ "w3 w4" is characters 0-5 of its text, wherever the prompt puts it."""
    for prompts, first in ((None, 1), (["w1 w2"], 3)):
        corpus = Corpus(["w3 w4 w5"], prompts, spans=[[[0, 5], [7, 8]]])
        (row,) = encode(corpus, tokenizer, 16, "k")
        assert row.spans == [[first, first + 2], [first + 2, first + 3]]
    (cut,) = encode(Corpus(["w3 w4 w5"], spans=[[[3, 5], [6, 8]]]), tokenizer, 3, "k")
    assert cut.spans == [[2, 3]]


# --- streams


def stream(tokenizer: PreTrainedTokenizerFast, topics: int = 1, side: str = "right") -> ForgetRetain:
    rows = {}
    for s, offset in (("forget", 0), ("retain", 40)):
        texts = [" ".join(f"w{offset + (i + j) % 30}" for j in range(1 + i % 5)) for i in range(13)]
        rows[s] = {f"t{k}": encode(Corpus(texts[k:]), tokenizer, 8, "k") for k in range(topics)}
    return ForgetRetain(rows, 0, side, True, 0, "digest")


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 2])
def test_any_split_is_the_same_global_batch(
    world: int, micro: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = stream(tokenizer, topics=2)
    for step in (0, 1, 7):
        whole = data.micro_batches(step, 8, 8)[0]
        parts = [b for rank in range(world) for b in data.micro_batches(step, 8, micro, rank, world)]
        assert len(parts) == 8 // micro
        for side in ("forget", "retain"):
            joined = torch.cat([b[side].index for b in parts])
            assert torch.equal(joined, whole[side].index)
            assert {
                (b[side].tokens, b[side].predictions, b[side].sequences, b[side].topic) for b in parts
            } == {(whole[side].tokens, whole[side].predictions, 8, step % 2)}


@pytest.mark.parametrize("side", ["right", "left"])
def test_counts_equal_naive_loops(side: str, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = stream(tokenizer, side=side).micro_batches(3, 8, 8)[0]["forget"]
    predictions = sum(
        int(batch.labels[b, t] != IGNORE and batch.attention_mask[b, t - 1] == 1)
        for b in range(8)
        for t in range(1, batch.labels.shape[1])
    )
    assert (batch.tokens, batch.predictions) == (int(batch.mask.sum()), predictions)


def test_impossible_batches_name_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^trainer\.global_batch=10: .*nearest: 8 or 12$"):
        check_batch(10, 2, 2)
    with pytest.raises(UserError, match=r"nearest: 8$"):
        check_batch(4, 4, 2)


def test_fingerprint_follows_text_and_seed(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    def data(text: str, seed: int) -> ForgetRetain:
        (tmp_path / "f.txt").write_text(text)
        corpus = {"path": str(tmp_path / "f.txt")}
        cfg = {
            "name": "d", "max_length": 9, "padding_side": "right", "shuffle": True, "forget": corpus, "retain": corpus,
        }  # fmt: skip
        return load_data(cfg, tokenizer, seed)

    prints = {
        data("w1 w2 w3\n", 0).fingerprint(),
        data("w1 w2 w4\n", 0).fingerprint(),
        data("w1 w2 w3\n", 1).fingerprint(),
    }
    assert len(prints) == 3
    assert data("w1 w2 w3\n", 0).fingerprint() in prints


def test_fingerprint_follows_prompts_and_alternates(tokenizer: PreTrainedTokenizerFast) -> None:
    cfg = {
        "name": "x", "max_length": 16, "padding_side": "right", "shuffle": True, "forget": {"path": "f"},
        "retain": {"path": "r"},
    }  # fmt: skip
    retain = {"all": Corpus(["w1 w2"])}
    forget = [Corpus(["w3"], ["w4"]), Corpus(["w3"], ["w5"]), Corpus(["w3"], ["w4"], [["w6"]])]
    corpora = [{"forget": {"all": corpus}, "retain": retain} for corpus in forget]
    assert len({load_data(cfg, tokenizer, 0, each).fingerprint() for each in corpora}) == 3


def with_alternates(tokenizer: PreTrainedTokenizerFast, sides: tuple[str, ...]) -> ForgetRetain:
    """Seven texts `w{i}`, two alternates each, with different words; the third text has no token to learn from."""
    corpus = Corpus(
        [f"w{i}" if i != 2 else "" for i in range(7)], [f"w{i + 20}" for i in range(7)],
        alternates=[[f"w{i + 40}", f"w{i + 60}"] for i in range(7)],
    )  # fmt: skip
    corpora = {"forget": {"all": corpus}, "retain": {"all": Corpus(["w1 w2"])}}
    cfg = {
        "name": "x", "max_length": 16, "padding_side": "right", "shuffle": True, "append_eos": False,
        "forget": {"path": "f"}, "retain": {"path": "r"},
    }  # fmt: skip
    return load_data(cfg, tokenizer, 0, corpora, sides)


def test_alternates_go_with_their_texts_and_take_turns(tokenizer: PreTrainedTokenizerFast) -> None:
    data = with_alternates(tokenizer, ("forget", "retain", "alternate"))
    names = {tokenizer.convert_tokens_to_ids(f"w{i}"): i for i in range(80)}
    seen: dict[int, list[int]] = {}
    keys: dict[str, int] = {}
    for step in range(12):  # six texts, three a step: six passes
        (micro,) = data.micro_batches(step, 3, 3)
        forget, other = micro["forget"], micro["alternate"]
        for b in range(3):
            text, instead = (names[int(v.input_ids[b, -1])] for v in (forget, other))
            assert instead % 20 == text
            seen.setdefault(text, []).append(instead - text)
            assert keys.setdefault(other.keys[b], instead) == instead
    assert sorted(seen) == [0, 1, 3, 4, 5, 6]
    assert all(turns == [40, 60] * 3 for turns in seen.values())
    assert len(keys) == 12


def test_refusals_need_no_field_and_alternates_do(tokenizer: PreTrainedTokenizerFast) -> None:
    data = with_alternates(tokenizer, ("forget", "retain", "refusal"))
    assert set(data.micro_batches(0, 2, 2)[0]) == {"forget", "retain", "refusal"}
    assert set(with_alternates(tokenizer, ("forget",)).rows) == {"forget", "retain"}
    with pytest.raises(UserError, match=r"^data\.forget\.alternate_field=null: this objective needs"):
        said_instead(Corpus(["a"]), "alternate")


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"text": "abc", "a": 3},
            r"data\.forget\.alternate_field=a: .*line 1: expected a text, or a list of texts",
        ),
        (
            {"text": "abc", "a": []},
            r"data\.forget\.alternate_field=a: .*line 1: expected a text, or a list of texts",
        ),
        (
            {"text": "abc", "a": "x", "s": [[0, 9]]},
            r"data\.forget\.spans_field=s: .*within the text's 3 characters",
        ),
        (
            {"text": "abc", "a": "x", "s": "0-1"},
            r"data\.forget\.spans_field=s: .*expected \[\[start, end\], \.\.\.\]",
        ),
        ({"text": "abc", "a": "x"}, r"data\.forget\.spans_field=s: .*line 1 has no such field"),
    ],
)
def test_wrong_alternates_and_spans(row: dict, line: str, tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text(json.dumps(row) + "\n")
    spec = CorpusSpec(str(file), alternate_field="a", spans_field="s")
    with pytest.raises(UserError, match=line):
        read_corpus(spec, "data.forget")
