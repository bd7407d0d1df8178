"""What the model may look up: a registry of read-only functions over the asking merchant's own records.

A tool never changes anything, sees only the user it is called for, and is bounded in time and size. Its queries are passed in by
the daemon; this room knows no database. What goes wrong in a call is told to the model as text: it can ask again or say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import attrs
import msgspec
import trio

from ellara.errors import EllaraError
from ellara.llm.stream import FunctionCall, Item
from ellara.model import Transaction, TransactionStatus, iso, utc_now

TOOL_TIMEOUT_S = 5.0
OUTPUT_MAX_CHARS = 12_000
ROWS_MAX = 20


@attrs.frozen
class Tool:
    name: str
    description: str
    arguments: type[msgspec.Struct]
    """Every field required (an optional one is a union with None) and `forbid_unknown_fields`: OpenAI's strict schemas."""
    run: Callable[[str, Any], Awaitable[object]]
    """(user's id, arguments) → what the model reads, as JSON."""

    def schema(self) -> Item:
        (parameters,) = msgspec.json.schema_components([self.arguments])[1].values()
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
            "strict": True,
        }


def output_item(asked: FunctionCall, output: str) -> Item:
    """What answers a call: each call must have one."""
    return {"type": "function_call_output", "call_id": asked.call_id, "output": output}


async def call(tools: Mapping[str, Tool], user_id: str, asked: FunctionCall) -> str:
    """What the model reads for its call, whatever it asked for. Raises nothing but for our own bugs."""
    tool = tools.get(asked.name)
    if tool is None:
        return f"Error: there is no tool {asked.name!r}."
    try:
        arguments = msgspec.json.decode(asked.arguments, type=tool.arguments)
    except msgspec.DecodeError as error:
        return f"Error: bad arguments: {error}"
    try:
        with trio.fail_after(TOOL_TIMEOUT_S):
            output = msgspec.json.encode(await tool.run(user_id, arguments)).decode()
    except trio.TooSlowError:
        return "Error: the lookup took too long."
    except EllaraError as error:
        return f"Error: {error.message}"
    return output if len(output) <= OUTPUT_MAX_CHARS else output[:OUTPUT_MAX_CHARS] + "… (cut)"


class FindTransactions(Protocol):
    """The user's own transactions, newest first, at most `take`; `search` is part of the hash, in any case."""

    async def __call__(
        self, user_id: str, take: int, status: TransactionStatus | None, search: str | None
    ) -> Sequence[Transaction]: ...


StatusName = Annotated[Literal["PENDING", "SUCCESS", "FAILED"], msgspec.Meta(extra_json_schema={"type": "string"})]
"""OpenAI's strict schemas want a type beside an enum."""


class CekTransaksi(msgspec.Struct, forbid_unknown_fields=True):
    jumlah: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX, description="Berapa transaksi terbaru yang dilihat")]
    status: Annotated[StatusName | None, msgspec.Meta(description="Hanya yang berstatus ini; null untuk semua")]
    hash: Annotated[str | None, msgspec.Meta(description="Hanya yang hash-nya memuat teks ini; null untuk semua")]


def cek_transaksi(find: FindTransactions) -> Tool:
    """The merchant's latest transactions."""

    async def run(user_id: str, asked: CekTransaksi) -> object:
        rows = await find(user_id, asked.jumlah, TransactionStatus(asked.status) if asked.status else None, asked.hash or None)
        return {
            "sekarang": iso(utc_now()),
            "transaksi": [
                {
                    "id": row.id,
                    "jumlah": str(row.amount),
                    "jenis": row.type,
                    "status": row.status,
                    "hash": row.tx_hash,
                    "waktu": iso(row.created_at),
                }
                for row in rows
            ],
        }

    description = (
        "Melihat transaksi pembayaran terbaru milik pengguna yang sedang bertanya, yang paling baru lebih dulu. "
        "Hanya membaca. `jumlah` dalam satuan terkecil mata uangnya, `waktu` dalam UTC."
    )
    return Tool("cek_transaksi", description, CekTransaksi, run)
