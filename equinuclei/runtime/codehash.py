"""Digest of the code that a rule's results depend on: the statements that its script can reach.

Snakemake notices a changed script, but no changed library. This digest follows every name that a reached statement
uses to the statements that bind it, wherever they stand, and covers their normal forms (`normal_form`). So it changes
with a statement that can change a result, and with no other: not with comments, annotations, messages, or statements
that nothing reaches, and not when a function moves to another module.

Not followed are packages that decide no byte of a result, `DECIDE_NO_BYTE`. What a module does when it is imported,
such as to register something, counts as soon as the module is imported.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.runtime.modules import SCRIPT, Module
from equinuclei.runtime.names import External, Form, Found, Import, Object, Package, Resolver
from equinuclei.runtime.normal_form import normal_form
from equinuclei.runtime.syntax import FUNCTIONS

DECIDE_NO_BYTE = ("equinuclei.errors", "equinuclei.runtime", "equinuclei.cli")
"""Modules and packages whose code decides whether, when and how a result is made, and no byte of it."""

YET_DECIDE = frozenset({"write_json"})
"""What lies in those and decides bytes all the same."""

UNCOUNTED = frozenset({"__version__", "__all__"})
"""Names that are never followed."""


def code_digest(entry: Path, root: Path, extra: Iterable[str] = (), package: str = "equinuclei") -> str:
    """Digest of the statements that a script reaches in the library.

    Parameters
    ----------
    entry
        The script.
    root
        The folder that holds the library's package.
    extra
        What the script imports by name at run time: `equinuclei.networks.unet`, a module as a whole, or
        `equinuclei.networks.unet:UNet`, one object.

    Raises
    ------
    InputError
        If a file cannot be read or parsed, or nothing is called as in `extra`.
    """
    return library(Path(root), package).digest(Path(entry), tuple(extra))


@cache
def library(root: Path, package: str = "equinuclei") -> "Library":
    """The library below `root`, read once per process."""
    return Library(root, package)


class Library:
    """The modules of a package, what they refer to, and the digests of scripts that use them."""

    def __init__(self, root: Path, package: str) -> None:
        self.root, self.package = root, package
        self._modules: dict[str, Module | None] = {}
        self._forms: dict[tuple[str, int], Form] = {}
        self._sums: dict[tuple[str, int], bytes] = {}
        self._imports: dict[str, list[Module]] = {}
        self._digests: dict[tuple[Path, tuple[str, ...]], str] = {}

    def digest(self, entry: Path, extra: tuple[str, ...]) -> str:
        """See `code_digest`."""
        key = entry, extra
        if key not in self._digests:
            summary = hashlib.sha256()
            for part in sorted({self._sum(*statement) for statement in self.reach(entry, extra)}):
                summary.update(part)
            summary.update(self._sum_script(entry))
            self._digests[key] = summary.hexdigest()[:16]
        return self._digests[key]

    def reach(self, entry: Path, extra: Iterable[str] = ()) -> set[tuple[str, int]]:
        """The statements that a script reaches: (module, number) of each; its own definitions are of `SCRIPT`."""
        script = self._script(entry)
        reached: set[tuple[str, int]] = set()
        queue = [(script.name, number) for number in range(len(script.nodes))]
        loaded: set[str] = set()
        queue += self._load(script, loaded)
        for name in extra:
            queue += self._named_by_caller(name, loaded)
        while queue:
            statement = queue.pop()
            if statement in reached:
                continue
            reached.add(statement)
            form = self._form(*statement)
            for bound in form.imports:
                queue += self._load_import(bound, loaded)
            for reference in form.references:
                queue += self._statements(reference, loaded)
        return {(name, number) for name, number in reached if name != script.name or _is_definition(script, number)}

    def _named_by_caller(self, name: str, loaded: set[str]) -> Iterator[tuple[str, int]]:
        module, _, member = name.partition(":")
        found: Found | None = Package(module) if self.module(module) else None
        if found and member:
            found = self.member(module, member)
        if found is None:
            raise InputError(f"{self.root}: the library has no {name}, which the code is told to import")
        yield from self._load_import(Import(module), loaded)
        yield from self._statements(found, loaded)

    def _statements(self, found: Found, loaded: set[str]) -> Iterator[tuple[str, int]]:
        """The statements behind a reference, and what runs when their module is imported."""
        if isinstance(found, External) or not _counts(found):
            return
        module = self._known(found.module)
        if module.name not in loaded:
            yield from self._load(module, loaded)
        if isinstance(found, Object):
            yield from ((module.name, number) for number in module.defines[found.name])
        else:
            yield from ((module.name, number) for number in range(len(module.nodes)))

    def _load_import(self, bound: Import, loaded: set[str]) -> Iterator[tuple[str, int]]:
        for name in (bound.module, f"{bound.module}.{bound.name}"):
            module = self.module(name)
            if module is not None:
                yield from self._load(module, loaded)

    def _load(self, module: Module, loaded: set[str]) -> Iterator[tuple[str, int]]:
        """What a module, those above it and those that it imports do when they are imported."""
        queue = [module]
        while queue:
            module = queue.pop()
            if module.name in loaded or not _counts(Package(module.name)):
                continue
            loaded.add(module.name)
            if not module.name.startswith(SCRIPT):
                yield from ((module.name, number) for number in self._side_effects(module))
            queue += self._imported_modules(module)

    def _imported_modules(self, module: Module) -> list[Module]:
        """The modules of the library that run when a module is imported, those above it among them."""
        if module.name not in self._imports:
            names = {name for bound in module.imported for name in (bound.module, f"{bound.module}.{bound.name}")}
            names = {name for name in names if name.split(".")[0] == self.package} | set(_above(module.name))
            names |= {above for name in names for above in _above(name)}
            self._imports[module.name] = list(filter(None, map(self.module, sorted(names))))
        return self._imports[module.name]

    def _side_effects(self, module: Module) -> Iterator[int]:
        yield from module.side_effects
        for number, node in enumerate(module.nodes):
            if isinstance(node, ast.ClassDef) and self._tells_base(module, node):
                yield number

    def _tells_base(self, module: Module, node: ast.ClassDef) -> bool:
        """Whether a class of the project that it inherits from is told of it, by `__init_subclass__`."""
        for base in node.bases:
            parts = ast.unparse(base).split(".")
            found = self.lookup(module.name, parts[0])
            for name in parts[1:]:
                found = self.member(found.module, name) if isinstance(found, Package) else None
            for above, owner in self._definitions(found):
                if isinstance(above, ast.ClassDef) and (
                    any(isinstance(part, ast.FunctionDef) and part.name == "__init_subclass__" for part in above.body)
                    or self._tells_base(owner, above)
                ):
                    return True
        return False

    def _definitions(self, found: Found | None) -> list[tuple[ast.stmt, Module]]:
        if not isinstance(found, Object):
            return []
        module = self._known(found.module)
        return [(module.nodes[number], module) for number in module.defines[found.name]]

    # Modules and names.

    def module(self, name: str) -> Module | None:
        """A module of the library, or None if it has none of that name."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> Module | None:
        parts = name.split(".")
        if parts[0] != self.package:
            return None
        base = self.root.joinpath(*parts)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return Module(path, name)
        return None

    def _known(self, name: str) -> Module:
        """A script that was read, or a module that the library has."""
        module = self._modules.get(name) or self.module(name)
        if module is None:
            raise InputError(f"{self.root}: the library has no module {name}")
        return module

    def _script(self, entry: Path) -> Module:
        name = f"{SCRIPT}{entry}"
        if name not in self._modules:
            self._modules[name] = Module(entry, name)
        return self._known(name)

    def lookup(self, module: str, name: str, seen: frozenset = frozenset()) -> Found | None:
        """What a name of a module's top level means: through imports, where it is defined."""
        of = self._modules.get(module) or self.module(module)
        if of is None or name in UNCOUNTED or (module, name) in seen:
            return None
        if name in of.defines:
            return Object(module, name)
        seen |= {(module, name)}
        if name in of.imports:
            return self.imported(of.imports[name], seen)
        for star in of.stars:
            found = self.imported(Import(star, name), seen)
            if found is not None:
                return found
        return None

    def member(self, module: str, name: str, seen: frozenset = frozenset()) -> Found | None:
        """What is called so in a module: a name of its top level or a module in it."""
        found = self.lookup(module, name, seen)
        if found is None and self.module(f"{module}.{name}") is not None:
            return Package(f"{module}.{name}")
        return found

    def imported(self, bound: Import, seen: frozenset = frozenset()) -> Found | None:
        """What an import binds its name to."""
        if bound.module.split(".")[0] != self.package:
            return External(f"{bound.module}.{bound.name}" if bound.name else bound.module)
        if self.module(bound.module) is None:
            raise InputError(f"{self.root}: {bound.module} is imported, and the library has no such module")
        return self.member(bound.module, bound.name, seen) if bound.name else Package(bound.module)

    def _resolver(self, module: Module) -> Resolver:
        return Resolver(
            name=lambda name: self.lookup(module.name, name),
            imported=self.imported,
            member=self.member,
            has_value=self._has_value,
            package=module.package,
        )

    def _has_value(self, found: Object) -> bool:
        """Whether an exception carries more than a message: its class has a body."""
        return _counts(found) and any(
            isinstance(node, ast.ClassDef) and any(not isinstance(p, ast.Pass | ast.Expr) for p in node.body)
            for node, _ in self._definitions(found)
        )

    # Digests.

    def _form(self, module: str, number: int) -> Form:
        key = module, number
        if key not in self._forms:
            of = self._known(module)
            node = of.nodes[number]
            form = normal_form([node], self._resolver(of))
            self._forms[key] = form._replace(text=form.text + "".join(f"import {m};" for m in of.acting_imports(node)))
        return self._forms[key]

    def _sum(self, module: str, number: int) -> bytes:
        """Digest of a statement, and of the forms of what it refers to: so that two objects of one name differ.

        Empty if the statement does nothing.
        """
        key = module, number
        if key not in self._sums:
            form = self._form(*key)
            summary = hashlib.sha256(form.text.encode())
            for reference in form.references:
                if isinstance(reference, Object) and _counts(reference):
                    for there in self._known(reference.module).defines[reference.name]:
                        text = self._form(reference.module, there).text
                        summary.update(hashlib.sha256(text.encode()).digest())
            self._sums[key] = summary.digest() if form.text else b""
        return self._sums[key]

    def _sum_script(self, entry: Path) -> bytes:
        """Digest of what a script does, in its order, without its definitions, which are statements like others."""
        script = self._script(entry)
        summary = hashlib.sha256()
        for number in range(len(script.nodes)):
            if not _is_definition(script, number):
                summary.update(self._sum(script.name, number))
        return summary.digest()


def _counts(found: Object | Package) -> bool:
    return (isinstance(found, Object) and found.name in YET_DECIDE) or _decides(found.module)


@cache
def _decides(module: str) -> bool:
    return not any(module == name or module.startswith(f"{name}.") for name in DECIDE_NO_BYTE)


def _is_definition(module: Module, number: int) -> bool:
    return isinstance(module.nodes[number], (*FUNCTIONS, ast.ClassDef))


def _above(name: str) -> Iterator[str]:
    """The packages that a module lies in."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        yield ".".join(parts[:depth])
