"""Every setting: its class, default and bounds, and the variable that overrides it.

Passed on as the slice each part needs: no part of Ellara reads a file or a variable for itself. `ellara.toml` states each setting
with its unit and reason; a test keeps the two the same. Absent: reading them, see `reading.py`.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs


@attrs.frozen(repr=False)
class Secret:
    """A text that prints as `***`; `reveal()` at the one place that needs it."""

    _text: str = ""

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else "''"


def _between(low: float, high: float) -> Any:
    def check(_owner: object, _field: attrs.Attribute[Any], value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"expected {low} to {high}, not {value}")

    return check


def _url(*schemes: str) -> Any:
    def check(_owner: object, _field: attrs.Attribute[Any], value: str | Secret) -> None:
        text = value.reveal() if isinstance(value, Secret) else value
        if text and (urlsplit(text).scheme not in schemes or not urlsplit(text).netloc):
            raise ValueError(f"expected a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")

    return check


def _hex(digits: int) -> Any:
    def check(_owner: object, _field: attrs.Attribute[Any], value: str | Secret) -> None:
        text = (value.reveal() if isinstance(value, Secret) else value).removeprefix("0x")
        if text and (len(text) != digits or not all(c in "0123456789abcdefABCDEF" for c in text)):
            raise ValueError(f"expected 0x and {digits} hex digits")

    return check


def _networks(_owner: object, _field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        try:
            ip_network(name)
        except ValueError:
            raise ValueError(f'expected addresses or networks such as "127.0.0.1" and "10.0.0.0/8", not {name!r}') from None


def _namespaces(_owner: object, _field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if not value or any(not name.startswith("/") or "," in name for name in value):
        raise ValueError('expected a list of names such as "/" and "/ws"')


@attrs.frozen
class Server:
    host: str = "127.0.0.1"
    port: int = attrs.field(default=8888, validator=_between(0, 65535))
    cors_origins: tuple[str, ...] = ("*",)
    body_max_bytes: int = attrs.field(default=1_000_000, validator=_between(1_000, 100_000_000))
    body_timeout_s: float = attrs.field(default=15.0, validator=_between(0.1, 600))
    gzip_min_bytes: int = attrs.field(default=1_024, validator=_between(0, 100_000_000))
    keep_alive_s: float = attrs.field(default=65.0, validator=_between(1, 3600))
    head_timeout_s: float = attrs.field(default=10.0, validator=_between(0.1, 600))
    write_timeout_s: float = attrs.field(default=20.0, validator=_between(0.1, 600))
    connections_max: int = attrs.field(default=12_000, validator=_between(1, 1_000_000))
    connections_per_address_max: int = attrs.field(default=0, validator=_between(0, 1_000_000))
    trusted_proxies: tuple[str, ...] = attrs.field(default=(), validator=_networks)
    stop_s: float = attrs.field(default=10.0, validator=_between(0.1, 300))


@attrs.frozen
class Database:
    url: Secret = attrs.field(default=Secret(), validator=_url("postgresql", "postgres"))
    direct_url: Secret = attrs.field(default=Secret(), validator=_url("postgresql", "postgres"))
    pool_size: int = attrs.field(default=8, validator=_between(2, 200))
    pool_wait_s: float = attrs.field(default=5.0, validator=_between(0.1, 60))
    connect_timeout_s: float = attrs.field(default=5.0, validator=_between(0.1, 60))
    statement_timeout_s: float = attrs.field(default=15.0, validator=_between(0.1, 600))


@attrs.frozen
class Auth:
    jwt_secret: Secret = Secret()
    token_ttl_s: int = attrs.field(default=3_600, validator=_between(1, 30 * 86_400))


@attrs.frozen
class Socket:
    namespaces: tuple[str, ...] = attrs.field(default=("/", "/ws"), validator=_namespaces)
    require_token: bool = False
    ping_interval_s: float = attrs.field(default=25.0, validator=_between(0.05, 300))
    ping_timeout_s: float = attrs.field(default=20.0, validator=_between(0.05, 300))
    connect_timeout_s: float = attrs.field(default=45.0, validator=_between(0.05, 300))
    upgrade_timeout_s: float = attrs.field(default=10.0, validator=_between(0.05, 300))
    payload_max_bytes: int = attrs.field(default=1_000_000, validator=_between(1_000, 100_000_000))
    outbox_max_bytes: int = attrs.field(default=1_000_000, validator=_between(10_000, 100_000_000))
    compression: bool = False
    recovery_s: float = attrs.field(default=120.0, validator=_between(0, 3_600))
    recovery_max_bytes: int = attrs.field(default=256_000, validator=_between(1_000, 100_000_000))
    recovery_total_max_bytes: int = attrs.field(default=64_000_000, validator=_between(1_000, 10_000_000_000))
    sessions_max: int = attrs.field(default=10_000, validator=_between(1, 1_000_000))
    sessions_per_address_max: int = attrs.field(default=0, validator=_between(0, 1_000_000))
    handshakes_per_address_per_s: float = attrs.field(default=0.0, validator=_between(0, 1_000_000))
    events_per_s: float = attrs.field(default=0.0, validator=_between(0, 1_000_000))
    events_per_user_per_s: float = attrs.field(default=0.0, validator=_between(0, 1_000_000))


@attrs.frozen
class Model:
    """One model and the parameters it takes; what is left out is not sent."""

    name: str
    temperature: float | None = attrs.field(default=None, validator=attrs.validators.optional(_between(0, 2)))
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None


@attrs.frozen
class OpenAI:
    api_key: Secret = Secret()
    base_url: str = attrs.field(default="", validator=_url("http", "https"))
    models: tuple[Model, ...] = attrs.field(
        default=(Model("gpt-4o"), Model("gpt-6-luna", reasoning_effort="none")), validator=attrs.validators.min_len(1)
    )
    title_models: tuple[Model, ...] = attrs.field(
        default=(Model("gpt-4o-mini"), Model("gpt-6-luna", reasoning_effort="none")), validator=attrs.validators.min_len(1)
    )
    title_wait_ms: int = attrs.field(default=400, validator=_between(0, 10_000))
    prompt_file: str = ""
    question_max_chars: int = attrs.field(default=16_000, validator=_between(1, 1_000_000))
    transcript_max_tokens: int = attrs.field(default=24_000, validator=_between(500, 1_000_000))
    answer_max_tokens: int = attrs.field(default=4_096, validator=_between(16, 200_000))
    tool_rounds_max: int = attrs.field(default=5, validator=_between(1, 50))
    runs_max: int = attrs.field(default=1_000, validator=_between(1, 100_000))
    connect_timeout_s: float = attrs.field(default=5.0, validator=_between(0.05, 60))
    first_event_timeout_s: float = attrs.field(default=30.0, validator=_between(0.05, 600))
    silence_timeout_s: float = attrs.field(default=30.0, validator=_between(0.05, 600))
    run_timeout_s: float = attrs.field(default=300.0, validator=_between(0.05, 3_600))
    tries_max: int = attrs.field(default=3, validator=_between(1, 10))
    retry_pause_ms: int = attrs.field(default=400, validator=_between(1, 10_000))


@attrs.frozen
class Chain:
    rpc_url: Secret = attrs.field(default=Secret(), validator=_url("http", "https"))
    chain_id: int = attrs.field(default=11_155_111, validator=_between(1, 2**53 - 1))
    payment_address: str = attrs.field(default="0x30B25eEd981bcc3E25eF0fEAF0D67D6ECD7FeDec", validator=_hex(40))
    owner_key: Secret = attrs.field(default=Secret(), validator=_hex(64))
    in_flight_max: int = attrs.field(default=16, validator=_between(1, 64))
    confirmations: int = attrs.field(default=2, validator=_between(1, 1_000))
    poll_interval_s: float = attrs.field(default=1.0, validator=_between(0.05, 60))
    connect_timeout_s: float = attrs.field(default=3.0, validator=_between(0.05, 60))
    read_timeout_s: float = attrs.field(default=10.0, validator=_between(0.05, 60))
    send_timeout_s: float = attrs.field(default=15.0, validator=_between(0.05, 60))
    settle_timeout_s: float = attrs.field(default=60.0, validator=_between(0.05, 600))
    fee_cap_wei: int = attrs.field(default=200_000_000_000, validator=_between(1, 10**15))
    tip_floor_wei: int = attrs.field(default=1_000_000_000, validator=_between(0, 10**14))
    tip_cap_wei: int = attrs.field(default=50_000_000_000, validator=_between(0, 10**15))
    gas_max: int = attrs.field(default=300_000, validator=_between(21_000, 16_777_216))


@attrs.frozen
class Sandbox:
    state_dir: str = "state"
    orders: int = attrs.field(default=20, validator=_between(0, 1_000))
    word_delay_ms: int = attrs.field(default=25, validator=_between(0, 10_000))
    block_time_ms: int = attrs.field(default=0, validator=_between(0, 60_000))


@attrs.frozen
class Supervision:
    restarts_max: int = attrs.field(default=5, validator=_between(0, 1_000))
    period_s: float = attrs.field(default=30.0, validator=_between(0.1, 3_600))


@attrs.frozen
class Log:
    level: Literal["debug", "info", "warning", "error"] = "info"
    style: Literal["console", "json"] = "console"


@attrs.frozen
class Settings:
    profile: Literal["sandbox", "production"] = "sandbox"
    server: Server = Server()
    database: Database = Database()
    auth: Auth = Auth()
    socket: Socket = Socket()
    openai: OpenAI = OpenAI()
    chain: Chain = Chain()
    sandbox: Sandbox = Sandbox()
    supervision: Supervision = Supervision()
    log: Log = Log()

    def faults(self) -> list[str]:
        """What no single field can see."""
        found = []
        if self.openai.base_url and not self.openai.api_key:
            found.append("openai.api_key: expected a key (any text for a server that wants none) beside openai.base_url")
        if (
            self.socket.recovery_s
            and self.socket.recovery_max_bytes * len(self.socket.namespaces) >= self.socket.outbox_max_bytes
        ):
            found.append(
                "socket.recovery_max_bytes: expected less than socket.outbox_max_bytes divided by the number of socket.namespaces"
            )
        if self.profile == "production":
            needed = {
                "database.url": self.database.url,
                "auth.jwt_secret": self.auth.jwt_secret,
                "openai.api_key": self.openai.api_key,
                "chain.rpc_url": self.chain.rpc_url,
                "chain.owner_key": self.chain.owner_key,
            }
            variables = {".".join(path): name for name, path in ENVIRONMENT.items()}
            found += [
                f"{key}: expected a value ({variables[key]}), production has no stand-ins"
                for key, value in needed.items()
                if not value
            ]
        return found


ENVIRONMENT = {
    "PORT": ("server", "port"),
    "DATABASE_URL": ("database", "url"),
    "DIRECT_URL": ("database", "direct_url"),
    "JWT_SECRET": ("auth", "jwt_secret"),
    "OPENAI_API_KEY": ("openai", "api_key"),
    "OPENAI_BASE_URL": ("openai", "base_url"),
    "RPC_URL": ("chain", "rpc_url"),
    "CONTRACT_OWNER_PRIVATE_KEY": ("chain", "owner_key"),
    "QR_PAYMENT_ADDRESS": ("chain", "payment_address"),
    "CHAIN_ID": ("chain", "chain_id"),
}
"""The seed's variables, which are also the names of the credential files."""
