"""Settings: every fault at once, each with where, key and what was expected; the order of the sources; secrets masked."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ellara.errors import BadSettings
from ellara.settings import ENVIRONMENT, Settings
from ellara.settings.reading import Loaded, load

RECOVERY_FAULT = (
    "socket.recovery_max_bytes: expected less than socket.outbox_max_bytes divided by the number of socket.namespaces"
)
PROXIES_FAULT = (
    'server.trusted_proxies: expected addresses or networks such as "127.0.0.1" and "10.0.0.0/8", not \'proxy.example\''
)
SHIPPED = Path(__file__).parent.parent / "ellara.toml"


def faults(tmp_path: Path, text: str, **environ: str) -> list[str]:
    file = tmp_path / "test.toml"
    file.write_text(text)
    with pytest.raises(BadSettings) as caught:
        load(file, environ)
    return [fault.replace(str(file), "test.toml") for fault in caught.value.faults]


def loaded(tmp_path: Path, text: str, **environ: str) -> Loaded:
    (tmp_path / "test.toml").write_text(text)
    return load(tmp_path / "test.toml", environ)


def test_the_shipped_file_states_every_setting_with_its_default() -> None:
    shipped = load(SHIPPED, {})
    assert shipped.settings == Settings()
    assert {line.partition(" = ")[0] for line in shipped.lines()} == set(shipped.origins)


def test_all_faults_are_reported_at_once_with_file_key_and_expectation(tmp_path: Path) -> None:
    text = """
        profile = "staging"
        [server]
        port = "8888"
        prot = 1
        stop_s = 0
        [socket]
        namespaces = []
        [openai]
        models = [{name = "a", temperature = 9}]
        [chain]
        owner_key = "0x12"
    """
    assert sorted(faults(tmp_path, text)) == [
        "test.toml: chain.owner_key: expected 0x and 64 hex digits",
        "test.toml: openai.models[0].temperature: expected 0 to 2, not 9.0",
        "test.toml: profile: expected one of sandbox, production, not 'staging'",
        "test.toml: server.port: expected an integer, not '8888'",
        "test.toml: server.stop_s: expected 0.1 to 300, not 0.0",
        "test.toml: server: unknown setting prot",
        'test.toml: socket.namespaces: expected a list of names such as "/" and "/ws"',
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[srever]\nport = 1", "test.toml: unknown setting srever"),
        ("[server]\nport = true", "test.toml: server.port: expected an integer, not True"),
        ("[server]\nport = 65536", "test.toml: server.port: expected 0 to 65535, not 65536"),
        ("[socket]\nrequire_token = 1", "test.toml: socket.require_token: expected true or false, not 1"),
        ('[server]\ncors_origins = "*"', "test.toml: server.cors_origins: expected a list, not '*'"),
        ('[server]\ntrusted_proxies = ["10.0.0.0/8", "proxy.example"]', f"test.toml: {PROXIES_FAULT}"),
        ('[openai]\nbase_url = "ftp://x"', "test.toml: openai.base_url: expected a URL that begins with http:// or https://"),
        ("[socket]\noutbox_max_bytes = 512_000", f"test.toml: {RECOVERY_FAULT}"),
        ("server = 1", "test.toml: server: expected a table, not 1"),
        ("port = ", "test.toml: not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_one_fault_reads_so(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_a_wrong_variable_is_named_as_such(tmp_path: Path) -> None:
    assert faults(tmp_path, "", PORT="http") == ["environment PORT: server.port: expected an integer, not 'http'"]


def test_a_secret_never_shows_in_a_fault(tmp_path: Path) -> None:
    assert "hunter2" not in str(faults(tmp_path, "", DATABASE_URL="hunter2", CONTRACT_OWNER_PRIVATE_KEY="hunter2"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        load(tmp_path / "absent.toml", {})


def test_environment_goes_before_env_file_before_credential_before_file(tmp_path: Path) -> None:
    (tmp_path / "test.toml").write_text('[auth]\njwt_secret = "file"\n[server]\nport = 1\n[chain]\nchain_id = 1')
    (tmp_path / ".env").write_text('JWT_SECRET="dotenv"\nPORT=3\nUNRELATED=x\n')
    (tmp_path / "credentials").mkdir()
    for name, text in {"JWT_SECRET": "credential\n", "PORT": "2", "CHAIN_ID": "2"}.items():
        (tmp_path / "credentials" / name).write_text(text)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "JWT_SECRET": "environment"}
    result = load(tmp_path / "test.toml", environ, tmp_path / ".env")
    assert result.settings.auth.jwt_secret.reveal() == "environment"
    assert (result.settings.server.port, result.settings.chain.chain_id) == (3, 2)
    assert result.origins["auth.jwt_secret"] == "environment JWT_SECRET"
    assert result.origins["server.port"] == f"{tmp_path}/.env PORT"
    assert result.origins["chain.chain_id"] == "credential CHAIN_ID"


def test_each_variable_of_the_seed_overrides_its_setting(tmp_path: Path) -> None:
    given = {
        "PORT": "9999",
        "DATABASE_URL": "postgresql://u:p@h/d",
        "DIRECT_URL": "postgresql://u:p@h/e",
        "JWT_SECRET": "s",
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "RPC_URL": "https://rpc.example",
        "CONTRACT_OWNER_PRIVATE_KEY": "ab" * 32,
        "QR_PAYMENT_ADDRESS": "0x" + "cd" * 20,
        "CHAIN_ID": "31337",
    }
    assert set(given) == set(ENVIRONMENT)
    result = loaded(tmp_path, "", **given)
    for name, (section, key) in ENVIRONMENT.items():
        value = getattr(getattr(result.settings, section), key)
        assert str(value.reveal() if hasattr(value, "reveal") else value) == given[name]


def test_an_empty_variable_counts_as_not_given(tmp_path: Path) -> None:
    assert loaded(tmp_path, "", PORT="", DATABASE_URL=" ").settings == Settings()


def test_lines_mask_secrets_and_tell_origins(tmp_path: Path) -> None:
    lines = loaded(tmp_path, "", JWT_SECRET="hunter2").lines()
    assert "auth.jwt_secret = ***  (environment JWT_SECRET)" in lines
    assert "server.port = 8888  (default)" in lines


def test_production_names_everything_that_is_missing(tmp_path: Path) -> None:
    found = faults(tmp_path, 'profile = "production"')
    assert len(found) == 5
    assert all("production has no stand-ins" in fault for fault in found)


def test_settings_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().profile = "production"  # type: ignore[misc]  # what the test is about
