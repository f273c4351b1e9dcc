// A combobox after the ARIA Authoring Practices Guide: a list, whose first entry is selected.
import { isStale } from "./api.js";
import { el, factsOf, nameOf } from "./list.js";

/** Let an input find items: `find(text)` gives them, `pick(item)` takes the chosen one. */
export function combobox(input, listbox, { find, pick, isPicked }) {
  let items = [];
  let active = -1;

  function activate(place) {
    active = place;
    const options = [...listbox.querySelectorAll("[role=option]")];
    options.forEach((option, i) => (option.ariaSelected = String(i === place)));
    input.setAttribute("aria-activedescendant", options[place]?.id ?? "");
    options[place]?.scrollIntoView({ block: "nearest" });
  }

  function open(shown) {
    listbox.hidden = !shown;
    input.ariaExpanded = String(shown);
    if (!shown) activate(-1);
  }

  function choose(place) {
    if (!items[place] || isPicked(items[place].item_id)) return;
    input.value = "";
    open(false);
    pick(items[place]);
  }

  const option = (item, i) => {
    const picked = isPicked(item.item_id);
    return el("li", { id: `option-${i}`, role: "option", ariaDisabled: String(picked),
                      onpointerdown: (event) => event.preventDefault(), onclick: () => choose(i) },
      el("bdi", { textContent: nameOf(item) }),
      el("small", { textContent: picked ? "picked" : factsOf(item) }));
  };
  const say = (textContent) =>
    el("li", { role: "option", ariaDisabled: "true", ariaSelected: "false", textContent });

  async function look() {
    items = [];
    activate(-1);
    try {
      ({ items } = await find(input.value.trim()));
      listbox.replaceChildren(...(items.length ? items.map(option) : [say("Nothing found")]));
    } catch (error) {
      if (isStale(error)) return;
      listbox.replaceChildren(say(error.message));
    }
    if (document.activeElement !== input) return;
    open(true);
    activate(items.length && input.value ? 0 : -1);
  }

  input.oninput = look;
  input.onclick = () => listbox.hidden && look();
  input.onblur = () => open(false);
  input.onkeydown = async (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") choose(active);
    else if (event.key === "Escape") {
      if (listbox.hidden) input.value = "";
      open(false);
    } else if (step) {
      event.preventDefault();
      if (listbox.hidden) {
        await look();
        active = -1;
      }
      const n = items.length;
      if (n) activate(step > 0 ? (active + 1) % n : (Math.max(active, 0) - 1 + n) % n);
    }
  };
}
