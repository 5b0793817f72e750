"""Digest of the code that a rule's results depend on: the statements that its script can reach.

Snakemake notices a changed script, but no changed library. This digest follows every name that a reached statement
uses to the statements that bind it, wherever they stand, and covers their normal forms (`normal_form`). So it changes
with a statement that can change a result, and with no other: not with comments, annotations, messages, or statements
that nothing reaches, and not when a function moves to another module.

Not followed are packages that decide no byte of a result, `DECIDE_NO_BYTE`. What a module does when it is imported, such
as to register something, counts as soon as the module is imported.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.runtime.normal_form import (
    External,
    Form,
    Found,
    Import,
    Object,
    Package,
    Resolver,
    imports_of,
    is_type_checking,
    normal_form,
)

DECIDE_NO_BYTE = ("equinuclei.errors", "equinuclei.runtime", "equinuclei.cli")
"""Modules and packages whose code decides whether, when and how a result is made, and no byte of it."""

YET_DECIDE = frozenset({"write_json"})
"""What lies in those and decides bytes all the same."""

UNCOUNTED = frozenset({"__version__", "__all__"})
"""Names that are never followed."""

HARMLESS_DECORATORS = frozenset(
    {"abstractmethod", "asynccontextmanager", "cache", "cached_property", "classmethod", "contextmanager", "dataclass",
     "delayed", "final", "inference_mode", "lru_cache", "no_grad", "overload", "override", "property",
     "runtime_checkable", "setter", "staticmethod", "total_ordering", "unique", "wraps"}
)  # fmt: skip
"""Decorators that register nothing. A function or class with another one counts as soon as its module is imported."""

SCRIPT = "__script__"


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


class Module:
    """One file: the statements of its top level by the names that they bind, and its imports."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            self.source = path.read_text(encoding="utf-8")
            tree = ast.parse(self.source, filename=str(path))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: not readable as Python ({error}); mend or restore the file") from error
        self.nodes: list[ast.stmt] = []
        self.defines: dict[str, list[int]] = {}
        self.imports: dict[str, Import] = {}
        self.stars: list[str] = []
        self.imported: set[Import] = set()
        self._add(tree.body)

    def _add(self, statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            if is_type_checking(node):
                self._add(node.orelse)
                continue
            self.nodes.append(node)
            for part in _of_top_level(node):
                if isinstance(part, ast.Import | ast.ImportFrom):
                    self._add_import(part)
                else:
                    for name in _binds(part):
                        self.defines.setdefault(name, []).append(len(self.nodes) - 1)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            self.imported.update(Import(alias.name) for alias in node.names)
        for name, bound in imports_of(node, self.package):
            self.imported.add(bound)
            if name == "*":
                self.stars.append(bound.module)
            else:
                self.imports[name] = bound

    @cached_property
    def side_effects(self) -> list[int]:
        """The statements that may do more than bind names."""
        return [number for number, node in enumerate(self.nodes) if self._acts(node)]

    def _acts(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return any(_is_decorated(part) for part in _definitions(node)) or _asks_metaclass(node)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return any(isinstance(p, ast.Attribute | ast.Subscript) for target in targets for p in ast.walk(target))
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ == "):
            return self.name == SCRIPT
        return not isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)

    @cached_property
    def unused_imports(self) -> list[str]:
        """Modules that are imported and not used: for what they do when they are imported."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.split(".")[0]
                    if len(re.findall(rf"\b{name}\b", self.source)) == 1:
                        found.append(alias.name)
        return found


class Library:
    """The modules of a package, what they refer to, and the digests of scripts that use them."""

    def __init__(self, root: Path, package: str) -> None:
        self.root, self.package = root, package
        self._modules: dict[str, Module | None] = {}
        self._forms: dict[tuple[str, int], Form] = {}
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
        found = Package(module) if self.module(module) else None
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
        module = self.module(found.module)
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
            if module.name != SCRIPT:
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
        module = self.module(found.module)
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

    def _script(self, entry: Path) -> Module:
        name = f"{SCRIPT}{entry}"
        if name not in self._modules:
            module = Module(entry, SCRIPT)
            module.name = name
            self._modules[name] = module
        return self._modules[name]

    def lookup(self, module: str, name: str, seen: frozenset = frozenset()) -> Found | None:
        """What a name of a module's top level means: through imports, where it is defined."""
        of = self.module(module)
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
            isinstance(node, ast.ClassDef)
            and any(not (isinstance(p, ast.Pass) or _is_docstring(p)) for p in node.body)
            for node, _ in self._definitions(found)
        )

    # Digests.

    def _form(self, module: str, number: int) -> Form:
        key = module, number
        if key not in self._forms:
            of = self.module(module) if not module.startswith(SCRIPT) else self._modules[module]
            self._forms[key] = normal_form([of.nodes[number]], self._resolver(of))
        return self._forms[key]

    @cache  # noqa: B019  the library lives as long as the process
    def _sum(self, module: str, number: int) -> bytes:
        """Digest of a statement, and of the forms of what it refers to: so that two objects of one name differ."""
        form = self._form(module, number)
        summary = hashlib.sha256(form.text.encode())
        for reference in form.references:
            if isinstance(reference, Object) and _counts(reference):
                for number_there in self.module_or_script(reference.module).defines[reference.name]:
                    summary.update(hashlib.sha256(self._form(reference.module, number_there).text.encode()).digest())
        return summary.digest()

    def module_or_script(self, name: str) -> Module:
        """A module that is known to be there."""
        return self._modules[name] or self.module(name)

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
    return isinstance(module.nodes[number], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _above(name: str) -> Iterator[str]:
    """The packages that a module lies in."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        yield ".".join(parts[:depth])


def _of_top_level(node: ast.AST) -> Iterator[ast.AST]:
    """A statement of the top level and those in its blocks, but for what stands in functions and classes."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            if not is_type_checking(child):
                yield from _of_top_level(child)


def _binds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def _definitions(node: ast.stmt) -> Iterator[ast.stmt]:
    """A function; or a class with its methods and the classes in it."""
    yield node
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _definitions(part)


def _is_decorated(node: ast.stmt) -> bool:
    """Whether a decorator may register the function or class."""
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name not in HARMLESS_DECORATORS:
            return True
    return False


def _asks_metaclass(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and any(ast.unparse(k.value) not in ("ABCMeta", "abc.ABCMeta") for k in node.keywords)
