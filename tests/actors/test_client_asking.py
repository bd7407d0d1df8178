"""What Ellara asks of a client: its acknowledgement is told once, or never."""

from __future__ import annotations

import pytest

from ellara.actors.backlog import Total
from ellara.actors.client import ASKED_MAX
from tests.actors.connection import Connection, names, open_client


class TestAsking:
    def test_what_the_client_answers_is_told_once(self) -> None:
        client, connection = open_client()
        answers = list[object]()
        client.ask(lambda *args: answers.append(args), "sure?", 1)
        client.ask(lambda *args: answers.append("another's"), "sure?", 2)
        assert [packet.data for packet in connection.outbox.take()] == ['20["sure?",1]', '21["sure?",2]']
        for _ in range(2):
            client.acknowledged(0, ["yes", 7])
        client.acknowledged(9, ["to nobody"])
        assert answers == [("yes", 7)]

    @pytest.mark.parametrize("end", ["lost", "taken over", "left"])
    def test_an_answer_on_another_connection_is_not_one(self, end: str) -> None:
        client, _ = open_client()
        answers = list[object]()
        client.ask(answers.append, "sure?")
        match end:
            case "lost":
                client.lost(Total())
                client.ask(answers.append, "never sent")
            case "taken over":
                client.carried_by(Connection())
            case "left":
                client.leave()
        for ask_id in range(2):
            client.acknowledged(ask_id, ["yes"])
        assert answers == []

    def test_it_is_no_part_of_what_was_missed(self) -> None:
        client, connection = open_client()
        client.emit("a")
        client.ask(print, "sure?")
        assert [packet.data[:2] for packet in connection.outbox.take()] == ["2[", "20"]
        assert names(client.missed(None)) == ["a"]

    def test_only_so_many_are_waited_for(self) -> None:
        client, _ = open_client()
        answers = list[object]()
        for _ in range(ASKED_MAX + 1):
            client.ask(answers.append, "sure?")
        client.acknowledged(0, ["too late"])
        client.acknowledged(1, ["in time"])
        assert answers == ["in time"]
