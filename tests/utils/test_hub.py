"""A hub that does not answer is noticed once, in seconds."""

from __future__ import annotations

import os
import socket
import time

import pytest
from huggingface_hub import constants

from unlearnctl.utils import hub
from unlearnctl.utils.hub import ask_once, reach


def test_reach_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as silent:  # takes connections, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        assert reach(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
        assert time.monotonic() - start < 2
    assert "not reachable" in reach("http://127.0.0.1:1", 2.0)
    assert "not reachable" in reach("no url", 2.0)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    ask_once.cache_clear()
    yield
    ask_once.cache_clear()


def test_out_of_reach_is_offline(
    online: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    ask_once()
    ask_once()
    assert capsys.readouterr().out.count("; using what is in the hub's cache\n") == 1
    assert constants.HF_HUB_OFFLINE
    assert datasets.config.HF_HUB_OFFLINE
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_in_reach_nothing_changes(
    online: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "reach", lambda url, seconds: asked.append(url) or "")
    ask_once()
    ask_once()
    assert asked == [constants.ENDPOINT]
    assert not constants.HF_HUB_OFFLINE
    assert not capsys.readouterr().out


def test_offline_nothing_is_asked(online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "reach", lambda url, seconds: pytest.fail("asked"))
    ask_once()
