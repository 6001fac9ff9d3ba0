"""The program as it is started, and stopped."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_ctrl_c_while_modules_are_imported_is_one_sentence():
    script = ("import builtins, runpy, signal\n"
              "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
              "real = builtins.__import__\n"
              "def slow(name, *more, **options):\n"
              "    if name == 'typer':\n"
              "        signal.raise_signal(signal.SIGINT)\n"
              "    return real(name, *more, **options)\n"
              "builtins.__import__ = slow\n"
              "runpy.run_module('scanward', run_name='__main__')\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "scanward: Interrupted.\n")


@pytest.mark.parametrize("command", [("key", "site.key"), ("log", "list", "log")])
def test_ctrl_c_in_any_command_is_one_sentence(command, run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scanward.cli.protecting.make_key", interrupted)
    monkeypatch.setattr("scanward.cli.sealing.Log", interrupted)
    assert run(*command) == (130, "", "scanward: Interrupted.\n")


def test_who_is_told_to_end_leaves_no_drafts(tmp_path):
    script = ("import signal, sys\n"
              "from pathlib import Path\n"
              "from scanward import cli\n"
              "from scanward.cli import protecting\n"
              "from scanward.disk import whole_folder\n"
              "def halfway(path):\n"
              "    with whole_folder(path, last='image') as draft:\n"
              "        (draft / 'image').write_bytes(b'a half')\n"
              "        signal.raise_signal(signal.SIGTERM)\n"
              "protecting.make_key = halfway\n"
              f"sys.argv = ['scanward', 'key', {str(tmp_path / 'site.key')!r}]\n"
              "cli.main()\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "scanward: Interrupted.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["methods"], ["methods", "--json"], ["verify", "--help"]])
def test_output_that_nobody_reads_is_no_alarm(command):
    """Rich would end with exit code 1, which says that something was found."""
    with subprocess.Popen([sys.executable, "-m", "scanward", *command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as done:
        done.stdout.close()
        assert (done.wait(), done.stderr.read()) == (2, b"")
