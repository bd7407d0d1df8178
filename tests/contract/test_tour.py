"""`ellara try` is a client of the published interface like any other, and shows the main job whole."""

from __future__ import annotations

import re

from tests.running import RunningDaemon, ellara


def test_the_tour_asks_records_and_settles(daemon: RunningDaemon) -> None:
    ended = ellara("try", "--config", str(daemon.config), "--url", daemon.url, "Bagaimana cara mengatur stok?")
    assert ended.returncode == 0, ended.stderr
    assert "Ellara: Anda bertanya: “Bagaimana cara mengatur stok?”" in ended.stdout
    assert "(2 messages stored in chat" in ended.stdout
    assert "Recorded a payment of 150000 USDT: PENDING, 1 on record" in ended.stdout
    assert re.search(r"Order settled successfully: 0x[0-9a-f]{64}\nReceipt: success in block \d+, gas used \d+", ended.stdout)
