"""The judgement over a catalogue, without a database."""

from __future__ import annotations

import attrs
import pytest

from ellara.errors import CannotStart
from ellara.storage.adoption import SEED, Column, Tables, judge


def tables(form: int) -> dict[str, dict[str, Column]]:
    """What the seed's schema looks like, in one form of its names."""
    found = {}
    for expected in SEED.values():
        columns = {
            name: Column(kinds[0], "", frozenset(), name in expected.unique, True) for name, kinds in expected.columns.items()
        }
        for name, (word, labels) in expected.enums.items():
            columns[name] = Column(word, f"public.{word}", labels, False, False)
        found[expected.names[form]] = columns
    return found


def refusal(found: Tables) -> str:
    with pytest.raises(CannotStart) as caught:
        judge(found, "public")
    return caught.value.message


def test_no_tables_means_empty() -> None:
    assert judge({}, "public") is None


@pytest.mark.parametrize(("form", "user"), [(0, '"public"."User"'), (1, '"public"."users"')])
def test_either_form_is_recognised_and_named(form: int, user: str) -> None:
    words = judge(tables(form), "public")
    assert words is not None
    assert words["user"] == user
    assert words["user_role"] == "public.user_role"


def test_tables_and_columns_beside_the_seeds_do_not_matter() -> None:
    found = tables(0) | {"_prisma_migrations": {}, "users": {}}
    found["User"]["nickname"] = Column("text", "", frozenset(), False, False)
    assert judge(found, "public") is not None


def test_both_forms_at_once_are_refused() -> None:
    assert "twice" in refusal(tables(0) | tables(1))


def test_all_differences_are_said_at_once() -> None:
    found = tables(1)
    del found["messages"]["content"]
    found["users"]["id"] = attrs.evolve(found["users"]["id"], type="uuid")
    found["transactions"]["status"] = attrs.evolve(found["transactions"]["status"], labels=frozenset({"PENDING"}))
    message = refusal(found)
    assert "messages.content is missing" in message
    assert "users.id is uuid, not text" in message
    assert "transactions.status is transaction_status, not an enum of FAILED, PENDING, SUCCESS" in message


def test_a_widened_amount_is_the_seeds_still() -> None:
    found = tables(0)
    found["Transaction"]["amount"] = attrs.evolve(found["Transaction"]["amount"], type="numeric(78,0)")
    assert judge(found, "public") is not None
