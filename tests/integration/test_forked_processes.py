"""Commands that tests start are forks of a server, and nobody who starts, feeds or ends them sees a difference."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadtest.platform import clean_environment
from tests.support.forkserver import ROOT, executed
from tests.support.store import running_store

pytestmark = pytest.mark.skipif(os.environ.get("FORKS") == "0", reason="FORKS=0: nothing is forked")
OWN = "database IN ('cityfleet', 'ioc')"


def run(*arguments, **given):
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), **given)


@pytest.fixture
def waiting(tmp_path):
    """A command that waits for its standard input."""
    command = [sys.executable, "-m", "cli.main", "ward", "load", "-", "--registry", "127.0.0.1:1"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path, "start_new_session": True}
    process = subprocess.Popen(command, env=clean_environment(), **pipes)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("arguments", [("device", "count", "--help"), ("nothing",)])
def test_output_and_status_are_those_of_an_executed_command(tmp_path, arguments):
    forked = run(*arguments, cwd=tmp_path)
    with executed():
        real = run(*arguments, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)


def test_it_is_a_child_of_ours_in_its_folder_and_session_with_three_streams(waiting, tmp_path):
    seen = psutil.Process(waiting.pid)
    assert seen.ppid() == os.getpid()
    assert os.getsid(waiting.pid) == waiting.pid
    assert seen.cwd() == str(tmp_path)
    assert {int(place.name) for place in Path(f"/proc/{waiting.pid}/fd").iterdir()} >= {0, 1, 2}
    assert waiting.poll() is None
    assert "is the registry running?" in waiting.communicate(b"{}")[1].decode()
    assert waiting.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_its_status_says_so(waiting, number):
    waiting.send_signal(number)
    assert waiting.wait(20) == -number


def test_a_folder_of_whoever_starts_it_is_his_to_remove():
    script = """if True:
        import subprocess, sys, tempfile
        from pathlib import Path
        from tests.support import forkserver
        forkserver.install()
        forkserver._is_forked = True  # such a one forks itself
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "cli.main", "--help"], stdout=subprocess.DEVNULL, check=True)
            assert Path(folder).is_dir(), "removed when the other ended"
        assert not Path(folder).exists()
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def test_what_an_interpreter_reads_when_it_starts_is_not_forgotten():
    command = [sys.executable, "-m", "cli.main", "--help"]
    process = subprocess.Popen(command, env=clean_environment() | {"LD_PRELOAD": ""}, stdout=subprocess.DEVNULL)
    assert "forkserver" not in Path(f"/proc/{process.pid}/cmdline").read_text()
    assert process.wait(60) == 0


def test_a_copied_store_is_what_a_new_one_makes_of_itself(tmp_path):
    def seen(folder):
        with running_store(folder, CITYFLEET_STORE__ROLLUP__ENABLED="false") as store:
            # Of the quarantine a running store sets how far it merges.
            all_but_one = f"{OWN} AND name != 'quarantine' ORDER BY 1, 2"
            tables = f"SELECT database, name, create_table_query FROM system.tables WHERE {all_but_one}"
            counted = f"SELECT database, table, sum(rows) FROM system.parts WHERE active AND {OWN} GROUP BY 1, 2"
            return store.rows(tables, "admin"), sorted(store.rows(counted, "admin"))

    with executed():
        made = seen(tmp_path / "made")
    assert seen(tmp_path / "copied") == made
