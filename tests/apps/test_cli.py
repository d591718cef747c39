"""The front door: dispatch, help, exit codes, errors in one line with a hint."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from geopretext import __version__
from geopretext.apps import cli
from geopretext.apps.cli import VERBS, main
from geopretext.errors import StoreError

HEAVY = ("torch", "lightning", "numpy", "matplotlib", "tensorstore", "rich", "jsonargparse")


def verb_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    class Module:
        @staticmethod
        def run(arguments: Sequence[str]) -> int | None:
            raise error

    monkeypatch.setattr(cli, "import_module", lambda name: Module)


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from geopretext.apps.cli import main; code = main(['--help']);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for verb in VERBS:
        assert f"  {verb.name} " in done.stdout
        assert verb.summary in done.stdout


@pytest.mark.parametrize(
    "verb",
    ["demo", "modalities", "convert", "inspect", "stats", "split", "pretrain", "evaluate", "import-official", "export"],
)
def test_help_of_a_verb_does_not_wait_for_torch(verb: str) -> None:
    code = f"import sys; from geopretext.apps.cli import main; main(['{verb}', '-h']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_has_help_with_an_example_that_names_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: geopretext {verb}")
    assert f"\nexample:\n  geopretext {verb}" in text


def test_every_module_of_a_verb_has_run() -> None:
    for verb in VERBS:
        assert callable(import_module(f"geopretext.apps.{verb.module}").run)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"geopretext {__version__}\n"


def test_an_unknown_verb_is_a_usage_error_that_names_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrian"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: no verb 'pretrian'",
        "hint: did you mean pretrain? `geopretext --help` lists all verbs",
    ]
    assert main(["xyzzy"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["split", "x.zarr", "--shares", "0.5,0.2"], "argument --shares: '0.5,0.2' is not three shares such as"),
        (["split", "x.zarr", "--shares", "0.5,0.2,0.2"], "argument --shares: shares 0.5,0.2,0.2 are not three numbers"),
        (["split", "x.zarr", "--block-km", "-3"], "argument --block-km: -3 is not above 0"),
        (["inspect"], "the following arguments are required: STORE"),
        (
            ["inspect", "x.zarr", "--tiles", "1,b"],
            "argument --tiles: '1,b' is not a list of tile numbers such as 0,5,9",
        ),
        (["demo", "--tiles", "5"], "argument --tiles: 5 is below 100"),
        (["evaluate", "dance", "b", "--task", "t", "--out", "o"], "argument head: invalid choice: 'dance'"),
        (["pretrain", "mp-mae-demo", "--data", "x", "--out", "y", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
    ],
)
def test_a_wrong_option_is_a_usage_error(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {says}")
    assert hint == f"hint: geopretext {words[0]} --help"


def test_an_expected_error_is_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_that_raises(monkeypatch, StoreError("is damaged", where="a.zarr", hint="write it again"))
    assert main(["inspect"]) == 1
    assert capsys.readouterr() == ("", "error: a.zarr: is damaged\nhint: write it again\n")
    with pytest.raises(StoreError):
        main(["inspect", "--traceback"])
    monkeypatch.setenv("GEOPRETEXT_DEBUG", "1")
    with pytest.raises(StoreError):
        main(["inspect"])


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verb_that_raises(monkeypatch, FileNotFoundError(2, "No such file or directory", "here.yaml"))
    assert main(["inspect"]) == 1
    assert capsys.readouterr().err.startswith("error: here.yaml: No such file or directory\nhint: ")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that_raises(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["inspect"])


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verb_that_raises(monkeypatch, KeyboardInterrupt())
    assert main(["inspect"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "geopretext.apps.cli", "modalities", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_is_there_says_what_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "no.zarr")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {tmp_path / 'no.zarr'}: there is nothing here"
    assert hint.startswith("hint: ")
