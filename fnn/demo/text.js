// Networks that write: what comes next after what is typed, and how they would go on.

import { barsOf, showLayers } from "./pictures.js";

const PART = 12; // Characters that are asked for at once, so that the text appears as it is written.
const WHOLE = 360;
const PAUSE = 250;
const names = { " ": "space", "\n": "⏎ line", "\t": "tab" };

export function startText({ run, find, ask, latest }) {
  let [seed, timer, going] = [1, null, null];
  const [typed, sample, temperature] = [find("typed"), find("sample"), find("temperature")];
  find("bars").classList.add("chars");

  const asked = latest((found) => {
    const list = found.next;
    barsOf(find("bars"), list.map(([each]) => names[each] ?? each))(list.map(([, p]) => p), null);
    showLayers(find("layers"), found.layers);
    find("unknown").textContent = found.unknown.length
      ? `It does not know ${found.unknown.map((each) => names[each] ?? each).join(" ")}, and passes over it.` : "";
  });

  async function write() {
    going?.abort();
    const mine = going = new AbortController();
    const begun = typed.value.slice(-run.window);
    const head = document.createElement("span");
    head.textContent = begun;
    const tail = document.createTextNode("");
    sample.replaceChildren(head, tail);
    while (tail.data.length < WHOLE) {
      const text = (begun + tail.data).slice(-3000);
      const warmth = Number(temperature.value);
      const found = await ask({ text, temperature: warmth, steps: Math.min(PART, run.steps), seed }, mine.signal);
      if (mine.signal.aborted || !found) return;
      const isBelow = sample.scrollTop + sample.clientHeight >= sample.scrollHeight - 30;
      tail.data += found.more;
      if (isBelow) sample.scrollTop = sample.scrollHeight;
    }
  }

  function again() {
    find("warmth").textContent = Number(temperature.value).toFixed(2);
    going?.abort();
    asked({ text: typed.value, temperature: Number(temperature.value) });
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE);
  }

  typed.value = run.beginning;
  typed.addEventListener("input", again);
  temperature.addEventListener("input", again);
  find("another").addEventListener("click", () => { seed += 1; again(); });
  again();
  return again;
}
