// The page: a picture, a question, an answer. Nothing is sent anywhere.

import { load } from "./model.js";
import { read } from "./pixels.js";

const UNANSWERABLE = 0.5; // below this chance the page says that the picture may not show enough
const at = (id) => document.getElementById(id);
let model = null, picture = null;

at("picture").addEventListener("change", async () => {
  picture = null;
  const [file] = at("picture").files;
  if (!file) return;
  try {
    picture = await read(file);
  } catch {
    say("This file is no picture that the browser can read. Choose another one.");
    return;
  }
  const shown = at("shown");
  [shown.width, shown.height] = [picture.width, picture.height];
  shown.getContext("2d").putImageData(picture, 0, 0);
  shown.setAttribute("aria-label", `The chosen picture, ${file.name}`);
  shown.hidden = false;
  say("The picture is ready.");
});

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!picture || !at("question").value.trim()) {
    say("Choose a picture and write a question first.");
    return;
  }
  say("Answering.");
  try {
    const found = await model.answer(picture, at("question").value);
    at("answer").textContent = sentence(found);
    say("Answered.");
  } catch (error) {
    at("answer").textContent = "";
    say(error.message);
  }
});

function sentence({ answer, score, answerable }) {
  const told = `${answer} (${(100 * score).toFixed(1)}%)`;
  if (answerable === undefined || answerable >= UNANSWERABLE) return told;
  return `${told}. This photo may not show enough to answer.`;
}

function say(text) {
  at("state").textContent = text;
}

try {
  model = await load();
  at("model").textContent = model.said.model;
  at("ask").disabled = false;
  say(picture ? "The picture is ready." : "The model is ready.");
} catch (error) {
  say(`The model could not be loaded: ${error.message}`);
}
