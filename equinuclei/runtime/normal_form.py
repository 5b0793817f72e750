"""The normal form of a statement: all of it that can decide what a result holds, and nothing else.

Two statements with the same normal form do the same. It leaves out comments, layout, docstrings, annotations, imports,
and messages: what is raised, logged or warned says something to a person and nothing to a result. Objects of this
project go by the name that they were defined with, those of other packages by their full name, so that it does not
count from where and under which alias they were imported. The form is written here and not by `ast.dump`, whose text
differs between versions of Python; a field that is absent or empty is not written.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

LOGGERS = frozenset({"logger", "_logger", "log", "logging", "warnings"})
"""What messages are sent through; a statement `logger.info(...)` is no part of the normal form."""

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "warn"})

MESSAGE_ARGUMENTS = {"check_known": (0, "what"), "raise_problems": (0, "where"), "require_space": (2, "what")}
"""Functions of this project -> position and name of the argument that only their message tells."""

PROBLEMS = re.compile(r"(^|_)problems?$")
"""Names of variables that hold what is wrong with an input, and of functions that return it: of texts in them counts
that they are there, and not what they say."""

WITH_VALUE = frozenset({"SystemExit", "StopIteration"})
"""Exceptions whose arguments are more than a message. So are those of a class of this project that has a body."""

_OMITTED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "annotation", "returns"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LEAVES = frozenset({ast.Constant, ast.Pass, str, type(None), ast.alias})
_BINDERS = frozenset(
    {*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef, ast.Lambda, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal,
     ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping, ast.If}
)  # fmt: skip


class Import(NamedTuple):
    """What an import binds a name to: a module, or what is called `name` there."""

    module: str
    name: str | None = None


class Object(NamedTuple):
    """Something that a module of the project defines at its top level."""

    module: str
    name: str


class Package(NamedTuple):
    """A module of the project."""

    module: str


class External(NamedTuple):
    """A module of another package, or something in one, by its full name."""

    name: str


Found = Object | Package | External


class Form(NamedTuple):
    """A normal form: its text, what it refers to, in that order, and the modules that it imports while it runs."""

    text: str
    references: tuple[Object | Package, ...]
    imports: tuple[Import, ...]


@dataclass
class Resolver:
    """How the names of a module are looked up. All return None for a name that is no one's, as a builtin's.

    name : what a name of the module's own top level means; imported : what an import binds; member : what is called so
    in a module of the project; has_value : whether an exception of the project keeps its arguments as values.
    """

    name: Callable[[str], Found | None]
    imported: Callable[[Import], Found | None]
    member: Callable[[str, str], Found | None]
    has_value: Callable[[Object], bool]
    package: str


def normal_form(statements: Iterable[ast.stmt], resolver: Resolver) -> Form:
    """The normal form of statements of a module's top level."""
    writer = _Writer(resolver)
    writer.body(list(statements))
    text = "".join(part for part in writer.out if isinstance(part, str))
    references = tuple(part for part in writer.out if not isinstance(part, str))
    return Form(text, references, tuple(writer.imports))


def imports_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """The names that an import binds, and to what; `*` for everything. package : what a relative import begins at."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0], Import(
                alias.name if alias.asname else alias.name.split(".")[0]
            )
        return
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, Import(module, alias.name)


def is_type_checking(node: ast.AST) -> bool:
    """Whether a statement is `if TYPE_CHECKING`, which does not run."""
    return isinstance(node, ast.If) and (
        (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        or (isinstance(node.test, ast.Attribute) and node.test.attr == "TYPE_CHECKING")
    )


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in _OMITTED)


@dataclass
class _Scope:
    """The names of a function or comprehension: plain ones (None) and imported ones.

    loads : those that something is done with; texts : where in the output stand texts that a name is bound to, and what
    they are made of. A text that only messages use is taken out again when the scope ends.
    """

    names: dict[str, Import | None]
    loads: set[str] = field(default_factory=set)
    texts: list[tuple[str, int, int, set[str]]] = field(default_factory=list)
    of_class: bool = False


class _Writer:
    """Writes the normal form into `out`: texts, and what is referred to."""

    def __init__(self, resolver: Resolver) -> None:
        self.out: list[str | Object | Package] = []
        self.imports: list[Import] = []
        self._resolver = resolver
        self._scopes: list[_Scope] = []
        self._class_has_fields = False
        self._returns_problems = False
        self._lists_problems = False

    def body(self, statements: list[ast.stmt]) -> None:
        """Write the statements of a block that do something."""
        for node in statements:
            if is_type_checking(node):
                self.body(node.orelse)
            elif not _does_nothing(node):
                self.write(node)

    def write(self, node: ast.AST) -> None:
        handler = _HANDLERS.get(type(node))
        if handler is not None:
            handler(self, node)
            return
        self.out.append(f"{type(node).__name__}(")
        for name in _fields(type(node)):
            self._field(name, getattr(node, name, None))
        self.out.append(")")

    def _field(self, name: str, value: object) -> None:
        if value is None or (isinstance(value, list) and not value):
            return
        self.out.append(f"{name}=")
        if isinstance(value, ast.AST):
            self.write(value)
        elif not isinstance(value, list):
            self.out.append(f"{value!r},")
        elif isinstance(value[0], ast.stmt):
            start = len(self.out)
            self.body(value)
            if len(self.out) == start:
                self.out.pop()
            else:
                self.out.append(";")
        else:
            self._list(value)

    def _list(self, values: Iterable[ast.AST | str | None]) -> None:
        self.out.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                self.write(value)
            else:
                self.out.append(repr(value))
            self.out.append(",")
        self.out.append("]")

    # Names.

    def _lookup(self, name: str) -> tuple[Found | None, _Scope | None]:
        for scope in reversed(self._scopes):
            if name in scope.names:
                bound = scope.names[name]
                return (self._resolver.imported(bound) if bound else None), scope
        return self._resolver.name(name), None

    def _name(self, node: ast.Name) -> None:
        found, scope = self._lookup(node.id)
        if scope is not None and isinstance(node.ctx, ast.Load):
            scope.loads.add(node.id)
        own = scope is None and (not self._scopes or self._scopes[-1].of_class) and not isinstance(node.ctx, ast.Load)
        if found is None or own:
            self.out.append(f"{node.id}~")
        else:
            self._found(found, [])

    def _attribute(self, node: ast.Attribute) -> None:
        attributes, root = [], node
        while isinstance(root, ast.Attribute):
            attributes.append(root.attr)
            root = root.value
        if isinstance(root, ast.Name):
            found, _ = self._lookup(root.id)
            if isinstance(found, Package | External):
                self._found(found, attributes[::-1])
                return
        self.out.append("A(")
        self.write(node.value)
        self.out.append(f").{node.attr}~")

    def _found(self, found: Found | None, attributes: list[str]) -> None:
        """Write a name that was found, and the attributes behind it."""
        while isinstance(found, Package) and attributes:
            member = self._resolver.member(found.module, attributes[0])
            if member is None:
                break
            found, attributes = member, attributes[1:]
        if isinstance(found, External):
            self.out.append(f"{'.'.join([found.name, *attributes])}~")
            return
        self.out.append("A(" * len(attributes))
        self.out.append(f"{found.name if isinstance(found, Object) else '<module>'}~")
        self.out.append(found)
        self.out.extend(f").{name}~" for name in attributes)

    def _named(self, node: ast.expr) -> Found | None:
        """What a name, or a chain of attributes of one, means beyond this statement."""
        if isinstance(node, ast.Name):
            return self._lookup(node.id)[0]
        if isinstance(node, ast.Attribute):
            found = self._named(node.value)
            if isinstance(found, Package):
                return self._resolver.member(found.module, node.attr)
            if isinstance(found, External):
                return External(f"{found.name}.{node.attr}")
        return None

    # Definitions.

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.out.append(f"{type(node).__name__}({node.name}~")
        self._field("decorators", node.decorator_list)
        self._arguments(node.args)
        outer = self._class_has_fields, self._returns_problems
        self._class_has_fields, self._returns_problems = False, bool(PROBLEMS.search(node.name))
        self._scoped(_bound(node, self._resolver.package), lambda: self.body(node.body))
        self._class_has_fields, self._returns_problems = outer
        self.out.append(")")

    def _lambda(self, node: ast.Lambda) -> None:
        self.out.append("Lambda(")
        self._arguments(node.args)
        self._scoped(_bound(node, self._resolver.package), lambda: self.write(node.body))
        self.out.append(")")

    def _arguments(self, arguments: ast.arguments) -> None:
        for name in ("posonlyargs", "args", "kwonlyargs"):
            self.out.append(f"{name}={','.join(argument.arg for argument in getattr(arguments, name))};")
        for name in ("vararg", "kwarg"):
            argument = getattr(arguments, name)
            self.out.append(f"{name}={argument.arg if argument else ''};")
        self._field("defaults", arguments.defaults)
        self._field("kw_defaults", arguments.kw_defaults)

    def _class(self, node: ast.ClassDef) -> None:
        self.out.append(f"ClassDef({node.name}~")
        self._field("decorators", node.decorator_list)
        self._field("bases", node.bases)
        self._field("keywords", node.keywords)
        bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
        outer = self._class_has_fields
        self._class_has_fields = bool(node.decorator_list) or bool(bases & {"NamedTuple", "TypedDict"})
        self._scopes.append(_Scope({}, of_class=True))
        self.body(node.body)
        self._scopes.pop()
        self._class_has_fields = outer
        self.out.append(")")

    def _comprehension(self, node: ast.expr) -> None:
        self.out.append(f"{type(node).__name__}(")
        problems, self._lists_problems = self._lists_problems, False
        first, *others = node.generators
        self.write(first.iter)  # it is looked up outside
        names = {name: None for generator in node.generators for name in _stored(generator.target)}

        def inside() -> None:
            for generator in (first, *others):
                self.out.append("for:" if not generator.is_async else "async for:")
                self.write(generator.target)
                if generator is not first:
                    self.write(generator.iter)
                self._field("ifs", generator.ifs)
            for name in ("elt", "key", "value"):
                value = getattr(node, name, None)
                if name == "elt" and problems:
                    self._problem(value)
                else:
                    self._field(name, value)

        self._scoped(names, inside)
        self.out.append(")")

    def _scoped(self, names: dict[str, Import | None], write: Callable[[], None]) -> None:
        scope = _Scope(names)
        self.imports.extend(bound for bound in names.values() if bound)
        self._scopes.append(scope)
        write()
        self._scopes.pop()
        for name, start, end, made_of in reversed(scope.texts):
            if name in scope.loads:
                scope.loads |= made_of
            else:
                self.out[start:end] = [""] * (end - start)

    # Assignments.

    def _assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        scope = self._scopes[-1] if self._scopes else None
        single = len(node.targets) == 1 and isinstance(target, ast.Name)
        if single and scope is not None and target.id in scope.names and _is_text(node.value) and not _acts(node):
            start, loads, scope.loads = len(self.out), scope.loads, set()
            self._assignment("Assign", node.targets, node.value)
            scope.texts.append((target.id, start, len(self.out), scope.loads))
            scope.loads = loads
        else:
            self._assignment("Assign", node.targets, node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self._class_has_fields:
            kinds = {part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "") for part in
                     ast.walk(node.annotation)}  # fmt: skip
            text = " ".join([*kinds, *(str(p.value) for p in ast.walk(node.annotation) if isinstance(p, ast.Constant))])
            self.out.append("Field" + "".join(kind for kind in ("ClassVar", "InitVar") if kind in text))
            self._assignment("", [node.target], node.value)
        elif node.value is not None:
            self._assign(ast.Assign([node.target], node.value))

    def _augmented(self, node: ast.AugAssign) -> None:
        self._assignment(f"AugAssign {type(node.op).__name__}", [node.target], node.value)

    def _assignment(self, kind: str, targets: list[ast.expr], value: ast.expr | None) -> None:
        self.out.append(f"{kind}(")
        self._list(targets)
        if value is not None and any(PROBLEMS.search(name) for target in targets for name in _stored(target)):
            self._problem(value)
        elif value is not None:
            self.write(value)
        self.out.append(")")

    # Messages.

    def _raise(self, node: ast.Raise) -> None:
        self.out.append("Raise(")
        raised = node.exc
        if isinstance(raised, ast.Call):
            found = self._named(raised.func)
            name = raised.func.id if isinstance(raised.func, ast.Name) else ""
            if name in WITH_VALUE or _acts(raised) or (isinstance(found, Object) and self._resolver.has_value(found)):
                self.write(raised)
            else:
                self.write(raised.func)
        elif raised is not None:
            self.write(raised)
        self.out.append(")")

    def _assert(self, node: ast.Assert) -> None:
        self.out.append("Assert(")
        self.write(node.test)
        self.out.append(")")

    def _handler(self, node: ast.ExceptHandler) -> None:
        self.out.append("except(")
        self._field("type", node.type)
        if node.name:
            self.out.append(f"{node.name}~")
            if self._scopes and node.name in self._scopes[-1].names:
                self._scopes[-1].texts.append((node.name, len(self.out) - 1, len(self.out), set()))
        self._field("body", node.body)
        self.out.append(")")

    def _return(self, node: ast.Return) -> None:
        self.out.append("Return(")
        if node.value is not None and self._returns_problems:
            self._problem(node.value)
        elif node.value is not None:
            self.write(node.value)
        self.out.append(")")

    def _call(self, node: ast.Call) -> None:
        found = self._named(node.func)
        positional, keywords = list(node.args), list(node.keywords)
        problems = False
        if isinstance(found, External) and found.name == "importlib.import_module":
            positional, keywords = [], []  # a module's name; what is in it is told by the caller of `code_digest`
        elif isinstance(found, Object) and found.name in MESSAGE_ARGUMENTS:
            index, name = MESSAGE_ARGUMENTS[found.name]
            positional = positional[:index] + positional[index + 1 :]
            keywords = [keyword for keyword in keywords if keyword.arg != name]
            problems = found.name == "raise_problems"
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            problems = bool(PROBLEMS.search(node.func.value.id))
        self.out.append("Call(")
        self.write(node.func)
        for argument in positional:
            self.out.append(",")
            if problems:
                self._problem(argument)
            else:
                self.write(argument)
        self._field("keywords", keywords)
        self.out.append(")")

    def _problem(self, node: ast.expr) -> None:
        """Write a text or several that tell what is wrong: that they are there, and when, not what they say."""
        if _is_text(node) and not _acts(node):
            self.out.append("text")
        elif isinstance(node, ast.IfExp):
            self.out.append("IfExp(")
            self.write(node.test)
            self._problem(node.body)
            self._problem(node.orelse)
            self.out.append(")")
        elif isinstance(node, ast.List | ast.Tuple):
            self.out.append(f"{type(node).__name__}(")
            for part in node.elts:
                self._problem(part)
                self.out.append(",")
            self.out.append(")")
        elif isinstance(node, ast.ListComp | ast.GeneratorExp):
            self._lists_problems = True
            self._comprehension(node)
        else:
            self.write(node)

    # Constants.

    def _constant(self, node: ast.Constant) -> None:
        self.out.append(f"{node.value!r},")

    def _joined(self, node: ast.JoinedStr) -> None:
        """An f-string; Python 3.12 and later divide the texts in it otherwise than 3.11."""
        self.out.append("f(")
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += part.value
                continue
            self.out.append(f"{text!r},")
            text = ""
            self.write(part)
        self.out.append(f"{text!r})")


_HANDLERS: dict[type[ast.AST], Callable] = {
    ast.Name: _Writer._name,
    ast.Attribute: _Writer._attribute,
    ast.FunctionDef: _Writer._function,
    ast.AsyncFunctionDef: _Writer._function,
    ast.Lambda: _Writer._lambda,
    ast.ClassDef: _Writer._class,
    ast.Assign: _Writer._assign,
    ast.AnnAssign: _Writer._annotated,
    ast.AugAssign: _Writer._augmented,
    ast.Raise: _Writer._raise,
    ast.Assert: _Writer._assert,
    ast.ExceptHandler: _Writer._handler,
    ast.Return: _Writer._return,
    ast.Call: _Writer._call,
    ast.Constant: _Writer._constant,
    ast.JoinedStr: _Writer._joined,
    **dict.fromkeys(_COMPREHENSIONS, _Writer._comprehension),
}


def _does_nothing(node: ast.stmt) -> bool:
    """Whether a statement changes no result: a docstring, `pass`, an import, a message."""
    if isinstance(node, ast.Pass | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_message(node.value)
    return False


def _is_message(node: ast.expr) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS):
        return False
    sender = node.func.value
    if isinstance(sender, ast.Call):  # logging.getLogger("traceback").exception(...)
        sender = sender.func.value if isinstance(sender.func, ast.Attribute) else sender.func
    name = sender.attr if isinstance(sender, ast.Attribute) else getattr(sender, "id", "")
    return name in LOGGERS and not _acts(node)


def _acts(node: ast.AST) -> bool:
    """Whether an expression does more than make a value."""
    return any(isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for part in ast.walk(node))


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            return function.id in ("str", "repr")
        return isinstance(function, ast.Attribute) and function.attr in ("join", "format") and _is_text(function.value)
    return False


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a target binds."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            yield from _stored(part)
    elif isinstance(node, ast.Starred):
        yield from _stored(node.value)


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, package: str) -> dict[str, Import | None]:
    """The names of a function's own scope, and what is imported in it."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names: dict[str, Import | None] = {argument.arg: None for argument in every if argument}
    elsewhere: set[str] = set()
    queue: list = [function.body]
    while queue:
        node = queue.pop()
        if isinstance(node, list):
            queue.extend(node)
            continue
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:
                names.setdefault(node.id)
            continue
        if kind in _LEAVES:
            continue
        if kind in _BINDERS:
            if kind is ast.Import or kind is ast.ImportFrom:
                names.update(imports_of(node, package))
                continue
            if kind is ast.Global or kind is ast.Nonlocal:
                elsewhere.update(node.names)
                continue
            if kind is ast.Lambda:
                continue
            if kind in _COMPREHENSIONS:  # its names are its own, but for those bound by `:=`
                walk = (part for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
                names.update((part.target.id, None) for part in walk)
                continue
            if kind is ast.If and is_type_checking(node):
                queue.append(node.orelse)
                continue
            name = getattr(node, "name", None) or getattr(node, "rest", None)
            if name:
                names.setdefault(name)
            if kind is ast.ClassDef or kind in _FUNCTIONS:
                continue
        for field_name in _fields(kind):
            value = getattr(node, field_name, None)
            if isinstance(value, ast.AST | list):
                queue.append(value)
    return {name: bound for name, bound in names.items() if name not in elsewhere}
