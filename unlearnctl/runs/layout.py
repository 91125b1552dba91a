"""Names of the files that a run directory holds before its run begins."""

from __future__ import annotations

FILE = "status.json"
LOCK = ".lock"
LOG = "log.txt"
ATTEMPTS = "attempts"
KEPT = (FILE, LOCK, LOG, ATTEMPTS)  # what a member's directory may hold before its run begins
