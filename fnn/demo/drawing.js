// Networks that are shown an image: draw, and see what they say of it while it is drawn.

import { Board } from "./board.js";
import { barsOf, paintHeat, paintInk, percent, showLayers, signed } from "./pictures.js";

export function startDrawing({ run, find, latest }) {
  const isPicture = run.outputs === "picture";
  const showBars = barsOf(find("bars"), isPicture ? [] : run.classes);
  // What was said last, what was said before the last stroke, and that for the stroke to come.
  let [said, before] = [null, null];
  if (isPicture) {
    find("heated").textContent = "What it gives back";
    find("heat").setAttribute("aria-label", "The image that the network gives back");
  }

  function show(found, question) {
    const isEmpty = question.strokes.length === 0;
    showLayers(find("layers"), found.layers);
    paintInk(find("seen"), found.image);
    if (isPicture) {
      paintInk(find("heat"), found.picture);
      find("winner").hidden = true;
      return;
    }
    said = isEmpty ? null : found.probabilities;
    showBars(said, isEmpty ? null : before);
    showWinner(said);
    showChange(isEmpty);
    showHeat(found, isEmpty);
  }

  function showWinner(p) {
    const [name, words] = find("winner").children;
    if (!p) {
      name.textContent = "–";
      words.textContent = "Nothing is drawn yet";
      return;
    }
    const first = p.indexOf(Math.max(...p));
    const share = document.createElement("em");
    share.textContent = percent(p[first]);
    const [, second] = p.map((each, i) => [each, i]).sort((a, b) => b[0] - a[0]);
    name.textContent = run.classes[first];
    words.replaceChildren(share, p[first] > 0.9 ? "quite sure" : `or else ${run.classes[second[1]]}`);
  }

  function showChange(isEmpty) {
    const place = find("change");
    if (isEmpty || !said) { place.textContent = ""; return; }
    if (!before) { place.textContent = "The next stroke will show what it changes."; return; }
    const moved = said.map((p, i) => [Math.round(100 * (p - before[i])), i]).filter(([points]) => points)
      .sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 3);
    place.replaceChildren("Your last stroke, in points: ", ...(moved.length ? moved.flatMap(([points, i], at) => {
      const word = document.createElement("span");
      word.className = points > 0 ? "more" : "less";
      word.textContent = `${run.classes[i]} ${signed(points)}`;
      return at ? [", ", word] : [word];
    }) : ["nothing"]));
  }

  function showHeat(found, isEmpty) {
    find("heating").classList.toggle("none", isEmpty || !found.heat);
    if (isEmpty || !found.heat) return;
    paintHeat(find("heat"), found.heat, found.image);
    const word = (kind, text) => Object.assign(document.createElement("span"), { className: kind, textContent: text });
    find("heated").replaceChildren("More ink here: rather ", word("more", run.classes[found.first]),
      " or rather ", word("less", run.classes[found.second]));
  }

  const asked = latest(show);
  const board = new Board(find("board"), (began) => {
    if (began) before = said;
    find("invite").hidden = !board.isEmpty;
    again();
  });
  const again = () => asked({ strokes: board.strokes });
  find("clear").addEventListener("click", () => board.clear());
  find("undo").addEventListener("click", () => board.undo());
  again();
  return () => { before = null; again(); };
}
