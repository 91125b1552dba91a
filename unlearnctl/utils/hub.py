"""Checks once whether the Hugging Face hub answers: its libraries would spend half a minute on each file."""

from __future__ import annotations

import os
import sys
import threading
import urllib.error
import urllib.request
from functools import cache

SECONDS = 3.0


def reach(url: str, seconds: float) -> str:
    """Return why `url` does not answer within `seconds`, name look-up included; empty if it does."""
    outcome = ["no answer in time"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                outcome[0] = ""
        except urllib.error.HTTPError as error:  # a hub that refuses is up, but a proxy that refuses hides it
            outcome[0] = "" if error.code < 500 and error.code not in (403, 407) else f"HTTP {error.code}"
        except (OSError, ValueError) as error:
            outcome[0] = f"not reachable ({getattr(error, 'reason', error)})"

    # In a thread, left behind if need be, because a socket's timeout does not cover the name look-up.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0]


@cache
def ask_once() -> None:
    """Check the hub before the first file is requested; if it does not answer, use its local cache alone."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not (problem := reach(constants.ENDPOINT, SECONDS)):
        return
    print(f"{constants.ENDPOINT}: {problem}; using what is in the hub's cache")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes that this one starts
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:  # it copied the setting when it was imported
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
