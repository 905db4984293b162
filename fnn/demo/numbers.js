// Networks that are given a row of numbers: a form, and what they say of it at every change.

import { barsOf, percent, showLayers, signed } from "./pictures.js";

const tidy = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 4 });

export function startNumbers({ run, find, latest }) {
  const isValue = run.outputs === "values";
  const form = find("form");
  const showBars = barsOf(find("bars"), isValue ? [] : run.classes);
  let [said, before] = [null, null];

  const inputs = run.fields.map((field) => {
    const label = document.createElement("label");
    const input = document.createElement(field.choices.length ? "select" : "input");
    if (field.choices.length) {
      input.append(...field.choices.map((each) => new Option(each)));
    } else {
      Object.assign(input, { type: "number", step: "any", inputMode: "decimal", required: true });
    }
    label.append(field.name, input);
    form.append(label);
    return input;
  });

  function reset() {
    run.fields.forEach((field, i) => {
      if (field.choices.length) inputs[i].selectedIndex = 0;
      else inputs[i].value = Number(field.mean.toPrecision(4));
    });
  }

  /** The numbers as the network gets them; null while one is none. */
  function row() {
    const found = run.fields.flatMap((field, i) => {
      if (field.choices.length) return field.choices.map((_, at) => Number(at === inputs[i].selectedIndex));
      return inputs[i].validity.valid ? [(inputs[i].valueAsNumber - field.mean) / field.std] : [NaN];
    });
    return found.every((each) => Math.abs(each) <= 1e6) ? found : null;
  }

  const asked = latest((found) => {
    const now = isValue ? found.values : found.probabilities;
    showLayers(find("layers"), found.layers);
    const [name, words] = find("winner").children;
    if (isValue) {
      name.textContent = now.map(tidy).join("  ");
      words.textContent = run.target;
      find("change").textContent = said ? `It was ${said.map(tidy).join("  ")}.` : "";
    } else {
      const first = now.indexOf(Math.max(...now));
      name.textContent = run.classes[first];
      const share = document.createElement("em");
      share.textContent = percent(now[first]);
      words.replaceChildren(share, run.target);
      showBars(now, before);
      const moved = said ? Math.round(100 * (now[first] - said[first])) : 0;
      find("change").textContent = moved ? `Your last change, in points: ${run.classes[first]} ${signed(moved)}` : "";
    }
    find("winner").classList.toggle("long", name.textContent.length > 4);
    [before, said] = [now, now];
    showEffects(found.effects, isValue ? run.target : run.classes[now.indexOf(Math.max(...now))]);
  });

  function showEffects(effects, what) {
    find("whatif").hidden = effects.length === 0;
    find("whatif").textContent = isValue ? `What would change ${what || "it"}` : `What would make “${what}” more or less likely`;
    find("effects").replaceChildren(...effects.map(({ name, step, change }) => {
      const row = document.createElement("li");
      const parts = ["b", "span", "small"].map((tag) => document.createElement(tag));
      const size = isValue ? tidy(Math.abs(change)) : `${(100 * Math.abs(change)).toFixed(1)} points`;
      parts[0].textContent = name;
      parts[1].textContent = step;
      parts[2].textContent = `${change < 0 ? "−" : "+"}${size}`;
      parts[2].className = change < 0 ? "less" : "more";
      row.append(...parts);
      return row;
    }));
  }

  const again = () => {
    const x = row();
    if (x) asked({ x });
  };
  form.addEventListener("input", again);
  form.addEventListener("submit", (event) => event.preventDefault());
  find("clear").addEventListener("click", () => { reset(); again(); });
  reset();
  again();
  return again;
}
