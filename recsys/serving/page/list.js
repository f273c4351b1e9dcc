// Make elements of items; all text goes in as text, never as HTML.

/** Make an element with properties and children. */
export function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child));
  return element;
}

export const nameOf = ({ title, item_id }) => title || `No. ${item_id}`;
const textOf = (text) => el("bdi", { textContent: text });

/** Say what is known of an item, such as "1996 · Crime, Drama · chosen 508 times". */
export function factsOf({ year, genres, n_events: n }) {
  const chosen = n ? `chosen ${n.toLocaleString("en")} time${n === 1 ? "" : "s"}` : "new";
  return [year, genres?.slice(0, 3).join(", "), chosen].filter(Boolean).join(" · ");
}

/** Draw again and leave the focus at its place among the buttons, or else give it elsewhere. */
export function redraw(container, children, otherwise) {
  const place = [...container.querySelectorAll("button")].indexOf(document.activeElement);
  container.replaceChildren(...children);
  if (place < 0) return;
  const buttons = container.querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? otherwise)?.focus();
}

/** Make one row of a list: its name opens the item, two buttons judge it. */
export function row(item, { mark, open, like, dislike }) {
  const name = nameOf(item);
  const judge = (text, label, onclick) =>
    onclick && el("button", { className: "icon", textContent: text, title: label,
                              ariaLabel: label, onclick: () => onclick(item) });
  return el("li", {},
    el("span", { className: "rank", textContent: item.rank },
      mark && el("small", { textContent: mark })),
    el("div", {},
      el("button", { className: "name", title: name, onclick: () => open(item.item_id) },
        textOf(name)),
      item.reason && el("small", {}, textOf(item.reason))),
    judge("♥\uFE0E", `I like ${name}`, like),
    judge("✕", `Not for me: ${name}`, dislike));
}

/** Say how an item has moved since the list before: "new", "▲ 2", "▼ 1", or nothing. */
export function movement({ item_id, rank }, before) {
  if (!before) return "";
  if (!before.has(item_id)) return "new";
  const up = before.get(item_id) - rank;
  return up ? `${up > 0 ? "▲" : "▼"} ${Math.abs(up)}` : "";
}

/** Make one chip of a pick: its name shows what its removal would change, its cross removes it. */
export function chip(item, liked, remove) {
  const name = nameOf(item);
  const title = `${liked ? "" : "not "}${name}: what changes without it?`;
  return el("li", { className: liked ? "" : "not" },
    el("button", { className: "name", title }, textOf(name)),
    el("button", { className: "remove", textContent: "✕", ariaLabel: `Remove ${name}`,
                   onclick: remove }));
}
