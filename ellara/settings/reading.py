"""Where settings come from: environment over `.env` over systemd credentials over the file over the defaults of the classes.

Read once, by `cli`; each value remembers its origin, and all faults are reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override
from dotenv import dotenv_values

from ellara.errors import BadSettings
from ellara.settings import ENVIRONMENT, Model, Secret, Settings


@attrs.frozen
class Loaded:
    settings: Settings
    origins: Mapping[str, str]
    """Dotted key (`server.port`) → where its value came from; a key that is absent has its default."""

    def lines(self) -> list[str]:
        """`key = value  (origin)` for each setting, secrets masked."""
        return [f"{key} = {value!r}  ({self.origins.get(key, 'default')})" for key, value in _flat("", self.settings)]


def load(file: Path | None, environ: Mapping[str, str], env_file: Path | None = None) -> Loaded:
    """Reads all sources. `file` None: the defaults alone. Raises `BadSettings` with every fault found."""
    tree, faults = _read_file(file)
    origins = {key: str(file) for key, _ in _flat("", tree)}
    for name, text, origin in _overrides(environ, env_file):
        section, key = ENVIRONMENT[name]
        if isinstance(tree.setdefault(section, {}), dict):
            tree[section][key] = int(text) if key in ("port", "chain_id") and text.isascii() and text.isdigit() else text
            origins[f"{section}.{key}"] = origin
    try:
        settings = _converter().structure(tree, Settings)
    except BaseValidationError as error:
        raise BadSettings(faults + [_named(fault, origins, file) for fault in transform_error(error, "", _sentence)]) from None
    faults += [_named(fault, origins, file) for fault in settings.faults()]
    if faults:
        raise BadSettings(faults)
    return Loaded(settings, origins)


def _read_file(file: Path | None) -> tuple[dict[str, Any], list[str]]:
    if file is None:
        return {}, []
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), []
    except OSError as error:
        raise BadSettings([f"{file}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings([f"{file}: not valid TOML: {error}"]) from None


def _overrides(environ: Mapping[str, str], env_file: Path | None) -> list[tuple[str, str, str]]:
    """(variable, text, origin), the strongest last. An empty text counts as not given."""
    directory = Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent")
    found = [
        (name, (directory / name).read_text(encoding="utf-8").strip(), f"credential {name}")
        for name in ENVIRONMENT
        if (directory / name).is_file()
    ]
    if env_file is not None and env_file.is_file():
        found += [
            (name, text, f"{env_file} {name}") for name, text in dotenv_values(env_file).items() if name in ENVIRONMENT and text
        ]
    found += [(name, environ[name].strip(), f"environment {name}") for name in ENVIRONMENT if name in environ]
    return [each for each in found if each[1]]


def _converter() -> Converter:
    converter = Converter()

    def exactly(kind: type, name: str, *taken: type) -> None:
        def structure(value: object, _type: object) -> object:
            if type(value) not in taken:
                raise TypeError(f"expected {name}, not {value!r}" if kind is not Secret else f"expected {name}")
            return kind(value)

        converter.register_structure_hook(kind, structure)

    exactly(int, "an integer", int)
    exactly(float, "a number", int, float)
    exactly(bool, "true or false", bool)
    exactly(str, "a text", str)
    exactly(Secret, "a text", str)
    converter.register_structure_hook_func(_is(Literal), _literal)
    converter.register_structure_hook_func(_is(tuple), lambda value, kind: _tuple(converter, value, kind))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _each_field_checked(converter, kind))
    return converter


def _each_field_checked(converter: Converter, kind: type[attrs.AttrsInstance]) -> Callable[[Any, Any], Any]:
    """cattrs' own hook, but a field's validator runs with the field: else one wrong type would hide all values out of range."""

    def hook(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
        def structure(value: object, type_: Any) -> object:
            structured = converter.structure(value, type_)
            if field.validator is not None:
                field.validator(None, field, structured)
            return structured

        return structure

    overrides: dict[str, Any] = {field.name: override(struct_hook=hook(field)) for field in attrs.fields(kind)}
    structure_table = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **overrides)

    def structure_one(value: object, type_: Any) -> object:
        if not isinstance(value, dict):
            raise TypeError(f"expected a table, not {value!r}")
        return structure_table(value, type_)

    return structure_one


def _is(origin: object) -> Callable[[Any], bool]:
    return lambda kind: bool(get_origin(kind) == origin)


def _literal(value: object, kind: Any) -> object:
    if value not in get_args(kind):
        raise ValueError(f"expected one of {', '.join(get_args(kind))}, not {value!r}")
    return value


def _tuple(converter: Converter, value: object, kind: Any) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, not {value!r}")
    listed: Any = GenericAlias(list, get_args(kind)[:1])
    return tuple(converter.structure(value, listed))


def _sentence(error: BaseException, _kind: object) -> str:
    match error:
        case ForbiddenExtraKeysError():
            return f"unknown setting {', '.join(sorted(error.extra_fields))}"
        case KeyError():
            return f"expected a value for {error}"
        case _:
            return str(error)


def _named(fault: str, origins: Mapping[str, str], file: Path | None) -> str:
    """`where: key: what was expected`, out of cattrs' `what was expected @ .section.key` or our own `section.key: …`."""
    what, at, path = fault.rpartition(" @ ")
    if not at:
        path, _, what = fault.partition(": ")
    key = path.lstrip(".")
    return ": ".join(part for part in (origins.get(key.partition("[")[0], str(file or "settings")), key, what) if part)


def _flat(prefix: str, node: object) -> list[tuple[str, object]]:
    """The leaves of a tree of tables or settings, by dotted key, in order."""
    if attrs.has(type(node)) and not isinstance(node, Secret | Model):
        node = attrs.asdict(node, recurse=False)  # type: ignore[arg-type]  # has() does not narrow
    if not isinstance(node, dict):
        return [(prefix, node)]
    return [leaf for name, child in node.items() for leaf in _flat(f"{prefix}.{name}" if prefix else name, child)]
