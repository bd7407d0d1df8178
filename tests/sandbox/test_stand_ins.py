"""What is missing in the settings is filled in; what is given is left alone. The daemon's own tests see the servers."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio

from ellara.sandbox import stand_ins
from ellara.settings import Auth, Chain, Database, OpenAI, Secret, Settings

ALL_BUT_A_SECRET = Settings(
    database=Database(url=Secret("postgresql://db.example/ellara")),
    openai=OpenAI(api_key=Secret("sk-1")),
    chain=Chain(rpc_url=Secret("https://rpc.example")),
)


async def filled(nursery: trio.Nursery, folder: Path) -> str:
    """The secret that tokens are signed with."""
    settings, [line] = await stand_ins.start(nursery, ALL_BUT_A_SECRET, folder)
    assert attrs.evolve(settings, auth=Auth()) == ALL_BUT_A_SECRET
    secret = settings.auth.jwt_secret.reveal()
    assert secret not in line
    return secret


async def test_the_secret_is_made_once_and_kept_for_its_owner_alone(nursery: trio.Nursery, tmp_path: Path) -> None:
    first = await filled(nursery, tmp_path / "first")
    again = tmp_path / "again"
    again.mkdir()
    (tmp_path / "first" / "jwt_secret").rename(again / "jwt_secret")  # the first folder is held until the process ends
    assert len(first) >= 32
    assert await filled(nursery, again) == first
    assert (again / "jwt_secret").stat().st_mode & 0o077 == 0


async def test_a_secret_file_that_a_dead_daemon_left_empty_is_filled(nursery: trio.Nursery, tmp_path: Path) -> None:
    (tmp_path / "jwt_secret").touch(mode=0o600)
    assert len(await filled(nursery, tmp_path)) >= 32


async def test_with_everything_given_nothing_is_touched(nursery: trio.Nursery, tmp_path: Path) -> None:
    given = attrs.evolve(ALL_BUT_A_SECRET, auth=Auth(jwt_secret=Secret("s")))
    assert await stand_ins.start(nursery, given, tmp_path / "state") == (given, [])
    assert not (tmp_path / "state").exists()
