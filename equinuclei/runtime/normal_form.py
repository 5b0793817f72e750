"""The normal form of a statement: all of it that can decide what a result holds, and nothing else.

Two statements with the same normal form do the same. It leaves out comments, layout, docstrings, annotations, imports,
and messages: what is raised, logged or warned says something to a person and nothing to a result. Objects of this
project go by the name that they were defined with, those of other packages by their full name, so that it does not
count from where and under which alias they were imported. The form is written here and not by `ast.dump`, whose text
differs between versions of Python; a field that is absent or empty is not written.
"""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from equinuclei.runtime.messages import MESSAGE_ARGUMENTS, PROBLEMS, WITH_VALUE, acts, does_nothing, is_text
from equinuclei.runtime.names import External, Form, Found, Import, Object, Package, Resolver
from equinuclei.runtime.syntax import COMPREHENSIONS, bound_names, fields_of, is_type_checking, stored_names


def normal_form(statements: Iterable[ast.stmt], resolver: Resolver) -> Form:
    """The normal form of statements of a module's top level."""
    writer = _Writer(resolver)
    writer.body(list(statements))
    text = "".join(part for part in writer.out if isinstance(part, str))
    references = tuple(part for part in writer.out if not isinstance(part, str))
    return Form(text, references, tuple(writer.imports))


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
            elif not does_nothing(node):
                self.write(node)

    def write(self, node: ast.AST) -> None:
        handler = _HANDLERS.get(type(node))
        if handler is not None:
            handler(self, node)
            return
        self.out.append(f"{type(node).__name__}(")
        for name in fields_of(type(node)):
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
        attributes: list[str] = []
        root: ast.expr = node
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
        if found is not None:
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
        self._scoped(bound_names(node, self._resolver.package), lambda: self.body(node.body))
        self._class_has_fields, self._returns_problems = outer
        self.out.append(")")

    def _lambda(self, node: ast.Lambda) -> None:
        self.out.append("Lambda(")
        self._arguments(node.args)
        self._scoped(bound_names(node, self._resolver.package), lambda: self.write(node.body))
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

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.out.append(f"{type(node).__name__}(")
        problems, self._lists_problems = self._lists_problems, False
        first, *others = node.generators
        self.write(first.iter)  # it is looked up outside
        names: dict[str, Import | None] = {
            name: None for generator in node.generators for name in stored_names(generator.target)
        }

        def inside() -> None:
            for generator in (first, *others):
                self.out.append("for:" if not generator.is_async else "async for:")
                self.write(generator.target)
                if generator is not first:
                    self.write(generator.iter)
                self._field("ifs", generator.ifs)
            for name in ("elt", "key", "value"):
                value = getattr(node, name, None)
                if name == "elt" and problems and value is not None:
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
        single = len(node.targets) == 1 and scope is not None and is_text(node.value) and not acts(node)
        if single and scope is not None and isinstance(target, ast.Name) and target.id in scope.names:
            start, loads, scope.loads = len(self.out), scope.loads, set()
            self._assignment("Assign", node.targets, node.value)
            scope.texts.append((target.id, start, len(self.out), scope.loads))
            scope.loads = loads
        else:
            self._assignment("Assign", node.targets, node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self._class_has_fields:
            text = ast.unparse(node.annotation)
            self.out.append("Field" + "".join(kind for kind in ("ClassVar", "InitVar") if kind in text))
            self._assignment("", [node.target], node.value)
        elif node.value is not None:
            self._assign(ast.Assign([node.target], node.value))

    def _augmented(self, node: ast.AugAssign) -> None:
        self._assignment(f"AugAssign {type(node.op).__name__}", [node.target], node.value)

    def _assignment(self, kind: str, targets: list[ast.expr], value: ast.expr | None) -> None:
        self.out.append(f"{kind}(")
        self._list(targets)
        if value is not None and any(PROBLEMS.search(name) for target in targets for name in stored_names(target)):
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
            if name in WITH_VALUE or acts(raised) or (isinstance(found, Object) and self._resolver.has_value(found)):
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
            told = MESSAGE_ARGUMENTS[found.name]
            positional = [argument for n, argument in enumerate(positional) if n >= len(told) or told[n] is None]
            keywords = [keyword for keyword in keywords if keyword.arg not in told or keyword.arg is None]
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
        if is_text(node) and not acts(node):
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
        self.out.append(f"{node.value!a},")  # `repr` follows the version of Unicode

    def _joined(self, node: ast.JoinedStr) -> None:
        """An f-string; Python 3.12 and later divide the texts in it otherwise than 3.11."""
        self.out.append("f(")
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            self.out.append(f"{text!a},")
            text = ""
            self.write(part)
        self.out.append(f"{text!a})")


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
    **dict.fromkeys(COMPREHENSIONS, _Writer._comprehension),
}
