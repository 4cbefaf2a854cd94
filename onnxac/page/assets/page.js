// Search, keys and colours. Everything here is an extra: the page is whole without it.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".card")];
  const refusals = [...document.querySelectorAll(".refusal")];
  const text = new Map(cards.map((e) => [e, e.textContent.toLowerCase()]));
  for (const item of refusals) {
    const reason = item.closest("details").querySelector("summary").textContent;
    text.set(item, `${item.textContent} ${reason}`.toLowerCase());
  }
  for (const card of cards) {
    for (const title of card.querySelectorAll("[title]")) {
      text.set(card, `${text.get(card)} ${title.title.toLowerCase()}`);
    }
  }

  // Colours: as the system has it, light, or dark.
  const schemes = ["auto", "light", "dark"];
  const theme = $("theme");
  function paint(scheme) {
    document.documentElement.toggleAttribute("data-theme", scheme !== "auto");
    if (scheme !== "auto") document.documentElement.dataset.theme = scheme;
    theme.textContent = `◐ ${scheme[0].toUpperCase()}${scheme.slice(1)}`;
    theme.setAttribute("aria-label", `Colour scheme: ${scheme}`);
    document.dispatchEvent(new CustomEvent("scheme"));
  }
  function nextScheme() {
    const now = document.documentElement.dataset.theme || "auto";
    paint(schemes[(schemes.indexOf(now) + 1) % schemes.length]);
  }
  theme.hidden = false;
  theme.addEventListener("click", nextScheme);

  // Search and filter.
  const form = document.querySelector(".search");
  const search = $("search");
  const kind = $("kind");
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = kind ? kind.value.toLowerCase() : "";
    const fits = (element) => words.every((w) => text.get(element).includes(w));
    let shown = 0;
    for (const card of cards) {
      const visible = fits(card) && text.get(card).includes(wanted);
      card.parentElement.hidden = !visible;
      shown += visible;
    }
    for (const item of refusals) item.hidden = !fits(item);
    for (const group of document.querySelectorAll(".alone details")) {
      const hits = group.querySelectorAll(".refusal:not([hidden])").length;
      group.hidden = words.length > 0 && hits === 0;
      if (words.length > 0 && hits > 0) group.open = true;
    }
    const active = words.length > 0 || wanted !== "";
    $("found").textContent = active ? `${shown} of ${cards.length}` : "";
    if ($("nothing")) $("nothing").hidden = shown > 0 || cards.length === 0;
  }
  form.hidden = cards.length === 0;
  form.addEventListener("submit", (e) => e.preventDefault());
  search.addEventListener("input", filter);
  if (kind) kind.addEventListener("change", filter);

  // The card that is looked at, for the keys and for the panes.
  let current = -1;
  // Only the controls of one card are on the way of the Tab key.
  function reach(index) {
    cards.forEach((card, i) => {
      for (const control of card.querySelectorAll("summary, button")) {
        control.tabIndex = i === Math.max(0, index) ? 0 : -1;
      }
    });
  }
  function mark(index) {
    reach(index);
    cards.forEach((card, i) => {
      card.classList.toggle("on", i === index);
      card.setAttribute("aria-current", String(i === index));
    });
    current = index;
  }
  function choose(index, focus) {
    mark(index);
    if (index < 0) return;
    cards[index].scrollIntoView({ block: "nearest" });
    if (focus) cards[index].focus({ preventScroll: true });
  }
  function step(by) {
    const visible = cards.map((_, i) => i).filter((i) => !cards[i].parentElement.hidden);
    if (visible.length === 0) return;
    const at = visible.indexOf(current);
    const next = at < 0 ? (by > 0 ? 0 : visible.length - 1) : at + by;
    choose(visible[Math.max(0, Math.min(visible.length - 1, next))], true);
  }
  for (const card of cards) card.tabIndex = -1;

  document.addEventListener("keydown", (e) => {
    if (e.metaKey || e.ctrlKey || e.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (e.key === "Escape" && e.target === search) {
      search.value = "";
      filter();
      search.blur();
    }
    if (typing) return;
    const actions = {
      "/": () => search.focus(),
      j: () => step(1),
      k: () => step(-1),
      t: nextScheme,
      Enter: () => e.target === cards[current] && window.onnxac.show && window.onnxac.show(current),
    };
    if (actions[e.key]) {
      actions[e.key]();
      if (e.key === "/") e.preventDefault();
    }
  });
  const keys = document.querySelector(".keys");
  if (keys) keys.hidden = false;

  // On paper nothing can be opened.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("section > details:not([open]), .operators details:not([open])")];
    for (const d of opened) d.open = true;
  });
  addEventListener("afterprint", () => {
    for (const d of opened) d.open = false;
  });

  window.onnxac = { cards, choose, mark, shown: () => current, show: null };
  reach(0);
})();
