"""Hundreds of models in one server, and what is asked of it meanwhile."""

import signal
import threading
import time

import pytest


@pytest.mark.parametrize("by_signal", [True, False], ids=["beside_sighup", "on_two_threads"])
def test_who_asks_for_a_reload_hears_what_came_of_the_file_as_it_was_then(serve, by_signal):
    """Not of a reload that was in work already, and had read the file before it changed."""
    good = "models: {" + ", ".join(f'm{i}: {{path: "builtin:identity", load: on-demand}}' for i in range(400)) + "}"
    bad = good.replace("path", "pth", 1)
    s = serve("--threads", "2", config=good)
    heard = []
    for after_ms in range(24):  # the reload takes some ms: at one of them the second request comes in the middle
        s.write_config(good)
        if by_signal:
            s.signal(signal.SIGHUP)
        else:
            first = threading.Thread(target=s.post, args=("/api/reload", b""))
            first.start()
        time.sleep(after_ms / 1000)
        s.write_config(bad)
        answer = s.post("/api/reload", b"")
        while answer.status == 429 and "in progress" in answer.json()["error"]:  # the same thread has both
            answer = s.post("/api/reload", b"")
        heard.append(answer.status)
        if not by_signal:
            first.join()
    assert set(heard) == {400}, heard
