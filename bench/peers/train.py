#!/usr/bin/env python3
"""train.py FOLDER: the model of the iris benchmark, as a pickle for scikit-learn and, where skl2onnx is there, as ONNX."""
import importlib.util
import pathlib
import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

folder = pathlib.Path(sys.argv[1])
data = load_iris()
x = data.data.astype("float32")
model = LogisticRegression(max_iter=1000).fit(x, data.target)
joblib.dump(model, folder / "iris.joblib")
if importlib.util.find_spec("skl2onnx"):
    from skl2onnx import to_onnx
    onnx = to_onnx(model, x[:1], options={"zipmap": False})
    (folder / "iris.onnx").write_bytes(onnx.SerializeToString())
