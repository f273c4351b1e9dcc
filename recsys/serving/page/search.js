// A combobox after the pattern of the ARIA Authoring Practices Guide (list, manual selection).
import { isStale } from "./api.js";
import { el, factsOf, nameOf } from "./list.js";

/** Let an input find items: `find(text)` gives them, `pick(item)` takes the chosen one. */
export function combobox(input, listbox, { find, pick, isPicked }) {
  let items = [];
  let active = -1;

  const open = (shown) => {
    listbox.hidden = !shown;
    input.setAttribute("aria-expanded", shown);
    if (!shown) activate(-1);
  };
  const activate = (place) => {
    active = place;
    [...listbox.children].forEach((option, i) => option.setAttribute("aria-selected", i === place));
    const option = items.length ? listbox.children[place] : null;
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  };
  const choose = (place) => {
    const item = items[place];
    if (!item || isPicked(item.item_id)) return;
    input.value = "";
    open(false);
    pick(item);
  };
  const say = (text) => listbox.replaceChildren(el("li", { className: "empty", role: "option", ariaDisabled: "true", ariaSelected: "false", textContent: text }));
  const option = (item, i) =>
    el("li", { id: `option-${i}`, role: "option", ariaSelected: "false", ariaDisabled: String(isPicked(item.item_id)),
               onpointerdown: (event) => event.preventDefault(), onclick: () => choose(i) },
       el("bdi", { textContent: nameOf(item) }),
       el("small", { textContent: isPicked(item.item_id) ? "picked" : factsOf(item) }));

  async function look() {
    try {
      items = (await find(input.value.trim())).items;
      if (items.length) listbox.replaceChildren(...items.map(option));
      else say("Nothing has this in its title");
      listbox.scrollTop = 0;
    } catch (error) {
      if (isStale(error)) return;
      items = [];
      say(error.message);
    }
    if (document.activeElement !== input) return;
    open(true);
    activate(-1);
  }

  input.oninput = look;
  input.onclick = () => listbox.hidden && look();
  input.onblur = () => open(false);
  input.onkeydown = async (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (listbox.hidden) await look();
      const n = items.length;
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (n) activate(active < 0 ? (step > 0 ? 0 : n - 1) : (active + step + n) % n);
    } else if (event.key === "Enter") {
      choose(active < 0 && input.value.trim() && items.length === 1 ? 0 : active);
    } else if (event.key === "Escape") {
      if (listbox.hidden) input.value = "";
      open(false);
    }
  };
}
