"""Tensors in a client's shared memory, with the unmodified tritonclient and with clients that do not mean well."""

import contextlib
import mmap
import os
import pathlib
import threading
import uuid

import numpy as np
import pytest

import quern

http = pytest.importorskip("tritonclient.http")
shm = pytest.importorskip("tritonclient.utils.shared_memory")
from tritonclient.utils import InferenceServerException, serialize_byte_tensor  # noqa: E402

CONFIG = """
allow_client_shm: true
models:
  wide: {path: "builtin:identity", parameters: {datatype: FP32, dims: "16"}}
  bytes: {path: "builtin:identity", parameters: {datatype: BYTES, dims: "2"}}
  flags: {path: "builtin:identity", parameters: {datatype: BOOL, dims: "2"}}
  cached: {path: "builtin:identity", parameters: {datatype: FP32, dims: "4"}, cache: 1MiB}
  inline: {path: "builtin:identity", parameters: {datatype: FP32, dims: "4"}, isolation: inline}
  slow: {path: "builtin:delay", parameters: {execute_delay_ms: "300"}}
"""


@pytest.fixture(scope="module")
def server():
    with quern.Server(config=CONFIG, threads=2) as s:
        yield s


@pytest.fixture
def client(server):
    host, port = server.address
    with http.InferenceServerClient(f"{host}:{port}", concurrency=2) as c:
        yield c
        c.unregister_system_shared_memory()


@pytest.fixture
def region():
    """region(bytes): a fresh object in /dev/shm as tritonclient makes it; .key names it."""
    made = []

    def make(size):
        key = "quern-it-" + uuid.uuid4().hex
        handle = shm.create_shared_memory_region("r", key, size)
        handle.key = key
        made.append(handle)
        return handle

    yield make
    for handle in made:
        with contextlib.suppress(Exception):
            shm.destroy_shared_memory_region(handle)


def shm_input(name, shape, datatype, part):
    t = http.InferInput(name, shape, datatype)
    t.set_shared_memory(*part)
    return t


def shm_output(name, part):
    o = http.InferRequestedOutput(name)
    o.set_shared_memory(*part)
    return o


def body_of(region, size, offset=0, shape=(1, 16), name="INPUT0", datatype="FP32", outputs=None):
    parameters = {"shared_memory_region": region, "shared_memory_byte_size": size}
    if offset:
        parameters["shared_memory_offset"] = offset
    b = {"inputs": [{"name": name, "shape": list(shape), "datatype": datatype, "parameters": parameters}]}
    if outputs:
        b["outputs"] = outputs
    return b


def test_in_and_out_through_shared_memory(client, region):
    a = np.arange(32, dtype=np.float32).reshape(2, 16)
    source, sink = region(a.nbytes + 64), region(2 * a.nbytes)
    shm.set_shared_memory_region(source, [a], offset=64)
    client.register_system_shared_memory("in", source.key, a.nbytes + 64)
    client.register_system_shared_memory("out", "/" + sink.key, 2 * a.nbytes)  # as shm_open writes it
    status = {r["name"]: r for r in client.get_system_shared_memory_status()}
    assert status["in"] == {"name": "in", "key": source.key, "offset": 0, "byte_size": a.nbytes + 64}
    assert [status["out"]] == client.get_system_shared_memory_status("out")
    for _ in range(3):
        shm.set_shared_memory_region(sink, [np.zeros_like(a), np.zeros_like(a)])
        r = client.infer(
            "wide",
            [shm_input("INPUT0", [2, 16], "FP32", ("in", a.nbytes, 64))],
            outputs=[shm_output("OUTPUT0", ("out", a.nbytes, a.nbytes))],
        )
        np.testing.assert_array_equal(shm.get_contents_as_numpy(sink, np.float32, [2, 16], a.nbytes), a)
        assert not shm.get_contents_as_numpy(sink, np.float32, [2, 16]).any()  # nothing beside its place
        assert r.get_output("OUTPUT0") == {
            "name": "OUTPUT0",
            "datatype": "FP32",
            "shape": [2, 16],
            "parameters": {
                "shared_memory_region": "out",
                "shared_memory_offset": a.nbytes,
                "shared_memory_byte_size": a.nbytes,
            },
        }
        a += 1
        shm.set_shared_memory_region(source, [a], offset=64)
    client.unregister_system_shared_memory("in")
    assert [r["name"] for r in client.get_system_shared_memory_status()] == ["out"]
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'in'"):
        client.infer("wide", [shm_input("INPUT0", [2, 16], "FP32", ("in", a.nbytes, 64))])
    client.unregister_system_shared_memory()
    assert client.get_system_shared_memory_status() == []


def test_texts_truths_and_an_inline_model(client, region):
    words = np.array([["grün".encode(), b""], [b"x" * 500, b"y"]], dtype=np.object_)
    framed = serialize_byte_tensor(words).item()
    source, sink = region(1024), region(1024)
    shm.set_shared_memory_region(source, [np.frombuffer(framed, np.uint8)])
    client.register_system_shared_memory("in", source.key, 1024)
    client.register_system_shared_memory("out", sink.key, 1024)
    client.infer(
        "bytes",
        [shm_input("INPUT0", [2, 2], "BYTES", ("in", len(framed)))],
        outputs=[shm_output("OUTPUT0", ("out", 1024))],
    )
    np.testing.assert_array_equal(shm.get_contents_as_numpy(sink, np.object_, [2, 2]), words)
    with pytest.raises(InferenceServerException, match="incomplete string"):
        client.infer("bytes", [shm_input("INPUT0", [2, 2], "BYTES", ("in", len(framed) - 1))])
    shm.set_shared_memory_region(source, [np.array([1, 2], np.uint8)])
    with pytest.raises(InferenceServerException, match="element 1 of BOOL input 'INPUT0' is 2"):
        client.infer("flags", [shm_input("INPUT0", [1, 2], "BOOL", ("in", 2))])
    a = np.array([[1, 2, 3, 4]], np.float32)
    shm.set_shared_memory_region(source, [a])
    r = client.infer("inline", [shm_input("INPUT0", [1, 4], "FP32", ("in", 16))])
    np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), a)


def test_a_cache_keeps_what_was_in_a_region_not_its_name(server, client, region):
    source = region(16)
    client.register_system_shared_memory("in", source.key, 16)
    for k in (0, 1, 2, 0, 1, 2):
        a = np.full((1, 4), k, np.float32)
        shm.set_shared_memory_region(source, [a])
        r = client.infer("cached", [shm_input("INPUT0", [1, 4], "FP32", ("in", 16))])
        np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), a)
    r = server.post("/v2/models/cached/infer", quern.infer_body([2.0] * 4))
    assert r.headers["x-quern-cache"] == "hit" and r.json()["outputs"][0]["data"] == [2.0] * 4
    s = server.get("/v2/models/cached/stats").json()["model_stats"][0]["inference_stats"]
    assert (s["cache_hit"]["count"], s["cache_miss"]["count"]) == (4, 3)


def test_what_is_not_there_or_does_not_fit(server, client, region):
    source, small = region(64), region(32)
    client.register_system_shared_memory("in", source.key, 64)
    client.register_system_shared_memory("small", small.key, 32)
    for name, key, size, text in (
        ("in", source.key, 64, "already in manager"),
        ("a", "nobody-" + uuid.uuid4().hex, 64, "Unable to open"),
        ("a", "../etc/passwd", 64, "without '/'"),
        ("a", "//etc/passwd", 64, "without '/'"),
        ("a", "..", 64, "without '/'"),
        ("a", "", 64, "1 to 255"),
        ("a", "x" * 256, 64, "1 to 255"),
        ("a", source.key, 1 << 20, "Invalid offset"),
        ("a", source.key, 0, "more than 0"),
        ("n" * 256, source.key, 64, "1 to 255"),
    ):
        with pytest.raises(InferenceServerException, match=text) as e:
            client.register_system_shared_memory(name, key, size)
        assert e.value.status() == "400"
    base = "/v2/systemsharedmemory/region/"
    for bad in (
        {"key": source.key, "offset": 2**64 - 1, "byte_size": 64},
        {"key": source.key, "offset": 4096, "byte_size": 2**64 - 1},
        {"key": source.key, "byte_size": -1},
        {"key": source.key, "byte_size": 2**64},
        {"key": 7, "byte_size": 64},
        {"byte_size": 64},
        [],
        "x",
    ):
        assert server.post(base + "a/register", bad).status == 400, bad
    outside = [(64, 1), (2**64 - 1, 64), (64, 2**64 - 64), (2**63, 2**63), (65, 0)]
    for size, offset in outside:
        r = server.post("/v2/models/wide/infer", body_of("in", size, offset))
        assert r.status == 400 and "Invalid offset + byte size" in r.json()["error"], (size, offset)
    assert server.post("/v2/models/wide/infer", body_of("in", 0)).status == 400
    r = server.post("/v2/models/wide/infer", body_of("in", 60))
    assert r.status == 400 and "Expected 64, got 60" in r.json()["error"]
    both = body_of("in", 64)
    both["inputs"][0]["data"] = [0.0] * 16
    r = server.post("/v2/models/wide/infer", both)
    assert r.status == 400 and "But set 'data' 'shared_memory_region'" in r.json()["error"]

    def output(**parameters):
        o = [{"name": "OUTPUT0", "parameters": {"shared_memory_region": "small"} | parameters}]
        return server.post("/v2/models/wide/infer", body_of("in", 64, outputs=o))

    r = output(shared_memory_byte_size=32)
    assert r.status == 400 and "should be at least 64 bytes" in r.json()["error"]
    assert output(shared_memory_byte_size=32, classification=1).status == 400
    assert output(shared_memory_byte_size=32, binary_data=True).status == 400
    assert output().status == 400
    # Names are what lets one in: no error tells another's.
    r = server.post("/v2/models/wide/infer", body_of("smal", 32))
    assert r.status == 400 and "'small'" not in r.body.decode()
    assert server.get("/v2/systemsharedmemory/region/smal/status").status == 404
    # Unregistering what is not there is fine, as in Triton.
    assert server.post(base + "nobody/unregister", b"").status == 200
    assert server.post(base + "in/unregister", b"", {"origin": "http://elsewhere"}).status == 403


def test_folders_links_and_pipes_are_no_regions(server, client):
    folder = pathlib.Path("/dev/shm") / ("quern-it-" + uuid.uuid4().hex)
    link, pipe = folder.with_suffix(".link"), folder.with_suffix(".pipe")
    try:
        folder.mkdir()
        link.symlink_to("/etc/passwd")
        os.mkfifo(pipe)
        for p in (folder, link, pipe):
            with pytest.raises(InferenceServerException, match="Unable to open"):
                client.register_system_shared_memory("a", p.name, 8)
    finally:
        pipe.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
        folder.rmdir()
    assert server.get("/v2/health/live").status == 200


def test_a_region_that_shrinks_hurts_its_request_alone(server, client, region):
    """A mapping would end the edge with SIGBUS here."""
    source, sink = region(1 << 20), region(1 << 20)
    rows = (1 << 20) // 64
    client.register_system_shared_memory("in", source.key, 1 << 20)
    client.register_system_shared_memory("out", sink.key, 1 << 20)
    (edge,) = server.pids("edge")
    out = [{"name": "OUTPUT0", "parameters": {"shared_memory_region": "out", "shared_memory_byte_size": 1 << 20}}]
    body = body_of("in", 1 << 20, shape=(rows, 16), outputs=out)
    assert server.post("/v2/models/wide/infer", body).status == 200
    os.truncate(f"/dev/shm/{sink.key}", 4096)
    r = server.post("/v2/models/wide/infer", body)
    assert r.status == 400 and "'out' is smaller than it was" in r.json()["error"]
    assert os.stat(f"/dev/shm/{sink.key}").st_size == 4096  # nor did we make it larger
    os.truncate(f"/dev/shm/{source.key}", 0)
    r = server.post("/v2/models/wide/infer", body)
    assert r.status == 400 and "'in' is smaller than it was" in r.json()["error"]
    # And while requests run, again and again.
    stop = threading.Event()

    def breathe():
        while not stop.is_set():
            for size in (1 << 20, 4096, 0):
                os.truncate(f"/dev/shm/{source.key}", size)
                os.truncate(f"/dev/shm/{sink.key}", size)

    t = threading.Thread(target=breathe)
    t.start()
    try:
        seen = {server.post("/v2/models/wide/infer", body).status for _ in range(60)}
    finally:
        stop.set()
        t.join()
    assert seen <= {200, 400}
    assert server.pids("edge") == [edge]


def test_unregistered_while_its_request_runs(server, client, region):
    source, other = region(64), region(64)
    client.register_system_shared_memory("out", source.key, 64)
    out = [{"name": "OUTPUT0", "parameters": {"shared_memory_region": "out", "shared_memory_byte_size": 64}}]
    body = quern.infer_body([1.0, 2.0]) | {"outputs": out}
    with server.client() as c:
        c.send(quern.encode("POST", "/v2/models/slow/infer", body))
        quern.wait_until(lambda: server.model("slow")["in_flight"] == 1, 5, "its run")
        client.unregister_system_shared_memory("out")
        client.register_system_shared_memory("out", other.key, 64)  # the same name for other memory
        r = c.receive()
    assert r.status == 400 and "Unable to find shared memory region: 'out'" in r.json()["error"]
    for handle in (source, other):
        assert not shm.get_contents_as_numpy(handle, np.uint8, [64]).any()


def test_limits_and_what_is_given_back(server, client, region):
    source = region(1 << 16)
    (edge,) = server.pids("edge")
    folder = pathlib.Path(f"/proc/{edge}/fd")
    held = lambda: sum(os.path.basename(source.key) in os.readlink(p) for p in folder.iterdir())
    for k in range(1024):
        client.register_system_shared_memory(str(k), source.key, 64, offset=64 * (k % 1000))
    with pytest.raises(InferenceServerException, match="more than 1024 shared memory regions") as e:
        client.register_system_shared_memory("one more", source.key, 64)
    assert e.value.status() == "429"
    assert len(client.get_system_shared_memory_status()) == 1024
    assert held() == 1024
    client.unregister_system_shared_memory()
    assert held() == 0
    huge = pathlib.Path(f"/dev/shm/quern-it-{uuid.uuid4().hex}")
    try:
        with open(huge, "wb") as f:
            f.truncate(40 << 30)  # takes no memory
        client.register_system_shared_memory("a", huge.name, 40 << 30)
        with pytest.raises(InferenceServerException, match="more than 64 GiB"):
            client.register_system_shared_memory("b", huge.name, 40 << 30)
        r = server.post("/v2/models/wide/infer", body_of("a", 40 << 30, shape=((40 << 30) // 64, 16)))
        assert r.status in (400, 413)
        r = server.post("/v2/models/bytes/infer", body_of("a", 40 << 30, shape=(1, 2), datatype="BYTES"))
        assert r.status in (400, 413)
    finally:
        huge.unlink()


def test_regions_of_a_client_that_is_gone_can_be_read_on(server, client, region):
    """Unlinked is not gone: the server holds the memory until it is unregistered."""
    source = region(64)
    a = np.ones((1, 16), np.float32)
    shm.set_shared_memory_region(source, [a])
    client.register_system_shared_memory("in", source.key, 64)
    with open(f"/dev/shm/{source.key}", "r+b") as f, mmap.mmap(f.fileno(), 64) as m:
        shm.destroy_shared_memory_region(source)
        m[:4] = np.float32(7).tobytes()
        r = client.infer("wide", [shm_input("INPUT0", [1, 16], "FP32", ("in", 64))])
        assert r.as_numpy("OUTPUT0")[0, 0] == 7


def test_off_by_default(identity, region):
    host, port = identity.address
    source = region(64)
    with http.InferenceServerClient(f"{host}:{port}") as c:
        for call in (
            lambda: c.register_system_shared_memory("in", source.key, 64),
            lambda: c.unregister_system_shared_memory("in"),
            lambda: c.infer("wide", [shm_input("INPUT0", [1, 16], "FP32", ("in", 64))]),
        ):
            with pytest.raises(InferenceServerException, match="not allowed") as e:
                call()
            assert e.value.status() == "501"
        assert c.get_system_shared_memory_status() == []
        assert "system_shared_memory" not in c.get_server_metadata()["extensions"]


def test_cuda_as_a_triton_without_gpus(server, client):
    assert client.get_cuda_shared_memory_status() == []
    with pytest.raises(InferenceServerException, match="GPUs not supported") as e:
        client.register_cuda_shared_memory("a", b"handle", 0, 64)
    assert e.value.status() == "400"
    client.unregister_cuda_shared_memory("a")
    client.unregister_cuda_shared_memory()
    assert server.get("/v2/cudasharedmemory/region/a/status").status == 404
