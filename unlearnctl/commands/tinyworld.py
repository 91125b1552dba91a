"""Remake the embedded model: tinyworld build to=DIR.

usage: unlearnctl tinyworld build to=DIR [arch=llama|mistral|qwen2|olmo3] [seed=0] [twin=true]
       unlearnctl tinyworld data

`build` trains the embedded model again (about three minutes on two cores);
`data` prints the folder with the world's corpora, questions and tasks.

examples:
  unlearnctl tinyworld build to=my-tinyworld seed=1
  unlearnctl tinyworld build to=my-mistral arch=mistral
"""

from __future__ import annotations

from pathlib import Path

from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError, unknown, unknown_key

ACTIONS = ("build", "data")


def tinyworld(args: list[str]) -> None:
    """Build the model, or print where the data are.

    Raises:
        UserError: an unknown action or key, or a target that exists.
    """
    action = args[0] if args else ""
    if action not in ACTIONS:
        raise unknown("tinyworld", action or "(nothing)", ACTIONS)
    if action == "data":
        if args[1:]:
            raise UserError(f"unlearnctl tinyworld data: takes no argument, got {args[1]}")

        print(materialise())
        return
    options = parse(args[1:])
    to = Path(options["to"])
    if to.is_file() or (to.exists() and any(to.iterdir())):
        raise UserError(f"to={to}: exists already; choose another folder")
    from unlearnctl.tinyworld.build import build

    seed, twin = int(options["seed"]), options["twin"] == "true"
    for name, value in build(to, seed=seed, twin=twin, arch=options["arch"]).items():
        print(f"  {name}: {value}")
    print(f"model: {to}")


def parse(args: list[str]) -> dict[str, str]:
    """Parse `to=DIR seed=0` into a mapping."""
    options = {"seed": "0", "twin": "false", "arch": "llama"}
    keys = ("to", *options)
    for arg in args:
        key, equals, value = arg.partition("=")
        if key not in keys or not equals:
            raise unknown_key("", key, keys)
        options[key] = value
    if not options.get("to"):
        raise UserError("to=: required; the folder to write, e.g. unlearnctl tinyworld build to=my-tinyworld")
    if not options["seed"].isdigit():
        raise UserError(f"seed={options['seed']}: must be a whole number")
    if options["twin"] not in ("true", "false"):
        raise UserError(f"twin={options['twin']}: must be true or false")
    from unlearnctl.tinyworld.architectures import ARCHITECTURES

    if options["arch"] not in ARCHITECTURES:
        raise unknown("arch", options["arch"], ARCHITECTURES)
    return options
