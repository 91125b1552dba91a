"""Turn results.json and metrics.jsonl into tables, plots and pages. Reads JSON only: no torch, no Hydra."""
