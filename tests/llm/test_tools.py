from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
import trio
from trio.testing import MockClock

from ellara.errors import Busy
from ellara.llm.stream import FunctionCall
from ellara.llm.tools import OUTPUT_MAX_CHARS, TOOL_TIMEOUT_S, Tool, call, cek_transaksi
from ellara.model import Transaction, TransactionStatus, TransactionType

ROW = Transaction(
    "tx-1", "ani", 2**70, TransactionType.USDT, TransactionStatus.SUCCESS, "0xAB", datetime(2026, 11, 23, 12, tzinfo=UTC)
)


class Rows:
    """What a database would find, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, TransactionStatus | None, str | None]] = []

    async def find(self, user_id: str, take: int, status: TransactionStatus | None, search: str | None) -> Sequence[Transaction]:
        self.asked.append((user_id, take, status, search))
        return [ROW]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def use(tool: Tool, arguments: str, name: str | None = None) -> str:
    return await call({tool.name: tool}, "ani", FunctionCall("call_1", name or tool.name, arguments))


async def test_cek_transaksi_reads_the_asking_users_rows() -> None:
    rows = Rows()
    told = json.loads(await use(cek_transaksi(rows.find), '{"jumlah": 3, "status": "SUCCESS", "hash": null}'))
    assert rows.asked == [("ani", 3, TransactionStatus.SUCCESS, None)]
    assert told["transaksi"] == [
        {
            "id": "tx-1",
            "jumlah": str(2**70),
            "jenis": "USDT",
            "status": "SUCCESS",
            "hash": "0xAB",
            "waktu": "2026-11-23T12:00:00.000Z",
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        "[]",
        "{}",
        '{"jumlah": 21, "status": null, "hash": null}',
        '{"jumlah": 0, "status": null, "hash": null}',
        '{"jumlah": 3, "status": "LOST", "hash": null}',
        '{"jumlah": 3, "status": null, "hash": null, "userId": "budi"}',
    ],
)
async def test_bad_arguments_are_told_to_the_model_and_ask_nothing(arguments: str) -> None:
    rows = Rows()
    assert (await use(cek_transaksi(rows.find), arguments)).startswith("Error: bad arguments")
    assert rows.asked == []


async def test_an_unknown_tool_is_told_to_the_model() -> None:
    assert await use(cek_transaksi(Rows().find), "{}", "bayar") == "Error: there is no tool 'bayar'."


async def test_a_refusal_of_ours_is_told_to_the_model() -> None:
    async def run(user_id: str, asked: Nothing) -> object:
        raise Busy("The database is busy")

    assert await use(Tool("t", "", Nothing, run), "{}") == "Error: The database is busy"


async def test_a_slow_tool_is_given_up(autojump_clock: MockClock) -> None:
    async def run(user_id: str, asked: Nothing) -> object:
        await trio.sleep_forever()

    assert await use(Tool("t", "", Nothing, run), "{}") == "Error: the lookup took too long."
    assert trio.current_time() == pytest.approx(TOOL_TIMEOUT_S)


async def test_a_long_output_is_cut() -> None:
    async def run(user_id: str, asked: Nothing) -> object:
        return "x" * (2 * OUTPUT_MAX_CHARS)

    assert len(await use(Tool("t", "", Nothing, run), "{}")) < OUTPUT_MAX_CHARS + 20


def test_the_schema_is_strict_as_openai_wants_it() -> None:
    schema = cek_transaksi(Rows().find).schema()
    parameters = schema["parameters"]
    assert isinstance(parameters, dict)
    assert schema["strict"] is True
    assert parameters["additionalProperties"] is False
    assert set(parameters["required"]) == set(parameters["properties"]) == {"jumlah", "status", "hash"}
    for each in parameters["properties"].values():
        assert all("type" in variant for variant in each.get("anyOf", [each]))
