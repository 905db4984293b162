// What all kinds of networks share: the run's name, the moments of its training, and asking the server.

import { startDrawing } from "./drawing.js";
import { startNumbers } from "./numbers.js";
import { startText } from "./text.js";

const find = (name) => document.getElementById(name);

/** Say what is wrong, or that nothing is any more. */
function trouble(text) {
  find("trouble").hidden = !text;
  find("trouble").textContent = text ?? "";
}

async function fetched(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; was it ended?");
  }
  const found = await reply.json().catch(() => ({ error: "The server's answer cannot be read." }));
  if (!reply.ok) throw new Error(found.error);
  return found;
}

/** Ask the network; returns null where it was given up or could not answer. */
async function ask(question, signal) {
  const body = JSON.stringify({ ...question, moment: Number(find("moment").value) });
  const headers = { "Content-Type": "application/json" };
  try {
    const found = await fetched("/api/answer", { method: "POST", headers, body, signal });
    trouble(null);
    return found;
  } catch (error) {
    if (error.name !== "AbortError") trouble(error.message);
    return null;
  }
}

/** Ask one question at a time: of those that come meanwhile only the last, of which there is one more answer. */
function latest(answered) {
  let [busy, next] = [false, null];
  return async function again(question) {
    next = question;
    if (busy) return;
    busy = true;
    while (next !== null) {
      const now = next;
      next = null;
      document.body.dataset.busy = "yes";
      const found = await ask(now);
      if (found) answered(found, now);
    }
    busy = false;
    delete document.body.dataset.busy;
  };
}

function startMoments(labels, changed) {
  const [slider, play] = [find("moment"), find("play")];
  slider.max = labels.length - 1;
  slider.value = labels.length - 1;
  find("moments").hidden = labels.length < 2;
  const show = () => {
    const label = labels[slider.value];
    find("when").textContent = label;
    slider.setAttribute("aria-valuetext", label);
  };
  show();
  slider.addEventListener("input", () => { show(); changed(); });
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.setAttribute("aria-pressed", "false"); };
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    play.setAttribute("aria-pressed", "true");
    if (slider.value === slider.max) slider.value = -1;
    const pause = Math.max(150, Math.min(900, 9000 / labels.length));
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      changed();
      if (slider.value === slider.max) stop();
    }, pause);
  });
}

async function start() {
  const run = await fetched("/api/run");
  document.title = `${run.title} · fnn`;
  find("title").textContent = run.title;
  const size = `${run.parameters.toLocaleString("en")} parameters`;
  find("source").textContent = [run.source, size].filter(Boolean).join(" · ");
  find("title").title = run.network;
  find("main").replaceChildren(find(run.kind).content.cloneNode(true));
  const key = document.createElement("span");
  key.className = "key";
  key.append("below 0", document.createElement("i"), "above");
  find("inside").append(key);
  let again = () => {};
  startMoments(run.moments, () => again());
  const kinds = { drawing: startDrawing, text: startText, numbers: startNumbers };
  again = kinds[run.kind]({ run, find, ask, latest });
  // What is painted in colours of the page.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => again());
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; again(); } });
}

start().then(() => { document.body.dataset.ready = "yes"; }, (error) => trouble(error.message));
