"""Contexts: the deployments that a person works with, by name, in one file of his own (mode 0600)."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cli.errors import CommandError, ExitCode


class DeploymentContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one deployment is. Empty: as the settings say."""

    # HOST:PORT.
    registry: str = ""
    # A file that holds the caller's token and nothing else.
    token_file: str = ""
    # http://HOST:PORT of the store, for `cityfleet query`.
    store_url: str = ""
    # Who asks there; empty: `reader`.
    store_user: str = ""
    # A file that holds his password and nothing else.
    store_password_file: str = ""


class Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    current: str = ""
    contexts: dict[str, DeploymentContext] = {}


def contexts_path(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config"
    return Path(base) / "cityfleet" / "contexts.yaml"


def read_contexts(path: Path) -> Contexts:
    """What the file says; none: no contexts. Raises: CommandError."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise CommandError(f"cannot read {path}: {exc}", ExitCode.USAGE, "mend the file, or delete it") from exc


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the file as a whole; other users cannot read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.yaml.encode(contexts))
        draft.replace(path)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}") from exc


def chosen_context(config: Path | None, data: Path | None, environ: Mapping[str, str]) -> DeploymentContext | None:
    """The one that CITYFLEET_CONTEXT names, else the current one; None if there is none. Raises: CommandError.

    A deployment that the environment names (CITYFLEET_DATA_DIR, CITYFLEET_CONFIG) comes before the current context, not
    before a named one; what the command line names (`config`, `data`) comes before any.
    """
    # An option that was not given has its value from the environment.
    if data or (config and str(config) != environ.get("CITYFLEET_CONFIG")):
        return None
    stored = read_contexts(contexts_path(environ))
    name = environ.get("CITYFLEET_CONTEXT", "")
    if not name:
        if environ.get("CITYFLEET_DATA_DIR") or environ.get("CITYFLEET_CONFIG"):
            return None
        name = stored.current
    if not name:
        return None
    if name not in stored.contexts:
        known = ", ".join(sorted(stored.contexts)) or "none yet"
        raise CommandError(
            f"there is no context `{name}`; known: {known}",
            ExitCode.USAGE,
            f"cityfleet context set {name} --registry HOST:PORT",
        )
    return stored.contexts[name]


def read_secret(path: Path, what: str) -> str:
    """The one line of a file that holds a secret. Raises: CommandError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read the {what} in {path}: {exc}", ExitCode.PERMISSION) from exc
    if not text or not text.isascii() or not text.isprintable():
        raise CommandError(f"{path} holds no {what}: one line of printable characters", ExitCode.PERMISSION)
    return text


def context_names(incomplete: str) -> list[str]:
    """For the shell's completion: nothing where the file cannot be read."""
    try:
        stored = read_contexts(contexts_path(os.environ))
    except CommandError:
        return []
    return [name for name in stored.contexts if name.startswith(incomplete)]
