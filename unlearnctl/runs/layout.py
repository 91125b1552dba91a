"""Names inside a run directory, and the config keys that are bookkeeping."""

from __future__ import annotations

FILE = "status.json"
LOCK = ".lock"
LOG = "log.txt"
ATTEMPTS = "attempts"
RUN_LOCK = "run.lock"  # of a run; a sweep's member has LOCK before its run begins
KEPT = (FILE, LOCK, LOG, ATTEMPTS)  # what a member's directory may hold before its run begins

PLACES = ("run", "output_dir")  # where a run is kept
HARMLESS = ("launch", "tracker", "plugins")  # groups that change no number, so a resumption may change them
# not part of what a run computes, and so not of its hash either
BOOKKEEPING = (*PLACES, "name", "resume", "hydra", *HARMLESS)
