// What a user writes today with Express and onnxruntime-node.
import express from "express";
import ort from "onnxruntime-node";

const session = await ort.InferenceSession.create(process.env.IRIS_MODEL, { intraOpNumThreads: 1 });
const app = express();
app.use(express.json());
app.get("/health", (_, response) => response.send("ok"));
app.post("/predict", async (request, response) => {
  const input = new ort.Tensor("float32", Float32Array.from(request.body.features), [1, 4]);
  const { label, probabilities } = await session.run({ X: input });
  response.json({
    code: 200,
    message: "success",
    data: { prediction: Number(label.data[0]), probabilities: Array.from(probabilities.data) },
  });
});
app.listen(process.env.PORT, "127.0.0.1");
