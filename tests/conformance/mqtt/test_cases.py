"""Conformance: every case below cases/ is sent to the real endpoint, whole and in pieces, with the same outcome."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import serve

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/expected.json"))


def test_there_are_cases():
    assert len(CASES) >= 50


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
async def test_outcome_is_as_expected(folder, in_pieces):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    data = (folder / "input.bin").read_bytes()
    async with serve() as server, RawClient(server.port, expected["version"]) as client:
        step = max(1, len(data) // 60) if in_pieces else len(data)
        for at in range(0, len(data), step):
            with contextlib.suppress(RuntimeError):  # closed already, and rightly so
                client.send(data[at : at + step])
            if in_pieces:
                await asyncio.sleep(0)
        if expected["closed"]:
            replies = await client.until_closed()
        else:
            replies = await client.replies(len(expected["replies"]))
        assert [[mq.NAMES[reply.type], list(reply.reasons)] for reply in replies] == expected["replies"]
        if not expected["closed"]:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.reply()
    assert [taken.payload.decode() for taken in server.taken] == expected["frames"]
