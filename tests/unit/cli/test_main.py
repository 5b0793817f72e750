"""The console command: what it refuses, and how fast it answers."""

import shutil
import subprocess
import sys

import pytest

from equinuclei.cli.main import COMMANDS, main
from equinuclei.library.names import SHIPPED, shipped_models

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "skimage", "zarr")


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS), ["--version"]])
def test_help_waits_for_no_library(words):
    script = (
        "import sys\nfrom equinuclei.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print('loaded', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"


def test_a_mistyped_option_and_an_unknown_command_end_with_2(capsys):
    for words in (["segment", "--treads", "1", "a", "b"], ["segmentt"], []):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "usage: equinuclei" in capsys.readouterr().err


def test_promote_refuses_the_names_of_models_that_come_with_the_package(tmp_path, capsys):
    name = min(shipped_models())
    run = tmp_path / "seed0"
    run.mkdir()
    for file in ("weights.safetensors", "run.json"):
        shutil.copyfile(SHIPPED / name / file, run / file)
    library = tmp_path / "library"
    assert main(["promote", str(run), name, "--library", str(library)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: ") and "comes with the package" in told and not library.exists()
    assert main(["promote", str(run), f"{name}-lab", "--library", str(library)]) == 0
    assert (library / f"{name}-lab" / "weights.safetensors").is_file()
