"""What names mean, in this project and beyond."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


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
