// The page: what was picked and turned is in the address, and every change asks the service again.
import { ask, drop, isStale, parse, write } from "./api.js";
import { button, chip, el, factsOf, movement, nameOf, redraw, row } from "./list.js";
import { CatalogueMap } from "./map.js";
import { combobox } from "./search.js";

const $ = (id) => document.getElementById(id);
const START = { liked: [], disliked: [], popularity: 1, diversity: 0, genres: [], from: "", to: "", where: "", k: 10, item: null };
const DIALS = ["popularity", "diversity"];
const TYPED = ["from", "to", "where"];
const TUNED = [...DIALS, "genres", ...TYPED];

let state = { ...START };
let about = { genres: [], years: null, columns: [] };
let shown = []; // the list as it stands
let noted = ""; // what is said of it
let before; // item id -> rank in the list before
const known = new Map(); // item id -> item
const catalogue = new CatalogueMap($("map"), { open });

// ---- state

function read() {
  state = { ...START };
  for (const part of location.hash.slice(1).split("&")) {
    const [name, text] = part.split("=");
    try {
      const value = parse(decodeURIComponent(text));
      const same = name === "item" || (typeof value === typeof START[name] && Array.isArray(value) === Array.isArray(START[name]));
      if (name in START && same) state[name] = value;
    } catch { /* not an address of ours: the rest still counts */ }
  }
}

const sameAsStart = (name) => write(state[name]) === write(START[name]);

/** Write the state into the address; `step` makes it one that the back button undoes. */
function save(step) {
  const parts = Object.keys(START).filter((name) => !sameAsStart(name))
    .map((name) => `${name}=${encodeURIComponent(write(state[name])).replace(/%(5B|5D|2C)/g, decodeURIComponent)}`);
  history[step ? "pushState" : "replaceState"](null, "", parts.length ? `#${parts.join("&")}` : location.pathname + location.search);
}

function change(changes, step = true) {
  Object.assign(state, changes);
  save(step);
  draw();
  refresh();
}

const isPicked = (id) => state.liked.includes(id) || state.disliked.includes(id);
const without = (id) => ({ liked: state.liked.filter((one) => one !== id), disliked: state.disliked.filter((one) => one !== id) });

function judge(item, kind) {
  known.set(item.item_id, item);
  const rest = without(item.item_id);
  change({ ...rest, [kind]: [...rest[kind], item.item_id] });
}

// ---- the list

function question(asked = state) {
  const { liked, disliked, k, popularity, diversity, genres, from, to } = asked;
  const years = [from && `year >= ${Number(from)}`, to && `year <= ${Number(to)}`];
  const any = genres.map((genre) => `${JSON.stringify(genre)} in genres`).join(" or ");
  const parts = [any, ...years, asked.where.trim()].filter(Boolean);
  const where = parts.length > 1 ? parts.map((part) => `(${part})`).join(" and ") : parts[0];
  return { liked, disliked, k, popularity, diversity, ...(where && { where }), reasons: true, fallback: "popularity", point: true };
}

async function refresh() {
  peek(null);
  $("list").ariaBusy = "true";
  try {
    const started = performance.now();
    const { items, point } = await ask("v1/recommendations", { kind: "list", body: question() });
    showList(items, performance.now() - started);
    catalogue.mark(marks(), point ?? null);
  } catch (error) {
    if (!isStale(error)) fail(error);
  }
}

function showList(items, milliseconds) {
  const n = state.liked.length;
  for (const item of items) if (!known.has(item.item_id)) known.set(item.item_id, item);
  shown = items;
  $("error").hidden = true;
  $("list").ariaBusy = "false";
  $("heading").textContent = n ? "Recommended for you" : "Most chosen by everybody";
  noted = n ? `${items.length} items from ${n} pick${n === 1 ? "" : "s"} · ${Math.max(1, Math.round(milliseconds))} ms`
    : "Pick something, and this list becomes yours";
  $("note").textContent = noted;
  const rows = items.map((item) => row(n ? item : { ...item, reason: "" }, { ...acts, mark: movement(item, before) }));
  const empty = el("li", { className: "empty", textContent: "Nothing is left: ease the filters." });
  redraw($("list"), rows.length ? rows : [empty], $("search"));
  before = n && new Map(items.map((item) => [item.item_id, item.rank]));
  $("more").hidden = items.length < state.k || state.k >= 50;
  say(`${$("heading").textContent}: ${items.slice(0, 3).map(nameOf).join(", ") || "nothing is left"}`);
}

const acts = { open, like: (item) => judge(item, "liked"), dislike: (item) => judge(item, "disliked") };
const marks = () => ({ liked: state.liked, disliked: state.disliked, list: shown.map((item) => item.item_id), item: state.item });

function fail(error) {
  $("list").ariaBusy = "false";
  $("error").hidden = false;
  $("error").firstElementChild.textContent = error.message;
}

let saying;
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => ($("live").textContent = text), 400);
}

// ---- what would change without a pick

let peeking;
let peeked = null;

function peek(id) {
  if (id === peeked) return;
  peeked = id;
  clearTimeout(peeking);
  drop("peek");
  $("entering-part").hidden = true;
  $("note").textContent = noted;
  for (const one of $("list").children) one.classList.remove("leaves");
  if (id !== null) peeking = setTimeout(() => showPeek(id), 120);
}

async function showPeek(id) {
  try {
    const { items } = await ask("v1/recommendations", { kind: "peek", body: { ...question({ ...state, ...without(id) }), point: false } });
    const [now, then] = [shown, items].map((list) => new Set(list.map((item) => item.item_id)));
    const entering = items.filter((item) => !now.has(item.item_id) && item.item_id !== id);
    const leaving = shown.filter((item) => !then.has(item.item_id));
    shown.forEach((item, i) => $("list").children[i].classList.toggle("leaves", !then.has(item.item_id)));
    $("entering").replaceChildren(...entering.map((item) => row(item, { open })));
    $("entering-part").hidden = !entering.length;
    const without_it = `Without ${nameOf(known.get(id))}`;
    const names = (list) => list.map(nameOf).join(", ") || "nothing";
    $("note").textContent = `${without_it}, ${leaving.length} would leave and ${entering.length} would enter`;
    say(`${without_it}: ${names(leaving)} would leave; ${names(entering)} would enter`);
  } catch (error) {
    if (!isStale(error)) fail(error);
  }
}

function pickOf(event) {
  const place = [...$("picks").children].indexOf(event.target.closest("li"));
  return place < 0 ? null : [...state.liked, ...state.disliked][place];
}
$("picks").onpointerover = (event) => event.pointerType === "mouse" && peek(pickOf(event));
$("picks").onpointerleave = () => peek(null);
$("picks").addEventListener("focusin", (event) => peek(pickOf(event)));
$("picks").addEventListener("focusout", () => peek(null));
$("picks").onclick = (event) => event.target.closest(".name") && peek(pickOf(event));

// ---- an item and its neighbours

let opener;

function open(id) {
  opener = document.activeElement;
  state.item = id;
  save(false);
  showCard(true);
  catalogue.mark(marks());
}

function close() {
  $("card").hidden = true;
  state.item = null;
  save(false);
  catalogue.mark(marks());
  if (opener?.isConnected) opener.focus();
}

async function showCard(focus) {
  const id = state.item;
  $("card").hidden = id === null;
  if (id === null) return;
  drawCard(known.get(id) ?? { item_id: id });
  $("similar").replaceChildren();
  if (focus) $("card-title").focus();
  const path = `v1/items/${encodeURIComponent(id)}`;
  try {
    const [item, near] = await Promise.all([ask(path, { kind: "item" }), ask(`${path}/similar?k=8`, { kind: "similar" })]);
    known.set(id, item);
    drawCard(item);
    $("similar").replaceChildren(...near.items.map((one) => row(one, { open, like: isPicked(one.item_id) ? null : acts.like })));
  } catch (error) {
    if (!isStale(error)) $("card-facts").textContent = error.message;
  }
}

function drawCard(item) {
  const is = (kind) => state[kind].includes(item.item_id);
  const toggle = (kind, text) => el("button", {
    className: "quiet", ariaPressed: String(is(kind)), textContent: text,
    onclick: () => (is(kind) ? change(without(item.item_id)) : judge(item, kind)),
  });
  $("card-title").replaceChildren(el("bdi", { textContent: nameOf(item) }));
  $("card-facts").textContent = "n_events" in item ? factsOf(item) : "";
  redraw($("card-actions"), [toggle("liked", "♥\uFE0E I like it"), toggle("disliked", "✕ Not for me")]);
}

// ---- drawing what the state says

function draw() {
  const all = [...state.liked, ...state.disliked];
  redraw($("picks"), all.map((id) =>
    chip(known.get(id) ?? { item_id: id }, { liked: state.liked.includes(id), remove: () => change(without(id)) })), $("search"));
  for (const name of DIALS) {
    $(name).value = state[name];
    $(`${name}-value`).textContent = state[name];
  }
  for (const name of TYPED) if ($(name) !== document.activeElement) $(name).value = state[name];
  for (const one of $("genres").querySelectorAll("button")) one.ariaPressed = String(state.genres.includes(one.textContent));
  $("active").textContent = [...state.genres, ...TYPED.map((name) => state[name])].filter(Boolean).join(", ");
  $("reset").hidden = TUNED.every(sameAsStart);
  if (state.item !== null) drawCard(known.get(state.item) ?? { item_id: state.item });
}

async function learnNames() {
  const strange = [...state.liked, ...state.disliked].filter((id) => !known.has(id));
  await Promise.all(strange.map(async (id) => {
    known.set(id, await ask(`v1/items/${encodeURIComponent(id)}`).catch(() => ({ item_id: id })));
  }));
  if (strange.length) draw();
}

function drawFilters() {
  $("genres").append(...about.genres.map((genre) => el("button", { className: "toggle", textContent: genre, onclick: () =>
    change({ genres: state.genres.includes(genre) ? state.genres.filter((one) => one !== genre) : [...state.genres, genre] }, false) })));
  $("years").hidden = !about.years;
  if (about.years) [$("from").placeholder, $("to").placeholder] = about.years;
  const others = about.columns.filter((name) => !["title", "genres", "year"].includes(name));
  $("where-label").hidden = !others.length;
  $("columns").textContent = `on ${others.join(", ")}`;
  $("filters").hidden = !(about.genres.length || about.years || others.length);
}

// ---- start

for (const name of DIALS) $(name).oninput = () => change({ [name]: Number($(name).value) }, false);
let typing;
for (const name of TYPED) $(name).oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ [name]: $(name).value }, false), 250);
};
$("reset").onclick = () => change(Object.fromEntries(TUNED.map((name) => [name, START[name]])), false);
$("more").onclick = () => {
  before = undefined;
  change({ k: Math.min(state.k + 10, 50) }, false);
};
$("error").lastElementChild.onclick = start;
$("close").onclick = close;
$("card").onkeydown = (event) => event.key === "Escape" && close();
$("copy").onclick = async () => {
  const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  $("copy").textContent = done ? "Copied" : "Copy it from the address bar";
  setTimeout(() => ($("copy").textContent = "Copy link"), 2000);
};
combobox($("search"), $("options"), {
  find: (text) => ask(`v1/items?search=${encodeURIComponent(text)}&k=12`, { kind: "search" }),
  pick: (item) => judge(item, "liked"),
  isPicked,
});
window.onpopstate = () => {
  read();
  draw();
  learnNames();
  showCard(false);
  refresh();
};

async function start() {
  try {
    about = await ask("v1/about");
    const [items, users] = [about.n_items, about.n_users].map((n) => n.toLocaleString("en"));
    $("about").textContent = `${items} items, learned from what ${users} people chose`;
    $("about").title = `model ${about.model}`;
    for (const name of DIALS) START[name] = about.dials[name].default;
    read();
    if (!$("genres").querySelector("button")) drawFilters();
    draw();
    await Promise.all([refresh(), learnNames(), showCard(false)]);
    catalogue.show(await ask("v1/map"));
    catalogue.mark(marks(), catalogue.target);
  } catch (error) {
    if (!isStale(error)) fail(error);
  }
}

read();
draw();
start();
