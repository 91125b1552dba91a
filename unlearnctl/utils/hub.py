"""Whether the Hugging Face hub can be asked at all; its libraries would find out in half a minute for each file."""

from __future__ import annotations

import os
import sys
import threading
import urllib.error
import urllib.request
from functools import cache

SECONDS = 3.0


def reach(url: str, seconds: float) -> str:
    """Why `url` does not answer within `seconds`, name look-up included; empty if it does."""
    outcome = ["no answer in time"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                outcome[0] = ""
        except urllib.error.HTTPError as error:  # any answer is an answer, but a proxy's refusal is not
            outcome[0] = "" if error.code < 500 and error.code not in (403, 407) else f"HTTP {error.code}"
        except (OSError, ValueError) as error:
            outcome[0] = f"not reachable ({getattr(error, 'reason', error)})"

    # A socket's timeout does not cover the name look-up: hence the thread, left behind if need be.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0]


@cache
def ask_once() -> None:
    """Before the first file is asked for: where the hub does not answer, this process goes on with its cache alone."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not (problem := reach(constants.ENDPOINT, SECONDS)):
        return
    print(f"{constants.ENDPOINT}: {problem}; going on with what is in the hub's cache")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes that this one starts
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:  # has taken a copy
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
