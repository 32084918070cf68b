"""A leashed program ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backchannel.jetstream.leash import leashed
from tests.jetstream.faults import eventually, program_of, started

PARENT = """
import subprocess, sys, time
from backchannel.jetstream.leash import leashed
child = subprocess.Popen(leashed(["sleep", "600"], watch=sys.argv[1] == "watch"))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("way", ["kernel", "watch"])
async def test_a_program_dies_with_its_parent_even_when_that_is_killed(way: str) -> None:
    with started([sys.executable, "-c", PARENT, way]) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        await eventually(lambda: program_of(child) == "sleep")
        parent.kill()
        parent.wait(timeout=20)
        await eventually(lambda: program_of(child) == "")


def test_the_program_keeps_its_process_id_and_takes_signals() -> None:
    with subprocess.Popen(leashed(["sleep", "600"])) as child:
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(timeout=20) == -signal.SIGTERM


@pytest.mark.parametrize("watch", [False, True])
def test_inherited_descriptors_reach_the_program_alone(watch: bool) -> None:
    reading, writing = os.pipe()
    program = [sys.executable, "-c", f"import os; os.write({writing}, b'held')"]
    with subprocess.Popen(leashed(program, watch=watch), pass_fds=(writing,)):
        os.close(writing)
        with os.fdopen(reading, "rb") as end:
            assert end.read() == b"held"  # end of file: no other process holds the pipe open


def test_a_missing_program_is_told_in_one_line() -> None:
    answer = subprocess.run(leashed(["/nowhere/program"]), capture_output=True, text=True, timeout=20)
    assert answer.returncode == 125
    assert answer.stderr == "/nowhere/program cannot be started: No such file or directory.\n"
