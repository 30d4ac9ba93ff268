import pytest

import quern


def pytest_sessionstart(session):
    if not quern.BIN.exists():
        pytest.exit(f"{quern.BIN} is not there: run ./dev build, or set QUERN_BIN", returncode=2)


@pytest.fixture
def serve():
    """serve("builtin:identity", ...) starts a server that ends with the test; see quern.Server."""
    servers = []

    def start(*args, **kwargs):
        servers.append(quern.Server(*args, **kwargs))
        return servers[-1]

    yield start
    for s in servers:
        s.close()
    for s in servers:
        s.check_clean()


@pytest.fixture(scope="module")
def identity():
    """A server of plain built-in models that the tests of a module share; none of them may hurt it."""
    config = """
models:
  identity: {path: "builtin:identity"}
  ids: {path: "builtin:identity", parameters: {datatype: INT64, dims: "2"}}
  bytes: {path: "builtin:identity", parameters: {datatype: BYTES, dims: "2"}}
  half: {path: "builtin:identity", parameters: {datatype: FP16, dims: "4"}}
  flags: {path: "builtin:identity", parameters: {datatype: BOOL, dims: "2"}}
  small: {path: "builtin:identity", parameters: {datatype: UINT8, dims: "4"}}
  wide: {path: "builtin:identity", parameters: {datatype: FP32, dims: "16"}}
  picture: {path: "builtin:identity", parameters: {datatype: FP32, dims: "2,3"}}
  inline: {path: "builtin:identity", isolation: inline}
"""
    with quern.Server(config=config) as s:
        yield s


def pytest_configure(config):
    config.addinivalue_line("markers", "onnx: needs ONNX Runtime (quern engine install onnxruntime)")


def pytest_collection_modifyitems(items):
    if quern.BIN.exists() and quern.engine()["installed"]:
        return
    for item in items:
        if item.get_closest_marker("onnx"):
            item.add_marker(pytest.mark.skip(reason="ONNX Runtime is not installed: quern engine install onnxruntime"))
