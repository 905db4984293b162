// Numbers as pictures: more than 0 in one colour, less in another, 0 the ground.

const rgb = (text) => {
  const hex = text.trim().slice(1);
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
};

/** The colours of the page as it is shown now, light or dark. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => rgb(style.getPropertyValue(name));
  return { ground: of("--well"), ink: of("--ink"), more: of("--more"), less: of("--less") };
}

/** The numbers of what the server coded: from -127 to 127. */
export function decoded(coded) {
  return Int8Array.from(atob(coded.bytes), (each) => each.charCodeAt(0));
}

function painted(values, width, height, positive, { ground, less }) {
  const image = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const share = Math.abs(values[i]) / 127;
    const colour = values[i] < 0 ? less : positive;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = ground[c] + share * (colour[c] - ground[c]);
    image.data[4 * i + 3] = 255;
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Paint an image of ink. */
export function paintInk(canvas, coded) {
  const [height, width] = coded.size;
  const all = colours();
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").drawImage(painted(decoded(coded), width, height, all.ink, all), 0, 0);
}

/** Paint what speaks for and against something, and over it, faintly, the ink that is there. */
export function paintHeat(canvas, coded, ink) {
  const [height, width] = coded.size;
  const all = colours();
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(painted(decoded(coded), width, height, all.more, all), 0, 0);
  decoded(ink).forEach((value, i) => {
    context.fillStyle = `rgb(${all.ink.join(" ")} / ${0.3 * value / 127})`;
    context.fillRect(i % width, Math.floor(i / width), 1, 1);
  });
}

const words = { batch_norm: "batch normalisation", layer_norm: "layer normalisation", conv: "convolution" };

/** Show what layers gave: maps beside each other, vectors as strips. What is there already is painted anew. */
export function showLayers(place, layers) {
  const known = layers.map((each) => each.path + each.size).join();
  if (place.dataset.known !== known) {
    place.dataset.known = known;
    place.replaceChildren(...layers.map((layer) => {
      const block = document.createElement("div");
      block.className = "layer";
      const head = document.createElement("h3");
      const name = document.createElement("span");
      // Long paths break after a slash.
      name.append(...(layer.path || layer.kind).split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")]));
      const shape = document.createElement("small");
      shape.textContent = (layer.path.split("/").pop().startsWith(layer.kind) ? "" : `${words[layer.kind] ?? layer.kind}, `)
        + layer.shape.join(" × ");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `What ${layer.path || layer.kind} gives`);
      const frame = document.createElement("div");
      frame.append(canvas);
      head.append(name, shape);
      block.append(head, frame);
      return block;
    }));
  }
  const all = colours();
  const room = place.clientWidth - 10;
  // On a phone the maps of a layer stand in one row, which is moved sideways.
  const isNarrow = matchMedia("(max-width: 700px)").matches;
  layers.forEach((layer, at) => {
    const canvas = place.children[at].querySelector("canvas");
    if (layer.size.length === 3) maps(canvas, layer, all, room, isNarrow);
    else strip(canvas, layer, all, room);
  });
}

function sized(canvas, width, height) {
  const dense = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * dense), Math.round(height * dense)];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  context.imageSmoothingEnabled = false;
  return context;
}

function maps(canvas, layer, all, room, inRow) {
  const [n, high, wide] = layer.size;
  const gap = 5;
  // As many columns as there is room for maps of about this size, and then what fills the room.
  const most = Math.max(1, Math.round((room + gap) / (Math.max(wide, 56) + gap)));
  const columns = inRow ? n : Math.min(n, most);
  const width = Math.min((room + gap) / most - gap, 8 * wide);
  const height = width * high / wide;
  const rows = Math.ceil(n / columns);
  const from = painted(decoded(layer), wide, high * n, all.more, all);
  const context = sized(canvas, columns * (width + gap) - gap, rows * (height + gap) - gap);
  for (let i = 0; i < n; i++) {
    const [x, y] = [(i % columns) * (width + gap), Math.floor(i / columns) * (height + gap)];
    context.drawImage(from, 0, i * high, wide, high, x, y, width, height);
  }
}

function strip(canvas, layer, all, room) {
  const n = layer.size[0];
  const values = decoded(layer);
  const side = n <= 16 ? Math.min(22, Math.floor(room / n) - 1) : n <= 64 ? 14 : 10;
  const columns = Math.max(1, Math.min(n, Math.floor((room + 1) / (side + 1))));
  const rows = Math.ceil(n / columns);
  const context = sized(canvas, columns * (side + 1) - 1, rows * (side + 1) - 1);
  const from = painted(values, n, 1, all.more, all);
  for (let i = 0; i < n; i++) {
    context.drawImage(from, i, 0, 1, 1, (i % columns) * (side + 1), Math.floor(i / columns) * (side + 1), side, side);
  }
}

/** Make bars for classes, and return what shows probabilities in them, with what they were before. */
export function barsOf(list, names) {
  const rows = names.map((name) => {
    const row = document.createElement("li");
    const parts = ["b", "i", "span", "small"].map((tag) => document.createElement(tag));
    [parts[0].textContent, parts[0].title] = [name, name];
    row.append(...parts);
    return row;
  });
  list.replaceChildren(...rows);
  return (now, before) => {
    const first = now ? now.indexOf(Math.max(...now)) : -1;
    rows.forEach((row, i) => {
      const [, bar, share, change] = row.children;
      const [p, was] = [now ? now[i] : 0, before ? before[i] : 0];
      bar.style.setProperty("--p", p);
      bar.style.setProperty("--before", was);
      bar.style.setProperty("--had", before ? 0.7 : 0);
      share.textContent = now ? percent(p) : "";
      const points = before ? Math.round(100 * (p - was)) : 0;
      change.textContent = points ? signed(points) : "";
      change.className = points < 0 ? "less" : "more";
      row.classList.toggle("first", i === first);
    });
  };
}

export const percent = (p) => `${(100 * p).toFixed(1)} %`;
export const signed = (points) => `${points < 0 ? "−" : "+"}${Math.abs(points)}`;
