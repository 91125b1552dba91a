"""Run directories with everything that the page of many runs can show."""

from __future__ import annotations

import csv
import json

EVIL = "</script><!--<script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>\"'&"
SUBJECTS = {"anatomy": 0.61, "virology": 0.34, "world_religions": 0.72}


def samples(after, toxic=1.0):
    """Two prompts: one whose first reply was toxic, one that never was."""
    before = ["you foul thing", "hello you"]
    said = {"before": zip(before, (toxic, 0.0), strict=True), "after": zip(after, (0.1, 0.0), strict=True)}
    return {
        part: {"tinyworld": {"toxicity_prob": [
            {"prompt": f"Prompt {i}:", "reply": reply, "score": score} for i, (reply, score) in enumerate(replies)
        ]}}
        for part, replies in said.items()
    }  # fmt: skip


def write_many(root, make, name="rmu"):
    """Three runs of a sweep, one that failed, and a probe."""
    for place, (objective, progress) in enumerate(((name, 0.5), ("npo", 1.0), ("npo", 0.2))):
        body = make.results(objective=objective, layer=place + 2, progress=progress)
        for part, shift in (("before", 0.0), ("after", -0.1)):
            scores = {f"mmlu/{s}": make.metric(v + shift, 0.02, 100, 0.25) for s, v in SUBJECTS.items()}
            body[part]["mmlu"] = {"mmlu": make.metric(0.55 + shift, 0.01, 300, 0.25), **scores}
        run = make.write_run(root / f"run{place}", body, make.history(30))
        (run / "samples.json").write_text(json.dumps(samples([f"fine {place}", EVIL])))
    weights = {"tokens": ["a", EVIL], "weights": [0.1, 0.9], "true": [False, True]}
    (root / "run1/token_weights.json").write_text(json.dumps({"texts": [weights]}))
    (root / "failed").mkdir()
    (root / "failed/config.yaml").write_text("a: 1")
    write_probe(root / "probe")
    return root


def write_probe(folder):
    folder.mkdir()
    (folder / "config.yaml").write_text("a: 1")
    with (folder / "probes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "accuracy", "control", "stderr", "n"])
        writer.writerows([[0, 0.7, 0.5, 0.03, 300], [1, 0.95, 0.52, 0.01, 300]])
    return folder


def unpack(data):
    """As templates/site/unpack.js does: each run with what it shares with others."""

    def pick(column, place):
        return column[place] if isinstance(column, list) else column

    def run(place):
        config = [texts[pick(places, place)] for texts, places in data["config"]]
        settings = {name: config[key] for name, key in data["columns"]}
        return {
            "config": config, "settings": settings,
            "label": data["names"][place] if data["names"] else ", ".join(f"{k}={v}" for k, v in settings.items()),
            "values": [[pick(column, place) for column in parts] for parts in data["values"]],
            "curves": {
                data["lines"][name]: [[x, ys[i if len(ys) > 1 else 0]] for i, x in enumerate(data["grids"][grid])]
                for name, grid, *ys in data["curves"][place]
            },
            "subjects": {
                name: {**group, "rows": list(subjects(group["rows"]))}
                for name, group in data["subjects"].get(str(place), {}).items()
            },
            "samples": {
                name: [reply(*pair) for pair in pairs]
                for name, pairs in data["samples"].get(str(place), {}).items()
            },
            "weights": [
                [[word, weight, bool(matters)] for word, weight, matters in zip(words, ws, matter, strict=True)]
                for (words, matter), ws in ((data["tokens"][at], ws) for at, *ws in data["weights"].get(str(place), []))
            ],
        }  # fmt: skip

    def subjects(rows):
        for at, after, half in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            name, n, before, before_half = data["heads"][at]
            yield [name, before, before_half, after, half, n]

    def reply(prompt, before, after, score_before, score_after, *blurred):
        texts = [None if at is None else data["texts"][at] for at in (prompt, before, after)]
        return [*texts, score_before, score_after, [bool(flag) for flag in blurred]]

    return {**data, "runs": [run(place) for place in range(data["count"])]}
