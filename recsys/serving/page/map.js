// A map of the catalogue on two canvases: the items below, and above them what moves.
import { el, nameOf } from "./list.js";

const MOVING = 700; // milliseconds
const COLOURS = 10; // of groups, in the stylesheet
const AROUND = 14; // pixels from the pointer to an item

/** A map in a section of the page; `open(id)` is called for an item that is clicked. */
export class CatalogueMap {
  constructor(section, open) {
    [this.below, this.above] = section.querySelectorAll("canvas");
    Object.assign(this, { section, open, hovered: -1, labels: [] });
    const [closer, farther, whole] = section.querySelectorAll("button");
    closer.onclick = () => this.zoom(1.6);
    farther.onclick = () => this.zoom(1 / 1.6);
    whole.onclick = () => this.fit();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.above);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Take what `/v1/map` says; items go by their row in it from here on. */
  show(map) {
    const { item_ids: ids, n_events: n, groups } = map;
    this.map = map;
    this.rows = new Map(ids.map((id, row) => [id, row]));
    this.order = [...ids.keys()].sort((a, b) => n[b] - n[a]);
    this.layers = [...groups.keys(), null].map((group) =>
      this.order.filter((row) => map.group[row] === group));
    const legend = [["your picks", "accent"], ["recommended", "second"],
                    ...groups.map((name, group) => [name, `group-${group % COLOURS}`])];
    this.section.querySelector("ul").replaceChildren(...legend.map(([textContent, colour]) => {
      const entry = el("li", {}, el("bdi", { textContent }));
      entry.style.setProperty("--dot", `var(--${colour})`);
      return entry;
    }));
    this.above.ariaLabel = `Map of ${ids.length.toLocaleString("en")} items, similar ones close to `
      + "each other. Arrow keys move it, plus and minus zoom. The list says the same in words.";
    this.section.hidden = false;
    this.resize();
  }

  /** Mark picks, list and open item by their ids, and let your point move to its new place. */
  mark(marks, point = this.target) {
    if (String(point) !== String(this.target)) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.from = still ? point : this.you();
      this.target = point;
      this.since = performance.now();
    }
    this.marks = marks;
    const row = this.rows?.get(marks.item);
    if (this.view && row >= 0 && !this.sees(this.at(row)))
      Object.assign(this.view, { x: this.map.x[row], y: this.map.y[row], touched: true });
    this.draw();
  }

  /** Return where your point is at this moment of its way. */
  you() {
    if (!this.target || !this.from) return this.target;
    const left = 1 - Math.min((performance.now() - this.since) / MOVING, 1);
    return this.target.map((end, i) => end - (end - this.from[i]) * left ** 3);
  }

  // ---- the view: its middle, and pixels per unit; y goes up

  resize() {
    const { clientWidth: width, clientHeight: height } = this.above;
    if (!this.map || !width) return;
    Object.assign(this, { width, height });
    for (const canvas of [this.below, this.above]) {
      canvas.width = width * devicePixelRatio;
      canvas.height = height * devicePixelRatio;
      canvas.getContext("2d").scale(devicePixelRatio, devicePixelRatio);
    }
    if (this.view?.touched) this.draw();
    else this.fit();
  }

  fit() {
    const [[left, right], [low, high]] = [ends(this.map.x), ends(this.map.y)];
    this.whole = 0.92 * Math.min(this.width / (right - left || 1), this.height / (high - low || 1));
    this.view = { scale: this.whole, x: (left + right) / 2, y: (low + high) / 2 };
    this.draw();
  }

  pixel([x, y]) {
    const { scale, x: midX, y: midY } = this.view;
    return [this.width / 2 + (x - midX) * scale, this.height / 2 - (y - midY) * scale];
  }

  at(row) {
    return this.pixel([this.map.x[row], this.map.y[row]]);
  }

  sees([x, y]) {
    return x > -9 && y > -9 && x < this.width + 9 && y < this.height + 9;
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.view.touched = true;
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.view.scale;
    const scale = Math.max(this.whole / 2, Math.min(before * factor, this.whole * 200));
    this.view.scale = scale; // and what is under the pointer stays there
    this.pan(...[x - this.width / 2, y - this.height / 2].map((d) => d * (1 - scale / before)));
  }

  // ---- drawing

  draw() {
    cancelAnimationFrame(this.planned);
    if (this.view) this.planned = requestAnimationFrame(() => {
      const style = getComputedStyle(this.section);
      this.colour = (name) => style.getPropertyValue(`--${name}`);
      this.font = `12px ${style.fontFamily}`;
      this.drawItems(this.below.getContext("2d"));
      this.drawMarks();
    });
  }

  drawItems(ctx) {
    ctx.clearRect(0, 0, this.width, this.height);
    ctx.globalAlpha = 0.62;
    const crowd = Math.min(1, 4 / this.order.length ** 0.27);
    const size = crowd * Math.min(Math.sqrt(this.view.scale / this.whole), 4);
    this.layers.forEach((rows, group) => {
      const isLast = group === this.layers.length - 1;
      ctx.fillStyle = this.colour(isLast ? "group-none" : `group-${group % COLOURS}`);
      for (const row of rows) {
        const [x, y] = this.at(row);
        if (!this.sees([x, y])) continue;
        const r = size * (1.4 + 1.4 * Math.log10(1 + this.map.n_events[row]));
        if (r < 1.5) ctx.fillRect(x - r, y - r, 2 * r, 2 * r);
        else circle(ctx, [x, y], r).fill();
      }
    });
    ctx.globalAlpha = 1;
    this.label(ctx);
  }

  /** Place labels that lie on nothing: of the marked items first, then of the most chosen. */
  label(ctx) {
    const { liked, disliked, list, item } = this.marks;
    const ids = [item, ...liked, ...list, ...disliked].filter((id) => this.rows.has(id));
    const marked = new Set(ids.map((id) => this.rows.get(id)));
    const taken = [[this.width - 56, 0, this.width, 132]]; // the buttons
    for (const row of marked) taken.push(around(this.at(row), 5, 5));
    if (this.target) taken.push(around(this.pixel(this.target), 10, 42));
    let left = marked.size + (this.width * this.height) / 16000;
    this.labels = [];
    ctx.font = this.font;
    for (const row of new Set([...marked, ...this.order.slice(0, 2000)])) {
      const at = this.at(row);
      if (!this.sees(at)) continue;
      const text = this.nameOf(row, 26);
      const box = around([at[0] + 18, at[1]], 9, ctx.measureText(text).width);
      if (box[2] > this.width || taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      if (marked.has(row)) this.labels.push([row, text]);
      else write(ctx, text, box[0], at[1], this.colour("muted"), this.colour("map"));
      if ((left -= 1) < 0) return;
    }
  }

  nameOf(row, most) {
    const { titles, item_ids: ids } = this.map;
    const letters = [...nameOf({ title: titles[row], item_id: ids[row] })];
    if (letters.length > most) letters.splice(most - 1, Infinity, "…");
    return letters.join("");
  }

  drawMarks() {
    const ctx = this.above.getContext("2d");
    const { liked, disliked, list, item } = this.marks;
    const [accent, second, ink, paper] = ["accent", "second", "ink", "map"].map(this.colour);
    const rows = (ids) => ids.map((id) => this.rows.get(id)).filter((row) => row >= 0);
    const places = (ids) => rows(ids).map((row) => this.at(row));
    const you = this.you();
    ctx.clearRect(0, 0, this.width, this.height);
    ctx.font = this.font;
    if (you) for (const end of places(liked)) line(ctx, this.pixel(you), end, accent);
    for (const at of places(list)) dot(ctx, at, 5, second, paper);
    for (const at of places(disliked)) dot(ctx, at, 5, paper, ink);
    for (const at of places(liked)) dot(ctx, at, 6, accent, paper);
    for (const at of places([item])) dot(ctx, at, 9, "transparent", ink);
    for (const [row, text] of this.labels) {
      const [x, y] = this.at(row);
      write(ctx, text, x + 9, y, ink, paper);
    }
    if (you) {
      const [x, y] = this.pixel(you);
      dot(ctx, [x, y], 9, ink, paper);
      dot(ctx, [x, y], 4, paper, paper);
      ctx.font = `bold ${this.font}`;
      write(ctx, "you", x + 13, y, ink, paper);
    }
    if (this.hovered >= 0) this.drawHovered(ctx, ink, paper);
    this.section.dataset.you = you?.map((one) => one.toFixed(3)) ?? "";
    cancelAnimationFrame(this.moving);
    if (performance.now() - this.since < MOVING)
      this.moving = requestAnimationFrame(() => this.drawMarks());
  }

  drawHovered(ctx, ink, paper) {
    const [x, y] = this.at(this.hovered);
    const text = this.nameOf(this.hovered, 60);
    ctx.font = this.font;
    const width = ctx.measureText(text).width + 16;
    const left = Math.max(4, Math.min(x - width / 2, this.width - width - 4));
    const top = y > 44 ? y - 38 : y + 14;
    dot(ctx, [x, y], 7, "transparent", ink);
    ctx.fillStyle = ink;
    ctx.beginPath();
    ctx.roundRect(left, top, width, 26, 6);
    ctx.fill();
    write(ctx, text, left + 8, top + 13, paper, ink);
  }

  // ---- mouse, fingers, keys

  listen() {
    const canvas = this.above;
    const fingers = new Map();
    const here = (event) => [event.offsetX, event.offsetY];
    let moved = 0;
    canvas.onpointerdown = (event) => {
      if (!fingers.size) moved = 0;
      fingers.set(event.pointerId, here(event));
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointermove = (event) => {
      const [now, then] = [here(event), fingers.get(event.pointerId)];
      if (!then) return this.hover(this.nearest(now));
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      const by = now.map((end, i) => (end - then[i]) / fingers.size);
      moved += Math.hypot(...by);
      fingers.set(event.pointerId, now);
      if (moved > 4) this.pan(...by);
      if (other) this.zoom(distance(now, other) / (distance(then, other) || 1), ...other);
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => {
      fingers.delete(event.pointerId);
      const row = this.nearest(here(event));
      if (event.type === "pointerup" && moved <= 4 && row >= 0) this.open(this.map.item_ids[row]);
    };
    canvas.onpointerleave = () => this.hover(-1);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...here(event));
    }, { passive: false });
    canvas.onkeydown = (event) => {
      const act = {
        ArrowLeft: () => this.pan(40, 0), ArrowRight: () => this.pan(-40, 0),
        ArrowUp: () => this.pan(0, 40), ArrowDown: () => this.pan(0, -40),
        "+": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3), 0: () => this.fit(),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    };
  }

  nearest(pointer) {
    let [best, least] = [-1, AROUND];
    for (const row of this.order) {
      const far = distance(this.at(row), pointer);
      if (far < least) [best, least] = [row, far];
    }
    return best;
  }

  hover(row) {
    if (row === this.hovered) return;
    this.hovered = row;
    this.above.classList.toggle("over", row >= 0);
    this.drawMarks();
  }
}

const ends = (values) => [Math.min, Math.max].map((of) => values.reduce((a, b) => of(a, b)));
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const around = ([x, y], margin, right) => [x - margin, y - margin, x + right, y + margin];
const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

function circle(ctx, [x, y], radius) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 7);
  return ctx;
}

function dot(ctx, at, radius, fillStyle, strokeStyle) {
  Object.assign(circle(ctx, at, radius), { fillStyle, strokeStyle, lineWidth: 2 });
  ctx.fill();
  ctx.stroke();
}

function line(ctx, from, to, strokeStyle) {
  Object.assign(ctx, { strokeStyle, lineWidth: 1.5 });
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
}

function write(ctx, text, x, y, fillStyle, strokeStyle) {
  Object.assign(ctx, { fillStyle, strokeStyle, textBaseline: "middle" });
  Object.assign(ctx, { lineWidth: 3, lineJoin: "round" });
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}
