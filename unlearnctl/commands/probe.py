r"""Fit a linear probe per layer: where does it separate forget text from retain text?

usage: unlearnctl probe [model=NAME] [data=NAME] [layers=[..]] [pool=mean|before] [key=value ...]

Held-out accuracy per layer beside that of the same probe on shuffled labels; directions for
objective=probe_directions in one safetensors file.

examples:
  unlearnctl probe
  unlearnctl probe pool=before
  unlearnctl probe data=local data.forget.path=paradetox.tsv data.forget.field=toxic \
      data.retain.path=paradetox.tsv data.retain.field=neutral1 model=local model.path=DIR
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from unlearnctl.config.checks import check_lengths
from unlearnctl.config.instantiate import plain
from unlearnctl.config.tiny_world import check_known
from unlearnctl.data.spec import DataSpec
from unlearnctl.data.streams import load_data
from unlearnctl.models.agreement import check_blocks
from unlearnctl.models.load import identity, load_model, load_trunk
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.probes.fit import Probes, save_probes
from unlearnctl.probes.on_texts import fit_on
from unlearnctl.reporting.probe_curve import print_probes, write_probes
from unlearnctl.results.provenance import now, of_run
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, run_directory
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.utils.device import pick_device
from unlearnctl.utils.errors import UserError

LEAST = 4  # of each side: some are held out


def probe(cfg: DictConfig) -> Path:
    """Fit and save probes; forget text is the positive class, retain text the negative.

    Raises:
        UserError: a layer that the model does not have, too few texts, wrong data.
    """
    texts, spec = DataSpec.from_config(plain(cfg.data)), ModelSpec.from_config(plain(cfg.model))
    check_known(cfg, spec)
    check_lengths(texts, spec.config)
    blocks = skeleton(spec.config, spec.blocks, spec.trust_remote_code)
    layers = list(range(blocks.num_blocks)) if cfg.layers is None else [int(layer) for layer in cfg.layers]
    wrong = [layer for layer in layers if not 0 <= layer < blocks.num_blocks]
    if wrong or not layers:
        raise UserError(
            f"layers={layers}: {spec.name} has {blocks.num_blocks} blocks, 0 to {blocks.num_blocks - 1}"
        )
    data = load_data(plain(cfg.data), spec.tokenizer(), cfg.seed)
    for side in ("forget", "retain"):
        if (count := sum(map(len, data.rows[side].values()))) < LEAST:
            raise UserError(f"data.{side}: {count} texts are too few for a probe; it needs {LEAST}")
    directory = run_directory(cfg, "probe")
    check_free(directory, REPORT_BYTES)
    started = now()
    device = pick_device(cfg.device)
    model = load_trunk(spec, max(layers) + 1, device) if blocks.has_trunk else load_model(spec, device)
    check_blocks(model, blocks.blocks)
    decoder = Decoder(model, blocks.blocks)
    probes = fit_on(decoder, data, layers, cfg.seed, cfg.texts, cfg.batch_size, cfg.pool)
    directory = create(directory, cfg)
    note = {
        "pool": cfg.pool,
        "base": identity(spec),
        "data": data.fingerprint(),
        "provenance": of_run(command_line(), cfg.seed, started),
    }
    rows = write_probes(directory, save_probes(directory, probes, note), _rows(probes))
    print_probes(rows, probes.held_out)
    print(f"use it: unlearnctl train objective=probe_directions objective.probe={directory}")
    print(f"run: {directory}")
    return directory


def _rows(probes: Probes) -> list[dict[str, float]]:
    names = ("accuracy", "control", "threshold", "neutral_mean", "neutral_scale")
    columns = [getattr(probes, name).tolist() for name in names]
    return [
        {"layer": layer, **dict(zip(names, values, strict=True))}
        for layer, *values in zip(probes.layers, *columns, strict=True)
    ]
