"""Payment records and the parameters of lists, sentence by sentence: the seed document, then what its frontends rely on."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.contract.frontend import MOMENT, UUID, Client, address, refused, tx_hash


class TestTransactions:
    async def test_a_payment_is_recorded(self, merchant: Client) -> None:
        """POST /api/v1/tx: {"id", "userId", "amount": 100000, "type": "USDT", "status": "PENDING", "txHash": null, …}"""
        row = await merchant.record()
        assert list(row) == ["id", "userId", "amount", "type", "status", "txHash", "createdAt"]
        assert UUID.fullmatch(row["id"])
        assert (row["amount"], row["type"], row["status"], row["txHash"]) == (100_000, "USDT", "PENDING", None)
        assert MOMENT.fullmatch(row["createdAt"])

    async def test_a_type_left_out_is_native(self, merchant: Client) -> None:
        """`POST /tx`: `type` left out means NATIVE."""
        assert (await merchant.post("/api/v1/tx", {"amount": 0})).json()["type"] == "NATIVE"

    async def test_a_list_has_the_newest_first_and_its_total(self, merchant: Client) -> None:
        """`take` (default: 10), `page` (default: 1), `sortBy` (default: "createdAt"), `sortOrder` (default: "desc")."""
        rows = [await merchant.record(amount=number) for number in range(12)]
        answer = (await merchant.get("/api/v1/tx")).json()
        assert list(answer) == ["data", "meta"]
        assert answer["meta"] == {"page": 1, "take": 10, "total": 12}
        newest = sorted(rows, key=lambda row: (row["createdAt"], row["id"]), reverse=True)
        assert answer["data"] == newest[:10]

    async def test_a_list_goes_on_with_the_next_page(self, merchant: Client) -> None:
        rows = {(await merchant.record(amount=number))["id"] for number in range(7)}
        pages = [(await merchant.get(f"/api/v1/tx?take=3&page={page}")).json()["data"] for page in (1, 2, 3, 4)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert {row["id"] for page in pages for row in page} == rows

    @pytest.mark.parametrize(("order", "amounts"), [("asc", [1, 2, 3]), ("desc", [3, 2, 1])])
    async def test_a_list_is_sorted_as_asked(self, merchant: Client, order: str, amounts: list[int]) -> None:
        for amount in (2, 3, 1):
            await merchant.record(amount=amount)
        answer = (await merchant.get(f"/api/v1/tx?sortBy=amount&sortOrder={order}")).json()
        assert [row["amount"] for row in answer["data"]] == amounts

    async def test_a_search_finds_part_of_a_hash_in_any_case(self, merchant: Client) -> None:
        """`search` (optional): Search by transaction hash."""
        wanted, other = await merchant.record(), await merchant.record()
        name = secrets.token_hex(30) + "abcd"
        await merchant.ask("PUT", f"/api/v1/tx/{wanted['id']}", {"txHash": f"0x{name}"})
        await merchant.ask("PUT", f"/api/v1/tx/{other['id']}", {"txHash": tx_hash()})
        answer = (await merchant.get(f"/api/v1/tx?search={name[-40:].upper()}")).json()
        assert [row["id"] for row in answer["data"]] == [wanted["id"]]
        assert answer["meta"]["total"] == 1

    @pytest.mark.parametrize("search", ["%25", "_", "%5C", "%27", "a%25b"])
    async def test_nothing_in_a_search_is_special(self, merchant: Client, search: str) -> None:
        """`%` and `_` are ordinary characters."""
        row = await merchant.record()
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"txHash": tx_hash()})
        assert (await merchant.get(f"/api/v1/tx?search={search}")).json()["data"] == []

    async def test_a_user_sees_their_own_alone(self, merchant: Client, visitor: Client) -> None:
        row = await merchant.record()
        token = (await visitor.post("/api/v1/auth/me", {"publicKey": address()})).json()["token"]
        other = Client(visitor.http, token)
        assert (await other.get("/api/v1/tx")).json() == {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}
        refused(await other.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "FAILED"}), 404, "Transaction not found")

    async def test_status_and_hash_are_updated(self, merchant: Client) -> None:
        """PUT /api/v1/tx/:txId: {"status": "OK", "message": "Transaction updated successfully"}"""
        row, name = await merchant.record(), tx_hash()
        answer = await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "SUCCESS", "txHash": name})
        assert answer.status_code == 200
        assert answer.json() == {"status": "OK", "message": "Transaction updated successfully"}
        assert (await merchant.get("/api/v1/tx")).json()["data"] == [row | {"status": "SUCCESS", "txHash": name}]

    async def test_a_field_left_out_stays_as_it_is(self, merchant: Client) -> None:
        """`PUT /tx/{id}`: `txHash` optional; a field left out stays as it is."""
        row, name = await merchant.record(), tx_hash()
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"txHash": name})
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "FAILED", "txHash": None})
        assert (await merchant.get("/api/v1/tx")).json()["data"] == [row | {"status": "FAILED", "txHash": name}]

    async def test_an_update_of_nothing_is_refused(self, merchant: Client) -> None:
        row = await merchant.record()
        refused(await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {}), 400, "status or txHash is required")

    @pytest.mark.parametrize("txid", ["7d9ff5de-0000-4000-8000-000000000000", "1", "%00", "%ff", "a'b"])
    async def test_an_unknown_transaction_is_not_found(self, merchant: Client, txid: str) -> None:
        refused(await merchant.ask("PUT", f"/api/v1/tx/{txid}", {"status": "SUCCESS"}), 404, "Transaction not found")

    async def test_a_hash_of_another_transaction_is_a_conflict(self, merchant: Client) -> None:
        first, second = await merchant.record(), await merchant.record()
        body = {"txHash": tx_hash()}
        await merchant.ask("PUT", f"/api/v1/tx/{first['id']}", body)
        refused(await merchant.ask("PUT", f"/api/v1/tx/{second['id']}", body), 409)

    @pytest.mark.parametrize("status", ["success", "DONE", "", 1, True, []])
    async def test_an_unknown_status_is_refused(self, merchant: Client, status: object) -> None:
        """`PENDING`, `SUCCESS`, `FAILED`"""
        row = await merchant.record()
        answer = await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": status})
        refused(answer, 400, "status must be one of PENDING, SUCCESS, FAILED")

    @pytest.mark.parametrize("kind", ["usdt", "IDR", 1, []])
    async def test_an_unknown_type_is_refused(self, merchant: Client, kind: object) -> None:
        """`NATIVE`, `USDT`"""
        refused(await merchant.post("/api/v1/tx", {"amount": 1, "type": kind}), 400, "type must be one of NATIVE, USDT")

    @pytest.mark.parametrize("amount", [0, 1, 2_147_483_647, "100000", 100000.0])
    async def test_an_amount_comes_back_as_a_number(self, merchant: Client, amount: Any) -> None:
        row = await merchant.record(amount=amount)
        assert row["amount"] == int(amount)
        assert type(row["amount"]) is int

    @pytest.mark.parametrize(
        "amount", [None, -1, 0.5, "", "abc", "-1", "1.0", True, [], {}, 2**53, 10**30, "1" + "0" * 80, "9" * 78]
    )
    async def test_what_is_no_amount_or_does_not_fit_is_refused(self, merchant: Client, amount: object) -> None:
        """What the column cannot hold is 400, never 500 and never rounded."""
        refused(await merchant.post("/api/v1/tx", {"amount": amount, "type": "USDT"}), 400)
        assert (await merchant.get("/api/v1/tx")).json()["meta"]["total"] == 0


class TestListParameters:
    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    @pytest.mark.parametrize(
        "query", ["take=0", "take=-1", "take=abc", "take=1.5", "take=1e9", "page=0", "page=x", "page=99999999999999999999"]
    )
    async def test_garbage_is_refused(self, merchant: Client, path: str, query: str) -> None:
        """Integers ≥ 1 (empty: the default; else 400)."""
        refused(await merchant.get(f"{path}?{query}"), 400)

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    @pytest.mark.parametrize("query", ["sortBy=password", "sortBy=__proto__", "sortOrder=sideways", "search=%00"])
    async def test_choices_outside_the_list_are_refused(self, merchant: Client, path: str, query: str) -> None:
        """From a fixed list (else 400)."""
        refused(await merchant.get(f"{path}?{query}"), 400)

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_empty_values_are_the_defaults(self, merchant: Client, path: str) -> None:
        answer = await merchant.get(f"{path}?take=&page=&sortBy=&sortOrder=&search=")
        assert answer.json() == {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_more_than_a_hundred_are_cut(self, merchant: Client, path: str) -> None:
        """`take` at most 100 (more is cut to 100, and `meta.take` says so)."""
        assert (await merchant.get(f"{path}?take=5000")).json()["meta"]["take"] == 100

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_a_page_past_the_end_is_empty(self, merchant: Client, path: str) -> None:
        answer = await merchant.get(f"{path}?page=9007199254740991&take=100")
        assert answer.json() == {"data": [], "meta": {"page": 2**53 - 1, "take": 100, "total": 0}}
