#!/usr/bin/env python3
"""Writes the small models of test/data/, and the larger ones that benchmarks use.

    python3 -m venv build/models-venv && build/models-venv/bin/pip install onnx skl2onnx scikit-learn
    build/models-venv/bin/python tools/make-test-models.py test/data             # the committed ones
    build/models-venv/bin/python tools/make-test-models.py --bench build/models  # not committed

The same versions of these packages give the same bytes.
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

OPSET = 17
rng = np.random.default_rng(7)


def value(name, dims, elem=T.FLOAT):
    return h.make_tensor_value_info(name, elem, dims)


def const(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs, outputs, inits=(), opset=OPSET, extra=(), functions=(), **graph):
    g = h.make_graph(nodes, "g", inputs, outputs, list(inits), **graph)
    sets = [h.make_opsetid("", opset)] + [h.make_opsetid(d, v) for d, v in extra]
    m = h.make_model(g, opset_imports=sets, producer_name="quern tests", functions=list(functions))
    m.ir_version = 8
    return m


def random(*dims):
    return rng.standard_normal(dims).astype(np.float32) * 0.5


# ---- every element type ----

def identities():
    types = dict(bool=T.BOOL, uint8=T.UINT8, uint16=T.UINT16, uint32=T.UINT32, uint64=T.UINT64, int8=T.INT8, int16=T.INT16,
                 int32=T.INT32, int64=T.INT64, fp16=T.FLOAT16, bf16=T.BFLOAT16, fp32=T.FLOAT, fp64=T.DOUBLE, string=T.STRING)
    for name, t in types.items():
        yield f"identity_{name}", model([h.make_node("Identity", ["x"], ["y"])], [value("x", ["batch", "n"], t)],
                                        [value("y", ["batch", "n"], t)])


# ---- rows that may share a run ----

def independent():
    x = value("x", ["batch", 4])
    w, b = const("w", random(4, 3)), const("b", random(3))
    yield "mlp", model([h.make_node("Gemm", ["x", "w", "b"], ["a"]), h.make_node("Relu", ["a"], ["r"]),
                        h.make_node("Softmax", ["r"], ["y"], axis=1)], [x], [value("y", ["batch", 3])], [w, b])
    yield "layernorm", model([h.make_node("LayerNormalization", ["x", "s"], ["y"], axis=-1)], [x], [value("y", ["batch", 4])],
                             [const("s", np.ones(4, np.float32))])
    yield "conv", model([h.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]), h.make_node("GlobalAveragePool", ["c"], ["p"]),
                         h.make_node("Flatten", ["p"], ["y"])], [value("x", ["batch", 3, 8, 8])], [value("y", ["batch", 5])],
                        [const("k", random(5, 3, 3, 3))])
    # Tokens and a mask as transformers have them: whole numbers below a small vocabulary, of any length.
    yield "embedding", model(
        [h.make_node("Gather", ["table", "ids"], ["e"]), h.make_node("Cast", ["mask"], ["m"], to=T.FLOAT),
         h.make_node("Unsqueeze", ["m", "axis"], ["m3"]), h.make_node("Mul", ["e", "m3"], ["em"]),
         h.make_node("ReduceMean", ["em"], ["y"], axes=[1], keepdims=0)],
        [value("ids", ["batch", "length"], T.INT64), value("mask", ["batch", "length"], T.INT64)], [value("y", ["batch", 6])],
        [const("table", random(10, 6)), const("axis", np.array([2], np.int64))])
    yield "two_categories", model([h.make_node("Gather", ["table", "ids"], ["e"]), h.make_node("ReduceSum", ["e", "axis"], ["y"], keepdims=0)],
                                  [value("ids", ["batch", "length"], T.INT64)], [value("y", ["batch", 3])],
                                  [const("table", random(2, 3)), const("axis", np.array([1], np.int64))])
    yield "half", model([h.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", 4], T.FLOAT16)],
                        [value("y", ["batch", 3], T.FLOAT16)], [const("w", random(4, 3).astype(np.float16))])
    # Exporters name the dimensions of each tensor apart; Add ties them together all the same.
    yield "tied_names", model([h.make_node("Add", ["a", "b"], ["y"])], [value("a", ["a_dim0", 4]), value("b", ["b_dim0", 4])],
                              [value("y", ["y_dim0", 4])])
    yield "string_label", model(
        [h.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "1", "b"], values_strings=["A", "one", "B"],
                     default_string="other")],
        [value("x", ["batch", 1], T.STRING)], [value("y", ["batch", 1], T.STRING)], extra=[("ai.onnx.ml", 2)])


# ---- rows that influence each other: none of these may share a run ----

def dependent():
    x, y = value("x", ["batch", 4]), value("y", ["batch", 4])
    axis0 = const("axis0", np.array([0], np.int64))
    yield "bad_softmax0", model([h.make_node("Softmax", ["x"], ["y"], axis=0)], [x], [y])
    yield "bad_cumsum0", model([h.make_node("CumSum", ["x", "zero"], ["y"])], [x], [y], [const("zero", np.array(0, np.int64))])
    yield "bad_mean0", model([h.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), h.make_node("Sub", ["x", "m"], ["y"])], [x], [y])
    # A millionth of the others' mean: less than another order of summation may explain.
    yield "bad_slight", model([h.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), h.make_node("Mul", ["m", "tiny"], ["t"]),
                               h.make_node("Add", ["x", "t"], ["y"])], [x], [y], [const("tiny", np.float32(1e-6))])
    yield "bad_max0", model([h.make_node("ReduceMax", ["x"], ["m"], axes=[0], keepdims=1), h.make_node("Max", ["x", "m"], ["y"])], [x], [y])
    yield "bad_batchnorm", model(
        [h.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "rm", "rv"], training_mode=1)], [x], [y],
        [const("s", np.ones(4, np.float32)), const("b", np.zeros(4, np.float32)), const("m", np.zeros(4, np.float32)),
         const("v", np.ones(4, np.float32))])
    yield "bad_topk0", model([h.make_node("Shape", ["x"], ["sh"]), h.make_node("Slice", ["sh", "i0", "i1"], ["k"]),
                              h.make_node("TopK", ["x", "k"], ["y", "i"], axis=0)], [x], [y],
                             [const("i0", np.array([0], np.int64)), const("i1", np.array([1], np.int64))])
    yield "bad_reverse", model([h.make_node("Slice", ["x", "from", "to", "axis0", "step"], ["y"])], [x], [y],
                               [const("from", np.array([-1], np.int64)), const("to", np.array([-(2**31)], np.int64)), axis0,
                                const("step", np.array([-1], np.int64))])
    # Adds each row's number in the batch: rows do not see each other, but where a row stands matters.
    yield "bad_row_number", model(
        [h.make_node("Shape", ["x"], ["sh"]), h.make_node("Gather", ["sh", "i0"], ["n"]), h.make_node("Range", ["i0", "n", "i1"], ["r"]),
         h.make_node("Cast", ["r"], ["f"], to=T.FLOAT), h.make_node("Unsqueeze", ["f", "axis1"], ["c"]), h.make_node("Add", ["x", "c"], ["y"])],
        [x], [y], [const("i0", np.array(0, np.int64)), const("i1", np.array(1, np.int64)), const("axis1", np.array([1], np.int64))])
    yield "bad_neighbour", model(
        [h.make_node("Slice", ["x", "i0", "i1", "axis0"], ["first"]), h.make_node("Add", ["x", "first"], ["s"]), h.make_node("Tanh", ["s"], ["y"])],
        [x], [y], [const("i0", np.array([0], np.int64)), const("i1", np.array([1], np.int64)), axis0])
    yield "bad_attention0", model(
        [h.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), h.make_node("MatMul", ["x", "t"], ["s"]), h.make_node("Softmax", ["s"], ["p"], axis=1),
         h.make_node("MatMul", ["p", "x"], ["y"])], [x], [y])
    # The scale of dynamic quantisation is that of the whole batch.
    yield "bad_dynamic_quant", model(
        [h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], [x], [y])
    yield "bad_random", model([h.make_node("RandomNormalLike", ["x"], ["r"]), h.make_node("Add", ["x", "r"], ["y"])], [x], [y])
    yield "bad_constant", model([h.make_node("Mul", ["x", "zero"], ["y"])], [x], [y], [const("zero", np.float32(0))])
    yield "bad_one_row", model([h.make_node("Reshape", ["x", "shape"], ["y"])], [x], [value("y", ["batch", 4])],
                               [const("shape", np.array([1, 4], np.int64))])
    yield "bad_scale_input", model([h.make_node("Mul", ["x", "scale"], ["y"])], [x, value("scale", [])], [y])
    yield "bad_total", model([h.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [x], [value("y", [])])
    yield "bad_fixed", model([h.make_node("Relu", ["x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 4])])
    yield "bad_square_mask", model([h.make_node("MatMul", ["mask", "x"], ["y"])], [x, value("mask", ["batch", "batch"])], [y])
    yield "bad_two_counts", model([h.make_node("Transpose", ["b"], ["bt"], perm=[1, 0]), h.make_node("MatMul", ["a", "bt"], ["y"])],
                                  [value("a", ["n", 4]), value("b", ["m", 4])], [value("y", ["n", "m"])])
    yield "bad_nonzero", model([h.make_node("NonZero", ["x"], ["y"])], [x], [value("y", ["rank", "found"], T.INT64)])


# ---- shapes ----

def shapes():
    x = value("x", ["batch", 4])
    no_shape = h.make_empty_tensor_value_info("y")
    no_shape.type.tensor_type.elem_type = T.FLOAT
    yield "output_unranked", model([h.make_node("Reshape", ["x", "s"], ["y"])], [x, value("s", ["r"], T.INT64)], [no_shape])
    # Says [batch, 3], gives [batch, 4]: the shape goes through an input, where the engine cannot see it while loading.
    yield "output_lies", model(
        [h.make_node("Shape", ["x"], ["sh"]), h.make_node("Add", ["sh", "zero"], ["to"]), h.make_node("Reshape", ["x", "to"], ["y"])],
        [x], [value("y", ["batch", 3])], [const("zero", np.array([0, 0], np.int64))])
    yield "sequence_output", model([h.make_node("SplitToSequence", ["x"], ["y"], axis=1)], [x],
                                   [h.make_tensor_sequence_value_info("y", T.FLOAT, None)])
    yield "slow_loop", model(
        [h.make_node("Loop", ["n", "", "x"], ["y"], body=h.make_graph(
            [h.make_node("Mul", ["v", "v"], ["v2"]), h.make_node("Tanh", ["v2"], ["vo"]), h.make_node("Identity", ["c"], ["co"])], "body",
            [value("i", [], T.INT64), value("c", [], T.BOOL), value("v", ["batch", 4])],
            [value("co", [], T.BOOL), value("vo", ["batch", 4])]))],
        [x, value("n", [], T.INT64)], [value("y", ["batch", 4])])
    # Much to do for a small file: 16 layers of 512 x 512 made up at load, about 8 million multiplications for a row, alone or together.
    layers = [h.make_node("ConstantOfShape", ["side"], ["w"], value=h.make_tensor("v", T.FLOAT, [1], [0.001]))]
    for k in range(16):
        layers += [h.make_node("MatMul", [f"v{k}", "w"], [f"m{k}"]), h.make_node("Tanh", [f"m{k}"], [f"v{k + 1}"])]
    yield "busy", model(layers + [h.make_node("Identity", ["v16"], ["y"])], [value("v0", ["batch", 512])], [value("y", ["batch", 512])],
                        [const("side", np.array([512, 512], np.int64))])


# ---- parts of the format ----

def formats():
    x, y = value("x", ["batch", 4]), value("y", ["batch", 4])
    sparse = h.make_sparse_tensor(const("bias", np.array([5, 7], np.float32)), const("bias_at", np.array([0, 2], np.int64)), [4])
    yield "sparse_initializer", model([h.make_node("Add", ["x", "bias"], ["y"])], [x], [y], sparse_initializer=[sparse])
    then = h.make_graph([h.make_node("Constant", [], ["k"], value=const("k", np.float32(2))), h.make_node("Mul", ["x", "k"], ["t"])], "then", [],
                        [value("t", ["batch", 4])])
    other = h.make_graph([h.make_node("Neg", ["x"], ["e"])], "else", [], [value("e", ["batch", 4])])
    yield "if_subgraph", model([h.make_node("ReduceSum", ["x"], ["s"], keepdims=0), h.make_node("Greater", ["s", "zero"], ["c"]),
                                h.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)], [x], [y], [const("zero", np.float32(0))])
    f = h.make_function("local.ops", "Twice", ["a"], ["b"], [h.make_node("Add", ["a", "a"], ["b"])], [h.make_opsetid("", OPSET)])
    yield "local_function", model([h.make_node("Twice", ["x"], ["y"], domain="local.ops")], [x], [y], extra=[("local.ops", 1)], functions=[f])
    old = model([h.make_node("Add", ["x", "w"], ["y"])], [x, value("w", [4])], [y], [const("w", random(4))], opset=8)
    old.ir_version = 3
    yield "old_initializer_inputs", old
    yield "unknown_domain", model([h.make_node("DecodeImage", ["x"], ["y"], domain="com.example.ops", name="decode")], [x], [y],
                                  extra=[("com.example.ops", 1)])
    yield "opset_too_new", model([h.make_node("Relu", ["x"], ["y"])], [x], [y], opset=99)
    yield "opset_ml_too_new", model([h.make_node("Relu", ["x"], ["y"])], [x], [y], extra=[("ai.onnx.ml", 99)])
    new = model([h.make_node("Relu", ["x"], ["y"])], [x], [y])
    new.ir_version = 99
    yield "ir_too_new", new


def external():
    places = dict(external_ok="weights.bin", external_up="../weights.bin", external_absolute="/etc/passwd", external_link="link.bin",
                  external_folder_link="sub/weights.bin", external_memory="*/_ORT_MEM_ADDR_/*", external_missing="missing.bin",
                  external_inner_up="sub/../../weights.bin")
    for name, place in places.items():
        w = const("w", np.arange(16, dtype=np.float32).reshape(4, 4))
        raw = w.raw_data
        w.ClearField("raw_data")
        w.data_location = T.EXTERNAL
        for k, v in dict(location=place, offset="0", length="64").items():
            e = w.external_data.add()
            e.key, e.value = k, v
        yield name, model([h.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", 4])], [value("y", ["batch", 4])], [w])
    with open(os.path.join(sys.argv[1], "weights.bin"), "wb") as f:
        f.write(raw)


def sklearn_models():
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data, target = load_iris(return_X_y=True)
    data = data.astype(np.float32)
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, target)
    yield "iris", to_onnx(clf, data[:1], target_opset=OPSET)
    yield "iris_tensor", to_onnx(clf, data[:1], target_opset=OPSET, options={"zipmap": False})
    forest = RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0).fit(data, target)
    yield "iris_forest", to_onnx(forest, data[:1], target_opset=OPSET)
    names = np.array(["setosa", "versicolor", "virginica"])
    yield "iris_names", to_onnx(make_pipeline(StandardScaler(), LogisticRegression()).fit(data, names[target]), data[:1], target_opset=OPSET)


# ---- benchmarks ----

def mlp(sizes):
    nodes, inits, at = [], [], "x"
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        inits += [const(f"w{i}", (random(a, b) / np.sqrt(a)).astype(np.float32)), const(f"b{i}", random(b))]
        last = i == len(sizes) - 2
        nodes.append(h.make_node("Gemm", [at, f"w{i}", f"b{i}"], ["y" if last else f"g{i}"]))
        if not last:
            nodes.append(h.make_node("Relu", [f"g{i}"], [f"r{i}"]))
            at = f"r{i}"
    return model(nodes, [value("x", ["batch", sizes[0]])], [value("y", ["batch", sizes[-1]])], inits)


def mobilenet():
    """The layers of MobileNetV2 (Sandler et al. 2018) with random weights, batch normalisation folded in."""
    nodes, inits, count = [], [], 0

    def conv(at, cin, cout, k, stride=1, group=1, act=True):
        nonlocal count
        i, count = count, count + 1
        fan = k * k * cin // group
        inits.append(const(f"k{i}", (rng.standard_normal((cout, cin // group, k, k)) / np.sqrt(fan)).astype(np.float32)))
        inits.append(const(f"b{i}", random(cout) * np.float32(0.1)))
        nodes.append(h.make_node("Conv", [at, f"k{i}", f"b{i}"], [f"c{i}"], strides=[stride, stride], pads=[k // 2] * 4, group=group))
        if not act:
            return f"c{i}"
        nodes.append(h.make_node("Clip", [f"c{i}", "zero", "six"], [f"a{i}"]))
        return f"a{i}"

    inits += [const("zero", np.float32(0)), const("six", np.float32(6))]
    at, cin = conv("x", 3, 32, 3, 2), 32
    for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(n):
            stride, before, mid = s if i == 0 else 1, at, cin * t
            if t != 1:
                at = conv(at, cin, mid, 1)
            at = conv(at, mid, mid, 3, stride, mid)
            at = conv(at, mid, c, 1, act=False)
            if stride == 1 and cin == c:
                nodes.append(h.make_node("Add", [before, at], [f"s{count}"]))
                at = f"s{count}"
            cin = c
    at = conv(at, cin, 1280, 1)
    inits += [const("w", (random(1280, 1000) / 18).astype(np.float32)), const("b", random(1000))]
    nodes += [h.make_node("GlobalAveragePool", [at], ["p"]), h.make_node("Flatten", ["p"], ["f"]), h.make_node("Gemm", ["f", "w", "b"], ["y"])]
    return model(nodes, [value("x", ["batch", 3, 224, 224])], [value("y", ["batch", 1000])], inits)


def main():
    args = sys.argv[1:]
    if args[:1] == ["--bench"] and len(args) == 2:
        os.makedirs(args[1], exist_ok=True)
        for name, m in dict(mlp784=mlp([784, 512, 256, 10]), mobilenet=mobilenet(), big=mlp([4096, 8192, 4096, 1000])).items():
            onnx.save(m, os.path.join(args[1], name + ".onnx"))
        return
    if len(args) != 1 or args[0].startswith("-"):
        sys.exit(__doc__)
    os.makedirs(args[0], exist_ok=True)
    for group in identities, independent, dependent, shapes, formats, external, sklearn_models:
        for name, m in group():
            data = m.SerializeToString()
            assert len(data) < 50000, name
            with open(os.path.join(args[0], name + ".onnx"), "wb") as f:
                f.write(data)


main()
