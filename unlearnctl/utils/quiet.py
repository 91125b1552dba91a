"""Silences libraries unless something is wrong."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_environment() -> None:
    """Set environment variables that libraries read when they are imported. The user's own settings win."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries; ours are drawn by rich
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads slow a machine with shared cores


def quiet_libraries() -> None:
    """Turn down loggers, warnings and progress bars of libraries that are imported."""
    for name in ("transformers", "accelerate", "datasets", "lm_eval", "lm-eval", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
