"""What is a message: something that is said to a person, and changes no result."""

import ast
import re

LOGGERS = frozenset({"logger", "_logger", "log", "logging", "warnings"})
"""What messages are sent through; a statement `logger.info(...)` is no part of the normal form."""

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "warn"})

MESSAGE_ARGUMENTS = {
    "check_known": ("what",),
    "raise_problems": ("where",),
    "read_record": (None, "what", "remedy"),
    "require_space": (None, None, "what"),
}
"""Functions of this project -> by position, the names of the arguments that only their message tells."""

PROBLEMS = re.compile(r"(^|_)problems?$")
"""Names of variables that hold what is wrong with an input, and of functions that return it: of texts in them counts
that they are there, and not what they say."""

WITH_VALUE = frozenset({"SystemExit", "StopIteration"})
"""Exceptions whose arguments are more than a message. So are those of a class of this project that has a body."""


def does_nothing(node: ast.stmt) -> bool:
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
    return name in LOGGERS and not acts(node)


def acts(node: ast.AST) -> bool:
    """Whether an expression does more than make a value."""
    return any(isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for part in ast.walk(node))


def is_text(node: ast.expr) -> bool:
    """Whether an expression is put together as a text."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return is_text(node.left) or is_text(node.right)
    if isinstance(node, ast.IfExp):
        return is_text(node.body) and is_text(node.orelse)
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            return function.id in ("str", "repr")
        return isinstance(function, ast.Attribute) and function.attr in ("join", "format") and is_text(function.value)
    return False
