"""The dev chain's store: what was committed is there again, whatever happened to the file's tail."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.sandbox.evm.journal import MAGIC, Journal

KEYS = st.binary(max_size=3)
BATCHES = st.lists(st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=6)), max_size=4), max_size=5)


def written(path: Path, batches: list[dict[bytes, bytes | None]]) -> list[dict[bytes, bytes]]:
    """Commits each batch; the whole content before the first, and after each."""
    journal = Journal(path)
    states = [dict(journal)]
    for batch in batches:
        for key, value in batch.items():
            if value is not None:
                journal[key] = value
            elif key in journal:
                del journal[key]
        journal.commit()
        states.append(dict(journal))
    journal.close()
    return states


def reopened(path: Path) -> dict[bytes, bytes]:
    journal = Journal(path)
    journal.close()
    return dict(journal)


@given(BATCHES)
def test_everything_committed_is_there_after_a_restart(batches: list[dict[bytes, bytes | None]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        assert written(path, batches)[-1] == reopened(path)


@given(BATCHES, st.data())
def test_a_file_cut_anywhere_holds_a_whole_number_of_batches(
    batches: list[dict[bytes, bytes | None]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        states = written(path, batches)
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        assert reopened(path) in states


@given(BATCHES, st.data())
def test_a_spoilt_byte_costs_that_batch_and_the_later_ones(batches: list[dict[bytes, bytes | None]], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        states = written(path, [*batches, {b"last": b"x"}])
        spoilt = bytearray(path.read_bytes())
        spoilt[data.draw(st.integers(len(MAGIC), len(spoilt) - 1))] ^= 0xFF
        path.write_bytes(spoilt)
        assert reopened(path) in states[:-1]


def test_what_follows_a_torn_tail_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, [{b"a": b"1"}, {b"b": b"2"}])
    path.write_bytes(path.read_bytes()[:-1])
    written(path, [{b"c": b"3"}])
    assert reopened(path) == {b"a": b"1", b"c": b"3"}


def test_what_was_not_committed_is_gone_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal[b"a"] = b"1"
    journal.close()
    assert reopened(tmp_path / "journal") == {}


@given(BATCHES, st.data())
def test_undoing_gives_the_state_before(batches: list[dict[bytes, bytes | None]], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        journal = Journal(path)
        states = [dict(journal)]
        for batch in batches:
            journal.update({key: value for key, value in batch.items() if value is not None})
            for key in [key for key, value in batch.items() if value is None and key in journal]:
                del journal[key]
            journal.commit()
            states.append(dict(journal))
        commits = data.draw(st.integers(0, len(batches)))
        journal[b"unfinished"] = b"x"
        journal.undo(commits)
        journal.close()
        assert dict(journal) == reopened(path) == states[len(batches) - commits]


def test_more_than_was_committed_cannot_be_undone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only the last 0 blocks"):
        Journal(tmp_path / "journal").undo(1)


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match="not a journal"):
        Journal(tmp_path / "journal")
    assert (tmp_path / "journal").read_bytes() == b"something else entirely"
