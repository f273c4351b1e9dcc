// A map of the catalogue on two canvases: the items below, and above them what moves.
import { el } from "./list.js";

const SOFT = 700; // milliseconds in which your point moves
const SHORT = 26; // characters of a label

export class CatalogueMap {
  constructor(section, { open }) {
    [this.below, this.above] = section.querySelectorAll("canvas");
    Object.assign(this, { section, open, marks: { liked: [], disliked: [], list: [], item: null }, view: null, hovered: -1 });
    const [closer, farther, all] = section.querySelectorAll("button");
    closer.onclick = () => this.zoom(1.6);
    farther.onclick = () => this.zoom(1 / 1.6);
    all.onclick = () => this.fit();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.above);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Take what `/v1/map` says; items are known by their row from here on. */
  show(map) {
    this.map = map;
    this.rows = new Map(map.item_ids.map((id, row) => [id, row]));
    this.order = map.item_ids.map((_, row) => row).sort((a, b) => map.n_events[b] - map.n_events[a]);
    this.layers = [...map.groups.keys(), null].map((group) => this.order.filter((row) => map.group[row] === group));
    const groups = map.groups.map((name, group) => [name, `group-${group % 9}`]);
    const legend = [["your picks", "of-picks"], ["recommended", "of-list"], ...groups];
    this.section.querySelector("ul").replaceChildren(...legend.map(([name, className]) =>
      el("li", { className }, el("bdi", { textContent: name }))));
    this.above.ariaLabel = `Map of ${map.item_ids.length.toLocaleString("en")} items: similar ones lie close together. `
      + "Arrow keys move it, plus and minus zoom. The list of recommendations says the same in words.";
    this.section.hidden = false;
    this.view = null;
    this.resize();
  }

  /** Mark ids of picks, of the list and of the open item, and move your point. */
  mark(marks, point = this.target) {
    this.marks = marks;
    if (!this.map) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.from = still || !this.target ? point : this.you();
    this.target = point;
    this.since = performance.now();
    if (!this.seen(this.rows.get(marks.item))) this.centre(this.rows.get(marks.item));
    this.draw();
  }

  you() {
    if (!this.target || !this.from) return this.target;
    const t = Math.min((performance.now() - this.since) / SOFT, 1);
    const eased = 1 - (1 - t) ** 3;
    return this.target.map((end, i) => this.from[i] + (end - this.from[i]) * eased);
  }

  // ---- the view: pixels = (place - origin) * scale, y upwards

  resize() {
    const { clientWidth: width, clientHeight: height } = this.above;
    if (!this.map || !width) return;
    const ratio = devicePixelRatio || 1;
    for (const canvas of [this.below, this.above]) {
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    Object.assign(this, { width, height });
    if (this.view?.touched) this.draw();
    else this.fit();
  }

  fit() {
    const [left, right] = ends(this.map.x);
    const [low, high] = ends(this.map.y);
    const scale = 0.9 * Math.min(this.width / (right - left || 1), this.height / (high - low || 1));
    this.least = scale / 2;
    this.view = { scale, x: (left + right) / 2, y: (low + high) / 2, touched: false };
    this.draw();
  }

  place([x, y]) {
    const { scale, x: midX, y: midY } = this.view;
    return [this.width / 2 + (x - midX) * scale, this.height / 2 - (y - midY) * scale];
  }

  nameOf(row) {
    return this.map.titles?.[row] || `No. ${this.map.item_ids[row]}`;
  }

  at(row) {
    return this.place([this.map.x[row], this.map.y[row]]);
  }

  seen(row) {
    if (row === undefined || !this.view) return true;
    const [x, y] = this.at(row);
    return x > 0 && y > 0 && x < this.width && y < this.height;
  }

  centre(row) {
    Object.assign(this.view, { x: this.map.x[row], y: this.map.y[row], touched: true });
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.view.touched = true;
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.max(this.least, Math.min(this.view.scale * factor, this.least * 400));
    const move = 1 / this.view.scale - 1 / scale;
    this.view.x += (x - this.width / 2) * move;
    this.view.y -= (y - this.height / 2) * move;
    this.view.scale = scale;
    this.pan(0, 0);
  }

  // ---- drawing

  draw() {
    if (this.planned || !this.view) return;
    this.planned = requestAnimationFrame(() => {
      this.planned = null;
      this.drawItems();
      this.drawMarks();
    });
  }

  drawItems() {
    const ctx = this.below.getContext("2d");
    const style = getComputedStyle(this.section);
    this.colour = (name) => style.getPropertyValue(`--${name}`);
    this.font = `12px ${style.fontFamily}`;
    ctx.clearRect(0, 0, this.width, this.height);
    ctx.globalAlpha = 0.62;
    const grown = Math.min(Math.sqrt(this.view.scale / this.least), 5) * Math.min(1, 4 / this.order.length ** 0.27);
    this.layers.forEach((rows, group) => {
      ctx.fillStyle = this.colour(group < this.map.groups.length ? `group-${group % 9}` : "group-none");
      for (const row of rows) {
        const [x, y] = this.at(row);
        if (x < -9 || y < -9 || x > this.width + 9 || y > this.height + 9) continue;
        const r = grown * (1 + Math.log10(1 + this.map.n_events[row]));
        if (r < 1.6) ctx.fillRect(x - r, y - r, 2 * r, 2 * r);
        else {
          ctx.beginPath();
          ctx.arc(x, y, r, 0, 7);
          ctx.fill();
        }
      }
    });
    ctx.globalAlpha = 1;
    this.label(ctx);
  }

  /** Choose labels that lie on nothing: of the marked items first, then of the most chosen. */
  label(ctx) {
    const { liked, disliked, list, item } = this.marks;
    const marked = [item, ...liked, ...list, ...disliked].map((id) => this.rows.get(id)).filter((row) => row >= 0);
    const taken = marked.map((row) => this.at(row)).map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
    taken.push([this.width - 56, 0, this.width, 132]); // the buttons
    if (this.target) {
      const [x, y] = this.place(this.target);
      taken.push([x - 10, y - 10, x + 42, y + 10]);
    }
    let left = marked.length + this.width * this.height / 16000;
    this.labels = [];
    ctx.font = this.font;
    for (const [i, row] of [...new Set([...marked, ...this.order.slice(0, 2000)])].entries()) {
      if (left < 0) break;
      const [x, y] = this.at(row);
      const text = short(this.nameOf(row));
      const box = [x + 9, y - 9, x + 15 + ctx.measureText(text).width, y + 9];
      if (!this.seen(row) || box[2] > this.width || taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      left -= 1;
      if (i < marked.length) this.labels.push([row, text]);
      else write(ctx, text, x + 9, y, this.colour("muted"), this.colour("map"));
    }
  }

  drawMarks() {
    const ctx = this.above.getContext("2d");
    const { liked, disliked, list, item } = this.marks;
    const [accent, second, ink, paper] = ["accent", "second", "ink", "map"].map(this.colour);
    ctx.clearRect(0, 0, this.width, this.height);
    ctx.font = this.font;
    const you = this.you();
    const each = (ids, mark) => ids.forEach((id) => this.rows.has(id) && mark(this.at(this.rows.get(id))));
    if (you) each(liked, (end) => line(ctx, this.place(you), end, accent));
    each(list, (at) => dot(ctx, at, 5, second, paper));
    each(disliked, (at) => dot(ctx, at, 5, paper, ink));
    each(liked, (at) => dot(ctx, at, 6, accent, paper));
    if (item !== null) each([item], (at) => dot(ctx, at, 9, "transparent", ink));
    for (const [row, text] of this.labels) write(ctx, text, this.at(row)[0] + 9, this.at(row)[1], ink, paper);
    if (you) {
      const [x, y] = this.place(you);
      dot(ctx, [x, y], 9, ink, paper);
      dot(ctx, [x, y], 4, paper, paper);
      ctx.font = `bold ${ctx.font}`;
      write(ctx, "you", x + 13, y, ink, paper);
    }
    if (this.hovered >= 0) this.drawHovered(ctx, ink, paper);
    if (this.from && performance.now() - this.since < SOFT) requestAnimationFrame(() => this.drawMarks());
    this.section.dataset.point = you ? you.map((one) => one.toFixed(2)) : "";
  }

  drawHovered(ctx, ink, paper) {
    const [x, y] = this.at(this.hovered);
    dot(ctx, [x, y], 7, "transparent", ink);
    const text = short(this.nameOf(this.hovered), 60);
    const width = ctx.measureText(text).width + 16;
    const left = Math.max(4, Math.min(x - width / 2, this.width - width - 4));
    const top = y > 44 ? y - 38 : y + 14;
    ctx.fillStyle = ink;
    ctx.beginPath();
    ctx.roundRect(left, top, width, 26, 6);
    ctx.fill();
    ctx.fillStyle = paper;
    ctx.fillText(text, left + 8, top + 13);
  }

  // ---- mouse, fingers, keys

  listen() {
    const canvas = this.above;
    const fingers = new Map();
    let moved = 0;
    const here = (event) => [event.offsetX, event.offsetY];
    canvas.onpointerdown = (event) => {
      if (!fingers.size) moved = 0;
      fingers.set(event.pointerId, here(event));
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointermove = (event) => {
      const [x, y] = here(event);
      const before = fingers.get(event.pointerId);
      if (!before) return this.hover(this.nearest(x, y));
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      const by = [x - before[0], y - before[1]].map((d) => d / fingers.size);
      moved += Math.hypot(...by);
      fingers.set(event.pointerId, [x, y]);
      if (moved > 4) this.pan(...by);
      if (other) this.zoom(distance([x, y], other) / (distance(before, other) || 1), ...other);
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => {
      fingers.delete(event.pointerId);
      const row = this.nearest(...here(event));
      if (event.type === "pointerup" && moved <= 4 && row >= 0) this.open(this.map.item_ids[row]);
    };
    canvas.onpointerleave = () => this.hover(-1);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...here(event));
    }, { passive: false });
    const keys = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    canvas.onkeydown = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (keys[event.key]) this.pan(...keys[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.3);
      else if (event.key === "-") this.zoom(1 / 1.3);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    };
  }

  nearest(x, y) {
    let [best, least] = [-1, 14 ** 2];
    for (const row of this.order) {
      const [px, py] = this.at(row);
      const far = (px - x) ** 2 + (py - y) ** 2;
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

const ends = (values) => values.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [Infinity, -Infinity]);
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
const short = (text, most = SHORT) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("").trim()}…` : text);

function dot(ctx, [x, y], radius, fill, edge) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 7);
  [ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = [fill, edge, 2];
  ctx.fill();
  ctx.stroke();
}

function line(ctx, from, to, colour) {
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  [ctx.strokeStyle, ctx.lineWidth, ctx.globalAlpha] = [colour, 1.5, 0.5];
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function write(ctx, text, x, y, colour, halo) {
  Object.assign(ctx, { textBaseline: "middle", lineWidth: 3, lineJoin: "round", strokeStyle: halo, fillStyle: colour });
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}
