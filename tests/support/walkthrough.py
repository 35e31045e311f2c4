"""A tour in docs/, as a person would take it: files written as they are shown, commands run one after the other.

A block ```console has commands behind `$ `, and below each what it answers; `…` stands for whatever a run makes anew.
A block behind a line that ends in "`NAME`:" is a file of that name.
"""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

COMMAND_S = 120.0
# Asking changes nothing: what takes its time to be seen is asked for again.
ASKING = re.compile(r"\b(get|list|count|query|whoami|history|locate|diff)\b")
ASK_AGAIN_S = 60.0
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([\w.-]+)`:\s*\Z")


class File(NamedTuple):
    name: str
    text: str


class Command(NamedTuple):
    line_number: int
    text: str
    answer: str


def steps(text: str) -> Iterator[File | Command]:
    """The files and commands of a page, in order."""
    for fence in _FENCE.finditer(text):
        kind, body = fence.groups()
        named = _FILE.search(text[: fence.start()])
        if named is not None:
            yield File(named[1], body)
        elif kind == "console":
            yield from _commands(body, text.count("\n", 0, fence.start()) + 2)


def _commands(body: str, first_line: int) -> Iterator[Command]:
    at, lines = 0, body.splitlines()
    while at < len(lines):
        start = at
        assert lines[at].startswith("$ "), f"line {first_line + at}: neither a command nor its answer"
        command = lines[at].removeprefix("$ ")
        while command.endswith("\\"):
            at += 1
            command = command.removesuffix("\\") + lines[at].strip()
        at += 1
        answer = []
        while at < len(lines) and not lines[at].startswith("$ "):
            answer.append(lines[at])
            at += 1
        yield Command(first_line + start, command, "\n".join(answer))


def run(command: Command, folder: Path, environ: Mapping[str, str], places: Mapping[str, str]) -> str:
    """Run it in a shell and give what it printed, once that is what the page says or the time is up.

    Args: places: addresses of the page, and what they are here.
    """
    text = command.text
    for there, here in places.items():
        text = text.replace(there, here)
    end = time.monotonic() + ASK_AGAIN_S
    while True:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if is_as_shown(command, done.stdout, done.returncode):
            return done.stdout
        if time.monotonic() > end or not ASKING.search(text):
            raise AssertionError(
                f"line {command.line_number}: {command.text}\nends with {done.returncode} and answers\n{done.stdout}\n"
                f"the page says\n{command.answer}"
            )
        time.sleep(0.5)


def is_as_shown(command: Command, printed: str, returncode: int) -> bool:
    """An answer with a line `error:` is of a command that fails, any other of one that does not."""
    shown = [re.escape(line.rstrip()).replace("…", ".*") for line in command.answer.strip().splitlines()]
    got = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    is_failure = any(line.startswith("error:") for line in command.answer.splitlines())
    pattern = "\n".join(shown)
    # A line of `…` alone is any number of lines.
    pattern = re.sub(r"(^|\n)\.\*(?=\n|\Z)", r"(?:\1.*)*", pattern)
    return re.fullmatch(pattern, got) is not None and (returncode != 0) is is_failure
