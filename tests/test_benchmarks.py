"""The benchmarks run, compare what they time, and say what they cannot measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import ttest_1samp

from benchmarks import real_scores
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer

ROOT = Path(__file__).parent.parent


def bench(name: str, results: Path, preset: str = "tiny") -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), "--preset", preset, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.full
def test_a_step_is_timed_beside_the_plain_one_and_leaves_its_weights(tmp_path: Path) -> None:
    out = bench("step.py", tmp_path / "r.md")
    assert "weights after 5 steps apart by 0.0e+00 |" in out
    assert "apart by 0.0e+00 |" in out.split("prefix cached")[1]
    assert "### RMU step, preset tiny" in (tmp_path / "r.md").read_text()


@pytest.mark.full
def test_the_floor_is_computed_and_says_so(tmp_path: Path) -> None:
    out = bench("floor.py", tmp_path / "r.md", "8b")
    assert "computed, not measured" in out
    assert "| plain | 122 | 154 | 1.0 |" in out  # as counted by hand in the design
    assert "| ours, prefix cached | 9.14 |" in out


@pytest.mark.full
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_large_preset_says_what_it_lacks(tmp_path: Path) -> None:
    assert "needs a CUDA GPU" in bench("step.py", tmp_path / "r.md", "8b")
    assert not (tmp_path / "r.md").exists()


@pytest.mark.full
def test_reports_are_timed_over_runs_made_for_it(tmp_path: Path) -> None:
    out = bench("report.py", tmp_path / "r.md")
    first, second = (line.split("|") for line in out.splitlines() if line.startswith(("| report", "| end")))
    assert [first[2].strip(), second[2].strip()] == ["20", "10"]
    assert 0.05 < float(first[-2]) < 3
    assert "### Reports, 20 runs" in (tmp_path / "r.md").read_text()


def run_of(folder: Path, name: str, seed: int, hazard: float, **objective: object) -> None:
    entry = {"stderr": None, "n": 10, "chance": 0.25, "role": "forget", "goal": "lower"}
    kept = {"stderr": None, "n": 10, "chance": None, "role": "retain", "goal": "lower"}
    folder.mkdir(parents=True)
    record = {
        "status": "completed",
        "config": {
            "seed": seed,
            "objective": {"name": name, **objective},
            "data": {"name": "d"},
            "trainer": {},
        },
        "train": {"seconds": 2.0},
        "before": {"s": {"hazard_acc": {"value": 1.0, **entry}, "narrative_ppl": {"value": 2.0, **kept}}},
        "after": {"s": {"hazard_acc": {"value": hazard, **entry}, "narrative_ppl": {"value": 2.5, **kept}}},
    }
    (folder / "results.json").write_text(json.dumps(record))


@pytest.mark.full
def test_effects_are_means_errors_and_paired_differences(tmp_path: Path) -> None:
    """By hand: hazard .25 is forgotten 1, retained 2/2.5 = .8; differences .1, .2, .3 have t = 2/(1/√3)."""
    for seed, apart in enumerate((0.1, 0.2, 0.3)):
        run_of(tmp_path / f"a{seed}", "npo", seed, 0.25)
        run_of(tmp_path / f"b{seed}", "rmu", seed, 0.25 + apart, retain_noise=0.5)
    command = [sys.executable, str(ROOT / "benchmarks/effects.py"), str(tmp_path), "--against", "npo"]
    command += ["--metric", "hazard_acc", "--metrics", "hazard_acc,hypervolume,polite_ppl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2] == "| npo | 0.250 ± 0.000 | 0.800 ± 0.000 | – | 3 |"
    assert lines[3].startswith("| rmu + noise 0.5 | 0.450 ± 0.058 | 0.587 ± 0.062 |")
    expected = ttest_1samp([0.1, 0.2, 0.3], 0.0)
    low, high = expected.confidence_interval()
    said = f"rmu + noise 0.5: +0.200 [{low:+.3f}, {high:+.3f}], p {expected.pvalue:.2g}, n 3"
    assert lines[-1].strip() == said


@pytest.mark.full
def test_two_runs_that_would_share_a_cell_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_of(tmp_path / name, "npo", 0, 0.25)
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/effects.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert done.stderr.strip().endswith("b/results.json: a second run of npo with seed 0")


@pytest.mark.full
def test_evaluation_is_timed_beside_the_harness_and_gives_its_answers(tmp_path: Path) -> None:
    out = bench("evaluation.py", tmp_path / "r.md")
    assert out.count("24 of 24 answers the same") == 3
    assert out.count(": floor |") == 3


def repair_of(folder: Path, method: str, seed: int, curve: list[tuple[float, float]]) -> None:
    folder.mkdir(parents=True)
    record = {
        "config": {"run_dir": f"run{seed}", "objective": {"name": "npo", "alpha": 0}},
        "repair": {"method": method, "curve": [{"forgotten": f, "retained": r} for f, r in curve]},
    }
    (folder / "results.json").write_text(json.dumps(record))


@pytest.mark.full
def test_repair_curves_are_compared_by_the_area_that_they_dominate(tmp_path: Path) -> None:
    """By hand: (1, 0), (.8, .5), (.4, 1) dominate .8 · .5 + .4 · .5 = .6; with (.5, .5) in place of the middle .45."""
    for seed in (0, 1):
        lift = 0.1 * seed
        repair_of(tmp_path / f"s{seed}", "SAGE", seed, [(1, 0), (0.8 + lift, 0.5), (0.4, 1)])
        repair_of(tmp_path / f"t{seed}", "TaskArithmetic", seed, [(1, 0), (0.5, 0.5), (0.4, 1)])
    command = [
        sys.executable,
        str(ROOT / "benchmarks/repair.py"),
        str(tmp_path),
        "--plot",
        str(tmp_path / "c.png"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = "| npo, no retain term | 0.000 ± 0.000 | 0.450 ± 0.000 | 0.625 ± 0.025 | +0.175 ± 0.025 |"
    assert done.stdout.splitlines()[2].startswith(expected)
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_real_scores_are_those_of_one_plain_pass_a_choice(tmp_path: Path) -> None:
    """Questions of several lengths and numbers of choices, against one pass of plain transformers for each choice."""
    model, tokenizer = tiny_model("llama").eval(), word_tokenizer()
    items = [
        {"question": "w1 w2", "choices": ["w3", "w4 w5 w6", "w7 w8"], "gold": 0},
        {"question": "w2 w9", "choices": ["w3 w1", "w5"], "gold": 1},
        {"question": "w2 w9 w4", "choices": ["w3", "w4", "w5", "w6"], "gold": 3},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    found = real_scores.score_questions(model, tokenizer, tmp_path / "q.jsonl", None)
    gold, right = 0.0, 0
    for item in items:
        scores = []
        for choice in item["choices"]:
            context = tokenizer(f"Question: {item['question']}\nAnswer:").input_ids
            ids = torch.tensor([context + tokenizer(f" {choice}", add_special_tokens=False).input_ids])
            with torch.no_grad():
                logprobs = model(ids).logits[0].log_softmax(-1)
            scores.append(sum(float(logprobs[t - 1, ids[0, t]]) for t in range(len(context), ids.shape[1])))
        gold += scores[item["gold"]] / len(items)
        right += scores.index(max(scores)) == item["gold"]
    assert (found["acc"], found["n"]) == (right / 3, 3)
    assert found["gold_logprob"] == pytest.approx(gold, rel=1e-5)
