"""Merges a checkpoint into a whole model folder that transformers can load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnctl.models.delta import apply_delta, read_delta
from unlearnctl.models.export_files import Files, files_of
from unlearnctl.models.folder import read_header, shards
from unlearnctl.models.load import load_model
from unlearnctl.models.skeleton import auto_class
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import SAFETENSORS_TO_TORCH, aliases, as_stored, outline, stored_dtypes
from unlearnctl.utils.atomic import flush, follow_umask, naming
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.safe_json import loads

if TYPE_CHECKING:
    from torch import Tensor


def export(spec: ModelSpec, delta: Path, to: Path, texts: Mapping[str, str] | None = None) -> Files:
    """Write a whole Hugging Face folder: the base's files, with the changed tensors written over their bytes.

    Shards are copied and patched in place, with one tensor in memory at a time. Only if a changed tensor is a part of
    what the base stores (one expert of a stack) is the model loaded and saved instead. The result is loaded back
    through transformers and compared. `to` does not exist until all of that is done and flushed to disk.

    Args:
        spec: the base, a local folder. Its dtype, in which the run computed, becomes that of config.json, so that
            loading the export without any settings gives the same scores.
        delta: folder of the checkpoint.
        to: folder to write.
        texts: files to add, by name.

    Returns:
        The names of what was copied, and of what was left out.

    Raises:
        UserError: the delta does not fit the base, `to` exists, or the export does not load as it was trained.
        OSError: the folder cannot be written; what was written of it is removed.
    """
    if to.exists():
        raise UserError(f"to={to}: exists already; choose another folder")
    base = Path(spec.path)
    files = files_of(base, spec.trust_remote_code)
    tensors, _ = read_delta(delta)
    partial = to.with_name(to.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with naming(to):
        try:
            partial.mkdir(parents=True)  # fails if somebody placed a link there
            _write(spec, tensors, files, partial)
            _settle(partial, spec, files)
            for name, text in (texts or {}).items():
                (partial / name).write_text(text, encoding="utf-8")
            check_written(spec, partial, tensors, to)
            for file in partial.iterdir():
                flush(file)
            partial.rename(to)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return files


def _write(spec: ModelSpec, tensors: Mapping[str, Tensor], files: Files, to: Path) -> None:
    base = Path(spec.path)
    model = outline(spec)
    shapes = {name: p.shape for name, p in model.named_parameters(remove_duplicate=False)}
    for name, value in tensors.items():
        if shapes.get(name) != value.shape:
            raise UserError(f"the checkpoint's {name} {list(value.shape)} does not fit the model")
    stored = as_stored(model, tensors, base)
    weights = () if stored is None else files.weights
    for name in (*files.others, *weights):  # copyfile: contents only, so that modes follow the umask
        (to / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(base / name, to / name)
    if stored is None:
        _save_through_transformers(spec, tensors, to)
    else:
        for shard in shards(base):
            _patch(to / shard, stored)


def _patch(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the tensors of these names in one shard; a tensor may be stored in several, so all are patched."""
    import torch

    header, start = read_header(file)
    with file.open("r+b") as f:
        for name, value in tensors.items():
            if name in header:
                dtype = getattr(torch, SAFETENSORS_TO_TORCH[header[name]["dtype"]])
                # Same dtype and shape as before, so the new bytes fit exactly where the old ones are.
                f.seek(start + header[name]["data_offsets"][0])
                f.write(value.to(dtype).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _save_through_transformers(spec: ModelSpec, tensors: Mapping[str, Tensor], to: Path) -> None:
    model = load_model(spec)
    apply_delta(model, tensors)
    model.save_pretrained(to)
    for file in to.iterdir():
        follow_umask(file)


def _settle(folder: Path, spec: ModelSpec, files: Files) -> None:
    """Set the run's dtype in config.json, and remove settings that refer to files that were not copied."""
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            continue
        config = loads((folder / name).read_text(encoding="utf-8"))
        if not files.code:
            config.pop("auto_map", None)
        if name == "config.json":
            config.pop("torch_dtype", None)
            config["dtype"] = spec.dtype
            if not (folder / str(config.get("transformers_weights"))).is_file():
                config.pop("transformers_weights", None)
        (folder / name).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_written(spec: ModelSpec, folder: Path, tensors: Mapping[str, Tensor], to: Path) -> None:
    """Load the folder as any user would, and compare each changed tensor with what was trained.

    Raises:
        UserError: it does not load, or its tensors differ.
    """
    import torch

    try:
        model = auto_class(spec.config).from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # the library may fail in any way
        raise UserError(f"to={to}: what was written does not load ({brief(error)})") from error
    loaded = dict(model.named_parameters(remove_duplicate=False))
    dtypes = stored_dtypes(spec, list(tensors))
    for names in aliases(outline(spec), Path(spec.path)):
        given = next((name for name in names if name in tensors), None)
        if given is None:
            continue
        for name in names:
            trained = tensors[given].to(getattr(torch, dtypes[given])).to(loaded[name].dtype)
            if not torch.equal(loaded[name], trained):
                raise UserError(f"to={to}: {name} does not load as it was trained, so nothing was exported")
