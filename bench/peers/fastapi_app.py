"""What a user writes today with FastAPI and ONNX Runtime; run by uvicorn with one worker."""
import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["IRIS_MODEL"], options)


class Request(BaseModel):
    modelId: str
    features: list[float]


@app.get("/health")
async def health():
    return "ok"


@app.post("/predict")
async def predict(request: Request):
    label, probabilities = session.run(None, {"X": np.array([request.features], dtype=np.float32)})
    return {"code": 200, "message": "success",
            "data": {"prediction": int(label[0]), "probabilities": probabilities[0].tolist()}}
