"""Coverage-guided fuzzing of one target with atheris: `python -m tests.fuzz.guided data-jsonl -runs=100000`.

Needs `pip install unlearnctl[fuzz]` (Linux). What follows the target's name is libFuzzer's: -runs, -timeout,
-rss_limit_mb, -max_total_time, folders of a corpus. It ends at the first finding and writes it to crash-*.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Instrument the package, then fuzz."""
    import atheris

    with atheris.instrument_imports(include=["unlearnctl"]):
        from tests.fuzz.targets import TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}")
    target = TARGETS[sys.argv[1]]
    corpus = Path(tempfile.mkdtemp(prefix="corpus"))
    for place, seed in enumerate(target.seeds()):
        (corpus / f"seed{place}").write_bytes(seed)
    limits = ["-timeout=20", "-rss_limit_mb=4096", "-max_len=16384"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[2:], str(corpus)], lambda data: target(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
