"""The workers' metrics as one page: Prometheus text, each sample with the number of its worker."""

import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{?)")


def merge(pages: Mapping[str, str]) -> str:
    """Families in the order in which they first come, their samples together, as the format wants them.

    Args: pages: text by worker, as prometheus_client writes it: HELP and TYPE before each family.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith("#"):
                _, keyword, name, *_ = line.split(" ", 3)
                if keyword == "HELP":
                    family = name
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, worker))
    return "".join(
        "\n".join((*head, *samples.get(family, ()))) + "\n" for family, head in heads.items() if family in samples
    )


def _labelled(line: str, worker: str) -> str:
    found = _SAMPLE.match(line)
    if found is None:
        return line
    rest = line[found.end() :]
    if not found[2]:
        return f'{found[1]}{{worker="{worker}"}}{rest}'
    return f'{found[1]}{{worker="{worker}"{"" if rest.startswith("}") else ","}{rest}'
