// The page: what was picked and turned is in the address, and every change asks the service again.
import { ask, drop, isStale, parse, write } from "./api.js";
import { chip, el, factsOf, movement, nameOf, redraw, row } from "./list.js";
import { CatalogueMap } from "./map.js";
import { combobox } from "./search.js";

const $ = (id) => document.getElementById(id);
const DIALS = ["popularity", "diversity"];
const TYPED = ["from", "to", "where"];
const TUNED = [...DIALS, "genres", ...TYPED];
const START = { liked: [], disliked: [], popularity: 1, diversity: 0, genres: [],
                from: "", to: "", where: "", k: 10, item: null };
const MOST = 50;

let state = { ...START };
let shown = []; // the list as it stands
let noted = ""; // what is said of it
let before; // ranks by item id in the list before
const known = new Map(); // items by id
const map = new CatalogueMap($("map"), open);

// ---- state

const isStart = (name) => write(state[name]) === write(START[name]);
const kindOf = (value) => (Array.isArray(value) ? "array" : typeof value);

function read() {
  state = { ...START };
  for (const part of location.hash.slice(1).split("&")) {
    const [name, text] = part.split("=");
    try {
      const value = parse(decodeURIComponent(text));
      if (name === "item" || kindOf(value) === kindOf(START[name])) state[name] = value;
    } catch { /* somebody changed the address: the rest of it still counts */ }
  }
  state.k = Math.max(START.k, Math.min(Math.floor(state.k), MOST));
}

/** Write the state into the address; `step` makes it one that the back button undoes. */
function save(step) {
  const encode = (name) => encodeURIComponent(write(state[name]));
  const parts = Object.keys(START).filter((name) => !isStart(name))
    .map((name) => `${name}=${encode(name).replace(/%(5B|5D|2C)/g, decodeURIComponent)}`);
  const address = parts.length ? `#${parts.join("&")}` : location.pathname + location.search;
  history[step ? "pushState" : "replaceState"](null, "", address);
}

function change(changes, step = false) {
  Object.assign(state, changes);
  save(step);
  draw();
  refresh();
}

const picks = () => [...state.liked, ...state.disliked];
const without = (id) => ({ liked: state.liked.filter((one) => one !== id),
                           disliked: state.disliked.filter((one) => one !== id) });

function judge(item, kind) {
  known.set(item.item_id, { ...known.get(item.item_id), ...item });
  const rest = without(item.item_id);
  change({ ...rest, [kind]: [...rest[kind], item.item_id] }, true);
}
const like = (item) => judge(item, "liked");
const dislike = (item) => judge(item, "disliked");

// ---- the list

function question({ liked, disliked, k, popularity, diversity, genres, from, to, where }) {
  const parts = [genres.map((genre) => `${JSON.stringify(genre)} in genres`).join(" or "),
                 from && `year >= ${from}`, to && `year <= ${to}`, where.trim()].filter(Boolean);
  const joined = parts.length > 1 ? parts.map((part) => `(${part})`).join(" and ") : parts[0];
  return { liked, disliked, k, popularity, diversity, where: joined,
           reasons: true, fallback: "popularity", point: true };
}

async function refresh() {
  peek(null);
  $("list").ariaBusy = "true";
  try {
    const started = performance.now();
    const answer = await ask("v1/recommendations", { kind: "list", body: question(state) });
    showList(answer.items, Math.max(1, Math.round(performance.now() - started)));
    map.mark(marks(), answer.point ?? null);
  } catch (error) {
    fail(error);
  }
}

function showList(items, milliseconds) {
  const n = state.liked.length;
  shown = items;
  for (const item of items) if (!known.has(item.item_id)) known.set(item.item_id, item);
  $("error").hidden = true;
  $("list").ariaBusy = "false";
  $("heading").textContent = n ? "Recommended for you" : "Most chosen by everybody";
  noted = n ? `${items.length} items from ${n} pick${n === 1 ? "" : "s"} · ${milliseconds} ms`
    : "Pick something, and this list becomes yours";
  $("note").textContent = noted;
  const rows = items.map((item) => row(n ? item : { ...item, reason: "" },
                                       { open, like, dislike, mark: movement(item, before) }));
  const empty = el("li", { className: "empty", textContent: "Nothing is left: ease the filters." });
  redraw($("list"), rows.length ? rows : [empty], $("search"));
  before = n && new Map(items.map((item) => [item.item_id, item.rank]));
  $("more").hidden = items.length < state.k || state.k >= MOST;
  say(`${$("heading").textContent}: ${namesOf(items.slice(0, 3))}`);
}

const namesOf = (items) => items.map(nameOf).join(", ") || "nothing";
const idsOf = (items) => items.map((item) => item.item_id);
const marks = () => ({ ...state, list: idsOf(shown) });

function fail(error) {
  if (isStale(error)) return;
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
  if (id !== null) peeking = setTimeout(() => showPeek(id).catch(fail), 120);
}

async function showPeek(id) {
  const body = { ...question({ ...state, ...without(id) }), point: false };
  const { items } = await ask("v1/recommendations", { kind: "peek", body });
  const stays = new Set(idsOf(items));
  const old = new Set([id, ...idsOf(shown)]);
  const entering = items.filter((item) => !old.has(item.item_id));
  const leaving = shown.filter((item) => !stays.has(item.item_id));
  for (const item of leaving) $("list").children[shown.indexOf(item)].classList.add("leaves");
  $("entering").replaceChildren(...entering.map((item) => row(item, { open })));
  $("entering-part").hidden = !entering.length;
  const name = nameOf(itemOf(id));
  $("note").textContent =
    `${leaving.length} would leave and ${entering.length} would enter without ${name}`;
  say(`Without ${name}, ${namesOf(leaving)} would leave and ${namesOf(entering)} would enter`);
}

function pickAt({ target }) {
  return picks()[[...$("picks").children].indexOf(target.closest("li"))] ?? null;
}
// Not onpointerover, which comes too when a chip comes to lie under a mouse at rest.
$("picks").onpointermove = (event) => event.pointerType === "mouse" && peek(pickAt(event));
$("picks").onpointerleave = () => peek(null);
$("picks").addEventListener("focusin", (event) =>
  event.target.matches(":focus-visible") && peek(pickAt(event)));
$("picks").addEventListener("focusout", () => peek(null));
document.addEventListener("click", (event) =>
  peek(event.target.closest("#picks .name") ? pickAt(event) : null));

// ---- an item and its neighbours

let opener;

function open(id) {
  if (!$("card").contains(document.activeElement)) opener = document.activeElement;
  state.item = id;
  save();
  showCard();
  $("card-title").focus();
}

function close() {
  state.item = null;
  save();
  showCard();
  (opener?.isConnected ? opener : $("search")).focus();
}

async function showCard() {
  const id = state.item;
  $("card").hidden = id === null;
  map.mark(marks());
  if (id === null) return;
  $("similar").replaceChildren();
  drawCard();
  try {
    const path = `v1/items/${encodeURIComponent(id)}`;
    const [item, near] = await Promise.all([
      ask(path, { kind: "item" }), ask(`${path}/similar?k=8`, { kind: "similar" })]);
    known.set(id, item);
    drawCard();
    $("similar").replaceChildren(...near.items.map((one) => row(one, { open, like })));
  } catch (error) {
    if (!isStale(error)) $("card-facts").textContent = error.message;
  }
}

function drawCard() {
  const item = itemOf(state.item);
  const toggle = (kind, text, act) => {
    const is = state[kind].includes(item.item_id);
    return el("button", { className: "quiet", ariaPressed: String(is), textContent: text,
                          onclick: () => (is ? change(without(item.item_id), true) : act(item)) });
  };
  $("card-title").replaceChildren(el("bdi", { textContent: nameOf(item) }));
  $("card-facts").textContent = "n_events" in item ? factsOf(item) : "";
  redraw($("card-actions"), [toggle("liked", "♥\uFE0E I like it", like),
                             toggle("disliked", "✕ Not for me", dislike)]);
}

// ---- draw what the state says

const itemOf = (id) => known.get(id) ?? { item_id: id };

function draw() {
  redraw($("picks"), picks().map((id) => chip(itemOf(id), state.liked.includes(id),
                                              () => change(without(id), true))), $("search"));
  for (const name of DIALS) $(`${name}-value`).textContent = $(name).value = state[name];
  for (const name of TYPED) if ($(name) !== document.activeElement) $(name).value = state[name];
  for (const one of $("genres").children)
    one.ariaPressed = String(state.genres.includes(one.textContent));
  const filters = [...state.genres, ...TYPED.map((name) => state[name])].filter(Boolean);
  $("active").textContent = filters.join(", ");
  $("reset").hidden = TUNED.every(isStart);
  if (state.item !== null) drawCard();
}

/** Find the names of picks that came by the address; an item that is gone keeps its id. */
async function learnNames() {
  const strange = picks().filter((id) => !known.has(id));
  await Promise.all(strange.map((id) => ask(`v1/items/${encodeURIComponent(id)}`).then(
    (item) => known.set(id, item), () => {})));
  draw();
}

function drawFilters({ genres, years, columns }) {
  const others = columns.filter((name) => !["title", "genres", "year"].includes(name));
  const toggle = (one) => change({ genres: state.genres.includes(one)
    ? state.genres.filter((other) => other !== one) : [...state.genres, one] });
  $("genres").replaceChildren(...genres.map((one) =>
    el("button", { className: "toggle", textContent: one, onclick: () => toggle(one) })));
  $("years").hidden = !years;
  if (years) [$("from").placeholder, $("to").placeholder] = years;
  $("where-label").hidden = !others.length;
  $("columns").textContent = `on ${others.join(", ")}`;
  $("filters").hidden = !(genres.length || years || others.length);
}

// ---- start

for (const name of DIALS) $(name).oninput = () => change({ [name]: Number($(name).value) });
let typing;
for (const name of TYPED) $(name).oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ [name]: $(name).value }), 250);
};
$("reset").onclick = () => change(Object.fromEntries(TUNED.map((name) => [name, START[name]])));
$("more").onclick = () => {
  before = undefined;
  change({ k: Math.min(state.k + 10, MOST) });
};
$("error").lastElementChild.onclick = start;
$("close").onclick = close;
$("card").onkeydown = (event) => event.key === "Escape" && close();
$("copy").onclick = async () => {
  const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  $("copy").textContent = done ? "Copied" : "It is in the address bar";
  setTimeout(() => ($("copy").textContent = "Copy link"), 2000);
};
combobox($("search"), $("options"), {
  find: (text) => ask(`v1/items?search=${encodeURIComponent(text)}&k=12`, { kind: "search" }),
  pick: like,
  isPicked: (id) => picks().includes(id),
});
window.onpopstate = follow;

/** Show what the address says. */
async function follow() {
  read();
  draw();
  await Promise.all([refresh(), learnNames(), showCard()]);
}

async function start() {
  try {
    const about = await ask("v1/about");
    const [items, users] = [about.n_items, about.n_users].map((n) => n.toLocaleString("en"));
    $("about").textContent = `${items} items, learned from what ${users} people chose`;
    $("about").title = `model ${about.model}`;
    for (const name of DIALS) START[name] = about.dials[name].default;
    drawFilters(about);
    await follow();
    map.show(await ask("v1/map"));
  } catch (error) {
    fail(error);
  }
}

start();
