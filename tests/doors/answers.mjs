// What the JavaScript doors answer: node answers.mjs DOOR < job.json; prints JSON, {"error": text} where a file is refused.

import fs from "node:fs";

const TYPES = { int64: BigInt64Array, float32: Float32Array };

// job: {file, feeds: [{name: {type, shape, values}}]} -> {outputs: [{name: values}]}
async function session(library, model, job) {
  const opened = await library.InferenceSession.create(model, job.options ?? {});
  const outputs = [];
  for (const feed of job.feeds) {
    const tensors = {};
    for (const name of opened.inputNames) {
      const { type, shape, values } = feed[name];
      const data = TYPES[type].from(type === "int64" ? values.map(BigInt) : values);
      tensors[name] = new library.Tensor(type, data, shape);
    }
    const found = await opened.run(tensors);
    outputs.push(Object.fromEntries(Object.entries(found).map(([name, t]) => [name, Array.from(t.data)])));
  }
  return { outputs };
}

const DOORS = {
  async node(job) {
    return session(await import("onnxruntime-node"), job.file, job);
  },
  async web(job) {
    const library = await import("onnxruntime-web");
    library.env.wasm.numThreads = 1;
    const options = { executionProviders: ["wasm"] };
    return session(library, new Uint8Array(fs.readFileSync(job.file)), { ...job, options });
  },
  // job: {folder, model, task, texts, call}; `call` are the settings of the pipeline's call.
  async transformers(job) {
    const { env, pipeline } = await import("@huggingface/transformers");
    env.allowRemoteModels = false;
    env.localModelPath = job.folder;
    const settings = { dtype: "fp32", model_file_name: "compressed" };
    const run = await pipeline(job.task, job.model, settings);
    const found = await run(...job.texts, job.call ?? {});
    return { answers: typeof found.tolist === "function" ? found.tolist() : found };
  },
};

const job = JSON.parse(fs.readFileSync(0, "utf8"));
try {
  console.log(JSON.stringify(await DOORS[process.argv[2]](job)));
} catch (error) {
  console.log(JSON.stringify({ error: String(error?.message ?? error) }));
}
