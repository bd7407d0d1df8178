"""The look-alike of OpenAI by the real SDK: what a stream consists of, what is remembered, what is counted."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import trio

from tests.sandbox.assistant.ground import CHECK, kinds, room, text

MESSAGE = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]
BEGIN = ["created", "in_progress", "sandbox.note"]
LUNA = {"model": "gpt-6-luna", "include": ["reasoning.encrypted_content"], "store": False}


async def test_a_stream_has_its_events_in_order_and_numbered_from_0() -> None:
    async with room() as here:
        events = await here.events("Bagaimana cara menghitung harga?")
    assert kinds(events) == [*BEGIN, *MESSAGE, "completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_the_deltas_are_the_text_and_the_finished_response_holds_it() -> None:
    async with room() as here:
        *_, done, _, _, completed = events = await here.events("Bagaimana cara menghitung harga?")
    response = completed["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == done["text"] == text(events)
    assert "“Bagaimana cara menghitung harga?”" in text(events)


async def test_ids_begin_with_their_kind() -> None:
    async with room() as here:
        response = await here.respond("Cek transaksi", tools=[CHECK], **LUNA)
        thought, call = response["output"]
    assert str(response["id"]).startswith("resp_")
    assert (thought["id"][:3], call["id"][:3], call["call_id"][:5]) == ("rs_", "fc_", "call_")


async def test_obfuscation_hides_the_length_of_a_delta_unless_switched_off() -> None:
    async with room() as here:
        hidden = await here.events("Halo")
        plain = await here.events("Halo", stream_options={"include_obfuscation": False})
    lengths = [len(str(event["delta"])) + len(str(event["obfuscation"])) for event in hidden if "delta" in event]
    assert {length % 16 for length in lengths} == {0}
    assert not any("obfuscation" in event for event in plain)


async def test_deltas_cut_through_words_and_emoji() -> None:
    async with room() as here:
        deltas = [
            str(event["delta"]) for event in await here.events("Bagaimana pembukuan yang baik? 👩🏽‍💼 é") if "delta" in event
        ]
    assert any(delta.startswith("🏽") for delta in deltas)
    assert any(delta == "\u200d" for delta in deltas)
    assert any(len(word) == 8 and following[0].isalpha() for word, following in pairwise(deltas))


async def test_a_stream_carries_comments_and_is_cut_at_odd_bytes() -> None:
    async with room(word_delay_ms=1) as here:
        chunks = await here.stream_bytes("Bagaimana pembukuan yang baik?")
    assert any(chunk.startswith(b": keep-alive\n\n") for chunk in chunks)
    assert any(not chunk.endswith(b"\n\n") for chunk in chunks)


async def test_markers_set_the_number_and_size_of_deltas() -> None:
    async with room() as here:
        events = await here.events("Hai [chunks:50] [size:9]")
    deltas = [str(event["delta"]) for event in events if event["type"] == "response.output_text.delta"]
    assert [len(delta) for delta in deltas] == [9] * 50


async def test_markers_set_the_pace() -> None:
    async with room() as here:
        started = trio.current_time()
        await here.events("Hai [chunks:5] [delay:20] [ttft:100]")
        assert 0.18 <= trio.current_time() - started < 1.0


async def test_a_word_takes_its_time() -> None:
    async with room(word_delay_ms=5) as here:
        started = trio.current_time()
        events = await here.events("Hai")
        deltas = sum("delta" in event for event in events)
        assert trio.current_time() - started >= (deltas - 1) * 0.005


async def test_an_answer_may_come_as_several_messages() -> None:
    async with room() as here:
        events = await here.events("Hai [messages:2]")
    assert kinds(events) == [*BEGIN, *MESSAGE, *MESSAGE, "completed"]


async def test_a_reasoning_item_comes_first_where_the_model_thinks() -> None:
    async with room() as here:
        thinking = await here.events("Hai", **LUNA)
        plain = await here.events("Hai", **LUNA, reasoning={"effort": "none"})
    assert kinds(thinking) == [*BEGIN, "output_item.added", "output_item.done", *MESSAGE, "completed"]
    assert kinds(plain) == [*BEGIN, *MESSAGE, "completed"]


async def test_a_question_about_transactions_calls_the_offered_tool_and_tells_its_result() -> None:
    async with room() as here:
        first = await here.respond("Tampilkan 5 transaksi saya", tools=[CHECK], **LUNA)
        output = first["output"]
        assert json.loads(str(output[1]["arguments"])) == {"limit": 5}
        result = {"type": "function_call_output", "call_id": output[1]["call_id"], "output": '[{"hash": "0xabc", "amount": 7}]'}
        question = {"role": "user", "content": "Tampilkan 5 transaksi saya"}
        second = json.dumps(await here.respond([question, *output, result], tools=[CHECK], **LUNA))
    assert "1 catatan" in second
    assert "0xabc" in second


async def test_tool_markers_make_calls_all_at_once_or_one_by_one() -> None:
    question = 'Cek [tool:cek_transaksi {"limit": 1}] [tool:cek_transaksi {"limit": 2}] [tool:tidak_ada]'
    async with room() as here:
        both = await here.events(question, tools=[CHECK])
        single = await here.respond(question, tools=[CHECK], parallel_tool_calls=False)
    done = [event["arguments"] for event in both if event["type"] == "response.function_call_arguments.done"]
    assert done == ['{"limit": 1}', '{"limit": 2}']
    assert len(single["output"]) == 1


async def test_a_demanded_tool_is_called_and_a_forbidden_one_is_not() -> None:
    async with room() as here:
        demanded = await here.respond("Halo", tools=[CHECK], tool_choice="required")
        forbidden = await here.respond("Cek transaksi", tools=[CHECK], tool_choice="none")
    assert "function_call" in json.dumps(demanded["output"])
    assert "function_call" not in json.dumps(forbidden["output"])


async def test_an_answer_over_its_room_is_incomplete() -> None:
    async with room() as here:
        *_, last = await here.events("Bagaimana pembukuan?", max_output_tokens=16)
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("instructions", ["Write a title of at most six words.", "Buat judul singkat."])
async def test_a_title_is_at_most_six_words_of_the_question(instructions: str) -> None:
    question = "bagaimana cara menghitung harga jual kopi susu? [delay:10000]"
    async with room() as here:
        response = await here.client.responses.create(model="gpt-4o-mini", instructions=instructions, input=question)
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": question}]
        completion = json.dumps(await here.post("/chat/completions", model="gpt-4o-mini", messages=messages))
    assert response.output_text == "Bagaimana cara menghitung harga jual kopi"
    assert response.output_text in completion


async def test_a_title_can_be_asked_for_by_schema() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"], "additionalProperties": False}
    shape = {"format": {"type": "json_schema", "name": "title", "strict": True, "schema": schema}}
    async with room() as here:
        response = await here.respond("bagaimana pembukuan", text=shape)
    assert '{\\"title\\": \\"Bagaimana pembukuan\\"}' in json.dumps(response["output"])


async def test_a_conversation_grows_only_when_a_response_completes() -> None:
    async with room() as here:
        made = await here.post("/conversations", metadata={"chat": "1"})
        path = f"{here.url}/conversations/{made['id']}/items"
        await here.events("satu [fault:failed]", conversation=made["id"])
        assert (await here.raw.get(path)).json()["data"] == []
        await here.events("dua", conversation=made["id"])
        assert len((await here.raw.get(path)).json()["data"]) == 2
        assert "“dua”" in text(await here.events("tiga [history]", conversation=made["id"]))


async def test_a_conversation_is_locked_while_a_response_is_generated_into_it() -> None:
    async with room() as here:
        made = await here.post("/conversations")
        stream = await here.client.responses.create(
            model="gpt-4o", input="x [fault:stall]", conversation=str(made["id"]), stream=True
        )
        async with stream:
            error = await here.refused("/responses", model="gpt-4o", input="y", conversation=made["id"])
            assert (error.status_code, error.code) == (400, "conversation_locked")
        await here.until(activeStreams=0)
        assert await here.respond("y", conversation=made["id"])


async def test_a_former_response_is_continued_only_if_it_was_stored() -> None:
    async with room() as here:
        stored = await here.respond("satu")
        forgotten = await here.respond("satu", store=False)
        assert "“satu”" in json.dumps(await here.respond("dua [history]", previous_response_id=stored["id"]), ensure_ascii=False)
        error = await here.refused("/responses", model="gpt-4o", input="dua", previous_response_id=forgotten["id"])
        assert error.code == "previous_response_not_found"


async def test_models_are_listed_with_the_day_they_end() -> None:
    async with room() as here:
        listed = {model.id: model.to_dict() async for model in here.client.models.list()}
    assert listed["gpt-4o"]["shutdown_date"] == "2027-01-14"
    assert listed["gpt-6-luna"]["shutdown_date"] is None


async def test_every_answer_names_itself_and_the_rate_limits() -> None:
    async with room() as here:
        for question in ({"input": "Halo"}, {"input": "Halo", "stream": True}, {}):
            headers = (await here.raw.post(f"{here.url}/responses", json={"model": "gpt-4o", **question})).headers
            assert headers["x-request-id"].startswith("req_")
            assert int(headers["x-ratelimit-remaining-requests"]) < int(headers["x-ratelimit-limit-requests"])


async def test_what_was_asked_is_counted_by_route_and_status() -> None:
    async with room() as here:
        await here.events("Hai [chunks:7]")
        await here.refused("/responses", model="gpt-9", input="x")
        counted = json.dumps(await here.stats())
    assert '"requests": {"POST /v1/responses": 2}' in counted
    assert '"statuses": {"200": 1, "404": 1}' in counted
    assert '"streamsDone": 1' in counted
    assert '"chunks": 7' in counted


async def test_a_stream_that_its_client_closes_is_counted_aborted_within_100_ms() -> None:
    async with room() as here:
        for question in ("Hai [chunks:1000] [delay:50]", "Hai [fault:stall]", "Hai [ttft:60000]"):
            async with await here.client.responses.create(model="gpt-4o", input=question, stream=True) as stream:
                await anext(aiter(stream))
            with trio.fail_after(0.1):
                await here.until(activeStreams=0)
        assert (await here.stats())["streamsAborted"] == 3


async def test_a_retry_of_the_sdk_is_counted() -> None:
    async with room() as here:
        patient = here.client.with_options(max_retries=2)
        async with await patient.responses.create(model="gpt-4o", input="x [fault:429-after-ms:2]", stream=True) as stream:
            assert [event async for event in stream]
        assert (await here.stats())["retries"] == 2


async def test_it_says_plainly_that_it_is_a_stand_in() -> None:
    async with room() as here:
        for question, sign in (("Halo", "peniru"), ("Siapa kamu?", "peniru"), ("Hello, who are you?", "stand-in")):
            assert sign in text(await here.events(question))
