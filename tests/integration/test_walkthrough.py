"""docs/walkthrough.md, line by line: what stands there is what happens."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from loadtest.platform import clean_environment, running_platform
from tests.support.walkthrough import Command as Line
from tests.support.walkthrough import File, is_as_shown, run, steps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"


def executable(path: Path, *command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)


@pytest.mark.timeout(900)
def test_the_walk_is_as_it_is_told(tmp_path: Path) -> None:
    client = next(
        (path for path in (Path("/usr/bin/mosquitto_pub"), Path("/usr/local/bin/mosquitto_pub")) if path.exists()), None
    )
    if client is None:
        pytest.skip("mosquitto_pub is not installed")
    folder, programs = tmp_path / "here", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    (folder / "ops").symlink_to(ROOT / "ops")
    executable(programs / "cityfleet", sys.executable, "-m", "cli.main")
    commands = 0
    with running_platform(tmp_path) as platform:
        executable(programs / "mosquitto_pub", str(client), "-p", str(platform.mqtt_port))
        environ = clean_environment() | {
            "CITYFLEET_CONFIG": str(platform.config),
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        for step in steps(PAGE.read_text(encoding="utf-8")):
            if isinstance(step, File):
                (folder / step.name).write_text(step.text, encoding="utf-8")
            elif step.text != "cityfleet up":  # the platform is that one
                run(step, folder, environ, {"127.0.0.1:50051": platform.registry})
                commands += 1
    assert commands > 40


@pytest.mark.parametrize(
    ("answer", "printed", "code", "fits"),
    [
        ("a  b", "a  b   \n", 0, True),
        ("a … c", "a b b c\n", 0, True),
        ("a\n…\nz", "a\nb\nc\nz\n", 0, True),
        ("a\n…", "a\n", 0, True),
        ("a", "a\nb\n", 0, False),
        ("a.c", "abc\n", 0, False),
        ("", "", 1, False),
        ("error: no", "error: no\n", 2, True),
        ("error: no", "error: no\n", 0, False),
    ],
)
def test_an_answer_is_held_against_what_is_shown(answer: str, printed: str, code: int, fits: bool) -> None:
    assert is_as_shown(Line(1, "x", answer), printed, code) is fits
