// A board to draw on with mouse, finger, pen or keys. Strokes are lists of points from 0 to 1.

const LEAST = 0.006; // Of the board's side: nearer points are left out.
const STEP = 0.035;
const MOST_POINTS = 3900;
const MOST_STROKES = 190;

export class Board {
  /** Draw on a canvas; `changed(began)` is called at every change, true where a stroke begins. */
  constructor(canvas, changed) {
    [this.canvas, this.changed] = [canvas, changed];
    [this.strokes, this.now, this.pen, this.isKeyed] = [[], null, [0.5, 0.3], false];
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#up(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.paint());
    canvas.addEventListener("blur", () => { this.#lift(); this.paint(); });
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get isEmpty() { return this.strokes.length === 0; }

  clear() { this.#lift(); this.strokes = []; this.#tell(true); }

  undo() { this.#lift(); this.strokes.pop(); this.#tell(true); }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (value, low, size) => Math.round(1000 * Math.min(1, Math.max(0, (value - low) / size))) / 1000;
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  }

  #begin(point) {
    const points = this.strokes.reduce((sum, each) => sum + each.length, 0);
    if (this.strokes.length >= MOST_STROKES || points >= MOST_POINTS) return;
    this.now = [point];
    this.strokes.push(this.now);
    this.#tell(true);
  }

  #add(point) {
    const last = this.now[this.now.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < LEAST) return;
    if (this.strokes.reduce((sum, each) => sum + each.length, 0) >= MOST_POINTS) return;
    this.now.push(point);
    this.#tell(false);
  }

  #lift() { [this.now, this.pointer] = [null, null]; }

  #tell(began) { this.paint(); this.changed(began); }

  #down(event) {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true, focusVisible: false });
    this.isKeyed = false;
    try { this.canvas.setPointerCapture(event.pointerId); } catch { /* It has gone again. */ }
    this.pointer = event.pointerId;
    this.#begin(this.#at(event));
  }

  #move(event) {
    if (!this.now || event.pointerId !== this.pointer) return;
    const seen = event.getCoalescedEvents?.() ?? [];
    for (const each of seen.length ? seen : [event]) if (this.now) this.#add(this.#at(each));
  }

  #up(event) { if (event.pointerId === this.pointer) this.#lift(); }

  #key(event) {
    if (event.ctrlKey || event.metaKey ? event.key !== "z" : event.altKey) return;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (way) {
      this.isKeyed = true;
      this.pen = this.pen.map((part, i) => Math.round(1000 * Math.min(0.97, Math.max(0.03, part + STEP * way[i]))) / 1000);
      if (this.now) this.#add(this.pen); else this.paint();
    } else if (event.key === " ") {
      this.isKeyed = true;
      if (this.now) { this.#lift(); this.paint(); } else this.#begin(this.pen);
    } else if (event.key === "z" || event.key === "Backspace") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
  }

  /** Paint all strokes, and the pen where it is moved by keys. */
  paint() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const dense = window.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.round(width * dense), Math.round(height * dense)];
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    context.scale(width * dense, height * dense);
    [context.lineCap, context.lineJoin, context.lineWidth] = ["round", "round", 0.055];
    context.strokeStyle = style.getPropertyValue("--ink");
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      // Through the middles, so that few points make a smooth line.
      for (let i = 1; i < stroke.length; i++) {
        const [a, b] = [stroke[i - 1], stroke[i]];
        context.quadraticCurveTo(...a, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      }
      context.lineTo(...stroke[stroke.length - 1]);
      context.stroke();
    }
    if (this.isKeyed && document.activeElement === this.canvas) {
      context.strokeStyle = style.getPropertyValue(this.now ? "--less" : "--more");
      context.lineWidth = 0.008;
      context.beginPath();
      context.arc(...this.pen, 0.035, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
