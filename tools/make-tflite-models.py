#!/usr/bin/env python3
"""Writes the small TensorFlow Lite models of test/data/, and the larger ones that benchmarks use.

    python3 -m venv build/models-venv && build/models-venv/bin/pip install numpy onnx flatbuffers ai-edge-litert==2.3.0
    build/models-venv/bin/python tools/make-tflite-models.py test/data            # the committed ones
    build/models-venv/bin/python tools/make-tflite-models.py --bench build/models  # pairs of .tflite and .onnx, not committed
    build/models-venv/bin/python tools/make-tflite-models.py --try                # the bytes in src/model/backends/tflite/litert_try.c

mlp.tflite and conv.tflite have the weights of mlp.onnx and conv.onnx (tools/make-test-models.py), so that the engines can be compared.
The files are built from the format's own classes; no converter is involved, so that each says exactly what a test needs.
"""
import os
import sys

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as s
from onnx import helper as h
from onnx import numpy_helper

Op = s.BuiltinOperator
TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int32): 2, np.dtype(np.uint8): 3, np.dtype(np.int64): 4,
         np.dtype(np.bool_): 6, np.dtype(np.int16): 7, np.dtype(np.int8): 9, np.dtype(np.float64): 10, np.dtype(np.uint64): 12,
         np.dtype(np.uint32): 15, np.dtype(np.uint16): 16}
FLOAT32, INT32, STRING, BOOL, INT8 = 0, 2, 5, 6, 9


class Graph:
    """One subgraph. Tensors are numbers, as in the file."""

    def __init__(self, model, name):
        self.model, self.g = model, s.SubGraphT()
        self.g.name, self.g.tensors, self.g.operators, self.g.inputs, self.g.outputs = name, [], [], [], []

    def tensor(self, name, dims, dtype=FLOAT32, free=(), quant=None, buffer=0, variable=False):
        t = s.TensorT()
        t.name, t.shape, t.type, t.buffer, t.isVariable = name, list(dims), dtype, buffer, variable
        if free:
            t.shapeSignature = [-1 if i in free else d for i, d in enumerate(dims)]
        if quant is not None:
            q = s.QuantizationParametersT()
            scale, zero = quant[0], quant[1]
            q.scale = [float(v) for v in np.atleast_1d(scale)]
            q.zeroPoint = [int(v) for v in np.broadcast_to(zero, np.shape(np.atleast_1d(scale)))]
            q.quantizedDimension = quant[2] if len(quant) > 2 else 0
            t.quantization = q
        self.g.tensors.append(t)
        return len(self.g.tensors) - 1

    def input(self, name, dims, *args, **kw):
        self.g.inputs.append(self.tensor(name, dims, *args, **kw))
        return self.g.inputs[-1]

    def const(self, name, array, quant=None):
        array = np.ascontiguousarray(array)
        return self.tensor(name, array.shape, TYPES[array.dtype], quant=quant, buffer=self.model.buffer(array.tobytes()))

    def op(self, code, inputs, outputs, options=None, kind=0, custom=None):
        o = s.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = self.model.opcode(code, custom), list(inputs), list(outputs)
        o.builtinOptionsType, o.builtinOptions = kind, options
        self.g.operators.append(o)


class Model:
    def __init__(self, description=""):
        self.m = s.ModelT()
        self.m.version, self.m.description = 3, description
        self.m.operatorCodes, self.m.subgraphs, self.m.buffers, self.m.signatureDefs = [], [], [s.BufferT()], []

    def graph(self, name="main"):
        g = Graph(self, name)
        self.m.subgraphs.append(g.g)
        return g

    def buffer(self, data):
        b = s.BufferT()
        b.data = np.frombuffer(data, np.uint8)
        self.m.buffers.append(b)
        return len(self.m.buffers) - 1

    def opcode(self, code, custom=None):
        for i, c in enumerate(self.m.operatorCodes):
            if c.builtinCode == code and c.customCode == custom:
                return i
        c = s.OperatorCodeT()
        c.builtinCode, c.deprecatedBuiltinCode, c.version, c.customCode = code, min(code, 127), 1, custom
        if code == Op.FULLY_CONNECTED:
            c.version = 4
        elif code in (Op.CONV_2D, Op.SOFTMAX, Op.ADD, Op.SUB, Op.MEAN):
            c.version = 2
        self.m.operatorCodes.append(c)
        return len(self.m.operatorCodes) - 1

    def signature(self, key, inputs, outputs, graph=0):
        d = s.SignatureDefT()
        d.signatureKey, d.subgraphIndex, d.inputs, d.outputs = key, graph, [], []
        for side, pairs in ((d.inputs, inputs), (d.outputs, outputs)):
            for name, index in pairs:
                m = s.TensorMapT()
                m.name, m.tensorIndex = name, index
                side.append(m)
        self.m.signatureDefs.append(d)

    def bytes(self):
        b = flatbuffers.Builder(1024)
        b.Finish(self.m.Pack(b), b"TFL3")
        return bytes(b.Output())


# ---- operators ----

def fully(g, x, w, b, y, relu=False):
    o = s.FullyConnectedOptionsT()
    o.fusedActivationFunction = 1 if relu else 0
    g.op(Op.FULLY_CONNECTED, [x, w, b], [y], o, s.BuiltinOptions.FullyConnectedOptions)


def softmax(g, x, y):
    o = s.SoftmaxOptionsT()
    o.beta = 1.0
    g.op(Op.SOFTMAX, [x], [y], o, s.BuiltinOptions.SoftmaxOptions)


def conv(g, x, k, b, y, stride=1, relu=False):
    o = s.Conv2DOptionsT()
    o.strideW = o.strideH = stride
    o.fusedActivationFunction = 1 if relu else 0
    g.op(Op.CONV_2D, [x, k, b], [y], o, s.BuiltinOptions.Conv2DOptions)


def mean(g, x, axes, y, keep=False):
    o = s.ReducerOptionsT()
    o.keepDims = keep
    g.op(Op.MEAN, [x, g.const("axes", np.array(axes, np.int32))], [y], o, s.BuiltinOptions.ReducerOptions)


def plain(code, kind, options):
    def put(g, inputs, outputs):
        g.op(code, inputs, outputs, options(), kind)
    return put


add = plain(Op.ADD, s.BuiltinOptions.AddOptions, s.AddOptionsT)
sub = plain(Op.SUB, s.BuiltinOptions.SubOptions, s.SubOptionsT)
mul = plain(Op.MUL, s.BuiltinOptions.MulOptions, s.MulOptionsT)
exp = plain(Op.EXP, s.BuiltinOptions.ExpOptions, s.ExpOptionsT)
less = plain(Op.LESS, s.BuiltinOptions.LessOptions, s.LessOptionsT)
where = plain(Op.WHERE, s.BuiltinOptions.WhereOptions, s.WhereOptionsT)
reshape = plain(Op.RESHAPE, s.BuiltinOptions.ReshapeOptions, s.ReshapeOptionsT)
pad = plain(Op.PAD, s.BuiltinOptions.PadOptions, s.PadOptionsT)


# ---- models that are served ----

def weights_of(folder, name):
    m = onnx.load(os.path.join(folder, name))
    return {i.name: numpy_helper.to_array(i) for i in m.graph.initializer}


def mlp(folder):
    w = weights_of(folder, "mlp.onnx")
    m = Model("an MLP of the tests")
    g = m.graph()
    x = g.input("in", [1, 4], free=(0,))
    r, y = g.tensor("r", [1, 3], free=(0,)), g.tensor("out", [1, 3], free=(0,))
    fully(g, x, g.const("w", w["w"].T), g.const("b", w["b"]), r, relu=True)
    softmax(g, r, y)
    g.g.outputs = [y]
    m.signature("serving_default", [("x", x)], [("y", y)])
    return m


def conv_same(folder):
    """Channels last instead of first; the padding of the ONNX model is an operator of its own."""
    k = weights_of(folder, "conv.onnx")["k"]
    m = Model()
    g = m.graph()
    x = g.input("x", [1, 8, 8, 3], free=(0,))
    p, c, y = g.tensor("p", [1, 10, 10, 3], free=(0,)), g.tensor("c", [1, 8, 8, 5], free=(0,)), g.tensor("y", [1, 5], free=(0,))
    pad(g, [x, g.const("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], [p])
    o = s.Conv2DOptionsT()
    o.padding, o.strideW, o.strideH = s.Padding.VALID, 1, 1
    g.op(Op.CONV_2D, [p, g.const("k", k.transpose(0, 2, 3, 1)), g.const("b", np.zeros(5, np.float32))], [c], o,
         s.BuiltinOptions.Conv2DOptions)
    mean(g, c, [1, 2], y)
    g.g.outputs = [y]
    return m


def conv_int8(rng):
    """As converters write them: no signature, a fixed batch of 1, weights quantised by channel."""
    m = Model("MLIR Converted.")
    g = m.graph()
    qx = (0.02, -5)
    x = g.input("image", [1, 8, 8, 1], INT8, quant=qx)
    wq = rng.integers(-127, 128, (4, 3, 3, 1)).astype(np.int8)
    scales = np.array([0.004, 0.006, 0.01, 0.003], np.float32)
    b = g.const("bias", rng.integers(-200, 200, 4).astype(np.int32), quant=(scales * np.float32(qx[0]), 0))
    c = g.tensor("c", [1, 8, 8, 4], INT8, quant=(0.05, -20))
    p = g.tensor("p", [1, 4], INT8, quant=(0.05, -20))
    y = g.tensor("classes", [1, 4], INT8, quant=(1 / 256, -128))
    conv(g, x, g.const("k", wq, quant=(scales, 0)), b, c, relu=True)
    mean(g, c, [1, 2], p)
    softmax(g, p, y)
    g.g.outputs = [y]
    return m


def mlp_uint8():
    """One weight, so that each number can be worked out by hand: y = 2 x, real numbers by scale and zero point."""
    m = Model()
    g = m.graph()
    x = g.input("x", [1, 2], TYPES[np.dtype(np.int8)], free=(0,), quant=(0.5, 10))
    y = g.tensor("y", [1, 2], TYPES[np.dtype(np.int8)], free=(0,), quant=(1.0, -3))
    w = g.const("w", np.array([[100, 0], [0, 100]], np.int8), quant=(0.02, 0))
    b = g.const("b", np.zeros(2, np.int32), quant=(0.01, 0))
    fully(g, x, w, b, y)
    g.g.outputs = [y]
    m.signature("serving_default", [("x", x)], [("y", y)])
    return m


def two_io():
    """Names of the signature in another order than the tensors of the graph; an output that another operator also reads."""
    m = Model()
    g = m.graph()
    a, b = g.input("a_tensor", [1, 4], free=(0,)), g.input("b_tensor", [1, 4], free=(0,))
    d, e = g.tensor("d", [1, 4], free=(0,)), g.tensor("e", [1, 4], free=(0,))
    sub(g, [a, b], [d])
    add(g, [d, a], [e])
    g.g.outputs = [e, d]
    m.signature("serving_default", [("minuend", a), ("b", b)], [("difference", d), ("last", e)])
    return m


def two_signatures():
    m = Model()
    for index, (key, factor) in enumerate((("double", 2.0), ("negate", -1.0))):
        g = m.graph(key)
        x, y = g.input("x", [1, 3], free=(0,)), g.tensor("y", [1, 3], free=(0,))
        mul(g, [x, g.const("factor", np.array([factor], np.float32))], [y])
        g.g.outputs = [y]
        m.signature(key, [("x", x)], [("y", y)], index)
    return m


def identity(dtype):
    m = Model()
    g = m.graph()
    x, y = g.input("x", [1, 3], dtype, free=(0,)), g.tensor("y", [1, 3], dtype, free=(0,))
    reshape(g, [x, g.const("shape", np.array([-1, 3], np.int32))], [y])
    g.g.outputs = [y]
    return m


def free_length():
    m = Model()
    g = m.graph()
    x, y = g.input("x", [1, 1], free=(0, 1)), g.tensor("y", [1, 1], free=(0, 1))
    softmax(g, x, y)
    g.g.outputs = [y]
    return m


def sparse():
    """y = x + c, where c has 5 of 16 elements: rows dense, columns by lists. In DENSIFY's way."""
    m = Model()
    g = m.graph()
    x = g.input("x", [4, 4])
    c = g.const("c", np.array([1, 2, 3, 4, 5], np.float32))
    g.g.tensors[c].shape = [4, 4]
    p, rows, columns = s.SparsityParametersT(), s.DimensionMetadataT(), s.DimensionMetadataT()
    rows.format, rows.denseSize = s.DimensionType.DENSE, 4
    columns.format = s.DimensionType.SPARSE_CSR
    columns.arraySegmentsType = columns.arrayIndicesType = s.SparseIndexVector.Uint8Vector
    columns.arraySegments, columns.arrayIndices = s.Uint8VectorT(), s.Uint8VectorT()
    columns.arraySegments.values, columns.arrayIndices.values = [0, 2, 2, 3, 5], [0, 3, 1, 2, 3]
    p.traversalOrder, p.blockMap, p.dimMetadata = [0, 1], [], [rows, columns]
    g.g.tensors[c].sparsity = p
    d, y = g.tensor("d", [4, 4]), g.tensor("y", [4, 4])
    g.op(Op.DENSIFY, [c], [d], s.DensifyOptionsT(), s.BuiltinOptions.DensifyOptions)
    add(g, [x, d], [y])
    g.g.outputs = [y]
    return m


# ---- models whose rows must not share a run, or have no rows ----

def mean_over_rows():
    m = Model()
    g = m.graph()
    x, c, y = g.input("x", [1, 4], free=(0,)), g.tensor("c", [1, 4]), g.tensor("y", [1, 4], free=(0,))
    mean(g, x, [0], c, keep=True)
    sub(g, [x, c], [y])
    g.g.outputs = [y]
    return m


def fixed_reshape():
    m = Model()
    g = m.graph()
    x, y = g.input("x", [1, 3, 4]), g.tensor("y", [1, 12])
    reshape(g, [x, g.const("shape", np.array([1, 12], np.int32))], [y])
    g.g.outputs = [y]
    return m


def slow_loop():
    """Counts to n, one addition at a time: long runs of many short operators."""
    m = Model()
    g, cond, body = m.graph(), m.graph("cond"), m.graph("body")
    n, x = g.input("n", [1], INT32), g.input("x", [1, 4])
    i0 = g.const("zero", np.zeros(1, np.int32))
    outs = [g.tensor("i", [1], INT32), g.tensor("n_out", [1], INT32), g.tensor("y", [1, 4])]
    o = s.WhileOptionsT()
    o.condSubgraphIndex, o.bodySubgraphIndex = 1, 2
    g.op(Op.WHILE, [i0, n, x], outs, o, s.BuiltinOptions.WhileOptions)
    g.g.outputs = [outs[2]]
    ci, cn, _ = cond.input("i", [1], INT32), cond.input("n", [1], INT32), cond.input("x", [1, 4])
    c = cond.tensor("go_on", [1], BOOL)
    less(cond, [ci, cn], [c])
    cond.g.outputs = [c]
    bi, bn, bx = body.input("i", [1], INT32), body.input("n", [1], INT32), body.input("x", [1, 4])
    bj, by = body.tensor("j", [1], INT32), body.tensor("y", [1, 4])
    add(body, [bi, body.const("one", np.ones(1, np.int32))], [bj])
    add(body, [bx, body.const("step", np.full((1, 4), 0.5, np.float32))], [by])
    body.g.outputs = [bj, bn, by]
    return m


# ---- models that are refused ----

def size_by_value():
    m = Model()
    g = m.graph()
    x, z = g.input("x", [4]), g.const("z", np.zeros(1, np.float32))
    c, y = g.tensor("c", [4], BOOL), g.tensor("y", [1, 1], TYPES[np.dtype(np.int64)], free=(0,))
    less(g, [z, x], [c])
    where(g, [c], [y])
    g.g.outputs = [y]
    return m


def one_op(**kw):
    m = Model()
    g = m.graph()
    x, y = g.input("x", [1, 4], **kw), g.tensor("y", [1, 4], **kw)
    return m, g, x, y


def refused():
    m, g, x, y = one_op()
    v = g.tensor("state", [1, 4], variable=True)
    add(g, [x, v], [y])
    g.g.outputs = [y]
    yield "variable", m
    m, g, x, y = one_op()
    g.op(Op.CUSTOM, [x], [y], custom="SignalWindow")
    g.g.outputs = [y]
    yield "custom_op", m
    m, g, x, y = one_op(dtype=STRING)
    reshape(g, [x, g.const("shape", np.array([1, 4], np.int32))], [y])
    g.g.outputs = [y]
    yield "strings", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [x, y]
    yield "input_as_output", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    g.g.tensors[y].name = None
    yield "no_name", m
    m, g, x, y = one_op(quant=([0.5], [0]))
    exp(g, [x], [y])
    g.g.outputs = [y]
    g.g.tensors[x].quantization.scale = [0.5] * 4000
    yield "zero_points", m
    m, g, x, y = one_op()
    c = g.const("c", np.zeros(4, np.float32))
    g.g.tensors[c].shape = [5]
    add(g, [x, c], [y])
    g.g.outputs = [y]
    yield "short_constant", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    m.signature("serving_default", [("x", x)], [(None, y)])
    yield "signature_name", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    m.signature("serving_default", [("x", x)], [("y", x)])
    yield "signature_tensor", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    g.g.operators[0].inputs = [99]
    yield "index", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    g.g.tensors[x].buffer = 7
    yield "buffer", m
    m = Model()
    m.m.version = 2
    yield "version", m
    yield "no_graph", Model()
    m = sparse()
    m.m.subgraphs[0].tensors[1].sparsity.dimMetadata[1].arrayIndices.values = [0, 3, 1, 2, 200]
    yield "sparse_index", m
    m = sparse()
    m.m.subgraphs[0].tensors[1].sparsity.dimMetadata[1].arraySegments.values = [0, 2, 2, 30, 5]
    yield "sparse_lists", m
    # Texts are looked at one by one: one list under many names would take as long as so many lists.
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    texts = m.buffer(np.array([500] + [4 * 502] * 501, np.int32).tobytes())
    for i in range(40):
        g.tensor(f"t{i}", [500], dtype=STRING, buffer=texts)
    yield "same_texts", m
    # A loop whose body is the loop itself: an engine that follows it runs out of stack.
    m, g, x, y = one_op(dtype=BOOL)
    o = s.WhileOptionsT()
    o.condSubgraphIndex = o.bodySubgraphIndex = 0
    g.op(Op.WHILE, [x], [y], o, s.BuiltinOptions.WhileOptions)
    g.g.outputs = [y]
    yield "endless_graph", m
    m, g, x, y = one_op()
    g.op(Op.ADD, [x], [y], s.AddOptionsT(), s.BuiltinOptions.AddOptions)
    g.g.outputs = [y]
    yield "too_few_inputs", m
    m, g, x, y = one_op()
    g.g.outputs = [y]
    yield "never_written", m
    m, g, x, y = one_op()
    exp(g, [x], [y])
    g.g.outputs = [y]
    m.m.buffers.append(s.BufferT())
    group = s.ExternalBufferGroupT()
    group.name = "/etc/passwd"
    b = s.ExternalBufferT()
    b.id, b.group, b.offset, b.length = 1, 0, 0, 16
    m.m.externalBufferGroups, m.m.externalBuffers = [group], [b]
    yield "other_file", m


def committed(folder):
    rng = np.random.default_rng(7)
    yield "mlp", mlp(folder)
    yield "conv", conv_same(folder)
    yield "conv_int8", conv_int8(rng)
    yield "double_int8", mlp_uint8()
    yield "two_io", two_io()
    yield "two_signatures", two_signatures()
    yield "free_length", free_length()
    yield "mean_over_rows", mean_over_rows()
    yield "fixed_reshape", fixed_reshape()
    yield "slow_loop", slow_loop()
    yield "sparse", sparse()
    yield "size_by_value", size_by_value()
    for name, t in dict(bool=6, uint8=3, uint16=16, uint32=15, uint64=12, int8=9, int16=7, int32=2, int64=4, fp16=1, bf16=18, fp32=0,
                        fp64=10).items():
        yield f"identity_{name}", identity(t)
    for name, m in refused():
        yield f"bad_{name}", m


# ---- benchmarks: the same network in both formats ----

def dense_pair(sizes, rng):
    m = Model()
    g = m.graph()
    x = last = g.input("x", [1, sizes[0]], free=(0,))
    nodes, inits, name = [], [], "x"
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        w, c = (rng.standard_normal((b, a)) / np.sqrt(a)).astype(np.float32), np.zeros(b, np.float32)
        is_last = i == len(sizes) - 2
        y = g.tensor(f"y{i}", [1, b], free=(0,))
        fully(g, last, g.const(f"w{i}", w), g.const(f"b{i}", c), y, relu=not is_last)
        inits += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(c, f"b{i}")]
        nodes.append(h.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"g{i}"], transB=1))
        name = f"g{i}"
        if not is_last:
            nodes.append(h.make_node("Relu", [name], [f"r{i}"]))
            name = f"r{i}"
        last = y
    g.g.outputs = [last]
    return m, onnx_model(nodes, inits, ["batch", sizes[0]], name, ["batch", sizes[-1]])


def onnx_model(nodes, inits, in_dims, out, out_dims):
    T = onnx.TensorProto
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, in_dims)],
                         [h.make_tensor_value_info(out, T.FLOAT, out_dims)], inits)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], producer_name="quern bench")
    model.ir_version = 8
    return model


def convs_pair(size, channels, rng):
    """3x3 convolutions with stride 2, then the mean: channels last in one, first in the other."""
    m = Model()
    g = m.graph()
    last, in_c, name = g.input("x", [1, size, size, 3], free=(0,)), 3, "x"
    nodes, inits = [], []
    for i, c in enumerate(channels):
        size //= 2
        k, b = (rng.standard_normal((c, in_c, 3, 3)) / np.sqrt(9 * in_c)).astype(np.float32), np.zeros(c, np.float32)
        y = g.tensor(f"y{i}", [1, size, size, c], free=(0,))
        conv(g, last, g.const(f"k{i}", k.transpose(0, 2, 3, 1)), g.const(f"b{i}", b), y, stride=2, relu=True)
        inits += [numpy_helper.from_array(k, f"k{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes += [h.make_node("Conv", [name, f"k{i}", f"b{i}"], [f"c{i}"], strides=[2, 2], auto_pad="SAME_UPPER"),
                  h.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        last, in_c, name = y, c, f"r{i}"
    y = g.tensor("y", [1, in_c], free=(0,))
    mean(g, last, [1, 2], y)
    g.g.outputs = [y]
    nodes += [h.make_node("GlobalAveragePool", [name], ["p"]), h.make_node("Flatten", ["p"], ["y"])]
    return m, onnx_model(nodes, inits, ["batch", 3, 2 * 2 ** (len(channels) - 1) * size, 2 * 2 ** (len(channels) - 1) * size], "y",
                         ["batch", in_c])


def dense_int8(sizes, rng):
    """The same network with 8-bit weights and values, in both formats. Values are INT8 in one and UINT8 around 128 in the other, because each engine
    is fastest with these."""
    m = Model()
    g = m.graph()
    qx, qw = (0.05, 0), 0.01
    x = last = g.input("x", [1, sizes[0]], INT8, free=(0,), quant=qx)
    T = onnx.TensorProto
    nodes, name = [], "x"
    inits = [numpy_helper.from_array(np.float32(qx[0]), "sx"), numpy_helper.from_array(np.uint8(128), "zx"),
             numpy_helper.from_array(np.float32(qw), "sw"), numpy_helper.from_array(np.int8(0), "zw")]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        w = rng.integers(-20, 21, (b, a)).astype(np.int8)
        y = g.tensor(f"y{i}", [1, b], INT8, free=(0,), quant=qx)
        fully(g, last, g.const(f"w{i}", w, quant=(qw, 0)), g.const(f"b{i}", np.zeros(b, np.int32), quant=(qx[0] * qw, 0)), y)
        inits.append(numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{i}"))
        nodes.append(h.make_node("QLinearMatMul", [name, "sx", "zx", f"w{i}", "sw", "zw", "sx", "zx"], [f"y{i}"]))
        last, name = y, f"y{i}"
    g.g.outputs = [last]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.UINT8, ["batch", sizes[0]])],
                         [h.make_tensor_value_info(name, T.UINT8, ["batch", sizes[-1]])], inits)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], producer_name="quern bench")
    model.ir_version = 8
    return m, model


def bench():
    rng = np.random.default_rng(1)
    yield "tiny", dense_pair([4, 8, 3], rng)
    yield "mlp", dense_pair([784, 512, 256, 10], rng)
    yield "mlp_int8", dense_int8([784, 512, 256, 10], rng)
    yield "cnn", convs_pair(64, [16, 32, 64], rng)


def print_try():
    m, g, x, y = one_op()
    add(g, [x, x], [y])
    g.g.outputs = [y]
    data = m.bytes()
    for i in range(0, len(data), 20):
        print("    " + ", ".join(f"{b}" for b in data[i:i + 20]) + ",")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--try":
        print_try()
        return
    if sys.argv[1] == "--bench" and len(sys.argv) == 3:
        os.makedirs(sys.argv[2], exist_ok=True)
        for name, (lite, other) in bench():
            with open(os.path.join(sys.argv[2], name + ".tflite"), "wb") as f:
                f.write(lite.bytes())
            onnx.save(other, os.path.join(sys.argv[2], name + ".onnx"))
        return
    if sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    for name, m in committed(sys.argv[1]):
        with open(os.path.join(sys.argv[1], name + ".tflite"), "wb") as f:
            f.write(m.bytes())


main()
