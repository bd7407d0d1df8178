"""The log: what repeats itself is told now and then, and no secret is told at all."""

from __future__ import annotations

import logging
import sys

from ellara.log import Sparing, mask_secrets


def record() -> logging.LogRecord:
    try:
        raise OSError("Too many open files")
    except OSError:
        return logging.LogRecord("trio.serve_listeners", logging.ERROR, "", 0, "accept failed", (), sys.exc_info())


def test_what_repeats_itself_is_told_once_in_a_while_and_without_its_trace() -> None:
    sparing, first = Sparing(), record()
    assert sparing.filter(first)
    assert first.exc_info is None
    assert not any(sparing.filter(record()) for _ in range(100))


def test_fields_named_like_secrets_are_masked() -> None:
    fields = {"jwt_secret": "x", "owner_key": "x", "rpc_url": "x", "Authorization": "x", "event": "x", "monkey": "x"}
    shown = {name for name, value in mask_secrets(None, "info", fields).items() if value == "x"}
    assert shown == {"event", "monkey"}
