"""The law of the house: imports point downwards, each library has one home, sans-IO rooms do not know trio."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ellara"

FLOORS = (
    {"__main__"},
    {"cli"},
    {"daemon", "tour"},
    {"web"},
    {"actors"},
    {"storage", "chain", "llm", "sandbox"},
    {"protocol", "auth", "supervision", "mailbox", "rates"},
    {"log", "metrics"},
    {"settings"},
    {"model", "jsontext"},
    {"errors"},
)

HOMES = {
    "quart": {"web"},
    "quart_trio": {"web"},
    "werkzeug": {"web"},
    "hypercorn": {"web"},
    "psycopg": {"storage"},
    "alembic": {"storage"},
    "sqlalchemy": {"storage"},
    "web3": {"chain"},
    "trio_websocket": {"chain"},
    "eth_account": {"chain", "auth"},
    "eth_abi": {"chain", "sandbox"},
    "eth_keys": {"chain", "sandbox"},
    "eth_utils": {"chain", "sandbox"},
    "eth": {"sandbox"},
    "eth_bloom": {"sandbox"},
    "eth_hash": {"sandbox"},
    "eth_typing": {"sandbox"},
    "rlp": {"chain", "sandbox"},
    "h11": {"sandbox", "web"},
    "wsproto": {"web"},
    "openai": {"llm"},
    "httpx2": {"llm", "chain", "tour"},
    "jwt": {"auth"},
    "structlog": {"log"},
    "prometheus_client": {"metrics", "web"},
    "click": {"cli"},
    "cattrs": {"settings"},
    "dotenv": {"settings"},
    "tomllib": {"settings"},
    "asyncio": set[str](),
    "socket": {"sandbox"},
    "threading": set[str](),
}

SANS_IO = {"protocol", "auth", "model", "jsontext", "errors", "settings"}

FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """`web` for web/app.py, `cli` for cli.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module named by an import statement, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module == "ellara":
                yield from (f"ellara.{alias.name}" for alias in node.names if not alias.name.startswith("__"))


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    if path == ROOT / "__init__.py":
        return
    here = room(path)
    for module in imports(path):
        if module.startswith("ellara."):
            there = module.split(".")[1]
            assert there == here or floor(there) > floor(here), f"{here} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_has_one_home(path: Path) -> None:
    for module in imports(path):
        library = module.split(".")[0]
        if library in HOMES:
            assert room(path) in HOMES[library], f"{library} is at home in {sorted(HOMES[library])}"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in SANS_IO], ids=lambda path: str(path.relative_to(ROOT)))
def test_sans_io_rooms_do_not_know_trio(path: Path) -> None:
    assert not [module for module in imports(path) if module.split(".")[0] in {"trio", "anyio", "socket"}]


def test_every_room_has_a_floor() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms <= set().union(*FLOORS)
