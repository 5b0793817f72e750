"""What README and docs name exists: commands, options, make targets, rules, files, links and Python names."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from equinuclei.cli.main import COMMANDS
from equinuclei.cli.main import main as equinuclei

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/peers/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "benchmarks|config|docs|envs|equinuclei|profiles|scripts|tests|workflow"
# Appears with the first refactoring that is acknowledged.
LATER = {"workflow/equivalent_code.tsv"}
# Scripts that run in the environments of other programs.
WORKERS = {"worker", "ours", "stardist_net", "stardist_training", "cellpose_net", "monai_net"}
BENCHMARKS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.stem not in WORKERS and "def main(" in path.read_text(encoding="utf-8")
)

of_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def code(page):
    """The code of a page: fenced blocks, and spans between backticks (lines broken within a span are joined)."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return "\n".join(re.sub(r"\s#.*", "", line) for part in [*blocks, *spans] for line in part.splitlines())


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolves(name):
    """Whether a dotted name is that of a module, or of something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part) and part in getattr(found, "__annotations__", {}):
                return True  # a field of a dataclass
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@of_page
def test_commands_exist_with_their_options(page, capsys):
    for line in code(page).splitlines():
        for command, rest in re.findall(r"(?:^|\s)equinuclei ([a-z][\w-]*)(.*)", line):
            assert command in COMMANDS, line
            with pytest.raises(SystemExit):
                equinuclei([command, "--help"])
            told = capsys.readouterr().out
            for option in re.findall(r"--[\w-]+", rest):
                assert re.search(rf"{option}\b", told), f"{option}: {line}"


@of_page
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([\w-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|[;&] ?)make ([a-z][\w-]*)", code(page), flags=re.MULTILINE))
    assert named <= known


@of_page
def test_rules_exist(page):
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = {name for file in files for name in re.findall(r"^ *rule (\w+):", file.read_text("utf-8"), re.MULTILINE)}
    for targets in re.findall(r"(?:^|/)snakemake((?: [a-z_]+)+)", code(page), flags=re.MULTILINE):
        assert set(targets.split()) <= rules, targets


@of_page
def test_files_and_modules_exist(page):
    found = code(page)
    for name in re.findall(rf"(?<![\w/.~-])(?:{FOLDERS})/[\w./*+-]*", found):
        path = name.rstrip(".")
        assert path in LATER or (any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()), name
    for module in re.findall(r"python -m (benchmarks[\w.]+)", found):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
    for name in re.findall(r"(?<![\w./-])equinuclei(?:\.[A-Za-z_]\w*)+", found):
        assert resolves(name), name


@of_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(\s*([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@of_page
def test_python_examples_import_what_there_is(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert all(resolves(f"{node.module}.{alias.name}") for alias in node.names), ast.unparse(node)


def test_architecture_lists_the_layers_in_order():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", text.partition("## The layers")[2].partition("## ")[0], flags=re.MULTILINE)
    told = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    assert told == [set(layer.split(" | ")) for layer in reversed(contract["layers"])]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_start(name, monkeypatch, capsys):
    module = importlib.import_module(name)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0 and name.split(".")[-1] in capsys.readouterr().out


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
