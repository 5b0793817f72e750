"""The configuration against its JSON schema, with errors that say in plain words what to change."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jsonschema

from equinuclei.errors import InputError

_MOST_VALUES, _DEEPEST = 100_000, 50


def check_schema(config: Mapping, schema: Mapping) -> None:
    """Raise InputError with one line for every key or value of `config` that the JSON schema does not allow."""
    if _count_values(config, {}, 0) > _MOST_VALUES:
        raise InputError(f"the configuration cannot be used: aliases in it stand for more than {_MOST_VALUES:,} values")
    validator = jsonschema.Draft202012Validator(complete(schema))
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise InputError("the configuration cannot be used:\n" + "\n".join(f"  {_explain(e)}" for e in errors))


def _count_values(value: object, known: dict[int, int], depth: int) -> int:
    """Number of values in a configuration. Ten lines of YAML whose aliases name each other can stand for billions.

    known : numbers of lists and mappings that were counted, by id; -1 while they are.
    """
    if not isinstance(value, Mapping | list):
        return 1
    if id(value) not in known:
        if depth > _DEEPEST:
            raise InputError(f"the configuration cannot be used: it is nested more than {_DEEPEST} deep")
        known[id(value)] = -1
        parts = value.values() if isinstance(value, Mapping) else value
        known[id(value)] = 1 + sum(_count_values(part, known, depth + 1) for part in parts)
    elif known[id(value)] < 0:
        raise InputError("the configuration cannot be used: an alias in it stands for what it is a part of")
    return known[id(value)]


def complete(schema: Mapping) -> dict[str, Any]:
    """The schema with what follows from its list of the keys of `training`.

    All of them are required in the study's own section. A data set or a model may change those that are not marked as
    `studyWide` (`training_changes`).
    """
    training = schema["$defs"]["training"]
    keys = training["properties"]
    changes = {key: value for key, value in keys.items() if not value.get("studyWide", False)}
    made = {
        "training": training | {"required": list(keys)},
        "training_changes": training | {"properties": changes},
    }
    return {**schema, "$defs": schema["$defs"] | made}


def _explain(error: jsonschema.ValidationError) -> str:
    """One schema error in plain words, with the nearest known key for an unknown one."""
    if error.validator == "oneOf" and error.context:
        error = _nearest_alternative(error)
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path).lstrip(".")
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        hints = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), known, n=1)
            hints.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return f"{where or 'top level'}: unknown key {', '.join(hints)}; known are {', '.join(known)}"
    return f"{where or 'top level'}: {error.message}"


def _nearest_alternative(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    """Of the alternatives of a `oneOf`, the error of the one that the value resembles most.

    An alternative whose own type or a `const` in it does not fit is not meant. Where every alternative is ruled out by
    such a `const`, the error lists their values.
    """
    branches: dict[int, list[jsonschema.ValidationError]] = {}
    for part in error.context:
        branches.setdefault(part.schema_path[0], []).append(part)
    meant = [b for b in branches.values() if not any(map(_rules_out, b))]
    if meant:
        return min(meant, key=len)[0]
    choices = [part for branch in branches.values() for part in branch if part.validator == "const"]
    if choices:
        allowed = ", ".join(repr(part.validator_value) for part in choices)
        return _reworded(choices[0], f"{choices[0].instance!r} is not one of {allowed}")
    return error.context[0]


def _rules_out(part: jsonschema.ValidationError) -> bool:
    """Whether an error shows that its alternative of a `oneOf` is not meant."""
    return part.validator == "const" or (part.validator == "type" and not part.path)


def _reworded(error: jsonschema.ValidationError, message: str) -> jsonschema.ValidationError:
    error.message = message
    return error


@contextmanager
def about(key: str) -> Iterator[None]:
    """Put a key of the configuration in front of the message of an InputError in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
