// A model that vqazoo exported, run by onnxruntime-web on this device.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { pixels } from "./pixels.js";
import { BytePairs } from "./tokens.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };

/** Reads manifest.json, the tokenizer and the graphs that lie beside the page. */
export async function load() {
  const said = await (await fetch("manifest.json")).json();
  const coder = new BytePairs(await (await fetch(said.tokenizer.file)).json());
  const sessions = [];
  for (const graph of said.graphs) {
    const content = new Uint8Array(await (await fetch(graph.file)).arrayBuffer());
    sessions.push(await ort.InferenceSession.create(content));
  }
  return new Model(said, coder, sessions);
}

class Model {
  constructor(said, coder, sessions) {
    Object.assign(this, { said, coder, sessions });
  }

  /** The answer to a question about a picture that `read` of pixels.js has read. */
  async answer(picture, question) {
    const [high, wide] = this.said.preprocess.size;
    const ids = this.encode(question);
    const known = {
      pixels: new ort.Tensor("float32", pixels(picture, this.said.preprocess), [1, 3, high, wide]),
      ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      mask: new ort.Tensor("bool", new Uint8Array(ids.length).fill(1), [1, ids.length]),
    };
    for (const [n, graph] of this.said.graphs.entries()) {
      const given = Object.fromEntries(graph.inputs.map(({ name }) => [name, known[name]]));
      Object.assign(known, await this.sessions[n].run(given));
    }
    return this.told(known);
  }

  encode(question) {
    const { before, after, context_length: longest, most } = this.said.tokenizer;
    const kept = longest - before.length - after.length;
    const ids = [...before, ...this.coder.encode(question.trim()).slice(0, kept), ...after];
    if (ids.length > most) {
      throw new Error(
        `The question has ${ids.length} tokens, but this model reads at most ${most} and an ` +
          "answer: ask a shorter question.",
      );
    }
    return ids;
  }

  /** { answer, score } and, where the head says so, { answerType, answerable }. */
  told({ scores, tokens, types, answerable }) {
    const { head } = this.said;
    if (head.kind === "write") {
      const written = Array.from(tokens.data, Number);
      const ids = written.slice(0, [...written, head.end].indexOf(head.end));
      const text = head.words ? ids.map((id) => head.words[id]).join(" ") : this.coder.decode(ids);
      const known = new Map(Object.entries(head.respelled ?? {}));
      return { answer: known.get(text) ?? text, score: scores.data[0] };
    }
    const best = largest(scores.data);
    const found = { answer: head.answers[best], score: scores.data[best] };
    if (head.types) found.answerType = head.types[largest(types.data)];
    if (answerable) found.answerable = answerable.data[0];
    return found;
  }
}

function largest(values) {
  return values.reduce((best, one, n) => (one > values[best] ? n : best), 0);
}
