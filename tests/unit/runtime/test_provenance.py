"""What a result was made with."""

import pytest
import torch

from equinuclei.checksums import sha256
from equinuclei.runtime import provenance
from equinuclei.runtime.provenance import deciding_hardware, hardware, hardware_so_far, locked_packages


def test_hardware_tells_what_decides_the_last_bits():
    found = hardware()
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert found["torch"].startswith(f"{torch.__version__}, ") and "oneDNN 3." in found["torch"]
    assert found["cores"] >= 1 and "limits" not in found
    assert deciding_hardware(found) == ", ".join(found[name] for name in ("processor", "instructions", "torch"))


def test_variables_that_narrow_the_instructions_are_told(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert hardware()["limits"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert "'ONEDNN_MAX_CPU_ISA': 'AVX2'" in deciding_hardware(hardware())


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "AMD EPYC (family 25, model 17)"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n", "aarch64"),  # Arm has no names
    ],
)
def test_processors_are_named_by_their_numbers_too(cpuinfo, name, monkeypatch):
    monkeypatch.setattr(provenance.Path, "read_text", lambda *_, **__: cpuinfo)
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")
    assert provenance._processor() == name


def test_versions_that_are_not_the_locked_ones_are_told(tmp_path, monkeypatch):
    (tmp_path / "Snakefile").touch()
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==2.4.6\nscipy==1.0\ntorch==2.13.0\nelse==1\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(
        provenance,
        "package_versions",
        lambda: {"python": "3.13", "numpy": "2.4.6", "scipy": "1.9", "torch": "2.13.0+cpu"},
    )
    assert locked_packages() == {"sha256": sha256(lock), "differ": {"scipy": "1.9, locked 1.0"}}
    (tmp_path / "Snakefile").unlink()
    assert locked_packages() == {}


def test_work_that_goes_on_on_other_hardware_names_both(tmp_path, monkeypatch, caplog):
    note = tmp_path / "hardware.json"
    kinds = {name: {"processor": name, "instructions": "AVX512", "platform": "a kernel"} for name in "ab"}
    newer = kinds["b"] | {"platform": "a newer kernel"}

    def on(machine, *, anew=False):
        monkeypatch.setattr(provenance, "hardware", lambda: machine)
        return hardware_so_far(note, anew=anew)

    assert on(kinds["a"], anew=True) == [kinds["a"]] == on(kinds["a"])
    assert not caplog.records
    assert on(kinds["b"]) == [kinds["a"], kinds["b"]]
    assert "began on other hardware (a, AVX512) and goes on here (b, AVX512)" in caplog.text
    assert on(newer) == [kinds["a"], newer]
    assert on(newer, anew=True) == [newer]  # nothing of the earlier work is in it
    note.write_text("{")
    assert on(kinds["a"]) == [kinds["a"]]
