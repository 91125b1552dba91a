"""Dequantises GGUF files, once, into a Hugging Face folder of the cache, which then is the model.

Training needs full-precision tensors, and with a folder nothing downstream has to know about GGUF.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.lock import made_once
from unlearnctl.utils.paths import cache_dir

SOURCE = "gguf.json"  # in the folder: the file that its weights came from
HEADER = 24  # bytes: magic, version, number of tensors and of settings
EDGE = 1 << 20  # bytes at either end that are hashed: reading all of a large file would take minutes


def gguf_file(path: Path) -> Path | None:
    """Return the GGUF file that a path means: itself, or the only one in a folder that has no other model."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    files = list(path.glob("*.gguf")) if path.is_dir() else []
    other = (path / "config.json").is_file() or any(path.glob("*.safetensors"))
    return files[0] if len(files) == 1 and not other else None


def dequantised(file: Path) -> Path:
    """Return the folder with this file's weights in float32, made on first use (4 bytes per parameter on disk).

    Raises:
        UserError: the package `gguf` is missing, the file is damaged, or transformers does not know its architecture.
    """
    with file.open("rb") as f:
        if not (f.read(HEADER).startswith(b"GGUF") and f.tell() == HEADER):
            raise UserError(f"model.path={file}: not a GGUF file")
    folder = cache_dir().absolute() / "gguf" / f"{file.stem}-{_digest(file)}"
    made_once(
        folder,
        lambda draft: _write(file, draft),
        f"dequantising {file} into {folder}, once (4 bytes per parameter)",
    )
    return folder


def source_of(folder: Path) -> str | None:
    """Return the GGUF file that a folder was made from, if any."""
    try:
        return str(json.loads((folder / SOURCE).read_text(encoding="utf-8"))["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(file: Path) -> str:
    stat = file.stat()
    with file.open("rb") as f:
        head = f.read(EDGE)
        f.seek(max(0, stat.st_size - EDGE))
        ends = head + f.read(EDGE)
    return hashlib.sha256(ends + f"{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:12]


def _write(file: Path, draft: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        packed = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    except ImportError as error:
        raise UserError(
            f"model.path={file}: needs the package gguf: pip install 'unlearnctl[gguf]'"
        ) from error
    except Exception as error:  # the reader trusts its file, so a damaged one fails anywhere
        raise UserError(
            f"model.path={file}: not a GGUF model that transformers can read ({brief(error)})"
        ) from error
    # A dequantised model still counts as quantised, and so refuses to be saved; a new one with its weights does not.
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = type(packed)(config)
    plain.load_state_dict(packed.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    (draft / SOURCE).write_text(json.dumps({"file": str(file.absolute())}) + "\n", encoding="utf-8")
