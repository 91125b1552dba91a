"""Ask pip-audit about every pinned package: `python -m tests.audit`, a step of `.ci/run`.

A known fault ends the build. A missing pip-audit or network does not, and is reported:
an index that does not know a package makes pip-audit skip it and still report that nothing was found.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.licences import CONSTRAINTS

COMMAND = [
    "pip_audit",
    "-r",
    str(CONSTRAINTS),
    "--no-deps",
    "--disable-pip",
    "--progress-spinner",
    "off",
    "-f",
    "json",
]


def verdict(report: str, complaint: str) -> tuple[int, str]:
    """Exit code and line, from pip-audit's JSON, or from what it said where it gave none."""
    try:
        entries = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, f"could not be asked: {(complaint.strip().splitlines() or ['no answer'])[-1][:200]}"
    asked = [entry for entry in entries if "skip_reason" not in entry]
    faults = [f"{e['name']} {e['version']}: {fault['id']}" for e in asked for fault in e["vulns"]]
    if faults:
        return 1, "; ".join(faults)
    return 0, f"{len(asked)} of {len(entries)} packages could be asked about; none of them has a known fault"


def main() -> int:
    """Ask, and print the verdict."""
    done = subprocess.run([sys.executable, "-m", *COMMAND], capture_output=True, text=True)
    code, line = verdict(done.stdout, done.stderr)
    print(line)
    return code


if __name__ == "__main__":
    sys.exit(main())
