"""The commands as an operator types them: what they print, and how they end."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.running import ellara


def test_check_prints_every_value_and_where_it_came_from() -> None:
    ended = ellara("check", PORT="9000", JWT_SECRET="hunter2-hunter2")
    assert ended.returncode == 0
    assert "server.port = 9000  (environment PORT)" in ended.stdout
    assert "auth.jwt_secret = ***  (environment JWT_SECRET)" in ended.stdout
    assert "chain.chain_id = 11155111  (ellara.toml)" in ended.stdout
    assert "hunter2" not in ended.stdout + ended.stderr


def test_check_names_all_faults_and_ends_with_78(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("[server]\nport = -1\nprot = 2\n")
    ended = ellara("check", "--config", str(file))
    assert ended.returncode == 78
    assert ended.stderr.splitlines() == [
        f"ellara: {file}: server.port: expected 0 to 65535, not -1",
        f"ellara: {file}: server: unknown setting prot",
    ]


def test_serve_refuses_wrong_settings_before_anything_starts(tmp_path: Path) -> None:
    ended = ellara("serve", "--config", str(tmp_path / "absent.toml"))
    assert ended.returncode == 78
    assert "cannot be read" in ended.stderr


def test_an_env_file_beside_the_settings_is_read(tmp_path: Path) -> None:
    (tmp_path / "ellara.toml").write_text("")
    (tmp_path / ".env").write_text('PORT=7777\nJWT_SECRET="from the old backend"\n')
    ended = ellara("check", "--config", str(tmp_path / "ellara.toml"))
    assert f"server.port = 7777  ({tmp_path}/.env PORT)" in ended.stdout


def test_the_production_file_wants_its_secrets_and_nothing_else(tmp_path: Path) -> None:
    names = {
        "DATABASE_URL": "postgresql://u@h/d",
        "JWT_SECRET": "s" * 32,
        "OPENAI_API_KEY": "sk-1",
        "RPC_URL": "https://rpc.example",
        "CONTRACT_OWNER_PRIVATE_KEY": "0x" + "ab" * 32,
    }
    assert ellara("check", "--config", "config/production.toml", **names).returncode == 0
    bare = ellara("check", "--config", "config/production.toml")
    assert bare.returncode == 78
    assert len(bare.stderr.splitlines()) == len(names)


def test_an_unreachable_database_is_a_clear_last_line(tmp_path: Path) -> None:
    file = tmp_path / "ellara.toml"
    file.write_text("")
    ended = ellara("serve", "--config", str(file), DATABASE_URL="postgresql://127.0.0.1:9/none", PORT="0")
    assert ended.returncode == 1
    assert "database" in ended.stderr.splitlines()[-1].lower()
    assert "Traceback" not in ended.stderr


def test_a_prompt_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "ellara.toml"
    file.write_text('[openai]\nprompt_file = "absent.md"')
    ended = ellara("serve", "--config", str(file), PORT="0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"ellara: openai.prompt_file: {tmp_path}/absent.md cannot be read")
    assert not (tmp_path / "state").exists()


def test_migrate_without_a_database_says_what_to_give() -> None:
    ended = ellara("migrate")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("ellara: database.url: expected the URL of a database")


def test_try_without_a_daemon_says_how_to_start_one() -> None:
    ended = ellara("try", "--url", "http://127.0.0.1:9")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "./scripts/serve" in line


class Stranger(BaseHTTPRequestHandler):
    """Another program on the port."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, *_: object) -> None:
        pass


def test_try_against_another_program_says_that_it_is_no_ellara() -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        ended = ellara("try", "--url", url)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [f"ellara: {url} does not answer as Ellara does: is another program listening there?"]
