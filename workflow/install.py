"""Install with uv, which takes a third of pip's time, and from the same places as pip would.

    python workflow/install.py --constraint constraints.txt --editable '.[run]'

uv reads none of pip's settings: on a machine whose pip has an index or wheels of its own it would
install other builds. So uv is told pip's settings. pip installs where it has a setting that is not
in TOLD, where uv cannot be had, and where uv fails.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

PIP = (sys.executable, "-m", "pip")
# pip's setting -> uv's variable for it, and what stands between several values
TOLD = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}
# these do not change what is installed
WITHOUT_EFFECT = {
    "break-system-packages",
    "cache-dir",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-input",
    "no-python-version-warning",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "verbose",
}


def settings_of_pip(listed: str) -> dict[str, str]:
    """What `pip config list` prints, one `section.name='value'` a line, as pip's `install` sees it.

    The section of a command stands above `global`, and variables of the environment above both.
    """
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                settings[name.removeprefix(f"{section}.")] = ast.literal_eval(value)
    return settings


def told_to_uv(settings: dict[str, str]) -> dict[str, str] | None:
    """The same settings as variables of uv; None if one is not known here."""
    if settings.keys() - TOLD.keys() - WITHOUT_EFFECT:
        return None
    variables = {}
    for name, value in settings.items():
        if name in TOLD:
            variable, between = TOLD[name]
            variables[variable] = between.join(value.split())
    # pip takes the newest of all indexes, uv would take the first that has a package
    variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def found_uv() -> str | None:
    """uv of the machine or of this environment, into which pip puts it if need be."""
    own = Path(sys.executable).with_name("uv")
    if not shutil.which("uv") and not own.exists():
        # pip's warnings are shown: it tries an index that does not answer for minutes
        command = [*PIP, "install", "--quiet", "uv"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if own.exists():
        return str(own)
    return shutil.which("uv")


def installed_by_uv(requirements: list[str]) -> bool:
    """Install with uv; False where pip must."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    if listed.returncode:
        return False
    variables = told_to_uv(settings_of_pip(listed.stdout))
    if variables is None:
        return False
    uv = found_uv()
    if uv is None:
        print("uv could not be had; pip installs", file=sys.stderr)
        return False
    # as options, because the project's own option would hide the variable
    constraints = variables.pop("UV_CONSTRAINT", "").split()
    command = [uv, "pip", "install", "--python", sys.executable, *requirements]
    for file in constraints:
        command += ["--constraint", file]
    # what the user told uv stands above what he told pip
    done = subprocess.run(command, env={**variables, **os.environ}, check=False)
    if done.returncode:
        print("uv could not install this; pip tries", file=sys.stderr)
    return done.returncode == 0


def main(requirements: list[str]) -> int:
    """Install the requirements, with options that pip and uv share; an exit status."""
    if installed_by_uv(requirements):
        return 0
    return subprocess.run([*PIP, "install", *requirements], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
