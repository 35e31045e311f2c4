"""Secrets and locks of a data folder."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime import runfile
from runtime.secrets import secret


def test_a_secret_is_made_once_and_only_for_its_owner(tmp_path):
    first = secret(tmp_path, "store-writer")
    assert len(first) >= 24
    assert secret(tmp_path, "store-writer") == first
    assert secret(tmp_path, "internal") != first
    assert stat.S_IMODE((tmp_path / "secrets" / "store-writer").stat().st_mode) == 0o600


def test_many_who_ask_at_once_get_the_same_secret(tmp_path):
    with ThreadPoolExecutor(8) as many:
        assert len(set(many.map(lambda _: secret(tmp_path, "internal"), range(32)))) == 1


def test_a_second_lock_is_refused_and_names_the_process(tmp_path):
    with runfile.Lock(tmp_path, "up"):
        with pytest.raises(runfile.AlreadyRunningError, match=str(os.getpid())), runfile.Lock(tmp_path, "up"):
            pass
        with runfile.Lock(tmp_path, "store"):
            pass
    with runfile.Lock(tmp_path, "up"):
        pass


def test_a_run_file_of_a_dead_process_counts_for_nothing(tmp_path):
    runfile.announce(tmp_path, "store", {"http": "x"})
    found = runfile.read(tmp_path, "store")
    assert found is not None
    assert found.addresses == {"http": "x"}
    (tmp_path / "run" / "store.json").write_text('{"role":"store","pid":999999999,"addresses":{}}')
    assert runfile.read(tmp_path, "store") is None
    assert runfile.read(tmp_path, "registry") is None
