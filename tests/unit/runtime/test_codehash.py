"""The code digest sees the statements that a rule's script reaches, of those what can change a result, and no more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.runtime.codehash import Library, code_digest, library
from equinuclei.runtime.equivalent_code import RuleCode
from equinuclei.specs import ARCHITECTURES

ROOT = Path(__file__).parents[3]

FILES = {
    "train.py": """
        from equinuclei.runtime.job import job
        from equinuclei.training.train import train

        with job(snakemake.log[0]):
            train(snakemake.params.epochs)
        """,
    "draw.py": """
        import equinuclei.figures as figures

        figures.draw()
        """,
    "equinuclei/__init__.py": '__version__ = "1.0"\n',
    "equinuclei/errors.py": """
        class InputError(Exception):
            '''For a person.'''

        def check_known(what, name, known):
            if name not in known:
                raise InputError(f"unknown {what} {name}")

        def raise_problems(where, problems):
            if problems:
                raise InputError(f"{where}: {problems}")
        """,
    "equinuclei/runtime/__init__.py": "",
    "equinuclei/runtime/job.py": """
        POLL = 2.0

        def job(log):
            return open(log)
        """,
    "equinuclei/runtime/files.py": """
        def replacing(path):
            return path

        def write_json(path, value):
            replacing(path).write_text(json.dumps(value, indent=2))
        """,
    "equinuclei/training/__init__.py": "",
    "equinuclei/training/train.py": """
        import importlib
        import logging

        import numpy as np

        from equinuclei.errors import InputError, check_known, raise_problems
        from equinuclei.networks import layers
        from equinuclei.runtime.files import write_json
        from equinuclei.training.record import Record, describe

        logger = logging.getLogger("equinuclei.train")

        SHOWN = 5
        RATE = 0.1

        def train(epochs: int) -> None:
            '''Train.'''
            where = f"epochs {epochs}"
            problems = []
            if epochs < 1:
                problems.append(f"too few: {epochs}")
            raise_problems(where, problems)
            check_known("number of epochs", epochs, range(9))
            logger.info("training %d epochs, %s", epochs, describe(epochs))
            if epochs > 8:
                raise InputError(f"{where}: at most {SHOWN}")
            network = getattr(importlib.import_module("equinuclei.networks.unet"), "UNet")
            assert network, "there is a network"
            weights = np.zeros(3) + layers.conv(RATE)
            write_json("run.json", {"record": Record(epochs).rows, "weights": weights})

        def unused():
            return 1
        """,
    "equinuclei/training/record.py": """
        from dataclasses import dataclass

        @dataclass
        class Record:
            epochs: int
            rows: int = 1

        def describe(epochs):
            return f"{epochs} epochs"
        """,
    "equinuclei/networks/__init__.py": "",
    "equinuclei/networks/unet.py": """
        from equinuclei.networks.layers import Base

        class UNet(Base):
            DEPTH = 4

        class Other:
            DEPTH = 5
        """,
    "equinuclei/networks/layers.py": """
        class Base:
            WIDTH = 8

        def conv(x):
            return scale(x) + 1

        def scale(x):
            return x * 2
        """,
    "equinuclei/figures.py": """
        from equinuclei.networks.layers import scale

        def draw():
            return scale(3)
        """,
}
TRAIN, LAYERS, RECORD = (f"equinuclei/{name}.py" for name in ("training/train", "networks/layers", "training/record"))
UNET = "equinuclei.networks.unet:UNet"


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")


def digests_in(folder):
    """Of both scripts."""
    library.cache_clear()
    return code_digest(folder / "train.py", folder, [UNET]), code_digest(folder / "draw.py", folder)


@pytest.fixture
def changed(tmp_path):
    """Which of the scripts have another digest after an edit: `changed(file, old, new, ...)`."""
    write(tmp_path, FILES)
    before = digests_in(tmp_path)

    def compute(*edits):
        write(tmp_path, FILES)
        for file, old, new in edits:
            path = tmp_path / file
            text = path.read_text() if path.exists() else ""
            assert old in text, (file, old)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace(old, new))
        after = digests_in(tmp_path)
        return {name for name, a, b in zip(("train", "draw"), before, after, strict=True) if a != b}

    return compute


NOTHING, BOTH = set(), {"train", "draw"}
# What is edited -> the scripts whose results it can change.
EDITS = {
    "a comment": ((TRAIN, "RATE = 0.1", "RATE = 0.1  # per step"), NOTHING),
    "a docstring": ((TRAIN, "'''Train.'''", "'''Teach.'''"), NOTHING),
    "a docstring removed": ((TRAIN, "'''Train.'''", ""), NOTHING),
    "layout": ((TRAIN, "np.zeros(3) + layers.conv(RATE)", "(\n        np.zeros(3)\n        + layers.conv(RATE)\n    )"),
               NOTHING),
    "an annotation": ((TRAIN, "epochs: int) -> None", "epochs: float) -> int | None"), NOTHING),
    "annotations removed": ((TRAIN, "epochs: int) -> None", "epochs)"), NOTHING),
    "an error's text": ((TRAIN, "at most {SHOWN}", "no more than {SHOWN}."), NOTHING),
    "an error's cause": ((TRAIN, 'at most {SHOWN}")', 'at most {SHOWN}") from None'), NOTHING),
    "a constant that a message shows": ((TRAIN, "SHOWN = 5", "SHOWN = 6"), NOTHING),
    "a text that messages begin with": ((TRAIN, 'where = f"epochs {epochs}"', 'where = "the epochs"'), NOTHING),
    "a problem's text": ((TRAIN, "too few: {epochs}", "only {epochs}"), NOTHING),
    "an argument for a message": ((TRAIN, '"number of epochs"', '"epochs"'), NOTHING),
    "an assertion's text": ((TRAIN, '"there is a network"', '"a network is there"'), NOTHING),
    "a log message": ((TRAIN, "training %d epochs", "now %d epochs"), NOTHING),
    "another log message": ((TRAIN, "    network = ", "    logger.debug(RATE)\n    network = "), NOTHING),
    "a function for messages": ((RECORD, "{epochs} epochs", "epochs: {epochs}"), NOTHING),
    "the name of a logger": ((TRAIN, '"equinuclei.train"', '"equinuclei.training"'), NOTHING),
    "the version": (("equinuclei/__init__.py", "1.0", "1.1"), NOTHING),
    "an interval of the runtime": (("equinuclei/runtime/job.py", "2.0", "3.0"), NOTHING),
    "the text of a common error": (("equinuclei/errors.py", "unknown {what}", "no {what}"), NOTHING),
    "a function that nothing uses": ((TRAIN, "return 1", "return 2"), NOTHING),
    "a class of another network": (("equinuclei/networks/unet.py", "DEPTH = 5", "DEPTH = 6"), NOTHING),
    "a new function": ((LAYERS, "class Base", "def more():\n    return 3\n\nclass Base"), NOTHING),
    "an import": ((TRAIN, "from equinuclei.networks import layers", "import equinuclei.networks.layers as layers"),
                  NOTHING),
    "a field's annotation": ((RECORD, "rows: int = 1", "rows: float = 1"), NOTHING),
    "a constant": ((TRAIN, "RATE = 0.1", "RATE = 0.2"), {"train"}),
    "the type of a constant": ((LAYERS, "x * 2", "x * 2.0"), BOTH),
    "an operator": ((LAYERS, "x * 2", "x + 2"), BOTH),
    "a function behind a function": ((LAYERS, "return scale(x) + 1", "return scale(x) + 2"), {"train"}),
    "the condition of an error": ((TRAIN, "epochs > 8", "epochs > 9"), {"train"}),
    "the condition of a problem": ((TRAIN, "epochs < 1", "epochs < 2"), {"train"}),
    "the class of an error": ((TRAIN, "raise InputError(", "raise ValueError("), {"train"}),
    "an error removed": ((TRAIN, 'raise InputError(f"{where}: at most {SHOWN}")', "pass"), {"train"}),
    "what is known": ((TRAIN, "range(9)", "range(10)"), {"train"}),
    "the default of a field": ((RECORD, "rows: int = 1", "rows: int = 2"), {"train"}),
    "the order of fields": ((RECORD, "epochs: int\n    rows: int = 1", "rows: int = 1\n    epochs: int"), {"train"}),
    "a field that is one of the class": ((RECORD, "rows: int = 1", "rows: ClassVar[int] = 1"), {"train"}),
    "a network": (("equinuclei/networks/unet.py", "DEPTH = 4", "DEPTH = 3"), {"train"}),
    "the base of a network": ((LAYERS, "WIDTH = 8", "WIDTH = 9"), {"train"}),
    "how records are written": (("equinuclei/runtime/files.py", "indent=2", "indent=4"), {"train"}),
    "how files are replaced": (("equinuclei/runtime/files.py", "return path", "return str(path)"), NOTHING),
    "a script": (("draw.py", "figures.draw()", "figures.draw()\nfigures.draw()"), {"draw"}),
    "an effect of an import": ((LAYERS, "class Base", "print(1)\n\nclass Base"), BOTH),
    "a registry": ((LAYERS, "class Base", "REGISTRY = {}\nREGISTRY['a'] = 1\n\nclass Base"), BOTH),
    "a function that is registered": ((LAYERS, "class Base", "@register\ndef other():\n    pass\n\nclass Base"), BOTH),
    "a module imported for its effect": ((LAYERS, "class Base", "import plugin  # noqa: F401\n\nclass Base"), BOTH),
    "what only type checkers see": ((LAYERS, "class Base", "if TYPE_CHECKING:\n    X = 1\n\nclass Base"), NOTHING),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_rules_that_it_can_reach(changed, edit):
    change, expected = EDITS[edit]
    assert changed(change) == expected


def test_a_function_may_move_and_modules_be_renamed(changed):
    moved = FILES["equinuclei/networks/layers.py"].partition("        def scale")[2]
    assert not changed(
        (LAYERS, "def scale(x):\n    return x * 2", "from equinuclei.scaling import scale as magnify"),
        (LAYERS, "return scale(x)", "return magnify(x)"),
        ("equinuclei/scaling.py", "", f"def scale{moved}".replace("            return", "    return")),
        ("equinuclei/figures.py", "from equinuclei.networks.layers import", "from equinuclei.scaling import"),
    )


def test_an_import_may_be_written_in_another_way(changed):
    assert not changed((TRAIN, "import numpy as np", "from numpy import zeros"), (TRAIN, "np.zeros", "zeros"))
    assert not changed((TRAIN, "import numpy as np\n", ""), (TRAIN, "    weights =", "    import numpy\n    weights ="),
                       (TRAIN, "np.zeros", "numpy.zeros"))  # fmt: skip
    assert changed((TRAIN, "np.zeros", "np.ones")) == {"train"}
    again = "from equinuclei.training.record import Record, describe"
    assert not changed((TRAIN, again, again.replace(".record", "")), ("equinuclei/training/__init__.py", "", again))


def test_two_functions_of_one_name_are_told_apart(tmp_path):
    files = {
        "equinuclei/__init__.py": "",
        "equinuclei/a.py": "def f(x):\n    return x + 1\n",
        "equinuclei/b.py": "def f(x):\n    return x + 2\n",
        "train.py": "import equinuclei.a as a\nimport equinuclei.b as b\nprint(a.f(b.f(1)) * 2 - a.f(1))\n",
    }
    found = set()
    for script in (files["train.py"], files["train.py"].replace("a.f(b.f(1))", "b.f(a.f(1))")):
        write(tmp_path, {**files, "train.py": script})
        library.cache_clear()
        found.add(code_digest(tmp_path / "train.py", tmp_path))
    assert len(found) == 2


def test_a_module_that_is_passed_on_counts_as_a_whole(tmp_path):
    files = {"equinuclei/__init__.py": "", "equinuclei/a.py": "def f():\n    return 1\n\ndef g():\n    return 2\n"}
    for use in ("getattr(a, 'f')", "a.missing"):
        write(tmp_path, {**files, "train.py": f"from equinuclei import a\n{use}\n"})
        assert len(Library(tmp_path, "equinuclei").reach(tmp_path / "train.py")) == 2


def test_a_class_that_others_are_told_to_counts_with_its_module(tmp_path):
    base = "class Base:\n    def __init_subclass__(cls):\n        KNOWN.append(cls)\n\nKNOWN = []\n"
    write(tmp_path, {"equinuclei/__init__.py": "", "equinuclei/base.py": base,
                     "equinuclei/a.py": "from equinuclei.base import Base\n\nclass A(Base):\n    X = 1\n",
                     "train.py": "import equinuclei.a\nfrom equinuclei.base import KNOWN\nprint(KNOWN)\n"})  # fmt: skip
    reached = Library(tmp_path, "equinuclei").reach(tmp_path / "train.py")
    assert ("equinuclei.a", 1) in reached and ("equinuclei.base", 0) in reached


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\0'\n"])
def test_a_file_that_is_not_python_is_told(tmp_path, text):
    write(tmp_path, FILES)
    (tmp_path / LAYERS).write_text(text)
    with pytest.raises(InputError, match=r"layers.py: not readable as Python"):
        Library(tmp_path, "equinuclei").digest(tmp_path / "train.py", ())


def test_what_the_library_lacks_is_told(tmp_path):
    write(tmp_path, FILES)
    for name in ("equinuclei.networks.vnet", "equinuclei.networks.unet:VNet"):
        with pytest.raises(InputError, match=r"the library has no equinuclei\.networks"):
            Library(tmp_path, "equinuclei").digest(tmp_path / "train.py", (name,))
    (tmp_path / "train.py").write_text("from equinuclei.nowhere import f\nf()\n")
    with pytest.raises(InputError, match="no such module"):
        Library(tmp_path, "equinuclei").digest(tmp_path / "train.py", ())


# Random projects: functions that call functions of higher numbers, each with a constant, and how they are laid out.

COUNT = 6


@st.composite
def layouts(draw):
    """Where every function stands, under which name it is imported, and what its messages say."""
    numbers = list(range(COUNT))
    return {
        "modules": [draw(st.sampled_from(["alpha", "beta", "gamma", "sub.delta"])) for _ in numbers],
        "order": draw(st.permutations(numbers)),
        "styles": [draw(st.integers(0, 4)) for _ in numbers],
        "text": draw(st.sampled_from(["no", "too many", "never {x}"])),
        "annotated": draw(st.booleans()),
        "rename": draw(st.sampled_from(["", "_again"])),
    }  # fmt: skip


def imported(layout, number, style, here):
    """(import at the top, import in the function, how the function is called)."""
    module = f"{layout['modules'][number]}{layout['rename']}"
    package, _, last = f"equinuclei.{module}".rpartition(".")
    if here == module:
        return "", "", f"f{number}"
    return [
        (f"from equinuclei.{module} import f{number}", "", f"f{number}"),
        (f"from equinuclei.{module} import f{number} as g{number}", "", f"g{number}"),
        (f"import equinuclei.{module} as m{number}", "", f"m{number}.f{number}"),
        (f"from {package} import {last}", "", f"{last}.f{number}"),
        ("", f"    from equinuclei.{module} import f{number} as h{number}", f"h{number}"),
    ][style]


def lay_out(folder, calls, constants, layout):
    """Write the project."""
    parts = {"sub/__init__": ([], []), "__init__": ([], []), "errors": (["class InputError(Exception):\n    pass"], [])}
    for number in layout["order"]:
        here = f"{layout['modules'][number]}{layout['rename']}"
        top, body = parts.setdefault(here.replace(".", "/"), ([], []))
        uses = [imported(layout, other, layout["styles"][other], here) for other in calls[number]]
        top += ["from equinuclei.errors import InputError", *(use[0] for use in uses)]
        body.append(
            f"def f{number}({'x: int' if layout['annotated'] else 'x'}):\n"
            + "\n".join(use[1] for use in uses)
            + f"\n    if x > {number}:\n        raise InputError(f'{layout['text']}')\n"
            + f"    return {' + '.join([str(constants[number]), *(f'{use[2]}(x)' for use in uses)])}\n"
        )
    write(folder, {f"equinuclei/{name}.py": "\n".join([*top, *body]) for name, (top, body) in parts.items()})
    top, _, call = imported(layout, 0, layout["styles"][0] % 4, "")
    write(folder, {"train.py": f"{top}\nprint({call}(1))\n"})


calls = st.tuples(*(st.sets(st.integers(n + 1, COUNT - 1)).map(sorted) if n < COUNT - 1 else st.just([])
                    for n in range(COUNT)))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(calls=calls, before=layouts(), after=layouts(), edited=st.integers(0, COUNT - 1))
def test_the_digest_follows_what_is_reached_however_it_is_laid_out(tmp_path_factory, calls, before, after, edited):
    folder = tmp_path_factory.mktemp("projects")
    found = []
    for name, layout, constants in (
        ("before", before, range(COUNT)),
        ("after", after, range(COUNT)),
        ("edited", after, [n + 100 * (n == edited) for n in range(COUNT)]),
    ):
        lay_out(folder / name, calls, list(constants), layout)
        found.append(Library(folder / name, "equinuclei").digest(folder / name / "train.py", ()))
    reached, queue = set(), [0]
    while queue:
        number = queue.pop()
        reached.add(number)
        queue += calls[number]
    assert found[0] == found[1]
    assert (found[2] != found[1]) == (edited in reached)


# The project itself.


def rule_scripts():
    return sorted(path.stem for path in (ROOT / "workflow/scripts").glob("*.py"))


def modules_of(rule, extra=()):
    return {name for name, _ in Library(ROOT, "equinuclei").reach(ROOT / f"workflow/scripts/{rule}.py", extra)}


def test_pages_are_reached_by_the_rules_that_write_pages_alone():
    pages = {rule for rule in rule_scripts() if any(name.startswith("equinuclei.pages") for name in modules_of(rule))}
    assert pages <= {"report_study", "report_plate", "compare_plates"} and "report_study" in pages


def test_no_rule_reaches_a_package_that_decides_no_byte():
    for rule in rule_scripts():
        reached = Library(ROOT, "equinuclei").reach(ROOT / f"workflow/scripts/{rule}.py")
        for name, number in reached:
            if name.startswith(("equinuclei.runtime", "equinuclei.errors", "equinuclei.cli")):
                source = (ROOT / f"{name.replace('.', '/')}.py").read_text()
                assert ast.parse(source).body[number].name == "write_json", (rule, name)


def test_a_rule_with_a_model_depends_on_its_architecture():
    code = RuleCode(ROOT)
    found = {code.digest("train_model", name) for name in ARCHITECTURES}
    assert len(found) == len({module for module, *_ in ARCHITECTURES.values()})


def test_digests_are_computed_without_any_other_package():
    """The workflow is parsed in an environment that may hold Snakemake alone."""
    command = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from equinuclei.runtime.equivalent_code import RuleCode
RuleCode(Path({str(ROOT)!r})).of("train_model", "unet")
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("numpy", "torch", "pandas", "yaml", "jsonschema")))
"""
    run = subprocess.run([sys.executable, "-I", "-c", command], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
