"""What a run directory is made of: files that are there before the run, and config keys that are no part of it."""

from __future__ import annotations

FILE = "status.json"
LOCK = ".lock"
LOG = "log.txt"
ATTEMPTS = "attempts"
KEPT = (FILE, LOCK, LOG, ATTEMPTS)  # what a member's directory may hold before its run begins

PLACES = ("run", "output_dir")  # where a run is kept
HARMLESS = ("launch", "tracker", "plugins")  # groups that change no number, so a resumption may change them
BOOKKEEPING = (
    *PLACES,
    "name",
    "resume",
    "hydra",
    *HARMLESS,
)  # not part of what a run computes, nor of its hash
