"""`make install` installs with uv what pip would install, or with pip."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def script(repo: Path) -> dict[str, Any]:
    return runpy.run_path(str(repo / "workflow/install.py"))


LISTED = r"""
:env:.find-links='/wheels'
:env:.disable-pip-version-check='1'
global.find-links='/never'
global.index-url='https://mirror.example/simple'
install.index-url='https://user:secret@nearer.example/simple'
install.extra-index-url='\nhttps://a.example\nhttps://b.example'
global.constraint='/etc/pip/constraints.txt'
global.timeout='60'
global.cert='/etc/ca.pem'
freeze.user='true'
"""


def test_settings_of_pip_reach_uv(script: dict[str, Any]) -> None:
    """A cluster whose pip has wheels of its own got other builds from uv, or an index that it may not reach."""
    assert script["told_to_uv"](script["settings_of_pip"](LISTED)) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_DEFAULT_INDEX": "https://user:secret@nearer.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_CONSTRAINT": "/etc/pip/constraints.txt",
        "UV_HTTP_TIMEOUT": "60",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


@pytest.mark.parametrize(
    "name", ["no-index", "proxy", "trusted-host", "only-binary", "pre", "unheard-of"]
)
def test_a_setting_that_uv_has_no_word_for(script: dict[str, Any], name: str) -> None:
    """uv would have installed from elsewhere, or through no proxy."""
    assert script["told_to_uv"]({name: "1", "find-links": "/wheels"}) is None


PROGRAM = """\
#!{python}
import os, sys
if sys.argv[1:3] == ["pip", "install"]:
    print("uv", *sys.argv[3:], os.environ.get("UV_FIND_LINKS"), os.environ.get("UV_INDEX_STRATEGY"))
    sys.exit({status})
"""


@pytest.fixture
def installed(repo: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Run the script in a Python of its own, whose pip and uv write what they are asked for."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (site,) = tmp_path.glob("v/lib/python*/site-packages")
    pip = site / "pip.py"

    def run(*requirements: str, config: str = "", uv: int | None = 0, **own: str) -> list[str]:
        pip.write_text(
            "import sys\n"
            f"if sys.argv[1:] == ['config', 'list']:\n    print({config!r})\n"
            "elif sys.argv[-1] == 'uv':\n    print('Retrying', file=sys.stderr)\n"
            "else:\n    print('pip', *sys.argv[1:])\n    sys.exit('broken' in sys.argv)\n"
        )
        program = tmp_path / "v/bin/uv"
        program.unlink(missing_ok=True)
        if uv is not None:
            program.write_text(PROGRAM.format(python=sys.executable, status=uv))
            program.chmod(0o755)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UV_", "PIP_"))
        }
        done = subprocess.run(
            [tmp_path / "v/bin/python", repo / "workflow/install.py", *requirements],
            env={**environment, "PATH": "/nowhere", **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout.replace(str(tmp_path), "").splitlines()

    return run


def test_uv_installs(installed: Callable[..., list[str]]) -> None:
    """pip took four times as long; a constraint of pip's settings went missing behind the project's own."""
    config = "global.constraint='/c.txt /d.txt'\nglobal.find-links='/wheels /more'"
    (said,) = installed("--constraint", "constraints.txt", "--editable", ".", config=config)
    assert said == (
        "uv --python /v/bin/python --constraint constraints.txt --editable . --constraint /c.txt --constraint /d.txt"
        " /wheels,/more unsafe-best-match"
    )
    # what the user told uv stands above what he told pip
    (said,) = installed("x", config=config, UV_FIND_LINKS="/mine")
    assert said.endswith(" /mine unsafe-best-match")


def test_pip_installs_where_uv_cannot(installed: Callable[..., list[str]]) -> None:
    """Without uv, with a setting that uv has no word for, and where uv failed, nothing was installed.
    An index that did not answer made pip wait for uv without a word.
    """
    said = ["Retrying", "uv could not be had; pip installs", "pip install x"]
    assert installed("x", uv=None) == said
    assert installed("x", config="global.proxy='http://p'") == ["pip install x"]
    assert installed("x", uv=2) == [
        "uv --python /v/bin/python x None unsafe-best-match",
        "uv could not install this; pip tries",
        "pip install x",
    ]
    # `make install` must not go on after it
    with pytest.raises(subprocess.CalledProcessError):
        installed("broken", uv=None)
