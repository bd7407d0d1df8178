"""`ellara serve | check | migrate | try`: reads the settings, runs what was asked, turns errors into exit codes.

The only place that prints. Exit codes: 0 stopped in order, 1 could not start or gave up, 2 wrong usage, 78 settings refused
(EX_CONFIG). Heavy rooms are imported by the command that needs them: `ellara check` need not wait for a web server's imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import trio

from ellara import __version__, log
from ellara.errors import BadSettings, EllaraError
from ellara.settings.reading import Loaded, load
from ellara.supervision import innermost

EX_FAILED, EX_CONFIG = 1, 78

_config = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; without it ./ellara.toml if there is one, else the defaults.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ellara")
def main() -> None:
    """Ellara: the backend of a business assistant for Indonesian small merchants."""


@main.command()
@_config
def serve(file: Path | None) -> None:
    """Runs the daemon until SIGTERM or SIGINT."""
    loaded, home = _load(file)
    log.configure(loaded.settings.log.level, loaded.settings.log.style)
    from ellara import daemon

    _run(lambda: daemon.run(loaded.settings, home, click.echo))


@main.command()
@_config
def check(file: Path | None) -> None:
    """Prints every setting, its value (secrets masked) and where it came from; faults with exit code 78."""
    loaded, _ = _load(file)
    for line in loaded.lines():
        click.echo(line)


@main.command()
@_config
@click.option("--status", is_flag=True, help="Only tell what would be done.")
def migrate(file: Path | None, status: bool) -> None:
    """Brings the database at DATABASE_URL (DIRECT_URL, if given) to this version's schema."""
    loaded, _ = _load(file)
    log.configure(loaded.settings.log.level, loaded.settings.log.style)
    from ellara import daemon

    _run(lambda: daemon.migrate_only(loaded.settings, status, click.echo))


@main.command("try")
@_config
@click.option("--url", help="Where the daemon listens; by default as the settings say.")
@click.argument("question", default="Bagaimana cara menghitung harga jual kue saya?")
def try_(file: Path | None, url: str | None, question: str) -> None:
    """Shows the main job against the running daemon: sign in, ask, record a payment, settle an order."""
    loaded, home = _load(file)
    from ellara import tour

    _run(lambda: tour.run(url or tour.url_of(loaded.settings), home / loaded.settings.sandbox.state_dir, question, _say))


def _say(text: str, newline: bool = True) -> None:
    click.echo(text, nl=newline)
    sys.stdout.flush()


def _load(file: Path | None) -> tuple[Loaded, Path]:
    """The settings, and the folder that relative paths in them start from. Ends the process with 78 when they are refused."""
    if file is None and Path("ellara.toml").is_file():
        file = Path("ellara.toml")
    home = (file.parent if file else Path()).resolve()
    try:
        return load(file, os.environ, home / ".env"), home
    except BadSettings as error:
        for fault in error.faults:
            click.echo(f"ellara: {fault}", err=True)
        raise SystemExit(EX_CONFIG) from None


def _run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs to the end, or ends the process with a clear last line, the expected error's own; a bug keeps its traceback."""
    code = 0
    try:
        trio.run(main)
    except* EllaraError as group:
        click.echo(f"ellara: {innermost(group)}", err=True)
        code = EX_FAILED
    except* KeyboardInterrupt:
        code = EX_FAILED
    if code:
        raise SystemExit(code)  # not in an except*: Debian 12's Python (3.11.2) wraps that in a group, with a traceback
