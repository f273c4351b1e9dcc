// Make elements of items; all text goes in as text, never as HTML.

/** Make an element with properties and children. */
export function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child != null));
  return element;
}

export const nameOf = ({ title, item_id }) => title || `No. ${item_id}`;

export const factsOf = ({ year, genres, n_events: n }) =>
  [year, genres?.slice(0, 3).join(", "), n ? `chosen ${n.toLocaleString("en")} time${n === 1 ? "" : "s"}` : "new"]
    .filter(Boolean).join(" · ");

/** Draw again, and leave the focus where it was, by the place of the button among the others. */
export function redraw(container, children, otherwise) {
  const at = [...container.querySelectorAll("button")].indexOf(document.activeElement);
  container.replaceChildren(...children);
  if (at < 0) return;
  const buttons = container.querySelectorAll("button");
  (buttons[Math.min(at, buttons.length - 1)] ?? otherwise)?.focus();
}

/** Make one row of a list: rank, name (opens the card), reason, and what one can say of it. */
export function row(item, { mark, open, like, dislike }) {
  const name = nameOf(item);
  return el("li", {},
    el("span", { className: "rank" }, String(item.rank), mark ? el("small", { textContent: mark }) : null),
    el("div", {},
      el("button", { className: "name", title: name, onclick: () => open(item.item_id) }, el("bdi", { textContent: name })),
      item.reason ? el("small", {}, el("bdi", { textContent: item.reason })) : null),
    like ? button("♥\uFE0E", `I like ${name}`, () => like(item)) : null,
    dislike ? button("✕", `Not for me: ${name}`, () => dislike(item)) : null);
}

export const button = (text, label, onclick) =>
  el("button", { className: "icon", textContent: text, ariaLabel: label, title: label, onclick });

/** Say how ranks have moved since the list before: "new", "▲ 2", "▼ 1", or nothing. */
export function movement(item, before) {
  if (!before) return "";
  const up = (before.get(item.item_id) ?? 0) - item.rank;
  if (!before.has(item.item_id)) return "new";
  return up ? `${up > 0 ? "▲" : "▼"} ${Math.abs(up)}` : "";
}

/** Make one chip of a pick: its name says what its removal would change, its cross removes it. */
export function chip(item, { liked, remove }) {
  const name = nameOf(item);
  return el("li", { className: liked ? "" : "not" },
    el("button", { className: "name", title: `${liked ? "" : "not "}${name}: what changes without it?` }, el("bdi", { textContent: name })),
    el("button", { className: "remove", textContent: "✕", ariaLabel: `Remove ${name}`, onclick: remove }));
}
